package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net/http/httputil"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"
)

// listener is a stream that a client holds open with GET. It takes little memory, so that one
// program can hold thousands.
type listener struct {
	c      *conn
	events chan event // what has come with data
	closed atomic.Bool
	done   chan struct{} // closed at the end of the stream
}

// event is a message that has come by a stream.
type event struct {
	id       string
	sent, at time.Time // by the talker, and here
}

// listenerBuffer is above the length of any line of a stream here.
const listenerBuffer = 2 << 10

// listen opens a stream of a session, after an event unless that is empty. broken is called if it
// ends before it is closed.
func listen(ctx context.Context, u *url.URL, session, last string, broken func(error)) (*listener, error) {
	c, err := dialSized(ctx, u, listenerBuffer)
	if err != nil {
		return nil, err
	}
	request := fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nAccept: text/event-stream\r\nMcp-Session-Id: %s\r\nMcp-Protocol-Version: %s\r\n",
		u.Path, u.Host, session, protocolVersion)
	if last != "" {
		request = fmt.Appendf(request, "Last-Event-Id: %s\r\n", last)
	}
	status, chunked, err := c.begin(append(request, "\r\n"...))
	if err == nil && (status != 200 || !chunked) {
		err = fmt.Errorf("a stream at %s: status %d", u, status)
	}
	if err != nil {
		_ = c.c.Close()
		return nil, err
	}
	l := &listener{c: c, events: make(chan event, 16), done: make(chan struct{})}
	go func() {
		defer close(l.done)
		if err := l.read(); !l.closed.Load() {
			broken(err)
		}
	}()
	return l, nil
}

// begin writes a request and reads the head of the answer.
func (c *conn) begin(request []byte) (status int, chunked bool, err error) {
	if _, err = c.c.Write(request); err != nil {
		return 0, false, err
	}
	if status, err = c.readStatus(); err != nil {
		return 0, false, err
	}
	_, chunked, _, err = c.readHeader()
	return status, chunked, err
}

// read reads events until the stream ends.
func (l *listener) read() error {
	lines := bufio.NewReaderSize(httputil.NewChunkedReader(l.c.r), listenerBuffer)
	var ev event
	for {
		line, err := lines.ReadSlice('\n')
		if err != nil {
			return err
		}
		if id, ok := bytes.CutPrefix(line, []byte("id:")); ok {
			ev.id = string(bytes.TrimSpace(id))
		}
		if data, ok := bytes.CutPrefix(line, []byte("data:")); ok {
			ev.sent, ev.at = saidAt(data), time.Now()
		}
		if len(line) == 1 {
			if !ev.sent.IsZero() {
				l.events <- ev
			}
			ev = event{}
		}
	}
}

// saidAt is the time that the talker gave in a message; zero for none.
func saidAt(data []byte) time.Time {
	_, rest, ok := bytes.Cut(data, []byte(`"at":`))
	digits, _, _ := bytes.Cut(rest, []byte{'}'})
	ns, err := strconv.ParseInt(string(digits), 10, 64)
	if !ok || err != nil {
		return time.Time{}
	}
	return time.Unix(0, ns)
}

// next waits for the next message.
func (l *listener) next(ctx context.Context) (event, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	select {
	case ev := <-l.events:
		return ev, nil
	case <-ctx.Done():
		return event{}, fmt.Errorf("no message came by a stream: %w", ctx.Err())
	}
}

// close ends the stream.
func (l *listener) close() {
	l.closed.Store(true)
	_ = l.c.c.Close()
	<-l.done
}
