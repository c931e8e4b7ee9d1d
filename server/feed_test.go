package server

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcphub-go/mcphub/store"
)

// following is a stream of events being read.
type following struct {
	t     *testing.T
	resp  *http.Response
	lines *bufio.Reader
}

// follow opens a stream of events, which ends with the test.
func (r *rig) follow(t *testing.T, headers ...string) *following {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.url+"/api/cluster/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return &following{t: t, resp: resp, lines: bufio.NewReader(resp.Body)}
}

// next is the next block that is no comment, or the text of the end.
func (f *following) next() string {
	f.t.Helper()
	for {
		var block string
		for {
			line, err := f.lines.ReadString('\n')
			if err != nil {
				return "the end: " + err.Error()
			}
			if line == "\n" {
				break
			}
			block += line
		}
		if !strings.HasPrefix(block, ":") {
			return block
		}
	}
}

func (f *following) wants(id, text string) {
	f.t.Helper()
	got := f.next()
	if !strings.HasPrefix(got, "id: "+id+"\ndata: {") || !strings.Contains(got, `"text":"`+text+`"`) || strings.Count(got, "\n") != 2 {
		f.t.Fatalf("the stream has %q, want the event %s with %q", got, id, text)
	}
}

// quick is a configuration in which events come at once.
func quick(cfg Config) Config {
	cfg.EventPoll = 5 * time.Millisecond
	return cfg
}

func TestEventsAreFollowed(t *testing.T) {
	r := newRig(t, quick(global), nil)
	r.store.happen("before")
	f := r.follow(t)
	if ct := f.resp.Header.Get("Content-Type"); f.resp.StatusCode != 200 || ct != "text/event-stream" || f.resp.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("the answer is %d %v", f.resp.StatusCode, f.resp.Header)
	}
	id := r.store.happen("first")
	f.wants(id, "first")
	other := r.follow(t, "Accept", "application/json;q=0.1, text/event-stream")
	id = r.store.happen("second")
	f.wants(id, "second")
	other.wants(id, "second")
	for i := range 3 {
		id = r.store.happen(fmt.Sprint("more ", i))
		f.wants(id, fmt.Sprint("more ", i))
	}
	// Whoever comes back with the id of the last event it has, misses nothing.
	back := r.follow(t, "Last-Event-ID", "1000-0")
	back.wants("1001-0", "first")
	back.wants("1002-0", "second")
	back.wants("1003-0", "more 0")
	again := r.follow(t, "Last-Event-ID", id)
	id = r.store.happen("last")
	back.wants("1004-0", "more 1")
	again.wants(id, "last")
}

// Far more was missed than is read at once, while more happens: all of it comes, in order.
func TestNothingIsMissedOnTheWay(t *testing.T) {
	r := newRig(t, quick(global), nil)
	for i := range 2*feedPage + 50 {
		r.store.happen(fmt.Sprint("old ", i))
	}
	r.follow(t) // somebody else is there
	f := r.follow(t, "Last-Event-ID", "999-9")
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range 200 {
			r.store.happen(fmt.Sprint("new ", i))
		}
	})
	for i := range 2*feedPage + 50 {
		f.wants(fmt.Sprintf("%d-0", 1000+i), fmt.Sprint("old ", i))
	}
	for i := range 200 {
		f.wants(fmt.Sprintf("%d-0", 1000+2*feedPage+50+i), fmt.Sprint("new ", i))
	}
	wg.Wait()
}

// Redis may have lost its last events, or been emptied while its clock was set back.
func TestAnIDThatIsStillToCome(t *testing.T) {
	r := newRig(t, quick(global), nil)
	r.store.happen("before")
	f := r.follow(t, "Last-Event-ID", "99999999999999-0")
	f.wants(r.store.happen("after"), "after")
}

func TestAStreamShowsLife(t *testing.T) {
	cfg := quick(global)
	cfg.KeepAlive = 10 * time.Millisecond
	cfg.HeaderTime, cfg.BodyTime = 50*time.Millisecond, 50*time.Millisecond // they are for requests, not for this
	r := newRig(t, cfg, nil)
	f := r.follow(t)
	for range 30 {
		line, err := f.lines.ReadString('\n')
		if err != nil {
			t.Fatalf("the stream ended: %v", err)
		}
		if line != "\n" && !strings.HasPrefix(line, ": ") {
			t.Fatalf("the stream has %q, want comments", line)
		}
	}
	f.wants(r.store.happen("late"), "late")
}

