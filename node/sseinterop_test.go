package node

import (
	"context"
	"fmt"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/mark3labs/mcp-go/mcp"
	mcpserver "github.com/mark3labs/mcp-go/server"

	"github.com/mcphub-go/mcphub/store"
)

// newOlderServer is a server of another library than ours, which speaks HTTP+SSE only: it ends
// lines in both ways, names its endpoint with a query and works on messages after its 202.
func newOlderServer(t *testing.T, opts ...mcpserver.SSEOption) (*mcpserver.SSEServer, string) {
	s := mcpserver.NewMCPServer("older", "1")
	s.AddTool(mcp.NewTool("echo", mcp.WithString("text")), func(_ context.Context, q mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return mcp.NewToolResultText(q.GetString("text", "")), nil
	})
	sse := mcpserver.NewSSEServer(s, opts...)
	web := httptest.NewServer(sse)
	t.Cleanup(func() {
		sse.CloseSessions()
		web.Close()
	})
	return sse, web.URL
}

func TestRealSSEServerServesManySessions(t *testing.T) {
	sse, url := newOlderServer(t, mcpserver.WithAppendQueryToMessageEndpoint(), mcpserver.WithKeepAliveInterval(1e6)) // pings us each ms
	r := startRig(t, nil,
		ServerConfig{Name: "typed", Type: TransportSSE, URL: url + "/sse?key=k", Enabled: true},
		ServerConfig{Name: "untyped", URL: url + "/sse", Enabled: true})
	for _, name := range []string{"typed", "untyped"} {
		if s := r.server(name); s.Status != store.ServerReady || s.Tools != 1 || s.Transport != TransportSSE {
			t.Fatalf("%s is %s (%s) with %d tools over %s", name, s.Status, s.Error, s.Tools, s.Transport)
		}
		var all sync.WaitGroup
		for i := range 20 {
			all.Go(func() {
				id := fmt.Sprintf("%s-%d", name, i)
				r.open(name, id)
				for k := range 5 {
					want := fmt.Sprint(id, " ", k)
					if a := r.post(name, id, tool("1", "echo", want)); textOf(t, a.last()) != want {
						t.Errorf("%s got %s", want, a.body)
					}
				}
			})
		}
		all.Wait()
	}
	sse.CloseSessions()
	for _, name := range []string{"typed", "untyped"} {
		eventually(t, name+" back", func() bool { s := r.server(name); return s.Restarts == 1 && s.Status == store.ServerReady })
		r.open(name, "again")
		if a := r.post(name, "again", tool("1", "echo", "x")); textOf(t, a.last()) != "x" {
			t.Errorf("after the loss: %s", a.body)
		}
	}
	r.close()
}
