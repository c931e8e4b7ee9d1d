package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"
	"unicode/utf8"
)

// oracle reads a message by the slow road, encoding/json's tokens, and returns its members
// when the rules of Scan let it pass. unsure means that decoding hid what Scan judges: half a
// surrogate pair in a key.
func oracle(raw []byte) (members map[string]json.RawMessage, ok, unsure bool) {
	if !utf8.Valid(raw) || !json.Valid(raw) || bytes.TrimLeft(raw, " \t\r\n")[0] != '{' {
		return nil, false, false
	}
	unique, unsure := oracleKeys(raw)
	if !unique || unsure {
		return nil, false, unsure
	}
	if err := json.Unmarshal(raw, &members); err != nil {
		return nil, false, false
	}
	return members, oracleEnvelope(members), false
}

// oracleKeys checks that no object has a key twice, and that those of the envelope are plain.
func oracleKeys(raw []byte) (ok, unsure bool) {
	type level struct {
		keys   map[string]bool // nil in an array
		expect bool            // a key comes next
	}
	var stack []level
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	valueRead := func() {
		if n := len(stack); n > 0 && stack[n-1].keys != nil {
			stack[n-1].expect = true
		}
	}
	for {
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return true, unsure
		}
		if err != nil {
			return false, false
		}
		top := len(stack) - 1
		switch tok := tok.(type) {
		case json.Delim:
			switch tok {
			case '{':
				stack = append(stack, level{map[string]bool{}, true})
			case '[':
				stack = append(stack, level{})
			default:
				stack = stack[:top]
				valueRead()
			}
			continue
		case string:
			if top >= 0 && stack[top].expect {
				end := int(dec.InputOffset())
				plain := strings.HasSuffix(string(raw[:end]), `"`+tok+`"`)
				if stack[top].keys[tok] || top == 0 && !oracleKey(tok, plain) {
					return false, unsure
				}
				unsure = unsure || strings.ContainsRune(tok, utf8.RuneError)
				stack[top].keys[tok], stack[top].expect = true, false
				continue
			}
		}
		valueRead()
	}
}

func oracleKey(k string, plain bool) bool {
	for _, n := range []string{"jsonrpc", "id", "method", "params", "result", "error"} {
		if strings.EqualFold(k, n) && (k != n || !plain) {
			return false
		}
	}
	return !strings.Contains(k, "\x00")
}

func oracleEnvelope(m map[string]json.RawMessage) bool {
	starts := func(k, with string) bool { return len(m[k]) > 0 && strings.ContainsRune(with, rune(m[k][0])) }
	has := func(k string) bool { _, ok := m[k]; return ok }
	n := 0
	for _, k := range []string{"method", "result", "error"} {
		if has(k) {
			n++
		}
	}
	switch {
	case string(m["jsonrpc"]) != `"2.0"`, n != 1,
		has("method") && (!starts("method", `"`) || string(m["method"]) == `""`),
		has("params") && (!starts("params", "{") || !has("method")),
		has("error") && !starts("error", "{"),
		has("result") && !has("id"):
		return false
	case !has("id"), starts("id", `"-0123456789`):
		return true
	}
	return string(m["id"]) == "null" && has("error")
}

