package store_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/store"
	"github.com/mcphub-go/mcphub/store/storetest"
)

// A session costs Redis little, all that belongs to it together: its hash has the compact form,
// and what clients of one kind have in common lies there once.
func TestSessionsAreSmallInRedis(t *testing.T) {
	server := storetest.StartServer(t)
	e := storetest.Dial(t, server.URL())
	used := func() int {
		info, err := e.Do("INFO", "memory")
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(fmt.Sprint(info), "used_memory:")
		n, err := strconv.Atoi(strings.TrimSpace(strings.SplitN(rest, "\r\n", 2)[0]))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	const sessions = 3000
	session := func(i int) store.Session {
		return store.Session{
			ID: store.SessionID(fmt.Sprintf("%02x%030x", i%256, i)), Subject: strings.Repeat("ab", 16), Scope: "everything", Era: "2025-11-25",
			Init:     []byte(`{"protocolVersion":"2025-11-25","capabilities":{"roots":{"listChanged":true},"sampling":{},"elicitation":{}},"clientInfo":{"name":"client","title":"A Client","version":"2.0.14"}}`),
			Bindings: map[store.ServerID]store.Binding{"everything": {Node: "node-1", Epoch: 12}},
		}
	}
	if err := e.Store.CreateSession(t.Context(), session(0), time.Hour); err != nil { // scripts and connections
		t.Fatal(err)
	}
	before := used()
	for i := 1; i <= sessions; i++ {
		if err := e.Store.CreateSession(t.Context(), session(i), time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	each := (used() - before) / sessions
	t.Logf("%d bytes a session", each)
	if each > 650 {
		t.Errorf("%d bytes a session, want at most 650", each)
	}
	encoding, err := e.Do("OBJECT", "ENCODING", e.Key("session:{"+string(session(1).ID)+"}"))
	if err != nil || encoding != "listpack" {
		t.Errorf("the hash of a session is a %v, %v", encoding, err)
	}
}
