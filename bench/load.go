package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// conn is a keep-alive HTTP/1.1 connection that does as little as will do, so that the
// generator takes little of the machine from what is measured.
type conn struct {
	c net.Conn
	r *bufio.Reader
	// body is reused from answer to answer.
	body bytes.Buffer
}

// dial connects to the host of a URL.
func dial(ctx context.Context, u *url.URL) (*conn, error) { return dialSized(ctx, u, 16<<10) }

// dialSized is dial with a buffer of so many bytes, which no line of an answer may exceed.
func dialSized(ctx context.Context, u *url.URL, buffer int) (*conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", u.Host)
	if err != nil {
		return nil, err
	}
	return &conn{c: c, r: bufio.NewReaderSize(c, buffer)}, nil
}

// roundTrip writes a whole request and reads the whole answer. The header is valid until the
// next call, like the body.
func (c *conn) roundTrip(request []byte) (status int, header textproto.MIMEHeader, body []byte, err error) {
	if _, err = c.c.Write(request); err != nil {
		return 0, nil, nil, err
	}
	if status, err = c.readStatus(); err != nil {
		return 0, nil, nil, err
	}
	length, chunked, header, err := c.readHeader()
	if err != nil {
		return 0, nil, nil, err
	}
	c.body.Reset()
	switch {
	case chunked:
		err = c.readChunks()
	case length > 0:
		_, err = io.CopyN(&c.body, c.r, int64(length))
	}
	return status, header, c.body.Bytes(), err
}

func (c *conn) readStatus() (int, error) {
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	if len(line) >= 12 {
		if status, err := strconv.Atoi(string(line[9:12])); err == nil {
			return status, nil
		}
	}
	return 0, fmt.Errorf("status line %q", line)
}

// readHeader keeps only the session id; the rest matters to nobody here.
func (c *conn) readHeader() (length int, chunked bool, header textproto.MIMEHeader, err error) {
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return 0, false, nil, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			return length, chunked, header, nil
		}
		switch line[0] | 0x20 {
		case 'c', 't', 'm':
		default:
			continue
		}
		name, value, _ := strings.Cut(string(line), ":")
		value = strings.TrimSpace(value)
		switch strings.ToLower(name) {
		case "content-length":
			if length, err = strconv.Atoi(value); err != nil {
				return 0, false, nil, err
			}
		case "transfer-encoding":
			chunked = value == "chunked"
		case "mcp-session-id":
			header = textproto.MIMEHeader{"Mcp-Session-Id": {value}}
		}
	}
}

func (c *conn) readChunks() error {
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return err
		}
		size, err := strconv.ParseInt(string(bytes.TrimRight(line, "\r\n")), 16, 32)
		if err != nil {
			return fmt.Errorf("chunk size %q", line)
		}
		if size > 0 {
			if _, err := io.CopyN(&c.body, c.r, size); err != nil {
				return err
			}
		}
		if _, err := c.r.Discard(2); err != nil {
			return err
		}
		if size == 0 {
			return nil
		}
	}
}

// post is the bytes of one POST.
func post(u *url.URL, session, version string, body string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n", u.Path, u.Host)
	if session != "" {
		fmt.Fprintf(&b, "Mcp-Session-Id: %s\r\n", session)
	}
	if version != "" {
		fmt.Fprintf(&b, "Mcp-Protocol-Version: %s\r\n", version)
	}
	fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(body), body)
	return b.Bytes()
}

// protocolVersion is what the generator asks for.
const protocolVersion = "2025-11-25"

// openSession does the handshake over c and returns the session id.
func openSession(c *conn, u *url.URL) (string, error) {
	status, header, body, err := c.roundTrip(post(u, "", "", `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"`+
		protocolVersion+`","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}}`))
	if err != nil {
		return "", err
	}
	id := header.Get("Mcp-Session-Id")
	if status != 200 || id == "" {
		return "", fmt.Errorf("initialize at %s: status %d, session %q: %.300s", u, status, id, body)
	}
	status, _, body, err = c.roundTrip(post(u, id, protocolVersion, `{"jsonrpc":"2.0","method":"notifications/initialized"}`))
	if err == nil && status != 202 {
		err = fmt.Errorf("initialized at %s: status %d: %.300s", u, status, body)
	}
	return id, err
}

// openSessions opens n sessions over a few connections.
func openSessions(ctx context.Context, endpoint string, n int) ([]string, error) {
	u, err := url.Parse(endpoint)
	if err != nil {
		return nil, err
	}
	const workers = 4
	ids := make([]string, n)
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			c, err := dial(ctx, u)
			if err != nil {
				errs[w] = err
				return
			}
			defer c.c.Close()
			for i := w; i < n && errs[w] == nil; i += workers {
				ids[i], errs[w] = openSession(c, u)
			}
		})
	}
	wg.Wait()
	return ids, errors.Join(errs...)
}

// callBody is a tools/call with a text of 100 bytes.
func callBody(tool string) string {
	return `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"` + tool + `","arguments":{"text":"` + strings.Repeat("x", 100) + `"}}}`
}

// sample is what one run of the generator saw.
type sample struct {
	requests  int
	elapsed   time.Duration
	latencies []time.Duration // sorted
}

// rate is requests per second.
func (s sample) rate() float64 { return float64(s.requests) / s.elapsed.Seconds() }

// percentile is the latency that p (0 to 1) of the requests did not exceed.
func (s sample) percentile(p float64) time.Duration {
	return s.latencies[min(len(s.latencies)-1, int(p*float64(len(s.latencies))))]
}

// run calls body in turn on all sessions, over conns connections, each with one request at a
// time, for d. Any answer but a result ends it with an error.
func run(ctx context.Context, endpoint string, sessions []string, body string, conns int, d time.Duration) (sample, error) {
	u, err := url.Parse(endpoint)
	if err != nil {
		return sample{}, err
	}
	requests := make([][]byte, len(sessions))
	for i, id := range sessions {
		requests[i] = post(u, id, protocolVersion, body)
	}
	results := make([]sample, conns)
	errs := make([]error, conns)
	began := time.Now()
	var wg sync.WaitGroup
	for w := range conns {
		wg.Go(func() { results[w], errs[w] = worker(ctx, u, requests, w, conns, began.Add(d)) })
	}
	wg.Wait()
	all := sample{elapsed: time.Since(began)}
	for _, r := range results {
		all.requests += r.requests
		all.latencies = append(all.latencies, r.latencies...)
	}
	slices.Sort(all.latencies)
	return all, errors.Join(errs...)
}

// worker is one connection's share of run.
func worker(ctx context.Context, u *url.URL, requests [][]byte, first, step int, until time.Time) (sample, error) {
	c, err := dial(ctx, u)
	if err != nil {
		return sample{}, err
	}
	defer c.c.Close()
	out := sample{latencies: make([]time.Duration, 0, 1<<15)}
	for i := first; ; i += step {
		start := time.Now()
		if start.After(until) || ctx.Err() != nil {
			return out, ctx.Err()
		}
		status, _, body, err := c.roundTrip(requests[i%len(requests)])
		if err != nil {
			return out, fmt.Errorf("%s: %w", u, err)
		}
		if status != 200 || !bytes.Contains(body, []byte(`"result"`)) || bytes.Contains(body, []byte(`"isError":true`)) {
			return out, fmt.Errorf("%s: status %d: %.300s", u, status, body)
		}
		out.latencies = append(out.latencies, time.Since(start))
		out.requests++
	}
}