func seedFrames(f *testing.F) {
	for _, c := range refused {
		f.Add([]byte(c.raw))
	}
	for _, raw := range []string{
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"a":[1,2,{"b":"\u00e9\ud83d\ude00"}]},"_meta":{"progressToken":"t"}}}`,
		`{"jsonrpc":"2.0","id":9007199254740993,"result":{"content":[{"type":"text","text":"a\nb"}]}}`,
		`{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"x"}}`,
		"\r\n{\t\"method\" : \"a\\/b\" , \"jsonrpc\":\"2.0\"}\n",
		`{"jsonrpc":"2.0","method":"m","params":{"ID":1,"id":2,"a":{"a":{"a":-1.5E+7}}}}`,
	} {
		f.Add([]byte(raw))
	}
}

// FuzzScan compares Scan with a strict reader and with a careless one: what Scan accepts is
// valid, and every reader finds the same method, id and params in it.
func FuzzScan(f *testing.F) {
	seedFrames(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		before := bytes.Clone(raw)
		frame, err := Scan(raw, ClientLimits)
		if !bytes.Equal(raw, before) {
			t.Fatal("the input was changed")
		}
		var fe *FrameError
		if err != nil && (!errors.As(err, &fe) || fe.Offset < 0 || fe.Offset > len(raw)) {
			t.Fatalf("refused with %#v", err)
		}
		limited := err != nil && (strings.Contains(fe.Msg, " than ") && fe.Code == CodeInvalidRequest)
		members, ok, unsure := oracle(raw)
		if ok != (err == nil) && !limited && !unsure {
			t.Fatalf("Scan: %v; the strict reader accepts: %v", err, ok)
		}
		if err != nil {
			return
		}
		checkParts(t, frame, members)
		checkCareless(t, frame)
		checkAgain(t, frame)
	})
}

// checkParts compares the frame with what a strict reader found under the exact keys.
func checkParts(t *testing.T, f Frame, members map[string]json.RawMessage) {
	for name, got := range map[string][]byte{"id": f.IDBytes(), "params": f.ParamsBytes(), "result": f.ResultBytes(), "error": f.ErrorBytes()} {
		if want, has := members[name]; has != (got != nil) || !bytes.Equal(got, want) {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	var method string
	if m, has := members["method"]; has {
		if err := json.Unmarshal(m, &method); err != nil {
			t.Fatal(err)
		}
	}
	if f.Method != method {
		t.Errorf("method %q, want %q", f.Method, method)
	}
	hasID := members["id"] != nil
	if want := map[bool]Kind{true: Response, false: map[bool]Kind{true: Request, false: Notification}[hasID]}[method == ""]; f.Kind != want {
		t.Errorf("kind %v, want %v", f.Kind, want)
	}
}

// checkCareless reads the message as encoding/json does into a struct, without regard to
// case and with the last duplicate winning, which must make no difference.
func checkCareless(t *testing.T, f Frame) {
	var careless struct {
		ID     json.RawMessage `json:"id"`
		Method string          `json:"method"`
		Params json.RawMessage `json:"params"`
	}
	if err := json.Unmarshal(f.Raw, &careless); err != nil {
		t.Fatalf("encoding/json refuses it: %v", err)
	}
	if careless.Method != f.Method || !bytes.Equal(careless.ID, f.IDBytes()) || !bytes.Equal(careless.Params, f.ParamsBytes()) {
		t.Errorf("a careless reader sees method %q, id %s, params %s", careless.Method, careless.ID, careless.Params)
	}
}

// checkAgain scans the frame as a server's, as one line, and with another id.
func checkAgain(t *testing.T, f Frame) {
	if _, err := Scan(f.Raw, ServerLimits); err != nil {
		t.Errorf("a server may not send it: %v", err)
	}
	line := OneLine(f.Raw)
	same, err := Scan(line, ClientLimits)
	if err != nil || bytes.ContainsAny(line, "\r\n") || same.Method != f.Method || same.ID != f.ID || same.Params != f.Params {
		t.Errorf("as one line: %v", err)
	}
	other, err := Scan(ReplaceID(f, []byte(`"n\u0041"`)), ClientLimits)
	if err != nil || f.ID.IsZero() != other.ID.IsZero() || !f.ID.IsZero() && string(other.IDBytes()) != `"n\u0041"` ||
		other.Method != f.Method || !bytes.Equal(other.ParamsBytes(), f.ParamsBytes()) {
		t.Errorf("with another id: %v", err)
	}
}

// FuzzLookup compares Lookup with encoding/json at every place of a message, and demands of
// other input that nothing breaks.
func FuzzLookup(f *testing.F) {
	seedFrames(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		at, ok := Lookup(raw)
		if !ok {
			return
		}
		if at.Start < 0 || at.End > len(raw) || at.Start > at.End {
			t.Fatalf("Lookup = %v", at)
		}
		valid := json.Valid(raw) && utf8.Valid(raw) && len(raw) < 1<<16
		walk(t, raw, at, valid, 0)
	})
}

// walk visits everything below a span; where the input is valid it compares with encoding/json.
func walk(t *testing.T, raw []byte, at Span, valid bool, depth int) {
	if depth > 100 {
		return
	}
	var items []Span
	for v := range Items(raw, at) {
		items = append(items, v)
	}
	keys := map[string]Span{}
	for k, v := range Members(raw, at) {
		name, ok := Unquote(k.Of(raw))
		if valid && !ok {
			t.Fatalf("key %q", k.Of(raw))
		}
		keys[name] = v
		items = append(items, v)
	}
	if valid {
		compare(t, raw, at, keys, items)
	}
	for _, v := range items {
		if v.Start <= at.Start || v.End > at.End || v.Start >= v.End {
			t.Fatalf("%v lies outside %v", v, at)
		}
		walk(t, raw, v, valid, depth+1)
	}
}

func compare(t *testing.T, raw []byte, at Span, keys map[string]Span, items []Span) {
	switch raw[at.Start] {
	case '{':
		var want map[string]json.RawMessage
		if err := json.Unmarshal(at.Of(raw), &want); err != nil {
			t.Fatalf("%s: %v", at.Of(raw), err)
		}
		if !slices.Equal(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(keys))) {
			t.Fatalf("keys %v, want %v", keys, want)
		}
		for k, v := range want {
			got, ok := LookupIn(raw, at, k)
			if !strings.ContainsRune(k, utf8.RuneError) && (!ok || !bytes.Equal(got.Of(raw), v)) {
				t.Fatalf("%q is %s, want %s", k, got.Of(raw), v)
			}
		}
	case '[':
		var want []json.RawMessage
		if err := json.Unmarshal(at.Of(raw), &want); err != nil || len(want) != len(items) {
			t.Fatalf("%s: %v, %d items", at.Of(raw), err, len(items))
		}
		for i, v := range want {
			if !bytes.Equal(items[i].Of(raw), v) {
				t.Fatalf("item %d is %s, want %s", i, items[i].Of(raw), v)
			}
		}
	default:
		if !json.Valid(at.Of(raw)) {
			t.Fatalf("%q is no value", at.Of(raw))
		}
	}
}

// FuzzSplice replaces one member of params: the message stays valid, that member is the new
// value, and every other is what it was.
func FuzzSplice(f *testing.F) {
	f.Add([]byte(`{"jsonrpc":"2.0","id":1,"method":"m","params":{"name":"srv-echo","x":[1]}}`), "name", `echo"`)
	f.Add([]byte("{\"params\":{\"\\u0061\":\t{} \n,\"b\":1},\"method\":\"m\",\"jsonrpc\":\"2.0\"}"), "a", "")
	f.Fuzz(func(t *testing.T, raw []byte, key, text string) {
		frame, err := Scan(raw, ClientLimits)
		if err != nil {
			return
		}
		at, ok := frame.Lookup("params", key)
		if !ok {
			return
		}
		out := Splice(raw, Edit{at, Quote(text)}, Edit{frame.ID, frame.IDBytes()})
		again, err := Scan(out, Limits{MaxBytes: len(out)})
		if err != nil {
			t.Fatalf("%s: %v", out, err)
		}
		var was, is map[string]json.RawMessage
		if err := errors.Join(json.Unmarshal(frame.ParamsBytes(), &was), json.Unmarshal(again.ParamsBytes(), &is)); err != nil {
			t.Fatal(err)
		}
		var got string
		if err := json.Unmarshal(is[key], &got); err != nil || got != strings.ToValidUTF8(text, "\ufffd") && utf8.ValidString(text) {
			t.Errorf("%q is %q, %v, want %q", key, got, err, text)
		}
		was[key] = is[key]
		if !maps.EqualFunc(was, is, func(a, b json.RawMessage) bool { return bytes.Equal(a, b) }) {
			t.Errorf("params went from %s to %s", frame.ParamsBytes(), again.ParamsBytes())
		}
		if again.Method != frame.Method || !bytes.Equal(again.IDBytes(), frame.IDBytes()) {
			t.Errorf("method or id changed: %s", out)
		}
	})
}