func TestStreamsEndWithTheReplica(t *testing.T) {
	cfg := quick(global)
	cfg.LameDuck = 200 * time.Millisecond
	r := newRig(t, cfg, nil)
	f := r.follow(t)
	stopped := make(chan error, 1)
	go func() { stopped <- r.stop() }()
	if got := f.next(); got != "the end: EOF" {
		t.Errorf("at the end the stream has %q, want a clean end", got)
	}
	resp := r.follow(t).resp // in the time in which requests are still taken
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("a new stream = %d, want 503 with Retry-After", resp.StatusCode)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestFollowersAreBounded(t *testing.T) {
	cfg := quick(global)
	cfg.MaxFollowers = 2
	r := newRig(t, cfg, nil)
	first, second := r.follow(t), r.follow(t)
	third := r.follow(t)
	if third.resp.StatusCode != 503 || third.resp.Header.Get("Retry-After") == "" {
		t.Errorf("the third = %d, want 503 with Retry-After", third.resp.StatusCode)
	}
	second.resp.Body.Close()
	deadline := time.Now().Add(10 * time.Second)
	for r.follow(t).resp.StatusCode != 200 {
		if time.Now().After(deadline) {
			t.Fatal("a place that was left is never given away")
		}
	}
	first.wants(r.store.happen("still"), "still")
}

func TestBadFollowersAreRefused(t *testing.T) {
	r := newRig(t, quick(global), nil)
	accept := []string{"Accept", "text/event-stream"}
	if p := r.do(t, "GET", "/api/cluster/events", "", append(accept, "Last-Event-ID", "yesterday")...); p.status != 400 || !strings.Contains(p.sentence(t), "Last-Event-ID") {
		t.Errorf("an id that is none = %d %s", p.status, p.body)
	}
	if p := r.do(t, "GET", "/api/cluster/events?limit=5", "", accept...); p.status != 400 || !strings.Contains(p.sentence(t), "no query parameters") {
		t.Errorf("with a limit = %d %s", p.status, p.body)
	}
	r.store.set(store.ErrUnavailable, store.Health{State: store.HealthDown})
	if p := r.do(t, "GET", "/api/cluster/events", "", accept...); p.status != 503 {
		t.Errorf("without Redis = %d %s", p.status, p.body)
	}
	if n := len(r.feed.followers); n != 0 {
		t.Errorf("%d followers are still there", n)
	}
	if p := r.do(t, "GET", "/api/cluster/events", "", "Accept", "text/event-stream;q=0, application/json"); p.status != 503 || p.header.Get("Content-Type") != "application/json" {
		t.Errorf("who does not want a stream = %d %v", p.status, p.header)
	}
}

// A stream goes on when Redis comes back.
func TestAStreamOutlivesRedis(t *testing.T) {
	r := newRig(t, quick(global), nil)
	f := r.follow(t)
	f.wants(r.store.happen("before"), "before")
	r.store.set(store.ErrUnavailable, store.Health{State: store.HealthDown})
	id := r.store.happen("meanwhile")
	r.store.set(nil, store.Health{OK: true, State: store.HealthOK})
	f.wants(id, "meanwhile")
}

// One reader asks the store for everyone, and nobody asks where nobody listens.
func TestOneReaderForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := &fakeStore{}
		for range 2 * feedBuffer {
			st.happen("before")
		}
		f := newFeed(st, time.Second, 100)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); f.run(ctx) }()
		time.Sleep(time.Minute)
		if n := st.asks(); n != 0 {
			t.Errorf("with nobody there the store was asked %d times", n)
		}
		var all []*follower
		for range 50 {
			fo, start, missed, err := f.join(ctx, "")
			if err != nil || start != fmt.Sprintf("%d-0", 999+2*feedBuffer) || len(missed) != 0 {
				t.Fatalf("join() = %q, %v, %v", start, missed, err)
			}
			all = append(all, fo)
		}
		before := st.asks()
		time.Sleep(time.Minute)
		for _, fo := range all {
			if n := len(fo.events); n != 0 {
				t.Fatalf("a follower who asked for nothing old has %d events", n)
			}
		}
		if n := st.asks() - before; n > 61 {
			t.Errorf("50 followers cost %d reads in a minute, want one a second", n)
		}
		id := st.happen("now")
		time.Sleep(2 * time.Second)
		for _, fo := range all {
			if e := <-fo.events; e.ID != id {
				t.Fatalf("a follower got %s", e.ID)
			}
		}
		// One who does not read is sent away, and nobody else is.
		for range feedBuffer + 1 {
			st.happen("much")
		}
		time.Sleep(2 * time.Second)
		go func() {
			for range all[0].events { // reads on until the end
			}
		}()
		f.leave(all[1])
		f.leave(all[1])
		cancel()
		<-done
		for _, fo := range all[2:] {
			n := 0
			for range fo.events {
				n++
			}
			if n != feedBuffer {
				t.Fatalf("a follower that did not read has %d events, want %d and the end", n, feedBuffer)
			}
		}
		if _, _, _, err := f.join(t.Context(), ""); err == nil {
			t.Error("join() after the end succeeds")
		}
	})
}

// A client that takes nothing loses its connection.
func TestAStalledFollowerIsCutOff(t *testing.T) {
	cfg := quick(global)
	cfg.FollowStall = 50 * time.Millisecond
	r := newRig(t, cfg, nil)
	r.follow(t) // and never reads
	deadline := time.Now().Add(20 * time.Second)
	for {
		for range 100 {
			r.store.happen(strings.Repeat("x", 10000))
		}
		r.feed.mu.Lock()
		n := len(r.feed.followers)
		r.feed.mu.Unlock()
		if n == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("a client that reads nothing is kept for ever")
		}
	}
}

func TestNewer(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{"1-0", "", true}, {"2-0", "1-9", true}, {"10-0", "9-0", true}, {"1-10", "1-9", true},
		{"1-0", "1-0", false}, {"1-0", "2-0", false}, {"9-0", "10-0", false},
	} {
		if got := newer(tt.a, tt.b); got != tt.want {
			t.Errorf("newer(%q, %q) = %t", tt.a, tt.b, got)
		}
	}
}
