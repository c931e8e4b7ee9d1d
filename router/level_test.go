package router

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// answerWith lets a node answer every request but its own handshake with a result.
func answerWith(result string) func(w http.ResponseWriter, _ *http.Request, f *wire.Frame) bool {
	return func(w http.ResponseWriter, _ *http.Request, f *wire.Frame) bool {
		if f.Kind != wire.Request || f.Method == "initialize" {
			return false
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(wire.Result(f.IDBytes(), []byte(result)))
		return true
	}
}

// logHub has two servers with a log and one without.
func logHub(t *testing.T, routers int) *hub {
	logs := `{"capabilities":{"logging":{}},"tools":[{"name":"x"}],"n":%d}`
	return newHub(t, routers, map[store.ServerID]string{"a": fmt.Sprintf(logs, 1), "b": fmt.Sprintf(logs, 2), "mute": `{"tools":[{"name":"x"}]}`})
}

// levelsOf counts the messages that set a level.
func (h *hub) levelsOf(level string) (n int) {
	for _, node := range h.nodes {
		node.mu.Lock()
		for _, b := range node.bodies {
			if strings.Contains(b, `"method":"logging/setLevel","params":{"level":"`+level+`"}`) {
				n++
			}
		}
		node.mu.Unlock()
	}
	return n
}

// A log level reaches the servers where the session is open, whichever coordinator opened it there,
// and those where it is opened later, whichever coordinator does so.
func TestLogLevel(t *testing.T) {
	h := logHub(t, 3)
	session, _ := begin(t, h.rs[0], "")
	for _, r := range h.rs {
		post(t, r, "", session, message("1", "tools/list", ""))
	}
	post(t, h.rs[0], "", session, tool("a-x"))
	post(t, h.rs[0], "", session, tool("mute-x"))
	if p := post(t, h.rs[1], "", session, message("5", "logging/setLevel", `{"level":"debug"}`)); p.Body.String() != `{"jsonrpc":"2.0","id":5,"result":{}}` {
		t.Errorf("setLevel: %s", p.Body)
	}
	if got := h.levelsOf("debug"); got != 1 {
		t.Errorf("%d servers were told, want the open one that has a log", got)
	}
	post(t, h.rs[2], "", session, tool("b-x"))
	if got := h.levelsOf("debug"); got != 2 {
		t.Errorf("%d servers were told after another was opened elsewhere, want 2", got)
	}
	rec, _ := h.store.get(mustToken(t, h.rs[0], session).SessionID())
	if rec.Level != "debug" {
		t.Errorf("stored is level %q", rec.Level)
	}
	// A session that moves takes its level along.
	home := rec.Bindings["b"].Node
	h.node(home).kill()
	post(t, h.rs[0], "", session, tool("b-x"))
	if got := h.levelsOf("debug"); got != 3 {
		t.Errorf("%d servers were told after a move, want 3", got)
	}
}

// With the store away the level is set where the session is known to be, and stored later; what
// the store held before does not undo it.
func TestLogLevelWithTheStoreAway(t *testing.T) {
	h := logHub(t, 2)
	session, _ := begin(t, h.rs[0], "")
	post(t, h.rs[0], "", session, message("1", "logging/setLevel", `{"level":"info"}`))
	post(t, h.rs[0], "", session, tool("a-x"))
	h.store.setDown(true)
	post(t, h.rs[0], "", session, message("1", "logging/setLevel", `{"level":"error"}`))
	if got := h.levelsOf("error"); got != 1 {
		t.Errorf("%d servers were told, want 1", got)
	}
	h.store.setDown(false)
	id := mustToken(t, h.rs[0], session).SessionID()
	s, _ := h.rs[0].cache.Peek(mustToken(t, h.rs[0], session).random)
	if _, err := h.rs[0].read(context.Background(), s); err != nil {
		t.Fatal(err)
	}
	if level, _ := s.wantedLevel(); level != "error" {
		t.Errorf("what the store held before undid it: %q", level)
	}
	h.rs[0].catchUp(context.Background())
	if rec, _ := h.store.get(id); rec.Level != "error" {
		t.Errorf("stored later is %q, want error", rec.Level)
	}
	// A store that has lost the session gets it back with its level.
	h.store.wipe()
	post(t, h.rs[0], "", session, message("1", "logging/setLevel", `{"level":"alert"}`))
	h.rs[0].catchUp(context.Background())
	if rec, ok := h.store.get(id); !ok || rec.Level != "alert" {
		t.Errorf("after the store was emptied: %+v, %t", rec, ok)
	}
	// And another coordinator takes the level over from it.
	post(t, h.rs[1], "", session, tool("b-x"))
	if got := h.levelsOf("alert"); got != 2 {
		t.Errorf("%d servers were told alert, want 2", got)
	}
}

// An answer of the store that is older than what the client has asked for since does not undo it.
func TestLateReadDoesNotUndoALevel(t *testing.T) {
	s := &session{}
	_, gen := s.wantedLevel()
	s.setLevel("debug")
	_, saved := s.wantedLevel()
	s.levelSaved(saved)
	s.learnLevel("info", gen)
	if level, _ := s.wantedLevel(); level != "debug" {
		t.Errorf("level %q, want debug", level)
	}
	_, gen = s.wantedLevel()
	s.learnLevel("info", gen)
	if level, _ := s.wantedLevel(); level != "info" {
		t.Errorf("level %q; another coordinator has set info since", level)
	}
}

func TestLogLevelOfAnEndedSession(t *testing.T) {
	h := logHub(t, 2)
	session, _ := begin(t, h.rs[0], "")
	post(t, h.rs[1], "", session, message("1", "ping", ""))
	if p := do(h.rs[0], Request{SessionID: session, HTTPMethod: "DELETE"}); p.err != nil {
		t.Fatal(p.err)
	}
	fails(t, do(h.rs[1], Request{SessionID: session, Body: []byte(message("1", "logging/setLevel", `{"level":"info"}`))}), ErrUnknownSession)
}