// reference reads a whole stream the way the WHATWG text describes it, at leisure.
func reference(in string) (events []string, half bool) {
	in = strings.TrimPrefix(in, "\ufeff")
	in = strings.ReplaceAll(strings.ReplaceAll(in, "\r\n", "\n"), "\r", "\n")
	lines := strings.SplitAfter(in, "\n")
	var e Event
	var data []string
	for i, l := range lines {
		switch {
		case l == "\n":
			if data != nil {
				e.Data = []byte(strings.Join(data, "\n"))
			}
			events = append(events, show(e))
			e, data = Event{}, nil
			continue
		case l == "" || !strings.HasSuffix(l, "\n"):
			return events, i > 0 && lines[i-1] != "\n" || l != ""
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(l, "\n"), ":")
		value = strings.TrimPrefix(value, " ")
		switch name {
		case "data":
			data = append(data, value)
		case "event":
			e.Name = value
		case "id":
			if !strings.Contains(value, "\x00") {
				e.ID, e.HasID = value, true
			}
		case "retry":
			if len(value) < 10 && value != "" && strings.Trim(value, "0123456789") == "" {
				e.Retry, _ = time.ParseDuration(value + "ms")
			}
		}
	}
	return events, false
}

// FuzzEventReader compares the reader with a leisurely one, in several chunkings, checks that
// Raw is the stream, and writes every event anew.
func FuzzEventReader(f *testing.F) {
	for _, in := range []string{
		"data: a\n\n", "\ufeffevent: x\r\nid: 1\r\nretry: 20\r\ndata: a\r\ndata: b\r\n\r\n: c\r\r", "data: a\r\n\r\n\ndata: b\r\r\ndata",
		"id: a\x00\nid\ndata\n\n", "data:\n\n\ufeff\n\n", "retry: 007\ndata: \xff\n\n",
	} {
		f.Add([]byte(in), uint8(3))
	}
	f.Fuzz(func(t *testing.T, in []byte, chunk uint8) {
		want, half := reference(string(in))
		wantErr := io.EOF
		if half {
			wantErr = io.ErrUnexpectedEOF
		}
		for _, r := range []io.Reader{bytes.NewReader(in), iotest.OneByteReader(bytes.NewReader(in)), &chunks{in, int(chunk)%7 + 1}} {
			got, raw, err := readAll(NewEventReader(r, len(in)+1))
			if !slices.Equal(got, want) || !errors.Is(err, wantErr) {
				t.Fatalf("read %q, %v, want %q, %v", got, err, want, wantErr)
			}
			if !bytes.HasPrefix(bytes.TrimPrefix(in, bom), raw) {
				t.Fatalf("raw %q is not the beginning of the stream", raw)
			}
		}
		r := NewEventReader(bytes.NewReader(in), len(in)+1)
		for e, err := r.Next(); err == nil; e, err = r.Next() {
			rewrite(t, e)
		}
	})
}

