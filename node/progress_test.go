package node

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// logBuffer keeps the lines of a log, without their times.
type logBuffer struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

// about are the lines that hold a text.
func (b *logBuffer) about(text string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []string
	for l := range strings.Lines(b.buf.String()) {
		if strings.Contains(l, text) {
			all = append(all, strings.TrimSpace(l))
		}
	}
	return all
}

func (b *logBuffer) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
}

// slowServer is a builtin that takes its time to shake hands, or breaks.
type slowServer struct {
	echoServer
	delay time.Duration
	bad   bool
}

func (s *slowServer) Handle(ctx context.Context, session string, frame []byte, emit func([]byte)) []byte {
	if bytes.Contains(frame, []byte(`"initialize"`)) {
		if pause(ctx, s.delay) != nil || s.bad {
			return nil
		}
	}
	return s.echoServer.Handle(ctx, session, frame, emit)
}

func TestStartOfManyServersIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var servers []ServerConfig
		for i := range 100 {
			servers = append(servers, ServerConfig{
				Name: fmt.Sprintf("s%02d", i), Enabled: i != 50, Builtin: &slowServer{delay: time.Second, bad: i%40 == 7},
			})
		}
		var log logBuffer
		n := New(Config{ID: "n1", Instance: "i", Servers: servers}, &fakeLease{}, log.logger())
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() { _ = n.Run(ctx) })
		begun := time.Now()
		<-n.Started()
		if took := time.Since(begun); took != 13*time.Second { // 99 servers, 8 at a time
			t.Errorf("the starts took %s, want 13s", took)
		}
		synctest.Wait()
		for text, want := range map[string]string{
			`"starting servers"`:          `level=INFO msg="starting servers" node=n1 servers=99 disabled=1`,
			`"servers have been started"`: `level=WARN msg="servers have been started" node=n1 ready=96 failed="s07 s47 s87" dur=13s`,
		} {
			if got := log.about(text); len(got) != 1 || got[0] != want {
				t.Errorf("logged %q, want once %q", got, want)
			}
		}
		progress := log.about("servers are starting")
		if len(progress) != 2 || !strings.Contains(progress[0], " and ") || !strings.Contains(progress[0], " more") {
			t.Errorf("told of the progress %q, want two words of it, with names", progress)
		}
		cancel()
		all.Wait()
	})
}

func TestNamesAreBounded(t *testing.T) {
	var all []string
	for i := range maxNamed {
		all = append(all, fmt.Sprint(i))
	}
	if got := names(all); strings.Contains(got, "more") || !strings.HasSuffix(got, " 19") {
		t.Errorf("names() = %q", got)
	}
	if got := names(append(all, "20", "21")); !strings.HasSuffix(got, " 19 and 2 more") {
		t.Errorf("names() = %q", got)
	}
}
