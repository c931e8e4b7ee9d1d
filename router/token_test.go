package router

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/mcphub-go/mcphub/store"
)

func testKeys(t testing.TB, newest byte, older ...byte) *Keys {
	t.Helper()
	var old [][]byte
	for _, b := range older {
		old = append(old, bytes.Repeat([]byte{b}, 32))
	}
	k, err := NewKeys(bytes.Repeat([]byte{newest}, 32), old...)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

var tokenTime = time.Unix(1_767_225_600, 123_456_789)

func mint(t testing.TB, k *Keys, scope, subject string, home store.NodeID, epoch store.Epoch) Token {
	t.Helper()
	tok, err := k.Mint(scope, subject, home, epoch, tokenTime)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func TestTokenRoundTrip(t *testing.T) {
	keys := testKeys(t, 1)
	rapid.Check(t, func(rt *rapid.T) {
		scope := rapid.String().Draw(rt, "scope")
		subject := rapid.String().Draw(rt, "subject")
		home := store.NodeID(rapid.StringMatching(`([A-Za-z0-9][A-Za-z0-9._-]{0,62})?`).Draw(rt, "home"))
		var epoch store.Epoch
		if home != "" {
			epoch = store.Epoch(rapid.Int64Range(1, 1<<62).Draw(rt, "epoch"))
		}
		at := time.Unix(rapid.Int64Range(0, 1<<40).Draw(rt, "at"), 0)
		tok, err := keys.Mint(scope, subject, home, epoch, at)
		if err != nil {
			rt.Fatal(err)
		}
		got, err := keys.Parse(tok.String())
		if err != nil {
			rt.Fatalf("Parse of a fresh token: %v", err)
		}
		if got.Home != home || got.Epoch != epoch || !got.Issued.Equal(at) || got.SessionID() != tok.SessionID() {
			rt.Fatalf("Parse = %+v, want %+v", got, tok)
		}
		if randomOf(tok.String()) != tok.random {
			rt.Fatalf("randomOf(%q) = %x, want %x", tok, randomOf(tok.String()), tok.random)
		}
		if !got.For(scope, subject) {
			rt.Fatal("For(its own scope and subject) = false")
		}
		if got.For(scope+"x", subject) || got.For(scope, subject+"x") {
			rt.Fatal("For(another scope or subject) = true")
		}
		if len(tok.String()) > MaxToken || strings.ContainsFunc(tok.String(), func(r rune) bool { return r < 0x21 || r > 0x7e }) {
			rt.Fatalf("token %q is not visible ASCII of at most %d characters", tok.String(), MaxToken)
		}
	})
}

// Every byte of a token is covered by the MAC, whatever field it belongs to.
func TestTokenTampered(t *testing.T) {
	keys := testKeys(t, 1)
	tok := mint(t, keys, "memory", "alice", "node-1", 7)
	raw, err := base64.RawURLEncoding.DecodeString(tok.String())
	if err != nil {
		t.Fatal(err)
	}
	fields := []struct {
		name     string
		from, to int
	}{
		{"version", 0, atKey}, {"key id", atKey, atIssued}, {"issued", atIssued, atEpoch},
		{"epoch", atEpoch, atScope}, {"scope", atScope, atSubject}, {"subject", atSubject, atRandom},
		{"random", atRandom, atHome}, {"home", atHome, len(raw) - macSize}, {"mac", len(raw) - macSize, len(raw)},
	}
	for _, f := range fields {
		if f.to <= f.from {
			t.Fatalf("field %s is empty: nothing tested", f.name)
		}
		for i := f.from; i < f.to; i++ {
			for bit := range 8 {
				bad := bytes.Clone(raw)
				bad[i] ^= 1 << bit
				if _, err := keys.Parse(base64.RawURLEncoding.EncodeToString(bad)); !errors.Is(err, ErrToken) {
					t.Fatalf("%s: bit %d of byte %d flipped: err = %v, want ErrToken", f.name, bit, i, err)
				}
			}
		}
	}
	for name, bad := range map[string][]byte{
		"shorter home": append(bytes.Clone(raw[:len(raw)-macSize-1]), raw[len(raw)-macSize:]...),
		"longer home":  append(append(bytes.Clone(raw[:len(raw)-macSize]), 'x'), raw[len(raw)-macSize:]...),
		"no mac":       raw[:len(raw)-macSize],
		"extra byte":   append(bytes.Clone(raw), 0),
	} {
		if _, err := keys.Parse(base64.RawURLEncoding.EncodeToString(bad)); !errors.Is(err, ErrToken) {
			t.Errorf("%s: err = %v, want ErrToken", name, err)
		}
	}
}

// One token has one spelling: a cache or a log keyed by the text cannot be fooled.
func TestTokenSpelling(t *testing.T) {
	keys := testKeys(t, 1)
	tok := mint(t, keys, "memory", "", "node-12", 1) // 92 bytes: the last character has spare bits
	text := tok.String()
	if base64.RawURLEncoding.DecodedLen(len(text))%3 == 0 {
		t.Fatal("the token fills its last group; choose another home")
	}
	last := text[len(text)-1]
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	near := alphabet[strings.IndexByte(alphabet, last)^1]
	for name, bad := range map[string]string{
		"stray bits":    text[:len(text)-1] + string(near),
		"line break":    text[:10] + "\n" + text[10:],
		"CR":            text + "\r",
		"padding":       text + "=",
		"space":         " " + text,
		"std alphabet":  strings.NewReplacer("-", "+", "_", "/").Replace(text) + "+",
		"empty":         "",
		"one character": "A",
		"too long":      strings.Repeat("A", MaxToken+1),
		"zeros":         strings.Repeat("A", len(text)),
		"not ASCII":     text[:20] + "é" + text[22:],
	} {
		if _, err := keys.Parse(bad); !errors.Is(err, ErrToken) {
			t.Errorf("Parse(%s) = %v, want ErrToken", name, err)
		}
	}
}

func TestTokenWithoutSpareBitsHasOneSpelling(t *testing.T) {
	keys := testKeys(t, 1)
	for _, home := range []store.NodeID{"node-1", "node-12", "node-123"} {
		text := mint(t, keys, "memory", "", home, 1).String()
		for at := 0; at <= len(text); at++ {
			if _, err := keys.Parse(text[:at] + "\n" + text[at:]); !errors.Is(err, ErrToken) {
				t.Fatalf("home %s, a line break at %d of %d: err = %v, want ErrToken", home, at, len(text), err)
			}
		}
	}
}

func TestTokenLongestHomeFits(t *testing.T) {
	home := store.NodeID(strings.Repeat("n", 63))
	tok := mint(t, testKeys(t, 1), strings.Repeat("s", 63), strings.Repeat("u", 1000), home, 1<<62)
	if n := len(tok.String()); n > MaxToken {
		t.Errorf("the longest token has %d characters, want at most %d", n, MaxToken)
	}
}

func TestMintRefuses(t *testing.T) {
	keys := testKeys(t, 1)
	for _, c := range []struct {
		home  store.NodeID
		epoch store.Epoch
	}{{"", 1}, {"node-1", 0}, {"node-1", -1}, {"no/slash", 1}, {store.NodeID(strings.Repeat("n", 64)), 1}} {
		if _, err := keys.Mint("s", "", c.home, c.epoch, tokenTime); err == nil {
			t.Errorf("Mint(home %q, epoch %d) succeeded", c.home, c.epoch)
		}
	}
}

func TestKeyRotation(t *testing.T) {
	old := mint(t, testKeys(t, 1), "s", "", "n", 1)
	if _, err := testKeys(t, 2, 1).Parse(old.String()); err != nil {
		t.Errorf("a token of the older key in the ring: %v", err)
	}
	if _, err := testKeys(t, 2).Parse(old.String()); !errors.Is(err, ErrToken) {
		t.Errorf("a token of a key that left the ring: err = %v, want ErrToken", err)
	}
	fresh := mint(t, testKeys(t, 2, 1), "s", "", "n", 1)
	if _, err := testKeys(t, 2).Parse(fresh.String()); err != nil {
		t.Errorf("a ring of two did not mint with the newest: %v", err)
	}
}

func TestNewKeysRefuses(t *testing.T) {
	good := bytes.Repeat([]byte{1}, 32)
	for name, keys := range map[string][][]byte{
		"none": {nil}, "short": {good[:15]}, "short older": {good, []byte("x")}, "twice": {good, good},
	} {
		if _, err := NewKeys(keys[0], keys[1:]...); err == nil {
			t.Errorf("NewKeys(%s) succeeded", name)
		}
	}
}

// A log line must not hold anything with which the session could be used.
func TestTokenLogsShort(t *testing.T) {
	tok := mint(t, testKeys(t, 1), "s", "", "n", 1)
	var out bytes.Buffer
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "session", tok, "again", fmt.Sprint(tok.LogValue()))
	for _, secret := range []string{tok.String(), string(tok.SessionID())} {
		if strings.Contains(out.String(), secret) {
			t.Errorf("the log holds %q: %s", secret, out.String())
		}
	}
	if want := tok.SessionID().LogValue().String(); !strings.Contains(out.String(), want) {
		t.Errorf("log = %s, want the short hash %s", out.String(), want)
	}
}

func FuzzParseToken(f *testing.F) {
	keys := testKeys(f, 1, 2)
	tok := mint(f, keys, "memory", "alice", "node-1", 3)
	f.Add(tok.String())
	f.Add(mint(f, keys, "*", "", "", 0).String())
	f.Add(tok.String()[:100])
	f.Add(strings.Repeat("A", 120))
	f.Fuzz(func(t *testing.T, text string) {
		got, err := keys.Parse(text)
		if err != nil {
			return
		}
		// Nobody but the ring can make one: what parses is what was minted, to the letter.
		if again := keys.encode(got); again != text {
			t.Fatalf("Parse accepted %q, which the newest key spells %q", text, again)
		}
	})
}

func BenchmarkTokenParse(b *testing.B) {
	keys := testKeys(b, 1)
	text := mint(b, keys, "memory", "alice", "node-1", 3).String()
	b.ReportAllocs()
	for b.Loop() {
		tok, err := keys.Parse(text)
		if err != nil || !tok.For("memory", "alice") {
			b.Fatal(err)
		}
	}
}

func BenchmarkTokenMint(b *testing.B) {
	keys := testKeys(b, 1)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := keys.Mint("memory", "alice", "node-1", 3, tokenTime); err != nil {
			b.Fatal(err)
		}
	}
}
