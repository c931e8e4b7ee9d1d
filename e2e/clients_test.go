package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	mcpgo "github.com/mark3labs/mcp-go/client"
	mcpgotransport "github.com/mark3labs/mcp-go/client/transport"
	mcpgotypes "github.com/mark3labs/mcp-go/mcp"
	gosdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcphub-go/mcphub/e2e/harness"
)

// client is what the tests do with every SDK.
type client interface {
	// Call calls a tool and returns the text of its first content.
	Call(ctx context.Context, tool string, args map[string]any) (string, error)
	Tools(ctx context.Context) ([]string, error)
	// Session is the session id that the SDK holds.
	Session() string
	// Close ends the session, at the server too.
	Close() error
}

// kinds are the clients, by name. Each is made the way its documentation shows.
var kinds = map[string]func(t *testing.T, url string) client{
	"go-sdk":        connectGoSDK,
	"mcp-go":        connectMCPGo,
	"typescript":    connectTypeScript,
	"typescript-v2": connectTypeScriptV2,
	"raw":           connectRaw,
}

// callLimit bounds one call of a client.
const callLimit = 30 * time.Second

type goSDKClient struct{ *gosdk.ClientSession }

func connectGoSDK(t *testing.T, url string) client {
	t.Helper()
	c := gosdk.NewClient(&gosdk.Implementation{Name: "e2e-go-sdk", Version: "1"}, nil)
	s, err := c.Connect(t.Context(), &gosdk.StreamableClientTransport{Endpoint: url}, nil)
	if err != nil {
		t.Fatalf("go-sdk: connect to %s: %v", url, err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return goSDKClient{s}
}

func (c goSDKClient) Session() string { return c.ID() }

func (c goSDKClient) Call(ctx context.Context, tool string, args map[string]any) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	res, err := c.CallTool(ctx, &gosdk.CallToolParams{Name: tool, Arguments: args})
	if err != nil {
		return "", err
	}
	b, err := json.Marshal(res)
	if err != nil {
		return "", err
	}
	return harness.ToolText(b)
}

func (c goSDKClient) Tools(ctx context.Context) ([]string, error) {
	var out []string
	for tool, err := range c.ClientSession.Tools(ctx, nil) {
		if err != nil {
			return nil, err
		}
		out = append(out, tool.Name)
	}
	return out, nil
}

type mcpGoClient struct {
	*mcpgo.Client
	t            *mcpgotransport.StreamableHTTP
	instructions string
}

// connectMCPGo leaves the choice of the protocol version to the client.
func connectMCPGo(t *testing.T, url string) client {
	t.Helper()
	return connectMCPGoAt(t, url, "")
}

func connectMCPGoLegacy(t *testing.T, url string) client {
	t.Helper()
	return connectMCPGoAt(t, url, "2025-11-25")
}

func connectMCPGoAt(t *testing.T, url, version string) client {
	t.Helper()
	tr, err := mcpgotransport.NewStreamableHTTP(url)
	if err != nil {
		t.Fatalf("mcp-go: %v", err)
	}
	c := mcpgo.NewClient(tr, mcpgo.WithProtocolVersion(version))
	if err := c.Start(t.Context()); err != nil {
		t.Fatalf("mcp-go: start: %v", err)
	}
	var req mcpgotypes.InitializeRequest
	req.Params.ClientInfo = mcpgotypes.Implementation{Name: "e2e-mcp-go", Version: "1"}
	hello, err := c.Initialize(t.Context(), req)
	if err != nil {
		t.Fatalf("mcp-go: connect to %s: %v", url, err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return mcpGoClient{c, tr, hello.Instructions}
}

func (c mcpGoClient) Session() string { return c.t.GetSessionId() }

func (c mcpGoClient) Call(ctx context.Context, tool string, args map[string]any) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	var req mcpgotypes.CallToolRequest
	req.Params.Name, req.Params.Arguments = tool, args
	res, err := c.CallTool(ctx, req)
	if err != nil {
		return "", err
	}
	b, err := json.Marshal(res)
	if err != nil {
		return "", err
	}
	return harness.ToolText(b)
}

func (c mcpGoClient) Tools(ctx context.Context) ([]string, error) {
	res, err := c.ListTools(ctx, mcpgotypes.ListToolsRequest{})
	if err != nil {
		return nil, err
	}
	var out []string
	for _, tool := range res.Tools {
		out = append(out, tool.Name)
	}
	return out, nil
}

type rawClient struct{ raw *harness.Session }

func connectRaw(t *testing.T, url string) client {
	t.Helper()
	return rawClient{harness.MustOpen(t, url)}
}

func (c rawClient) Session() string { return c.raw.ID }

func (c rawClient) Tools(ctx context.Context) ([]string, error) { return c.raw.Tools(ctx) }

func (c rawClient) Call(ctx context.Context, tool string, args map[string]any) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	if args == nil {
		args = map[string]any{}
	}
	return c.raw.Call(ctx, tool, args)
}

func (c rawClient) Close() error {
	_, err := c.raw.Delete(context.Background())
	return err
}

// typeScriptClient drives e2e/npm/client.mjs.
type typeScriptClient struct {
	in      io.WriteCloser
	lines   chan []byte // closed at the end of its output
	session string
}

// tsAnswer is one line of the script.
type tsAnswer struct {
	Ready    bool            `json:"ready"`
	Session  string          `json:"session"`
	Result   json.RawMessage `json:"result"`
	Progress []struct{ Progress, Total float64 }
	Logs     []json.RawMessage
	Error    string          `json:"error"`
	Code     int             `json:"code"`
	Data     json.RawMessage `json:"data"`
}

func connectTypeScript(t *testing.T, url string) client {
	t.Helper()
	return startTypeScript(t, url, "v1")
}

func connectTypeScriptV2(t *testing.T, url string) client {
	t.Helper()
	return startTypeScript(t, url, "v2")
}

// startTypeScript starts the script on a version of the SDK. A name, if given, is that of a client
// that answers what servers ask.
func startTypeScript(t *testing.T, url, sdk string, name ...string) client {
	t.Helper()
	node := harness.Node(t)
	cmd := exec.Command(node, append([]string{filepath.Join(harness.NPM(), "client.mjs"), url, sdk}, name...)...)
	cmd.Dir = harness.NPM()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr harness.Log
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &typeScriptClient{in: in, lines: make(chan []byte)}
	gone := make(chan struct{})
	go func() {
		defer close(c.lines)
		r := bufio.NewReader(out)
		for {
			line, err := r.ReadBytes('\n')
			if err != nil {
				return
			}
			select {
			case c.lines <- line:
			case <-gone:
				return
			}
		}
	}()
	t.Cleanup(func() {
		close(gone)
		_ = in.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() && stderr.String() != "" {
			t.Logf("--- typescript client:\n%s", stderr.String())
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), callLimit)
	defer cancel()
	hello, err := c.read(ctx)
	if err != nil || !hello.Ready {
		t.Fatalf("typescript: connect to %s: %v %s\n%s", url, err, hello.Error, stderr.String())
	}
	c.session = hello.Session
	return c
}

// read returns the script's next line. An error that the line tells of is in the answer.
func (c *typeScriptClient) read(ctx context.Context) (tsAnswer, error) {
	var a tsAnswer
	select {
	case <-ctx.Done():
		return a, ctx.Err()
	case line, ok := <-c.lines:
		if !ok {
			return a, errors.New("typescript: the client has ended")
		}
		err := json.Unmarshal(line, &a)
		return a, err
	}
}

// do sends one operation and returns the answer; an error of the SDK is returned as such, with
// its code and data if it was JSON-RPC's.
func (c *typeScriptClient) do(ctx context.Context, op map[string]any) (tsAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	b, err := json.Marshal(op)
	if err != nil {
		return tsAnswer{}, err
	}
	if _, err := c.in.Write(append(b, '\n')); err != nil {
		return tsAnswer{}, err
	}
	a, err := c.read(ctx)
	if err == nil && a.Error != "" {
		err = fmt.Errorf("typescript: %w", &harness.RPCError{Code: a.Code, Message: a.Error, Data: a.Data})
	}
	return a, err
}

func (c *typeScriptClient) Session() string { return c.session }

func (c *typeScriptClient) Call(ctx context.Context, tool string, args map[string]any) (string, error) {
	a, err := c.do(ctx, map[string]any{"op": "call", "name": tool, "arguments": args})
	if err != nil {
		return "", err
	}
	return harness.ToolText(a.Result)
}

func (c *typeScriptClient) Tools(ctx context.Context) ([]string, error) {
	return c.list(ctx, "tools")
}

func (c *typeScriptClient) Close() error {
	_, err := c.do(context.Background(), map[string]any{"op": "close"})
	return err
}
