package heartbeat

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
)

// maxAnswer bounds what is read of a coordinator's answer: a grant that names 500 missing
// catalogs is about 35 KiB.
const maxAnswer = 256 << 10

// client speaks to the coordinators. Two calls may reach two of them.
type client struct {
	base   string // without a trailing slash
	dial   string // host:port
	secret string
	http   *http.Client
}

// refusal is an answer of a coordinator other than success.
type refusal struct {
	status  int
	message string // what it said, cleaned and cut
}

func (r *refusal) Error() string { return fmt.Sprintf("%s (%d)", r.message, r.status) }

func newClient(base, secret string, rt http.RoundTripper) (*client, error) {
	u, err := parseCoordinatorURL(base)
	if err != nil {
		return nil, err
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	if rt == nil {
		rt = newTransport()
	}
	return &client{
		base:   strings.TrimRight(base, "/"),
		dial:   net.JoinHostPort(u.Hostname(), port),
		secret: secret,
		http: &http.Client{
			Transport: rt,
			// A redirect would carry the cluster secret to wherever it points.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// newTransport goes through no proxy that the environment may name.
func newTransport() *http.Transport {
	return &http.Transport{
		DialContext:            (&net.Dialer{Timeout: maxCall}).DialContext,
		MaxIdleConnsPerHost:    1,
		IdleConnTimeout:        time.Minute,
		TLSHandshakeTimeout:    maxCall,
		MaxResponseHeaderBytes: 32 << 10,
	}
}

func (c *client) close() { c.http.CloseIdleConnections() }

func (c *client) postJSON(ctx context.Context, path string, v any, bound time.Duration) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode the body of %s: %w", path, err)
	}
	return c.post(ctx, path, body, bound, nil)
}

// post sends a body and decodes the "data" of the answer into out, if out is not nil. An
// answer that is no success is a *refusal.
func (c *client) post(ctx context.Context, path string, body []byte, bound time.Duration, out any) error {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", wire.TypeJSON)
	if c.secret != "" {
		req.Header.Set("Authorization", "Bearer "+c.secret)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return fmt.Errorf("read the answer to %s: %w", path, err)
	}
	return decodeAnswer(path, resp.StatusCode, raw, out)
}

func decodeAnswer(path string, status int, raw []byte, out any) error {
	if len(raw) > maxAnswer {
		return fmt.Errorf("the answer to %s is over %d bytes", path, maxAnswer)
	}
	var answer struct {
		Success bool            `json:"success"`
		Message string          `json:"message"`
		Data    json.RawMessage `json:"data"`
	}
	err := json.Unmarshal(raw, &answer)
	if status != http.StatusOK || err == nil && !answer.Success {
		if answer.Message == "" {
			answer.Message = "the coordinator, or a balancer before it, answered " + path + " with a bare " + http.StatusText(status)
		}
		return &refusal{status: status, message: cut(clean(answer.Message), maxError)}
	}
	if err != nil {
		return fmt.Errorf("the answer to %s is not JSON: is that a coordinator?", path)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(answer.Data, out); err != nil {
		return fmt.Errorf("decode the answer to %s: %w", path, err)
	}
	return nil
}

// clean takes out what would break a log line.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}

// localAddr is the address from which this machine reaches the coordinator.
func (c *client) localAddr(ctx context.Context, bound time.Duration) (netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", c.dial)
	if err != nil {
		return netip.Addr{}, err
	}
	defer conn.Close()
	tcp, ok := conn.LocalAddr().(*net.TCPAddr)
	if !ok {
		return netip.Addr{}, fmt.Errorf("address %v is not of TCP", conn.LocalAddr())
	}
	return tcp.AddrPort().Addr(), nil
}
