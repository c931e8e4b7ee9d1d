package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/spf13/cobra"
)

// mcpFlags say which MCP endpoint to talk to.
type mcpFlags struct {
	url    string
	server string
	bearer string
	output outputFlag
}

func (f *mcpFlags) register(cmd *cobra.Command, getenv func(string) string) {
	def := getenv("MCPHUB_URL")
	if def == "" {
		def = defaultURL
	}
	cmd.Flags().StringVar(&f.url, "url", def, "`address` of the hub; default from $MCPHUB_URL")
	cmd.Flags().Lookup("url").DefValue = defaultURL // the variable may hold a password
	cmd.Flags().StringVar(&f.server, "server", "", "talk to this `server` alone; its tools then have their own names")
	cmd.Flags().StringVar(&f.bearer, "bearer", "", "bearer `key` of MCP clients; better in $MCPHUB_BEARER, where ps does not show it")
	f.output.register(cmd)
}

// mcpSession is one MCP session with a hub, in the session era.
type mcpSession struct {
	endpoint string // without a password
	client   *client.Client
	http     *refusalRecorder
	nextID   int64
}

// open connects and shakes hands. Close the session, so that the hub need not wait for it
// to expire.
func (f *mcpFlags) open(ctx context.Context, getenv func(string) string) (*mcpSession, error) {
	base, err := parseHubURL(f.url)
	if err != nil {
		return nil, err
	}
	endpoint := base.JoinPath("mcp")
	if f.server != "" {
		endpoint = endpoint.JoinPath(url.PathEscape(f.server))
	}
	headers := map[string]string{}
	if key := cmp.Or(f.bearer, getenv("MCPHUB_BEARER")); key != "" {
		headers["Authorization"] = "Bearer " + key
	}
	rec := &refusalRecorder{next: http.DefaultTransport.(*http.Transport).Clone()}
	tr, err := transport.NewStreamableHTTP(endpoint.String(), transport.WithHTTPHeaders(headers),
		transport.WithHTTPBasicClient(&http.Client{Transport: rec}), transport.WithHTTPLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		return nil, badUsage("%s is not an address", endpoint.Redacted())
	}
	s := &mcpSession{endpoint: endpoint.Redacted(), http: rec}
	s.client = client.NewClient(tr, client.WithProtocolVersion(mcp.LATEST_LEGACY_PROTOCOL_VERSION)) // no probe of the stateless era
	err = s.client.Start(ctx)
	if err == nil {
		req := mcp.InitializeRequest{}
		req.Params.ClientInfo = mcp.Implementation{Name: "mcphub", Version: ourVersion()}
		_, err = s.client.Initialize(ctx, req)
	}
	if err != nil {
		s.Close()
		return nil, s.explain(err)
	}
	return s, nil
}

// Close ends the session at the hub, at best effort.
func (s *mcpSession) Close() {
	_ = s.client.Close() // the hub forgets the session by itself if this fails
	s.http.next.CloseIdleConnections()
}

// tools lists every tool, page by page.
func (s *mcpSession) tools(ctx context.Context) ([]mcp.Tool, error) {
	res, err := s.client.ListTools(ctx, mcp.ListToolsRequest{})
	if err != nil {
		return nil, s.explain(err)
	}
	return res.Tools, nil
}

// call sends one tools/call and returns the result as it came, so that no number loses its
// digits. args is a JSON object.
func (s *mcpSession) call(ctx context.Context, tool string, args json.RawMessage) (json.RawMessage, error) {
	s.nextID++
	resp, err := s.client.GetTransport().SendRequest(ctx, transport.JSONRPCRequest{
		JSONRPC: mcp.JSONRPC_VERSION, ID: mcp.NewRequestId(fmt.Sprintf("call-%d", s.nextID)), Method: string(mcp.MethodToolsCall),
		Params: map[string]any{"name": tool, "arguments": args},
	})
	if err != nil {
		return nil, s.explain(err)
	}
	if resp.Error != nil {
		return nil, failed("%s: %s (error %d)", s.endpoint, plain(resp.Error.Message), resp.Error.Code)
	}
	return resp.Result, nil
}

// explain words an error for the person at the terminal. What the hub itself said about a
// refusal wins over the library's reading of the status.
func (s *mcpSession) explain(err error) error {
	status, said := s.http.last()
	var ue *url.Error
	switch {
	case errors.Is(err, context.Canceled):
		return failed("interrupted")
	case status == http.StatusUnauthorized:
		return failed("%s refuses: %s (key: --bearer or $MCPHUB_BEARER)", s.endpoint, said)
	case status != 0:
		return failed("%s refuses: %s", s.endpoint, said)
	case errors.As(err, &ue):
		base, parseErr := url.Parse(s.endpoint)
		if parseErr != nil {
			base = &url.URL{}
		}
		return cannotReach(base, clientTimeout, err)
	default:
		return failed("%s: %s", s.endpoint, plain(err.Error()))
	}
}

// refusalRecorder remembers the last answer that was an error, because the MCP library keeps
// the status but not what was said.
type refusalRecorder struct {
	next *http.Transport

	mu     sync.Mutex // guards what follows
	status int
	said   string
}

// RoundTrip implements http.RoundTripper.
func (r *refusalRecorder) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := r.next.RoundTrip(req)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status, r.said = 0, ""
	if err != nil || resp.StatusCode < http.StatusBadRequest {
		return resp, err
	}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10)) // an answer cut short is still worth showing
	_ = resp.Body.Close()
	resp.Body = io.NopCloser(bytes.NewReader(body))
	r.status, r.said = resp.StatusCode, refusal(resp.StatusCode, body)
	return resp, nil
}

func (r *refusalRecorder) last() (status int, said string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status, r.said
}

// refusal finds the sentence in the body of an error: JSON-RPC, REST, or the bare status.
func refusal(status int, body []byte) string {
	var shapes struct {
		Message string `json:"message"`
		Error   struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	_ = json.Unmarshal(body, &shapes) // what is no JSON has no sentence
	if text := cmp.Or(shapes.Error.Message, shapes.Message); text != "" {
		return plain(text)
	}
	return strings.TrimSpace(fmt.Sprintf("%d %s", status, http.StatusText(status)))
}
