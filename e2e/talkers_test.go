package e2e

import (
	"context"
	"encoding/json"
	"sync"
	"testing"

	mcpgo "github.com/mark3labs/mcp-go/client"
	mcpgotransport "github.com/mark3labs/mcp-go/client/transport"
	mcpgotypes "github.com/mark3labs/mcp-go/mcp"
	gosdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

// talker is a client that servers may ask and tell things. To forms it answers with its name, it
// accepts links, its samples and roots have its name in them.
type talker interface {
	client
	// CallWith is Call with a progress token; it also returns the progress that was told.
	CallWith(ctx context.Context, tool string, args map[string]any) (text string, progress []float64, err error)
	Subscribe(ctx context.Context, uri string) error
	Unsubscribe(ctx context.Context, uri string) error
	Level(ctx context.Context, level string) error
	// Notes are the notifications so far, but for progress.
	Notes(ctx context.Context) ([]note, error)
}

// note is a notification.
type note struct {
	Method string
	Params struct{ URI, Level string }
}

// talkers are the clients that answer, by name.
var talkers = map[string]func(t *testing.T, url, name string) talker{
	"go-sdk":        talkGoSDK,
	"mcp-go":        talkMCPGo,
	"typescript":    talkTypeScript("v1"),
	"typescript-v2": talkTypeScript("v2"),
}

// notebook collects notifications. It is safe for concurrent use.
type notebook struct {
	mu       sync.Mutex
	notes    []note
	progress map[any][]float64
}

func (n *notebook) add(method, uri, level string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	one := note{Method: method}
	one.Params.URI, one.Params.Level = uri, level
	n.notes = append(n.notes, one)
}

func (n *notebook) addProgress(token any, p float64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.progress == nil {
		n.progress = map[any][]float64{}
	}
	n.progress[token] = append(n.progress[token], p)
}

func (n *notebook) heard(token any) []float64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]float64(nil), n.progress[token]...)
}

func (n *notebook) Notes(context.Context) ([]note, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]note(nil), n.notes...), nil
}

type goSDKTalker struct {
	goSDKClient
	*notebook
}

