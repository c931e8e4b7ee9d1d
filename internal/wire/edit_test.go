package wire

import (
	"strings"
	"testing"
)

func TestLookup(t *testing.T) {
	raw := []byte(` {"jsonrpc":"2.0","id":1, "params" : {"name":"a\"}","_meta":{"progressToken": 7 ,"":[]},
		"\u0061rg":{"x":[{"y":1},2],"name":"inner"},"n":null,"dup":1,"dup":{"z":2},"s":"\\"},"method":"m"}`)
	cases := []struct {
		path string // separated by /
		want string
		ok   bool
	}{
		{"id", "1", true},
		{"params/name", `"a\"}"`, true},
		{"params/_meta/progressToken", "7", true},
		{"params/_meta/", "[]", true},
		{"params/arg/name", `"inner"`, true},
		{"params/arg/x", `[{"y":1},2]`, true},
		{"params/n", "null", true},
		{"params/dup", `{"z":2}`, true},
		{"params/dup/z", `2`, true},
		{"params/s", `"\\"`, true},
		{"method", `"m"`, true},
		{"params/arg/x/y", "", false},
		{"params/n/x", "", false},
		{"params/nam", "", false},
		{"params/NAME", "", false},
		{"name", "", false},
		{"id/x", "", false},
		{`params/\u0061rg`, "", false},
	}
	for _, c := range cases {
		path := strings.Split(c.path, "/")
		at, ok := Lookup(raw, path...)
		if ok != c.ok || string(at.Of(raw)) != c.want {
			t.Errorf("Lookup(%s) = %s, %v, want %s, %v", c.path, at.Of(raw), ok, c.want, c.ok)
		}
		f, err := Scan(raw, ServerLimits)
		if err != nil {
			t.Fatal(err)
		}
		if same, _ := f.Lookup(path...); same != at {
			t.Errorf("Frame.Lookup(%s) = %v, want %v", c.path, same, at)
		}
	}
	if at, ok := Lookup(raw); !ok || at.Start != 1 || at.End != len(raw) {
		t.Errorf("Lookup without a path = %v, %v", at, ok)
	}
	if _, ok := LookupIn(raw, Span{}); ok {
		t.Error("something was found in an absent span")
	}
}

