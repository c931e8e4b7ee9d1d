package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// show writes events so that tests can compare them at a glance.
func show(e Event) string {
	var b strings.Builder
	if e.HasID {
		fmt.Fprintf(&b, "id=%q ", e.ID)
	}
	if e.Name != "" {
		fmt.Fprintf(&b, "name=%q ", e.Name)
	}
	if e.Retry != 0 {
		fmt.Fprintf(&b, "retry=%v ", e.Retry)
	}
	if e.Data != nil {
		fmt.Fprintf(&b, "data=%q", e.Data)
	}
	return strings.TrimSpace(b.String())
}

// readAll returns the events of a stream, its Raw bytes joined, and the error at its end.
func readAll(r *EventReader) (events []string, raw []byte, err error) {
	for {
		e, err := r.Next()
		if err != nil {
			return events, raw, err
		}
		events = append(events, show(e))
		raw = append(raw, e.Raw...)
	}
}

func TestEventReader(t *testing.T) {
	cases := []struct {
		name, in string
		want     []string
		end      error
		rest     string // bytes of in that no Raw has
	}{
		{"nothing", "", nil, io.EOF, ""},
		{"one", "data: a\n\n", []string{`data="a"`}, io.EOF, ""},
		{"all fields", "event: message\nid: 7\nretry: 1500\ndata: {}\n\n", []string{`id="7" name="message" retry=1.5s data="{}"`}, io.EOF, ""},
		{"no space behind colons", "event:x\nid:7\ndata:{}\n\n", []string{`id="7" name="x" data="{}"`}, io.EOF, ""},
		{"only one space goes", "data:  a \n\n", []string{`data=" a "`}, io.EOF, ""},
		{"several data lines", "data: a\ndata\ndata:\ndata: b\n\n", []string{`data="a\n\n\nb"`}, io.EOF, ""},
		{"empty data primes", "id: 1\ndata:\n\n", []string{`id="1" data=""`}, io.EOF, ""},
		{"data without a colon", "data\n\n", []string{`data=""`}, io.EOF, ""},
		{"id alone", "id: 1\n\n", []string{`id="1"`}, io.EOF, ""},
		{"id emptied", "id\ndata: a\n\n", []string{`id="" data="a"`}, io.EOF, ""},
		{"id with NUL is ignored", "id: a\x00b\ndata: a\n\n", []string{`data="a"`}, io.EOF, ""},
		{"id with NUL leaves the one before", "id: a\nid: b\x00\ndata: a\n\n", []string{`id="a" data="a"`}, io.EOF, ""},
		{"last name counts", "event: a\nevent: b\ndata: x\n\n", []string{`name="b" data="x"`}, io.EOF, ""},
		{"retry not a number", "retry: 1s\nretry: -1\nretry: +1\nretry:\nretry: 99999999999999999999\ndata: a\n\n", []string{`data="a"`}, io.EOF, ""},
		{"comments and unknown fields", ": hi\n:\nfoo: bar\nDATA: x\n data: y\ndata: a\n\n", []string{`data="a"`}, io.EOF, ""},
		{"a block of comments", ": ping\n\ndata: a\n\n", []string{"", `data="a"`}, io.EOF, ""},
		{"blank lines", "\n\ndata: a\n\n\n", []string{"", "", `data="a"`, ""}, io.EOF, ""},
		{"CRLF", "data: a\r\ndata: b\r\n\r\ndata: c\r\n\r\n", []string{`data="a\nb"`, `data="c"`}, io.EOF, ""},
		{"CR", "data: a\rdata: b\r\rdata: c\r\r", []string{`data="a\nb"`, `data="c"`}, io.EOF, ""},
		{"mixed ends", "data: a\r\ndata: b\n\rdata: c\r\n\ndata: d\n\r\n", []string{`data="a\nb"`, `data="c"`, `data="d"`}, io.EOF, ""},
		{"byte order mark", "\ufeffdata: a\n\n", []string{`data="a"`}, io.EOF, "\ufeff"},
		{"byte order mark later", "data: a\n\n\ufeffdata: b\n\n", []string{`data="a"`, ""}, io.EOF, ""},
		{"two byte order marks", "\ufeff\ufeffdata: a\n\n", []string{""}, io.EOF, "\ufeff"},
		{"byte order mark alone", "\ufeff", nil, io.EOF, "\ufeff"},
		{"part of a byte order mark", "\xef\xbb", nil, io.ErrUnexpectedEOF, "\xef\xbb"},
		{"half an event", "data: a\n\ndata: b\n", []string{`data="a"`}, io.ErrUnexpectedEOF, "data: b\n"},
		{"half a line", "data: a\n\nda", []string{`data="a"`}, io.ErrUnexpectedEOF, "da"},
		{"half an event with CR", "data: a\r\rdata: b\r", []string{`data="a"`}, io.ErrUnexpectedEOF, "data: b\r"},
		{"half a comment", ": a", nil, io.ErrUnexpectedEOF, ": a"},
	}
	for _, c := range cases {
		for way, wrap := range map[string]func(io.Reader) io.Reader{
			"whole": func(r io.Reader) io.Reader { return r }, "bytes": iotest.OneByteReader,
			"halves": iotest.HalfReader, "data with error": iotest.DataErrReader,
		} {
			t.Run(c.name+"/"+way, func(t *testing.T) {
				got, raw, err := readAll(NewEventReader(wrap(strings.NewReader(c.in)), 1000))
				if fmt.Sprint(got) != fmt.Sprint(c.want) || len(got) != len(c.want) || !errors.Is(err, c.end) {
					t.Errorf("read %q, %v, want %q, %v", got, err, c.want, c.end)
				}
				want := strings.TrimSuffix(c.in, c.rest)
				if strings.HasPrefix(c.rest, "\ufeff") {
					want = strings.TrimPrefix(c.in, c.rest)
				}
				if string(raw) != want && way != "bytes" { // see TestEventReaderSplitCRLF
					t.Errorf("raw %q, want %q", raw, want)
				}
			})
		}
	}
}