func talkGoSDK(t *testing.T, url, name string) talker {
	t.Helper()
	n := &notebook{}
	c := gosdk.NewClient(&gosdk.Implementation{Name: "e2e-go-sdk", Version: "1"}, &gosdk.ClientOptions{
		Capabilities: &gosdk.ClientCapabilities{RootsV2: &gosdk.RootCapabilities{ListChanged: true}, Elicitation: &gosdk.ElicitationCapabilities{
			Form: &gosdk.FormElicitationCapabilities{}, URL: &gosdk.URLElicitationCapabilities{},
		}},
		ElicitationHandler: func(_ context.Context, r *gosdk.ElicitRequest) (*gosdk.ElicitResult, error) {
			if r.Params.Mode == "url" {
				return &gosdk.ElicitResult{Action: "accept"}, nil
			}
			return &gosdk.ElicitResult{Action: "accept", Content: map[string]any{"name": name}}, nil
		},
		CreateMessageHandler: func(context.Context, *gosdk.CreateMessageRequest) (*gosdk.CreateMessageResult, error) {
			return &gosdk.CreateMessageResult{Model: "m", Role: "assistant", Content: &gosdk.TextContent{Text: "said by " + name}}, nil
		},
		LoggingMessageHandler: func(_ context.Context, r *gosdk.LoggingMessageRequest) {
			n.add("notifications/message", "", string(r.Params.Level))
		},
		ResourceUpdatedHandler: func(_ context.Context, r *gosdk.ResourceUpdatedNotificationRequest) {
			n.add("notifications/resources/updated", r.Params.URI, "")
		},
		ProgressNotificationHandler: func(_ context.Context, r *gosdk.ProgressNotificationClientRequest) {
			n.addProgress(r.Params.ProgressToken, r.Params.Progress)
		},
	})
	c.AddRoots(&gosdk.Root{URI: "file:///" + name, Name: name})
	s, err := c.Connect(t.Context(), &gosdk.StreamableClientTransport{Endpoint: url}, nil)
	if err != nil {
		t.Fatalf("go-sdk: connect to %s: %v", url, err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return goSDKTalker{goSDKClient{s}, n}
}

func (c goSDKTalker) CallWith(ctx context.Context, tool string, args map[string]any) (string, []float64, error) {
	p := &gosdk.CallToolParams{Name: tool, Arguments: args}
	p.SetProgressToken(tool)
	res, err := c.CallTool(ctx, p)
	if err != nil {
		return "", nil, err
	}
	text := ""
	if len(res.Content) > 0 {
		if tc, ok := res.Content[0].(*gosdk.TextContent); ok {
			text = tc.Text
		}
	}
	return text, c.heard(tool), nil
}

func (c goSDKTalker) Subscribe(ctx context.Context, uri string) error {
	return c.ClientSession.Subscribe(ctx, &gosdk.SubscribeParams{URI: uri})
}

func (c goSDKTalker) Unsubscribe(ctx context.Context, uri string) error {
	return c.ClientSession.Unsubscribe(ctx, &gosdk.UnsubscribeParams{URI: uri})
}

func (c goSDKTalker) Level(ctx context.Context, level string) error {
	return c.SetLoggingLevel(ctx, &gosdk.SetLoggingLevelParams{Level: gosdk.LoggingLevel(level)}) //nolint:staticcheck // deprecated with the revision that is tested here
}

type mcpGoTalker struct {
	mcpGoClient
	*notebook
}

// mcpGoName answers under its name.
type mcpGoName string

func (n mcpGoName) Elicit(_ context.Context, r mcpgotypes.ElicitationRequest) (*mcpgotypes.ElicitationResult, error) {
	res := &mcpgotypes.ElicitationResult{}
	res.Action = mcpgotypes.ElicitationResponseActionAccept
	if r.Params.Mode != "url" {
		res.Content = map[string]any{"name": string(n)}
	}
	return res, nil
}

func (n mcpGoName) CreateMessage(context.Context, mcpgotypes.CreateMessageRequest) (*mcpgotypes.CreateMessageResult, error) {
	res := &mcpgotypes.CreateMessageResult{Model: "m"}
	res.Role, res.Content = mcpgotypes.RoleAssistant, mcpgotypes.NewTextContent("said by "+string(n))
	return res, nil
}

func (n mcpGoName) ListRoots(context.Context, mcpgotypes.ListRootsRequest) (*mcpgotypes.ListRootsResult, error) {
	return &mcpgotypes.ListRootsResult{Roots: []mcpgotypes.Root{{URI: "file:///" + string(n), Name: string(n)}}}, nil
}

func talkMCPGo(t *testing.T, url, name string) talker {
	t.Helper()
	tr, err := mcpgotransport.NewStreamableHTTP(url, mcpgotransport.WithContinuousListening())
	if err != nil {
		t.Fatalf("mcp-go: %v", err)
	}
	c := startMCPGo(t, tr, name)
	c.mcpGoClient.t = tr
	return c
}

// startMCPGo begins a session of a legacy revision over tr.
func startMCPGo(t *testing.T, tr mcpgotransport.Interface, name string) mcpGoTalker {
	t.Helper()
	n, form := &notebook{}, &struct{}{}
	c := mcpgo.NewClient(tr, mcpgo.WithProtocolVersion("2025-11-25"),
		mcpgo.WithClientCapabilities(mcpgotypes.ClientCapabilities{Elicitation: &mcpgotypes.ElicitationCapability{Form: form, URL: form}}),
		mcpgo.WithElicitationHandler(mcpGoName(name)), mcpgo.WithSamplingHandler(mcpGoName(name)), mcpgo.WithRootsHandler(mcpGoName(name)))
	c.OnNotification(func(m mcpgotypes.JSONRPCNotification) {
		f := m.Params.AdditionalFields
		if m.Method == "notifications/progress" {
			p, _ := f["progress"].(float64)
			n.addProgress(f["progressToken"], p)
			return
		}
		uri, _ := f["uri"].(string)
		level, _ := f["level"].(string)
		n.add(m.Method, uri, level)
	})
	if err := c.Start(t.Context()); err != nil {
		t.Fatalf("mcp-go: start: %v", err)
	}
	var req mcpgotypes.InitializeRequest
	req.Params.ClientInfo = mcpgotypes.Implementation{Name: "e2e-mcp-go", Version: "1"}
	if _, err := c.Initialize(t.Context(), req); err != nil {
		t.Fatalf("mcp-go: initialize: %v", err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return mcpGoTalker{mcpGoClient{Client: c}, n}
}

func (c mcpGoTalker) CallWith(ctx context.Context, tool string, args map[string]any) (string, []float64, error) {
	var req mcpgotypes.CallToolRequest
	req.Params.Name, req.Params.Arguments = tool, args
	req.Params.Meta = &mcpgotypes.Meta{ProgressToken: tool}
	res, err := c.CallTool(ctx, req)
	if err != nil {
		return "", nil, err
	}
	text := ""
	if len(res.Content) > 0 {
		if tc, ok := res.Content[0].(mcpgotypes.TextContent); ok {
			text = tc.Text
		}
	}
	return text, c.heard(tool), nil
}

func (c mcpGoTalker) Subscribe(ctx context.Context, uri string) error {
	var req mcpgotypes.SubscribeRequest
	req.Params.URI = uri
	return c.Client.Subscribe(ctx, req) //nolint:staticcheck // deprecated with the revision that is tested here
}

func (c mcpGoTalker) Unsubscribe(ctx context.Context, uri string) error {
	var req mcpgotypes.UnsubscribeRequest
	req.Params.URI = uri
	return c.Client.Unsubscribe(ctx, req) //nolint:staticcheck // as above
}

func (c mcpGoTalker) Level(ctx context.Context, level string) error {
	var req mcpgotypes.SetLevelRequest
	req.Params.Level = mcpgotypes.LoggingLevel(level)
	return c.SetLevel(ctx, req) //nolint:staticcheck // as above
}

type typeScriptTalker struct{ *typeScriptClient }

func talkTypeScript(sdk string) func(t *testing.T, url, name string) talker {
	return func(t *testing.T, url, name string) talker {
		t.Helper()
		return typeScriptTalker{startTypeScript(t, url, sdk, name).(*typeScriptClient)}
	}
}

func (c typeScriptTalker) CallWith(ctx context.Context, tool string, args map[string]any) (string, []float64, error) {
	a, err := c.do(ctx, map[string]any{"op": "call", "name": tool, "arguments": args})
	if err != nil {
		return "", nil, err
	}
	var progress []float64
	for _, p := range a.Progress {
		progress = append(progress, p.Progress)
	}
	var res struct{ Content []struct{ Text string } }
	if err := json.Unmarshal(a.Result, &res); err != nil || len(res.Content) == 0 {
		return "", progress, err
	}
	return res.Content[0].Text, progress, nil
}

func (c typeScriptTalker) Subscribe(ctx context.Context, uri string) error {
	_, err := c.do(ctx, map[string]any{"op": "subscribe", "uri": uri})
	return err
}

func (c typeScriptTalker) Unsubscribe(ctx context.Context, uri string) error {
	_, err := c.do(ctx, map[string]any{"op": "unsubscribe", "uri": uri})
	return err
}

func (c typeScriptTalker) Level(ctx context.Context, level string) error {
	_, err := c.do(ctx, map[string]any{"op": "level", "level": level})
	return err
}

func (c typeScriptTalker) Notes(ctx context.Context) ([]note, error) {
	a, err := c.do(ctx, map[string]any{"op": "notes"})
	if err != nil {
		return nil, err
	}
	var notes []note
	err = json.Unmarshal(a.Result, &notes)
	return notes, err
}
