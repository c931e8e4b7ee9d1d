package router

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
)

// A client that reads nothing holds neither its request nor a connection to the node.
func TestStalledClientIsDropped(t *testing.T) {
	for name, stream := range map[string]bool{"plain": false, "stream": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1, 0)
			r := w.router(w.store, func(c *Config) { c.ClientStall = 100 * time.Millisecond })
			session, _ := begin(t, r, testServer)
			w.nodes[0].setHook(func(rw http.ResponseWriter, _ *http.Request, f *wire.Frame) bool {
				text := []byte(`"` + strings.Repeat("z", 1<<20) + `"`)
				if stream {
					rw.Header().Set("Content-Type", wire.TypeEventStream)
					note := `{"jsonrpc":"2.0","method":"notifications/message","params":` + string(text) + `}`
					for range 32 {
						if wire.WriteEvent(rw, wire.Event{Data: []byte(note)}) != nil {
							return true
						}
					}
				} else {
					rw.Header().Set("Content-Type", wire.TypeJSON)
					text = []byte(`"` + strings.Repeat("z", 32<<20) + `"`)
				}
				_, _ = rw.Write(wire.Result(f.IDBytes(), text))
				return true
			})
			c, err := net.Dial("tcp", front(t, r, testServer).Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			call := message("7", "tools/call", `{"name":"inc"}`)
			_, err = fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: x\r\n%s: %s\r\nContent-Length: %d\r\n\r\n%s", wire.HeaderSession, session, len(call), call)
			if err != nil {
				t.Fatal(err)
			}
			eventually(t, "the call has begun", func() bool { return r.hop.busy("http://"+w.nodes[0].addr) > 0 })
			eventually(t, "nothing is held any more", func() bool {
				return r.Stats().InFlight == 0 && r.hop.busy("http://"+w.nodes[0].addr) == 0
			})
		})
	}
}

// The bound is on a client's silence, not on a node's: answers that are long in coming, and
// connections that are used again, are not cut off.
func TestSlowAnswersAreNotCutOff(t *testing.T) {
	const stall = 50 * time.Millisecond
	w := newWorld(t, 1, 0)
	r := w.router(w.store, func(c *Config) { c.ClientStall = stall })
	session, _ := begin(t, r, testServer)
	for name, stream := range map[string]bool{"plain": false, "stream": true} {
		w.nodes[0].setHook(func(rw http.ResponseWriter, _ *http.Request, f *wire.Frame) bool {
			answer := wire.Result(f.IDBytes(), []byte(`"`+strings.Repeat("z", 100<<10)+`"`))
			if !stream {
				<-time.After(2 * stall)
				rw.Header().Set("Content-Type", wire.TypeJSON)
				_, _ = rw.Write(answer)
				return true
			}
			rw.Header().Set("Content-Type", wire.TypeEventStream)
			_ = wire.WriteEvent(rw, wire.Event{Data: []byte(message("", "notifications/message", "{}"))})
			_ = http.NewResponseController(rw).Flush()
			<-time.After(2 * stall)
			_ = wire.WriteEvent(rw, wire.Event{Data: answer})
			_ = http.NewResponseController(rw).Flush()
			<-time.After(2 * stall) // the end of the stream comes late too
			return true
		})
		srv := front(t, r, testServer)
		for i := range 2 {
			body, err := io.ReadAll(postTo(t, srv, session, message("7", "tools/call", `{"name":"inc"}`)).Body)
			if err != nil || !strings.Contains(string(body), "zzz") {
				t.Errorf("%s %d: %d bytes, %v", name, i, len(body), err)
			}
		}
	}
}
