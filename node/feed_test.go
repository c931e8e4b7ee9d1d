package node

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/mcphub-go/mcphub/internal/wire"
)

// A stream may be silent for hours after a large event, and there are thousands of them.
func TestSilentStreamKeepsNoLargeBuffer(t *testing.T) {
	w := httptest.NewRecorder()
	f := newFeed(w, "abcdefgh")
	f.begin()
	large := `"` + strings.Repeat("x", 100<<10) + `"`
	if err := f.write(wire.Event{ID: "1", Data: []byte(large)}); err != nil {
		t.Fatal(err)
	}
	if cap(f.buf) > maxKept {
		t.Errorf("%d bytes are kept, want at most %d", cap(f.buf), maxKept)
	}
	if err := f.comment(); err != nil {
		t.Fatal(err)
	}
	if got := w.Body.String(); !strings.Contains(got, large) || !strings.HasSuffix(got, "\n\n: working\n\n") {
		t.Errorf("%d bytes were written, want the event and a comment", len(got))
	}
}