// rewrite writes e and reads it again; nothing but Raw may differ.
func rewrite(t *testing.T, e Event) {
	block, err := AppendEvent(nil, e)
	if errors.Is(err, ErrEventField) && strings.Contains(e.Name, "\x00") {
		return // a name with NUL may be read but not written
	}
	if err != nil {
		t.Fatal(err)
	}
	got, raw, err := readAll(NewEventReader(bytes.NewReader(block), len(block)))
	if len(got) != 1 || got[0] != show(e) || !errors.Is(err, io.EOF) || !bytes.Equal(raw, block) {
		t.Fatalf("%s was written as %q and read as %q, %v", show(e), block, got, err)
	}
}

type chunks struct {
	rest []byte
	n    int
}

func (c *chunks) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.rest[:min(c.n, len(c.rest))])
	c.rest = c.rest[n:]
	return n, nil
}

// FuzzWriteEvent writes any fields: they are refused, or read again as one event.
func FuzzWriteEvent(f *testing.F) {
	f.Add("1", "message", []byte(`{"a":1}`), 1000)
	f.Add(" x", " ", []byte("a\r\n\rb\n"), 0)
	f.Add("a\ndata: x", "b\r", []byte{}, -1)
	f.Fuzz(func(t *testing.T, id, name string, data []byte, retry int) {
		e := Event{ID: id, HasID: true, Name: name, Data: data, Retry: time.Duration(retry%1_000_000_000) * time.Millisecond}
		if e.Data == nil {
			e.Data = []byte{}
		}
		block, err := AppendEvent([]byte("kept"), e)
		if bad := strings.ContainsAny(id+name, "\r\n\x00"); bad != (err != nil) {
			t.Fatalf("id %q, name %q: %v", id, name, err)
		}
		if err != nil {
			if string(block) != "kept" {
				t.Errorf("refused, but wrote %q", block)
			}
			return
		}
		e.Data = []byte(strings.ReplaceAll(strings.ReplaceAll(string(e.Data), "\r\n", "\n"), "\r", "\n"))
		e.Retry = max(e.Retry, 0)
		block = bytes.TrimPrefix(block, []byte("kept"))
		got, _, err := readAll(NewEventReader(bytes.NewReader(block), len(block)))
		if len(got) != 1 || got[0] != show(e) || !errors.Is(err, io.EOF) {
			t.Fatalf("%s was written as %q and read as %q, %v", show(e), block, got, err)
		}
	})
}
