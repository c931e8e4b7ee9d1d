package wire

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestScanAccepts(t *testing.T) {
	cases := []struct {
		name, raw              string
		kind                   Kind
		method, id             string
		params, result, errObj string
	}{
		{"request", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}}`,
			Request, "tools/call", "1", `{"name":"x"}`, "", ""},
		{"members in any order, with space", " \t{\r\n\"params\" : { } ,\"method\":\"a\", \"id\" : \"q\" ,\"jsonrpc\": \"2.0\" } \n",
			Request, "a", `"q"`, `{ }`, "", ""},
		{"notification", `{"jsonrpc":"2.0","method":"notifications/initialized"}`,
			Notification, "notifications/initialized", "", "", "", ""},
		{"id beyond 2^53", `{"jsonrpc":"2.0","id":9007199254740993,"method":"m"}`, Request, "m", "9007199254740993", "", "", ""},
		{"id 1.0", `{"jsonrpc":"2.0","id":1.0,"method":"m"}`, Request, "m", "1.0", "", "", ""},
		{"id 1e3", `{"jsonrpc":"2.0","id":1e3,"method":"m"}`, Request, "m", "1e3", "", "", ""},
		{"id -0", `{"jsonrpc":"2.0","id":-0,"method":"m"}`, Request, "m", "-0", "", "", ""},
		{"id empty string", `{"jsonrpc":"2.0","id":"","method":"m"}`, Request, "m", `""`, "", "", ""},
		{"id with escapes", `{"jsonrpc":"2.0","id":"\u0041\n","method":"m"}`, Request, "m", `"\u0041\n"`, "", "", ""},
		{"unknown method", `{"jsonrpc":"2.0","id":1,"method":"vendor/thing"}`, Request, "vendor/thing", "1", "", "", ""},
		{"method with escapes", `{"jsonrpc":"2.0","id":1,"method":"tools\/c\u0061ll"}`, Request, "tools/call", "1", "", "", ""},
		{"method with a surrogate pair", `{"jsonrpc":"2.0","id":1,"method":"\ud83d\ude00"}`, Request, "😀", "1", "", "", ""},
		{"unknown envelope keys", `{"jsonrpc":"2.0","id":1,"method":"m","x":[1],"_meta":{"x":1},"ids":2}`, Request, "m", "1", "", "", ""},
		{"keys that nearly are ours", `{"jsonrpc":"2.0","method":"m","i":1,"idd":2,"para":3,"ıd":4}`, Notification, "m", "", "", "", ""},
		{"result", `{"jsonrpc":"2.0","id":"a","result":{"content":[]}}`, Response, "", `"a"`, "", `{"content":[]}`, ""},
		{"result null", `{"jsonrpc":"2.0","id":7,"result":null}`, Response, "", "7", "", "null", ""},
		{"error", `{"jsonrpc":"2.0","id":7,"error":{"code":-1,"message":"no"}}`, Response, "", "7", "", "", `{"code":-1,"message":"no"}`},
		{"error with null id", `{"jsonrpc":"2.0","id":null,"error":{}}`, Response, "", "null", "", "", `{}`},
		{"error without id", `{"jsonrpc":"2.0","error":{}}`, Response, "", "", "", "", `{}`},
		{"same key in different objects", `{"jsonrpc":"2.0","method":"m","params":{"a":{"a":1},"b":{"a":1}}}`,
			Notification, "m", "", `{"a":{"a":1},"b":{"a":1}}`, "", ""},
		{"case variants below the envelope", `{"jsonrpc":"2.0","method":"m","params":{"ID":1,"id":2,"\u0069D":3}}`,
			Notification, "m", "", `{"ID":1,"id":2,"\u0069D":3}`, "", ""},
		{"all values", `{"jsonrpc":"2.0","method":"m","params":{"a":[true,false,null,-1.5e+3,0,"é\u00e9\ud800"]}}`,
			Notification, "m", "", `{"a":[true,false,null,-1.5e+3,0,"é\u00e9\ud800"]}`, "", ""},
		{"DEL and U+2028 are plain", "{\"jsonrpc\":\"2.0\",\"method\":\"m\u007f\u2028\"}", Notification, "m\u007f\u2028", "", "", "", ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			for name, lim := range map[string]Limits{"client": ClientLimits, "server": ServerLimits} {
				f, err := Scan([]byte(c.raw), lim)
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if f.Kind != c.kind || f.Method != c.method || string(f.IDBytes()) != c.id ||
					string(f.ParamsBytes()) != c.params || string(f.ResultBytes()) != c.result || string(f.ErrorBytes()) != c.errObj {
					t.Errorf("%s: %v method=%q id=%s params=%s result=%s error=%s", name,
						f.Kind, f.Method, f.IDBytes(), f.ParamsBytes(), f.ResultBytes(), f.ErrorBytes())
				}
				if string(f.Raw) != c.raw {
					t.Errorf("%s: Raw changed", name)
				}
			}
		})
	}
}

// head starts a message that is right so far.
const head = `{"jsonrpc":"2.0","id":1,"method":"m"`

var refused = []struct {
	name, raw string
	code      int
	want      string // part of the sentence
	offset    int    // -1: not checked
}{
	{"nothing", ``, CodeParse, "empty", 0},
	{"space", " \n", CodeParse, "empty", 2},
	{"text", `hello`, CodeParse, "value is expected", 0},
	{"byte order mark", "\ufeff" + head + `}`, CodeParse, "byte order mark", 0},
	{"byte order mark behind", head + "}\ufeff", CodeParse, "more after the end", len(head) + 1},
	{"half", head, CodeParse, "ends inside", len(head)},
	{"half a string", `{"jsonrpc":"2.0`, CodeParse, "string has no end", 11},
	{"trailing text", head + `}x`, CodeParse, "more after the end", len(head) + 1},
	{"two messages", head + `}` + head + `}`, CodeParse, "more after the end", len(head) + 1},
	{"two lines", head + "}\n" + head + `}`, CodeParse, "more after the end", -1},
	{"trailing NUL", head + "}\x00", CodeParse, "more after the end", -1},
	{"batch", `[` + head + `}]`, CodeInvalidRequest, "not a batch", 0},
	{"empty batch", `[]`, CodeInvalidRequest, "not a batch", 0},
	{"string", `"x"`, CodeInvalidRequest, "not a JSON object", 0},
	{"number", ` 12 `, CodeInvalidRequest, "not a JSON object", 0},
	{"null", `null`, CodeInvalidRequest, "not a JSON object", 0},
	{"comma at the end", head + `,}`, CodeParse, "key in double quotes", -1},
	{"no comma", `{"jsonrpc":"2.0" "id":1}`, CodeParse, "comma", 17},
	{"no colon", `{"jsonrpc" "2.0"}`, CodeParse, "colon", 11},
	{"single quotes", `{'jsonrpc':"2.0"}`, CodeParse, "key in double quotes", 1},
	{"comment", head + `/**/}`, CodeParse, "comma", -1},
	{"comma at the end of an array", head + `,"x":[1,]}`, CodeParse, "value is expected", -1},
	{"brackets crossed", head + `,"x":[1}]`, CodeParse, "comma or a closing", -1},
	{"leading zero", head + `,"x":01}`, CodeParse, "comma", -1},
	{"leading plus", head + `,"x":+1}`, CodeParse, "value is expected", -1},
	{"bare point", head + `,"x":1.}`, CodeParse, "number", len(head) + 5},
	{"bare exponent", head + `,"x":1e}`, CodeParse, "number", -1},
	{"bare minus", head + `,"x":-}`, CodeParse, "number", -1},
	{"NaN", head + `,"x":NaN}`, CodeParse, "value is expected", -1},
	{"True", head + `,"x":True}`, CodeParse, "value is expected", -1},
	{"half a literal", head + `,"x":tru`, CodeParse, "value is expected", -1},
	{"line break in a string", head + ",\"x\":\"a\nb\"}", CodeParse, "control character", len(head) + 7},
	{"NUL in a string", head + ",\"x\":\"a\x00b\"}", CodeParse, "control character", -1},
	{"unknown escape", head + `,"x":"\x41"}`, CodeParse, "escape", -1},
	{"short escape", head + `,"x":"\u12"}`, CodeParse, "escape", -1},
	{"backslash at the end", head + `,"x":"\`, CodeParse, "escape", -1},
	{"bad UTF-8", head + ",\"x\":\"\xff\"}", CodeParse, "UTF-8", len(head) + 6},
	{"UTF-8 cut short", head + ",\"x\":\"\xc3\"}", CodeParse, "UTF-8", -1},
	{"overlong UTF-8", head + ",\"x\":\"\xc0\xaf\"}", CodeParse, "UTF-8", -1},
	{"surrogate in UTF-8", head + ",\"x\":\"\xed\xa0\x80\"}", CodeParse, "UTF-8", -1},
	{"bad UTF-8 in a key", head + ",\"\xff\":1}", CodeParse, "UTF-8", -1},
	{"bad UTF-8 outside strings", head + "\xff}", CodeParse, "comma", -1},

	{"no jsonrpc", `{"id":1,"method":"m"}`, CodeInvalidRequest, "jsonrpc is missing", 0},
	{"jsonrpc 1.0", `{"jsonrpc":"1.0","id":1,"method":"m"}`, CodeInvalidRequest, `must be "2.0"`, 11},
	{"jsonrpc a number", `{"jsonrpc":2.0,"id":1,"method":"m"}`, CodeInvalidRequest, `must be "2.0"`, -1},
	{"jsonrpc with escapes", `{"jsonrpc":"\u0032.0","id":1,"method":"m"}`, CodeInvalidRequest, `must be "2.0"`, -1},
	{"null id", `{"jsonrpc":"2.0","id":null,"method":"m"}`, CodeInvalidRequest, "must not be null", 22},
	{"null id of a result", `{"jsonrpc":"2.0","id":null,"result":{}}`, CodeInvalidRequest, "must not be null", -1},
	{"true id", `{"jsonrpc":"2.0","id":true,"method":"m"}`, CodeInvalidRequest, "string or a number", -1},
	{"object id", `{"jsonrpc":"2.0","id":{},"method":"m"}`, CodeInvalidRequest, "string or a number", -1},
	{"array id", `{"jsonrpc":"2.0","id":[1],"method":"m"}`, CodeInvalidRequest, "string or a number", -1},
	{"false id of an error", `{"jsonrpc":"2.0","id":false,"error":{}}`, CodeInvalidRequest, "string or a number", -1},
	{"result without id", `{"jsonrpc":"2.0","result":{}}`, CodeInvalidRequest, "needs the id", -1},
	{"empty method", `{"jsonrpc":"2.0","id":1,"method":""}`, CodeInvalidRequest, "not empty", -1},
	{"number method", `{"jsonrpc":"2.0","id":1,"method":1}`, CodeInvalidRequest, "must be a string", -1},
	{"null method", `{"jsonrpc":"2.0","id":1,"method":null,"result":{}}`, CodeInvalidRequest, "must be a string", -1},
	{"array params", head + `,"params":[]}`, CodeInvalidRequest, "params must be an object", -1},
	{"null params", head + `,"params":null}`, CodeInvalidRequest, "params must be an object", -1},
	{"string error", `{"jsonrpc":"2.0","id":1,"error":"no"}`, CodeInvalidRequest, "error must be an object", -1},
	{"nothing to do", `{"jsonrpc":"2.0","id":1}`, CodeInvalidRequest, "none of", -1},
	{"method and result", head + `,"result":1}`, CodeInvalidRequest, "more than one", -1},
	{"method and error", head + `,"error":{}}`, CodeInvalidRequest, "more than one", -1},
	{"result and error", `{"jsonrpc":"2.0","id":1,"result":1,"error":{}}`, CodeInvalidRequest, "more than one", -1},
	{"params of a response", `{"jsonrpc":"2.0","id":1,"result":1,"params":{}}`, CodeInvalidRequest, "no params", -1},

	{"Method", head + `,"Method":"x"}`, CodeInvalidRequest, "only in case from method", len(head) + 1},
	{"ID alone", `{"jsonrpc":"2.0","ID":1,"method":"m"}`, CodeInvalidRequest, "only in case from id", -1},
	{"JSONRPC", `{"JSONRPC":"2.0","id":1,"method":"m"}`, CodeInvalidRequest, "only in case from jsonrpc", -1},
	{"PARAMS", head + `,"PARAMS":{}}`, CodeInvalidRequest, "only in case from params", -1},
	{"long s in params", head + `,"paramſ":{}}`, CodeInvalidRequest, "only in case from params", -1},
	{"long s in result", `{"jsonrpc":"2.0","id":1,"reſult":{}}`, CodeInvalidRequest, "only in case from result", -1},
	{"long s in jsonrpc", head + `,"jſonrpc":"2.0"}`, CodeInvalidRequest, "only in case from jsonrpc", -1},
	{"long s by escape", head + `,"param\u017f":{}}`, CodeInvalidRequest, "only in case from params", -1},
	{"escaped key", `{"jsonrpc":"2.0","id":1,"m\u0065thod":"m"}`, CodeInvalidRequest, "with escapes", -1},
	{"escaped and other case", head + `,"\u004dethod":"x"}`, CodeInvalidRequest, "only in case", -1},
	{"NUL in an envelope key", head + `,"method\u0000":"x"}`, CodeInvalidRequest, "NUL", -1},
	{"NUL alone as a key", head + `,"\u0000":"x"}`, CodeInvalidRequest, "NUL", -1},

	{"method twice", head + `,"method":"x"}`, CodeInvalidRequest, "same key twice", len(head) + 1},
	{"unknown envelope key twice", head + `,"x":1,"x":1}`, CodeInvalidRequest, "same key twice", -1},
	{"twice, once with escapes", head + `,"x":1,"\u0078":1}`, CodeInvalidRequest, "same key twice", -1},
	{"half a surrogate pair in a key", head + `,"\ud800x":1}`, CodeInvalidRequest, "surrogate", -1},
}

func TestScanRefuses(t *testing.T) {
	for _, c := range refused {
		t.Run(c.name, func(t *testing.T) {
			for name, lim := range map[string]Limits{"client": ClientLimits, "server": ServerLimits} {
				_, err := Scan([]byte(c.raw), lim)
				checkRefusal(t, name, err, c.code, c.want, c.offset)
			}
		})
	}
}

func checkRefusal(t *testing.T, name string, err error, code int, want string, offset int) {
	t.Helper()
	var fe *FrameError
	if !errors.As(err, &fe) {
		t.Fatalf("%s: error %v, want a *FrameError with %q", name, err, want)
	}
	if fe.Code != code || !strings.Contains(fe.Msg, want) {
		t.Errorf("%s: %d %q, want %d with %q", name, fe.Code, fe.Msg, code, want)
	}
	if offset >= 0 && fe.Offset != offset {
		t.Errorf("%s: offset %d, want %d", name, fe.Offset, offset)
	}
}

// Below the envelope duplicates are refused from clients and pass from servers.
func TestScanNestedDuplicates(t *testing.T) {
	many := func(n int, last string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `"k%d":%d,`, i, i)
		}
		return head + `,"params":{"o":{` + b.String() + last + `}}}`
	}
	for name, raw := range map[string]string{
		"in params":               head + `,"params":{"a":1,"a":2}}`,
		"in an array":             head + `,"params":{"l":[{"a":1,"b":{},"a":2}]}}`,
		"once with escapes":       head + `,"params":{"a":1,"\u0061":2}}`,
		"twice with escapes":      head + `,"params":{"\u0061":1,"\u0061":2}}`,
		"empty keys":              head + `,"params":{"":1,"":2}}`,
		"after inner objects":     head + `,"params":{"a":{"x":1},"b":{"a":2},"a":1}}`,
		"last of sixteen":         many(15, `"k3":0`),
		"seventeenth":             many(16, `"k3":0`),
		"last of hundreds":        many(900, `"k3":0`),
		"escaped among hundreds":  many(900, `"\u006b3":0`),
		"in an unknown top field": head + `,"x":{"a":1,"a":1}}`,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Scan([]byte(raw), ClientLimits)
			checkRefusal(t, "client", err, CodeInvalidRequest, "same key twice", -1)
			if _, err := Scan([]byte(raw), ServerLimits); err != nil {
				t.Errorf("server: %v, want it accepted", err)
			}
		})
	}
	if _, err := Scan([]byte(many(900, `"k900":0`)), ClientLimits); err != nil {
		t.Errorf("901 different keys: %v", err)
	}
}

func TestScanLimits(t *testing.T) {
	deep := func(n int) string { // n levels, the envelope among them
		return head + `,"x":` + strings.Repeat("[", n-1) + strings.Repeat("]", n-1) + `}`
	}
	deepObj := func(n int) string {
		return head + `,"x":` + strings.Repeat(`{"a":`, n-1) + "1" + strings.Repeat("}", n-1) + `}`
	}
	wide := func(n int) string { // n keys in params
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `,"k%d":0`, i)
		}
		return head + `,"params":{` + strings.TrimPrefix(b.String(), ",") + `}}`
	}
	tokens := func(n int) string { // n tokens in all: 9 for head, x and its array
		return head + `,"x":[0` + strings.Repeat(",0", n-10) + `]}`
	}
	size := func(n int) string {
		return head + `,"x":"` + strings.Repeat("y", n-len(head)-8) + `"}`
	}
	cases := []struct {
		name     string
		lim      Limits
		ok, over string
		want     string
	}{
		{"depth", ClientLimits, deep(64), deep(65), "deeper than 64"},
		{"depth of objects", ClientLimits, deepObj(64), deepObj(65), "deeper than 64"},
		{"server depth", ServerLimits, deep(512), deep(513), "deeper than 512"},
		{"keys", ClientLimits, wide(1000), wide(1001), "more than 1000 keys"},
		{"tokens", ClientLimits, tokens(100_000), tokens(100_001), "more than 100000 keys and values"},
		{"bytes", ClientLimits, size(4 << 20), size(4<<20 + 1), "larger than 4194304 bytes"},
		{"zero means the client's", Limits{}, deep(64), deep(65), "deeper than 64"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if _, err := Scan([]byte(c.ok), c.lim); err != nil {
				t.Errorf("at the limit: %v", err)
			}
			_, err := Scan([]byte(c.over), c.lim)
			checkRefusal(t, "over", err, CodeInvalidRequest, c.want, -1)
		})
	}
	if _, err := Scan([]byte(strings.Repeat("[", 1<<20)), ServerLimits); err == nil {
		t.Error("a megabyte of brackets was accepted")
	}
}

// No refusal repeats what was sent: errors reach logs and other people's screens.
func TestScanErrorsEchoNothing(t *testing.T) {
	const secret = "hunter2"
	for _, c := range refused {
		raw := strings.NewReplacer(`"x"`, `"`+secret+`"`, `"m"`, `"`+secret+`"`).Replace(c.raw)
		if _, err := Scan([]byte(raw), ClientLimits); err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("%s: error repeats the message: %v", c.name, err)
		}
	}
}

// Every prefix of a good message is refused, none of them with a panic.
func TestScanPrefixes(t *testing.T) {
	whole := []byte(`{"jsonrpc":"2.0","id":"\u00e9\"é","method":"m","params":{"a":[1.5e3,true,null,{"b":"c"}]}}`)
	if _, err := Scan(whole, ClientLimits); err != nil {
		t.Fatal(err)
	}
	for n := range whole {
		if _, err := Scan(whole[:n:n], ClientLimits); err == nil {
			t.Errorf("the first %d bytes were accepted", n)
		}
	}
}

// plain looks at eight bytes at once; every byte at every place must stop it, or not.
func TestPlain(t *testing.T) {
	for place := range 19 {
		for c := range 256 {
			b := bytes.Repeat([]byte("a"), 19)
			b[place] = byte(c)
			want := 19
			if c < 0x20 || c >= 0x80 || c == '"' || c == '\\' {
				want = place
			}
			if got := plain(b); got != want {
				t.Fatalf("plain with %#x at %d = %d, want %d", c, place, got, want)
			}
		}
	}
}

// A frame scanned earlier is not changed by later scans, which use the same scanner again.
func TestScanKeepsNothing(t *testing.T) {
	first, err := Scan([]byte(head+`,"params":{"\u0061":1}}`), ClientLimits)
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if _, err := Scan([]byte(`{"jsonrpc":"2.0","method":"other","params":{"\u0062":1,"\u0062":1}}`), ClientLimits); err == nil {
			t.Fatal("a duplicate was accepted")
		}
	}
	if first.Method != "m" || string(first.ParamsBytes()) != `{"\u0061":1}` {
		t.Errorf("the frame changed: %q %s", first.Method, first.ParamsBytes())
	}
	again, err := Scan([]byte(head+`,"params":{"\u0062":1}}`), ClientLimits)
	if err != nil || again.Method != "m" {
		t.Errorf("scan after refusals: %v, %v", again.Method, err)
	}
}
