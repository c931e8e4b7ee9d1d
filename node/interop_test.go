package node

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcphub-go/mcphub/internal/fixture"
	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

var _ Builtin = (*fixture.Server)(nil)

// newSDKServer is a server of the official SDK with one tool that uses everything a call may.
func newSDKServer() *mcp.Server {
	s := mcp.NewServer(&mcp.Implementation{Name: "sdk", Version: "1"}, nil)
	type in struct {
		Steps int `json:"steps"`
	}
	mcp.AddTool(s, &mcp.Tool{Name: "work", Description: "work in steps"},
		func(ctx context.Context, req *mcp.CallToolRequest, args in) (*mcp.CallToolResult, any, error) {
			for i := range args.Steps {
				err := req.Session.NotifyProgress(ctx, &mcp.ProgressNotificationParams{
					ProgressToken: req.Params.GetProgressToken(), Progress: float64(i + 1), Total: float64(args.Steps),
				})
				if err != nil {
					return nil, nil, err
				}
				_ = req.Session.Log(ctx, &mcp.LoggingMessageParams{Level: "info", Data: fmt.Sprint("step ", i)})
			}
			return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: "worked"}}}, nil, nil
		})
	return s
}

func runSDKServer() {
	_ = newSDKServer().Run(context.Background(), &mcp.StdioTransport{})
}

// coordinator adds to a client's requests what a coordinator would.
type coordinator struct{ session string }

func (c coordinator) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Set("Authorization", "Bearer "+testCredential)
	req.Header.Set(wire.HeaderEpoch, "3")
	req.Header.Set(wire.HeaderSession, c.session)
	return http.DefaultTransport.RoundTrip(req)
}

func TestRealServersOfEachTransportWithARealClient(t *testing.T) {
	upstream := func(o *mcp.StreamableHTTPOptions) string {
		web := httptest.NewServer(mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return newSDKServer() }, o))
		t.Cleanup(web.Close)
		return web.URL
	}
	older := httptest.NewServer(mcp.NewSSEHandler(func(*http.Request) *mcp.Server { return newSDKServer() }, nil))
	t.Cleanup(older.Close)
	r := startRig(t, nil, fake("stdio", "FAKE_MODE=sdk"),
		ServerConfig{Name: "older", Type: TransportSSE, URL: older.URL, Enabled: true},
		ServerConfig{Name: "events", URL: upstream(nil), Enabled: true},
		ServerConfig{Name: "json", URL: upstream(&mcp.StreamableHTTPOptions{JSONResponse: true}), Enabled: true},
		ServerConfig{Name: "sessionless", URL: upstream(&mcp.StreamableHTTPOptions{Stateless: true}), Enabled: true},
	)
	for name, notes := range map[string]int{"stdio": 3, "older": 3, "events": 3, "json": 0, "sessionless": 3} {
		t.Run(name, func(t *testing.T) {
			if s := r.server(name); s.Status != store.ServerReady || s.Tools != 1 {
				t.Fatalf("%s is %s (%s) with %d tools", name, s.Status, s.Error, s.Tools)
			}
			progress, logs := make(chan float64, 9), make(chan any, 9)
			client := mcp.NewClient(&mcp.Implementation{Name: "c", Version: "1"}, &mcp.ClientOptions{
				ProgressNotificationHandler: func(_ context.Context, q *mcp.ProgressNotificationClientRequest) { progress <- q.Params.Progress },
				LoggingMessageHandler:       func(_ context.Context, q *mcp.LoggingMessageRequest) { logs <- q.Params.Data },
			})
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			session, err := client.Connect(ctx, &mcp.StreamableClientTransport{
				Endpoint: r.web.URL + "/mcp/" + name, HTTPClient: &http.Client{Transport: coordinator{"sid-" + name}}, MaxRetries: -1,
			}, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer session.Close()
			if err := session.SetLoggingLevel(ctx, &mcp.SetLoggingLevelParams{Level: "info"}); err != nil {
				t.Fatal(err)
			}
			tools, err := session.ListTools(ctx, nil)
			if err != nil || len(tools.Tools) != 1 || tools.Tools[0].Name != "work" {
				t.Fatalf("ListTools = %+v, %v", tools, err)
			}
			call := &mcp.CallToolParams{Name: "work", Arguments: map[string]any{"steps": 3}}
			call.SetProgressToken("mine")
			res, err := session.CallTool(ctx, call)
			if err != nil || res.Content[0].(*mcp.TextContent).Text != "worked" {
				t.Fatalf("CallTool = %+v, %v", res, err)
			}
			for i := range notes {
				select {
				case got := <-progress:
					if got != float64(i+1) {
						t.Errorf("progress %d = %v", i+1, got)
					}
				case <-ctx.Done():
					t.Fatalf("no progress %d", i+1)
				}
				select {
				case got := <-logs:
					if got != fmt.Sprint("step ", i) {
						t.Errorf("log message %d = %v", i, got)
					}
				case <-ctx.Done():
					t.Fatalf("no log message %d", i)
				}
			}
		})
	}
	r.close()
}

func TestFixtureServersKeepStatePerSession(t *testing.T) {
	r := startRig(t, nil, ServerConfig{Name: "counter", Builtin: fixture.NewCounter("n1"), Enabled: true})
	if s := r.server("counter"); s.Status != store.ServerReady || s.Tools == 0 {
		t.Fatalf("counter is %s (%s) with %d tools", s.Status, s.Error, s.Tools)
	}
	for _, id := range []string{"s1", "s2"} {
		r.open("counter", id)
	}
	for i, step := range []struct{ session, want string }{{"s1", "1"}, {"s1", "2"}, {"s2", "1"}, {"s1", "3"}} {
		a := r.post("counter", step.session, tool(fmt.Sprint(i), "increment", ""))
		if got := textOf(t, a.last()); len(got) == 0 || got[:1] != step.want {
			t.Errorf("%s: %q, want %s", step.session, got, step.want)
		}
	}
}