// What is not JSON gives no panic and no span outside the input.
func TestLookupOnNonsense(t *testing.T) {
	for _, raw := range []string{"", " ", "{", `{"`, `{"a`, `{"a"`, `{"a":`, `{"a":}`, `{"a":"`, `{"a":"\`, `{"a":1`, `{"a":[`,
		`{"a":{"a":`, `}`, `]`, `,`, `{"a":]]]]`, `{"a" "b"}`, `{"a":1,}`, `{"a":1,"`, `{a:1}`, `[1,2`, "\x00", `{"a":1}{"b":2}`} {
		for _, path := range [][]string{nil, {"a"}, {"a", "a"}, {"b"}} {
			at, ok := Lookup([]byte(raw), path...)
			if ok && (at.Start < 0 || at.End > len(raw) || at.Start > at.End) {
				t.Errorf("Lookup(%q, %v) = %v", raw, path, at)
			}
		}
		for at := range Items([]byte(raw), Span{0, len(raw)}) {
			_ = at.Of([]byte(raw))
		}
	}
}

func TestSkipString(t *testing.T) {
	for in, want := range map[string]int{
		`""`: 2, `"a"b`: 3, `"\"`: 4, `"\""`: 4, `"\\"x"`: 4, `"\\\""`: 6, `"\\\\"`: 6, `"a\"b\"c"d`: 9,
		`"`: 1, `"\`: 2, `"a`: 2, `"\"`[:3]: 3, `"\"x`: 4, "\"é\"": 4,
	} {
		if got := skipString([]byte(in), 0); got != want {
			t.Errorf("skipString(%s) = %d, want %d", in, got, want)
		}
	}
}

func TestItems(t *testing.T) {
	raw := []byte(`{"tools": [ {"name":"a"} , "b]",[1,2] ,3,null ] ,"empty":[ ]}`)
	at, _ := Lookup(raw, "tools")
	var got []string
	for v := range Items(raw, at) {
		got = append(got, string(v.Of(raw)))
	}
	if strings.Join(got, "|") != `{"name":"a"}|"b]"|[1,2]|3|null` {
		t.Errorf("Items = %q", got)
	}
	at, _ = Lookup(raw, "empty")
	for v := range Items(raw, at) {
		t.Errorf("an item %s in an empty array", v.Of(raw))
	}
	for v := range Items(raw, Span{0, len(raw)}) {
		t.Errorf("an item %s in an object", v.Of(raw))
	}
	for range Items(raw, Span{10, 46}) { // stopping early is allowed
		break
	}
}

func TestSplice(t *testing.T) {
	raw := []byte("0123456789")
	cases := []struct {
		edits []Edit
		want  string
	}{
		{nil, "0123456789"},
		{[]Edit{{Span{2, 4}, []byte("ab")}}, "01ab456789"},
		{[]Edit{{Span{2, 4}, nil}}, "01456789"},
		{[]Edit{{Span{8, 10}, []byte("z")}, {Span{0, 1}, []byte("a")}, {Span{4, 4}, []byte("+")}}, "a123+4567z"},
		{[]Edit{{Span{3, 3}, []byte("a")}, {Span{3, 5}, []byte("b")}}, "012ab56789"},
		{[]Edit{{Span{0, 0}, []byte("<")}, {Span{10, 10}, []byte(">")}}, "<0123456789>"},
		{[]Edit{{Span{0, 10}, []byte("x")}}, "x"},
	}
	for _, c := range cases {
		if got := string(Splice(raw, c.edits...)); got != c.want {
			t.Errorf("Splice(%v) = %s, want %s", c.edits, got, c.want)
		}
	}
	if string(raw) != "0123456789" {
		t.Error("the input was changed")
	}
	for name, bad := range map[string][]Edit{
		"overlapping": {{Span{2, 5}, nil}, {Span{4, 6}, nil}},
		"reversed":    {{Span{5, 2}, nil}},
		"outside":     {{Span{5, 11}, nil}},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s spans were accepted", name)
				}
			}()
			Splice(raw, bad...)
		}()
	}
}

func TestReplaceID(t *testing.T) {
	for raw, want := range map[string]string{
		`{"jsonrpc":"2.0","id":1.0,"method":"m","params":{"id":1.0}}`: `{"jsonrpc":"2.0","id":"n-7","method":"m","params":{"id":1.0}}`,
		`{"result":{"id":5}, "id" : "x" ,"jsonrpc":"2.0"}`:            `{"result":{"id":5}, "id" : "n-7" ,"jsonrpc":"2.0"}`,
		`{"jsonrpc":"2.0","method":"m"}`:                              `{"jsonrpc":"2.0","method":"m"}`,
	} {
		f, err := Scan([]byte(raw), ClientLimits)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(ReplaceID(f, []byte(`"n-7"`))); got != want {
			t.Errorf("ReplaceID(%s) = %s", raw, got)
		}
		if string(f.Raw) != raw {
			t.Error("the frame was changed")
		}
	}
}

func TestSameID(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{{"1", "1", true}, {"1", "1.0", false}, {"1", `"1"`, false}, {`"a"`, `"\u0061"`, false}, {`"a"`, `"a"`, true}} {
		if got := SameID([]byte(c.a), []byte(c.b)); got != c.want {
			t.Errorf("SameID(%s, %s) = %v", c.a, c.b, got)
		}
	}
	if SameID(nil, nil) {
		t.Error("two absent ids are the same")
	}
}

func TestOneLine(t *testing.T) {
	raw := "{\r\n\t\"jsonrpc\":\"2.0\",\n\"method\":\"a\\nb\"}\n"
	got := OneLine([]byte(raw))
	if string(got) != "{  \t\"jsonrpc\":\"2.0\", \"method\":\"a\\nb\"} " {
		t.Errorf("OneLine = %q", got)
	}
	f, err := Scan(got, ClientLimits)
	if err != nil || f.Method != "a\nb" {
		t.Errorf("scan of the line: %q, %v", f.Method, err)
	}
	plain := []byte(`{"a":1}`)
	if &OneLine(plain)[0] != &plain[0] {
		t.Error("a single line was copied")
	}
}