// A block that ends in CR is delivered at once, though an LF may follow; that LF is no blank line.
func TestEventReaderSplitCRLF(t *testing.T) {
	pr, pw := io.Pipe()
	r := NewEventReader(pr, 1000)
	next := make(chan Event)
	go func() {
		defer close(next)
		for {
			e, err := r.Next()
			if err != nil {
				return
			}
			e.Raw = bytes.Clone(e.Raw)
			next <- e
		}
	}()
	send := func(s string) {
		if _, err := pw.Write([]byte(s)); err != nil {
			t.Error(err)
		}
	}
	go send("data: a\r\n\r")
	if e := <-next; show(e) != `data="a"` || string(e.Raw) != "data: a\r\n\r" {
		t.Errorf("first block %s %q", show(e), e.Raw)
	}
	go send("\ndata: b\r\n\r\n")
	if e := <-next; show(e) != `data="b"` || string(e.Raw) != "\ndata: b\r\n\r\n" {
		t.Errorf("second block %s %q", show(e), e.Raw)
	}
	if err := pw.Close(); err != nil {
		t.Error(err)
	}
	for e := range next {
		t.Errorf("one more block %q", e.Raw)
	}
}

// The late LF of a last CRLF is not a half event.
func TestEventReaderEndsInLateLF(t *testing.T) {
	r := NewEventReader(iotest.OneByteReader(strings.NewReader("data: a\r\n\r\n")), 1000)
	got, _, err := readAll(r)
	if len(got) != 1 || !errors.Is(err, io.EOF) {
		t.Errorf("read %q, %v", got, err)
	}
}

// A reader that lets go of its buffers whenever it can delivers the same.
func TestEventReaderRelease(t *testing.T) {
	in := "\ufeff: hello\n\nid: 1\ndata: a\ndata: b\n\ndata: c\r\n\r\ndata: d\r\rdata: e\n\n"
	for _, wrap := range []func(io.Reader) io.Reader{iotest.OneByteReader, func(r io.Reader) io.Reader { return r }} {
		want, wantRaw, _ := readAll(NewEventReader(wrap(strings.NewReader(in)), 1000))
		var got []string
		var raw []byte
		r, released := NewEventReader(wrap(strings.NewReader(in)), 1000), 0
		for {
			if r.Release() {
				released++
				if r.buf != nil || r.joined != nil {
					t.Fatal("Release() has kept a buffer")
				}
			} else if r.from == len(r.buf) {
				t.Fatal("Release() = false of a reader that has delivered everything")
			}
			e, err := r.Next()
			if err != nil {
				break
			}
			got, raw = append(got, string(e.Data)), append(raw, e.Raw...)
		}
		if len(got) != len(want) || string(raw) != string(wantRaw) || released == 0 {
			t.Errorf("%d events %q after %d releases, want %d events %q", len(got), raw, released, len(want), wantRaw)
		}
	}
}

