package wire

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestError(t *testing.T) {
	cases := []struct {
		id   string
		msg  string
		data any
		want string
	}{
		{`9007199254740993`, "no", nil, `{"jsonrpc":"2.0","id":9007199254740993,"error":{"code":-32600,"message":"no"}}`},
		{`"a"`, `say "<&>"` + "\n", map[string]any{"a": "<b>"},
			`{"jsonrpc":"2.0","id":"a","error":{"code":-32600,"message":"say \"<&>\"\n","data":{"a":"<b>"}}}`},
		{``, "no", json.RawMessage(`{"x":1.0}`), `{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"no","data":{"x":1.0}}}`},
		{`1`, "no", func() {}, `{"jsonrpc":"2.0","id":1,"error":{"code":-32600,"message":"no"}}`},
	}
	for _, c := range cases {
		var id []byte
		if c.id != "" {
			id = []byte(c.id)
		}
		got := Error(id, CodeInvalidRequest, c.msg, c.data)
		if string(got) != c.want {
			t.Errorf("Error = %s\nwant    %s", got, c.want)
		}
		if f, err := Scan(got, ClientLimits); err != nil || f.Kind != Response {
			t.Errorf("Scan(%s): %v", got, err)
		}
	}
}

func TestResult(t *testing.T) {
	if got := string(Result([]byte(`"x"`), []byte(`{"a":1.0}`))); got != `{"jsonrpc":"2.0","id":"x","result":{"a":1.0}}` {
		t.Errorf("Result = %s", got)
	}
	if got := string(Result([]byte(`2`), nil)); got != `{"jsonrpc":"2.0","id":2,"result":null}` {
		t.Errorf("Result = %s", got)
	}
}

func TestQuote(t *testing.T) {
	for s, want := range map[string]string{
		"":                   `""`,
		"a/b<>&é😀":           `"a/b<>&é😀"`,
		"\"\\\n\r\t\x00\x1f": `"\"\\\n\r\t\u0000\u001f"`,
		"\xffx\xc3":          `"` + "\ufffdx\ufffd" + `"`,
		"\u2028\x7f":         "\"\u2028\x7f\"",
	} {
		got := Quote(s)
		if string(got) != want {
			t.Errorf("Quote(%q) = %s, want %s", s, got, want)
		}
		var back string
		if err := json.Unmarshal(got, &back); err != nil || back != strings.ToValidUTF8(s, "\ufffd") {
			t.Errorf("encoding/json reads %s as %q, %v", got, back, err)
		}
		if back, ok := Unquote(got); !ok || back != strings.ToValidUTF8(s, "\ufffd") {
			t.Errorf("Unquote(%s) = %q, %v", got, back, ok)
		}
	}
}

func TestUnquote(t *testing.T) {
	for quoted, want := range map[string]string{
		`"\"\\\/\b\f\n\r\t"`:   "\"\\/\b\f\n\r\t",
		`"\u00e9\ud83d\ude00"`: "é😀",
		`"\ud800"`:             "\ufffd",
		`"\ud800\u0041"`:       "\ufffdA",
		`"\ud800\ud83d\ude00"`: "\ufffd😀",
		`"\ude00\ud83d"`:       "\ufffd\ufffd",
		`"\ud83dx"`:            "\ufffdx",
		`"\ufffd"`:             "\ufffd",
	} {
		if got, ok := Unquote([]byte(quoted)); !ok || got != want {
			t.Errorf("Unquote(%s) = %q, %v, want %q", quoted, got, ok, want)
		}
	}
	for _, bad := range []string{``, `"`, `a`, `"a`, `a"`, `"a"b"`, `"\"`, `"\x"`, "\"\n\"", "\"\xff\"", `1`, `"a" `} {
		if got, ok := Unquote([]byte(bad)); ok {
			t.Errorf("Unquote(%s) = %q", bad, got)
		}
	}
}
