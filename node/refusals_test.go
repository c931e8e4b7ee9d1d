package node

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
)

// What the node does for a client in its own name, such as a subscription, ends with an error
// that says so where the server does not answer in time, or answers outside of JSON-RPC.
func TestSubscriptionThatTheServerDoesNotAnswer(t *testing.T) {
	f, over := newFakeHTTP(t), make(chan struct{})
	mute := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		if bytes.Contains(body, []byte("test://mute")) {
			<-over
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		f.ServeHTTP(w, r)
	}))
	defer mute.Close()
	defer close(over)
	config := f.config(nil)
	config.URL, config.StartTimeout = mute.URL, 300*time.Millisecond
	r := startRig(t, nil, config)
	r.open("web", "s1")
	subscribe := func(id, uri string) *answer {
		return within(t, 10*time.Second, r.async("web", "s1", `{"jsonrpc":"2.0","id":`+id+`,"method":"resources/subscribe","params":{"uri":`+uri+`}}`))
	}
	if a := subscribe("4", `"test://mute"`); a.status != 200 || errorCode(t, a.last()) != wire.CodeInternal || !strings.Contains(a.last(), "the server did not answer in time") {
		t.Errorf("a subscription that gets no answer: %d %s", a.status, a.body)
	}
	f.set(func() { f.status = http.StatusTeapot })
	if a := subscribe("5", `"test://teapot"`); a.status != 200 || errorCode(t, a.last()) != wire.CodeInternal || !strings.Contains(a.last(), "418") {
		t.Errorf("a subscription that is answered 418: %d %s", a.status, a.body)
	}
	if a := subscribe("6", `7`); a.status != 200 || errorCode(t, a.last()) != wire.CodeInvalidParams || !strings.Contains(a.last(), "params.uri must be a string") {
		t.Errorf("a subscription to a number: %d %s", a.status, a.body)
	}
}
