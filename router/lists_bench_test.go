package router

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// benchHub has 20 servers with 15 tools each, of the size that real ones have, over Redis's
// embedded double in memory.
func benchHub(b *testing.B, routers int) *hub {
	b.Helper()
	catalogs := map[store.ServerID]string{}
	for s := range 20 {
		var tools []string
		for i := range 15 {
			tools = append(tools, fmt.Sprintf(`{"name":"tool_%d","description":%q,"inputSchema":{"type":"object","properties":{"path":{"type":"string","description":%q},"limit":{"type":"integer"}},"required":["path"]}}`,
				i, strings.Repeat("does something useful ", 8), strings.Repeat("what it is about ", 4)))
		}
		catalogs[store.ServerID(fmt.Sprintf("server-%02d", s))] = `{"capabilities":{"tools":{}},"instructions":"Use with care.","tools":[` + strings.Join(tools, ",") + `]}`
	}
	return newHub(b, routers, catalogs)
}

// percentiles reports what the slowest requests took.
func percentiles(b *testing.B, took []time.Duration) {
	b.Helper()
	if len(took) == 0 {
		return
	}
	slices.Sort(took)
	for _, p := range []int{50, 99} {
		b.ReportMetric(float64(took[len(took)*p/100])/1e3, fmt.Sprintf("p%d-µs", p))
	}
}

// BenchmarkList is tools/list over 20 servers with 15 tools each.
func BenchmarkList(b *testing.B) {
	list := []byte(message("1", "tools/list", ""))
	b.Run("handler", func(b *testing.B) {
		h := benchHub(b, 1)
		session, _ := begin(b, h.rs[0], "")
		w := &discardWriter{header: http.Header{}}
		req := Request{HTTPMethod: "POST", SessionID: session, Body: list}
		benchLoop(b, func() int {
			clear(w.header)
			if err := h.rs[0].Carry(b.Context(), w, req); err != nil {
				b.Fatal(err)
			}
			return w.status
		})
	})
	// Each list is the first one after a new snapshot with the same servers, as one comes each second.
	b.Run("new snapshot", func(b *testing.B) {
		h := benchHub(b, 1)
		session, _ := begin(b, h.rs[0], "")
		w := &discardWriter{header: http.Header{}}
		req := Request{HTTPMethod: "POST", SessionID: session, Body: list}
		benchLoop(b, func() int {
			clear(w.header)
			snap := *h.fleet.Snapshot()
			h.fleet.snap.Store(&snap)
			if err := h.rs[0].Carry(b.Context(), w, req); err != nil {
				b.Fatal(err)
			}
			return w.status
		})
	})
	// What a change of one server costs.
	b.Run("changed server", func(b *testing.B) {
		h := benchHub(b, 1)
		session, _ := begin(b, h.rs[0], "")
		n := 0
		for b.Loop() {
			n++
			raw := []byte(fmt.Sprintf(`{"tools":[{"name":"tool_%d"}]}`, n))
			d := store.DigestOf(raw)
			h.store.mu.Lock()
			h.store.catalogs[d] = raw
			h.store.mu.Unlock()
			for _, node := range []store.NodeID{"node-1", "node-2"} {
				h.fleet.change(node, func(rec *store.Node) { rec.Servers[7].Catalog = d })
			}
			if p := do(h.rs[0], Request{SessionID: session, Body: list}); p.err != nil {
				b.Fatal(p.err)
			}
		}
	})
	b.Run("three coordinators over HTTP", func(b *testing.B) {
		h := benchHub(b, 3)
		session, _ := begin(b, h.rs[0], "")
		var fronts []string
		for _, r := range h.rs {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				body, err := io.ReadAll(req.Body)
				if err == nil {
					err = r.Carry(req.Context(), w, Request{HTTPMethod: req.Method, SessionID: req.Header.Get(wire.HeaderSession), Header: req.Header, Body: body})
				}
				if err != nil {
					http.Error(w, err.Error(), http.StatusInternalServerError)
				}
			}))
			b.Cleanup(srv.Close)
			fronts = append(fronts, srv.URL)
		}
		ask := func(i int) time.Duration {
			req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, fronts[i%3], strings.NewReader(string(list)))
			if err != nil {
				b.Fatal(err)
			}
			req.Header.Set(wire.HeaderSession, session)
			start := time.Now()
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				b.Fatal(err)
			}
			n, err := io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if err != nil || resp.StatusCode != http.StatusOK || n < 50_000 {
				b.Fatalf("status %d, %d bytes, %v", resp.StatusCode, n, err)
			}
			return time.Since(start)
		}
		for i := range 3 {
			ask(i)
		}
		var took []time.Duration
		for i := 0; b.Loop(); i++ {
			took = append(took, ask(i))
		}
		percentiles(b, took)
		http.DefaultClient.CloseIdleConnections()
	})
}
