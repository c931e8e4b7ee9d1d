package wire

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// smallCall is a tools/call of 100 bytes.
var smallCall = []byte(`{"jsonrpc":"2.0","id":1234,"method":"tools/call","params":{"name":"echo","arguments":{"text":"abc"}}}`)

// largeCall returns a tools/call of about 100 KiB: one long text, or many small values.
func largeCall(text bool) []byte {
	var b strings.Builder
	b.WriteString(`{"jsonrpc":"2.0","id":1234,"method":"tools/call","params":{"name":"echo","arguments":{"v":`)
	if text {
		b.WriteString(`"` + strings.Repeat("The quick brown fox. ", 5000) + `"`)
	} else {
		b.WriteString("[0")
		for i := range 2000 {
			fmt.Fprintf(&b, `,{"id":%d,"name":"item %d","on":true,"x":1.5}`, i, i)
		}
		b.WriteString("]")
	}
	b.WriteString("}}}")
	return []byte(b.String())
}

func BenchmarkScan(b *testing.B) {
	for _, c := range []struct {
		name string
		raw  []byte
	}{{"100B", smallCall}, {"100KiB-text", largeCall(true)}, {"100KiB-objects", largeCall(false)}} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(c.raw)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Scan(c.raw, ClientLimits); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(c.name+"/encoding-json", func(b *testing.B) { // for comparison: decode the envelope
			b.SetBytes(int64(len(c.raw)))
			b.ReportAllocs()
			for b.Loop() {
				var m struct {
					ID     json.RawMessage
					Method string
					Params json.RawMessage
				}
				if err := json.Unmarshal(c.raw, &m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkLookup(b *testing.B) {
	f, err := Scan(smallCall, ClientLimits)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := f.Lookup("params", "name"); !ok {
			b.Fatal("not found")
		}
	}
}

func BenchmarkReplaceID(b *testing.B) {
	f, err := Scan(smallCall, ClientLimits)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		ReplaceID(f, []byte(`"n-99"`))
	}
}

func BenchmarkEventReader(b *testing.B) {
	block := "event: message\ndata: " + string(smallCall) + "\n\n"
	b.SetBytes(int64(len(block)))
	b.ReportAllocs()
	r := NewEventReader(&looped{block: block}, 1<<20)
	for b.Loop() {
		if _, err := r.Next(); err != nil {
			b.Fatal(err)
		}
	}
}

// looped is a stream that repeats a block for ever.
type looped struct {
	block string
	at    int
}

func (l *looped) Read(p []byte) (n int, err error) {
	for n < len(p) {
		m := copy(p[n:], l.block[l.at:])
		n += m
		l.at = (l.at + m) % len(l.block)
	}
	return n, nil
}

// Ordinary frames cost no allocation.
func TestScanAllocates(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes sync.Pool forget on purpose")
	}
	for name, raw := range map[string][]byte{"small": smallCall, "text": largeCall(true), "objects": largeCall(false)} {
		if n := testing.AllocsPerRun(100, func() {
			if _, err := Scan(raw, ClientLimits); err != nil {
				t.Error(err)
			}
		}); n > 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
