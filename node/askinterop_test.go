package node

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcphub-go/mcphub/store"
)

// newAskingServer is a server of the official SDK whose one tool asks its client all that there is
// to ask, and answers with the answers.
func newAskingServer() *mcp.Server {
	s := mcp.NewServer(&mcp.Implementation{Name: "asking", Version: "1"}, nil)
	mcp.AddTool(s, &mcp.Tool{Name: "ask", Description: "ask the client"},
		func(ctx context.Context, req *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, any, error) {
			form, err := req.Session.Elicit(ctx, &mcp.ElicitParams{Message: "who?", RequestedSchema: map[string]any{
				"type": "object", "properties": map[string]any{"name": map[string]any{"type": "string"}},
			}})
			if err != nil {
				return nil, nil, fmt.Errorf("elicit: %w", err)
			}
			said, err := req.Session.CreateMessage(ctx, &mcp.CreateMessageParams{MaxTokens: 9, Messages: []*mcp.SamplingMessage{
				{Role: "user", Content: &mcp.TextContent{Text: "say it"}},
			}})
			if err != nil {
				return nil, nil, fmt.Errorf("sample: %w", err)
			}
			roots, err := req.Session.ListRoots(ctx, nil)
			if err != nil {
				return nil, nil, fmt.Errorf("roots: %w", err)
			}
			return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: fmt.Sprint(
				form.Content["name"], " ", said.Content.(*mcp.TextContent).Text, " ", roots.Roots[0].URI)}}}, nil, nil
		})
	return s
}

func TestRealServersAskRealClients(t *testing.T) {
	web := httptest.NewServer(mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return newAskingServer() }, nil))
	t.Cleanup(web.Close)
	older := httptest.NewServer(mcp.NewSSEHandler(func(*http.Request) *mcp.Server { return newAskingServer() }, nil))
	t.Cleanup(older.Close)
	r := startRig(t, nil, fake("stdio", "FAKE_MODE=sdk asking"),
		isolatedFake("isolated", 3, 0, "FAKE_MODE=sdk asking"), isolatedFake("spares", 3, 1, "FAKE_MODE=sdk asking"),
		ServerConfig{Name: "older", Type: TransportSSE, URL: older.URL, Enabled: true},
		ServerConfig{Name: "events", URL: web.URL, Enabled: true},
	)
	for _, name := range []string{"stdio", "isolated", "spares", "older", "events"} {
		t.Run(name, func(t *testing.T) {
			if s := r.server(name); s.Status != store.ServerReady {
				t.Fatalf("%s is %s (%s)", name, s.Status, s.Error)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			for _, who := range []string{"ann", "bob"} { // one after the other: on a shared stream nobody else is at work
				client := mcp.NewClient(&mcp.Implementation{Name: who, Version: "1"}, &mcp.ClientOptions{
					ElicitationHandler: func(context.Context, *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
						return &mcp.ElicitResult{Action: "accept", Content: map[string]any{"name": who}}, nil
					},
					CreateMessageHandler: func(context.Context, *mcp.CreateMessageRequest) (*mcp.CreateMessageResult, error) {
						return &mcp.CreateMessageResult{Model: "m", Role: "assistant", Content: &mcp.TextContent{Text: "said by " + who}}, nil
					},
				})
				client.AddRoots(&mcp.Root{URI: "file:///" + who})
				session, err := client.Connect(ctx, &mcp.StreamableClientTransport{
					Endpoint: r.web.URL + "/mcp/" + name, HTTPClient: &http.Client{Transport: coordinator{"sid-" + name + who}}, MaxRetries: -1,
				}, nil)
				if err != nil {
					t.Fatal(err)
				}
				res, err := session.CallTool(ctx, &mcp.CallToolParams{Name: "ask"})
				if err != nil {
					t.Fatal(err)
				}
				if got, want := res.Content[0].(*mcp.TextContent).Text, who+" said by "+who+" file:///"+who; got != want || res.IsError {
					t.Errorf("%s: the tool answered %q, want %q", who, got, want)
				}
				if err := session.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	r.close()
}