func TestEventReaderLimit(t *testing.T) {
	block := "data: " + strings.Repeat("x", 10_000) + "\n\n"
	for _, wrap := range []func(io.Reader) io.Reader{func(r io.Reader) io.Reader { return r }, iotest.OneByteReader} {
		r := NewEventReader(wrap(strings.NewReader(block+block)), len(block))
		if got, _, err := readAll(r); len(got) != 2 || !errors.Is(err, io.EOF) {
			t.Errorf("at the limit: %d events, %v", len(got), err)
		}
		r = NewEventReader(wrap(strings.NewReader("data: a\n\n"+block+"data: b\n\n")), len(block)-1)
		got, _, err := readAll(r)
		if len(got) != 1 || !errors.Is(err, ErrEventTooLarge) {
			t.Errorf("over the limit: %q, %v", got, err)
		}
		if _, again := r.Next(); !errors.Is(again, ErrEventTooLarge) {
			t.Errorf("asked again: %v", again)
		}
	}
	endless := NewEventReader(endlessReader{}, 1<<20)
	if _, err := endless.Next(); !errors.Is(err, ErrEventTooLarge) {
		t.Errorf("endless line: %v", err)
	}
}

type endlessReader struct{}

func (endlessReader) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ':'
	}
	return len(p), nil
}

type stuckReader struct{}

func (stuckReader) Read([]byte) (int, error) { return 0, nil }

func TestEventReaderErrors(t *testing.T) {
	broken := errors.New("connection reset")
	r := NewEventReader(io.MultiReader(strings.NewReader("data: a\n\ndata: b"), iotest.ErrReader(broken)), 1000)
	got, _, err := readAll(r)
	if len(got) != 1 || !errors.Is(err, broken) {
		t.Errorf("read %q, %v", got, err)
	}
	if _, err := NewEventReader(stuckReader{}, 10).Next(); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("a reader that gives nothing: %v", err)
	}
}

// A large event does not leave its buffers behind, and small ones need no new buffer.
func TestEventReaderBuffers(t *testing.T) {
	big := "data: " + strings.Repeat("x", 300_000) + "\ndata: " + strings.Repeat("y", 300_000) + "\n\n"
	r := NewEventReader(strings.NewReader(big+"data: a\n\ndata: b\n\n"), 1<<20)
	for range 3 {
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
	}
	if cap(r.buf) > keepSize || cap(r.joined) > keepSize {
		t.Errorf("buffers of %d and %d bytes are kept", cap(r.buf), cap(r.joined))
	}
	small := NewEventReader(strings.NewReader(strings.Repeat("event: message\ndata: {}\n\n", 2000)), 1000)
	if _, err := small.Next(); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(1000, func() {
		if _, err := small.Next(); err != nil {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations for a small event", n)
	}
}

func TestWriteEvent(t *testing.T) {
	cases := []struct {
		e    Event
		want string
	}{
		{Event{Data: []byte(`{"a":1}`)}, "data: {\"a\":1}\n\n"},
		{Event{ID: "7", Name: "message", Retry: 1500 * time.Millisecond, Data: []byte("x")}, "event: message\nid: 7\nretry: 1500\ndata: x\n\n"},
		{Event{ID: "p", Data: []byte{}}, "id: p\ndata: \n\n"},
		{Event{HasID: true}, "id: \n\n"},
		{Event{Data: []byte("a\nb\r\nc\rd\n")}, "data: a\ndata: b\ndata: c\ndata: d\ndata: \n\n"},
		{Event{Retry: time.Microsecond}, "\n"},
		{Event{Raw: []byte("ignored"), Data: []byte("\x00")}, "data: \x00\n\n"},
	}
	for _, c := range cases {
		var w writes
		if err := WriteEvent(&w, c.e); err != nil || string(w.b) != c.want || w.n != 1 {
			t.Errorf("WriteEvent(%s) wrote %q in %d writes, %v, want %q", show(c.e), w.b, w.n, err, c.want)
		}
	}
	for _, bad := range []Event{{ID: "a\nb"}, {ID: "a\rb"}, {ID: "a\x00"}, {Name: "a\n"}, {Name: "\r"}, {Name: "\x00"}} {
		var w writes
		if err := WriteEvent(&w, bad); !errors.Is(err, ErrEventField) || w.n != 0 {
			t.Errorf("WriteEvent(%q, %q): %v, %d writes", bad.ID, bad.Name, err, w.n)
		}
	}
	if err := WriteEvent(brokenWriter{}, Event{}); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("a broken writer: %v", err)
	}
}

type writes struct {
	b []byte
	n int
}

func (w *writes) Write(p []byte) (int, error) {
	w.b, w.n = append(w.b, p...), w.n+1
	return len(p), nil
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestComment(t *testing.T) {
	var w writes
	if err := Comment(&w, "alive\r\ndata: no"); err != nil || string(w.b) != ": alive\n: data: no\n\n" {
		t.Errorf("Comment wrote %q, %v", w.b, err)
	}
	if err := Comment(brokenWriter{}, "x"); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("a broken writer: %v", err)
	}
}
