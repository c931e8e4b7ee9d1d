package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// defaultURL is where a hub with default settings listens.
const defaultURL = "http://127.0.0.1:3000"

// clientTimeout is the longest wait for one REST answer; maxAnswer the largest one read.
const (
	clientTimeout = 10 * time.Second
	maxAnswer     = 16 << 20
)

// hubFlags say which hub a client command talks to.
type hubFlags struct {
	url    string
	token  string
	output outputFlag
}

func (f *hubFlags) register(cmd *cobra.Command, getenv func(string) string) {
	def := getenv("MCPHUB_URL")
	if def == "" {
		def = defaultURL
	}
	cmd.Flags().StringVar(&f.url, "url", def, "`address` of the hub, as in http://user:password@host:3000 for an admin of users; default from $MCPHUB_URL")
	cmd.Flags().Lookup("url").DefValue = defaultURL // the variable may hold a password
	cmd.Flags().StringVar(&f.token, "token", "", "admin `token`; better in $MCPHUB_ADMIN_TOKEN, where ps does not show it")
	f.output.register(cmd)
}

// hubClient talks to the REST interface of one hub.
type hubClient struct {
	base  *url.URL
	name  string // the base without its password
	token string
	http  *http.Client
}

func (f *hubFlags) client(getenv func(string) string) (*hubClient, error) {
	base, err := parseHubURL(f.url)
	if err != nil {
		return nil, err
	}
	token := f.token
	if token == "" {
		token = getenv("MCPHUB_ADMIN_TOKEN")
	}
	return &hubClient{base: base, name: base.Redacted(), token: token, http: &http.Client{Timeout: clientTimeout}}, nil
}

func parseHubURL(raw string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimRight(raw, "/"))
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, badUsage("%q is not the address of a hub: want something like %s", shownURL(raw), defaultURL)
	}
	return u, nil
}

// shownURL is an address that may be wrong, without what may be a password.
func shownURL(raw string) string {
	if i := strings.LastIndexByte(raw, '@'); i >= 0 {
		return "…" + raw[i:]
	}
	return raw
}

// envelope is the shape of every REST answer.
type envelope struct {
	Success bool            `json:"success"`
	Data    json.RawMessage `json:"data"`
	Message string          `json:"message"`
}

// do sends one request and returns the data of the answer. path is relative to the base and
// already escaped.
func (c *hubClient) do(ctx context.Context, method, path string, query url.Values) (json.RawMessage, error) {
	status, body, err := c.raw(ctx, method, path, query)
	if err != nil {
		return nil, err
	}
	return c.open(status, body, method, path)
}

// send is do with a body.
func (c *hubClient) send(ctx context.Context, method, path string, v any) (json.RawMessage, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, failed("encode the request: %w", err)
	}
	req, err := c.request(ctx, method, path, nil, bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	status, body, err := c.exchange(req)
	if err != nil {
		return nil, err
	}
	return c.open(status, body, method, path)
}

// open takes the data out of an answer, or the reason of a refusal.
func (c *hubClient) open(status int, body []byte, method, path string) (json.RawMessage, error) {
	var e envelope
	if err := json.Unmarshal(body, &e); err != nil || (!e.Success && e.Message == "") {
		return nil, failed("%s does not answer like a hub: %d %s to %s %s", c.name, status, http.StatusText(status), method, path)
	}
	switch {
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return nil, failed("%s refuses: %s (admin token: --token or $MCPHUB_ADMIN_TOKEN)", c.name, plain(e.Message))
	case status >= http.StatusBadRequest || !e.Success:
		return nil, failed("%s says: %s", c.name, plain(e.Message))
	}
	return e.Data, nil
}

// raw sends one request and returns whatever came back.
func (c *hubClient) raw(ctx context.Context, method, path string, query url.Values) (int, []byte, error) {
	req, err := c.request(ctx, method, path, query, nil)
	if err != nil {
		return 0, nil, err
	}
	return c.exchange(req)
}

// request makes a request with our credentials.
func (c *hubClient) request(ctx context.Context, method, path string, query url.Values, body io.Reader) (*http.Request, error) {
	u := c.base.String() + path
	if len(query) > 0 {
		u += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, u, body)
	if err != nil {
		return nil, badUsage("%s: the path %q cannot be asked for", c.name, path)
	}
	req.Header.Set("Accept", "application/json")
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	return req, nil
}

// exchange sends a request and reads the whole answer.
func (c *hubClient) exchange(req *http.Request) (int, []byte, error) {
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, nil, cannotReach(c.base, c.http.Timeout, err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return 0, nil, cannotReach(c.base, c.http.Timeout, err)
	}
	return resp.StatusCode, body, nil
}

// get is do for GET, decoded into out. The raw data is returned as well.
func (c *hubClient) get(ctx context.Context, path string, query url.Values, out any) (json.RawMessage, error) {
	data, err := c.do(ctx, http.MethodGet, path, query)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, out); err != nil {
		return nil, failed("%s does not answer like a hub: %v in the answer to %s", c.name, err, path)
	}
	return data, nil
}

// cannotReach words a transport error: the cause without the method and address around it.
func cannotReach(base *url.URL, waited time.Duration, err error) error {
	if errors.Is(err, context.Canceled) {
		return failed("interrupted")
	}
	cause := err
	var ue *url.Error
	if errors.As(err, &ue) {
		cause = ue.Err
		if ue.Timeout() {
			cause = fmt.Errorf("no answer within %s", waited)
		}
	}
	return unreachable("cannot reach a hub at %s: %v", base.Redacted(), cause)
}
