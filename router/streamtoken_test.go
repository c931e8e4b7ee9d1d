package router

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

func TestStreamTokens(t *testing.T) {
	keys, other := testKeys(t, 1), testKeys(t, 2)
	for _, owner := range []store.CoordinatorID{"c", "host-1a2b3c", store.CoordinatorID(strings.Repeat("x", wire.MaxName))} {
		tok, err := keys.MintStream(owner, "key/ops")
		if err != nil {
			t.Fatal(err)
		}
		got, err := keys.ParseStream(tok.String())
		if err != nil || got != tok || got.Owner != owner || len(got.ID) != 32 || !got.Of("key/ops") || got.Of("") || got.Of("key/op") {
			t.Errorf("ParseStream(%s) = %+v, %v; want %+v", tok, got, err, tok)
		}
		if strings.ContainsFunc(tok.String(), func(c rune) bool { return c <= ' ' || c > '~' }) || len(tok.String()) > MaxToken {
			t.Errorf("the token %q is not fit for a URL", tok)
		}
		if _, err := other.ParseStream(tok.String()); !errors.Is(err, ErrToken) {
			t.Errorf("under another key: %v", err)
		}
		for i := range len(tok.String()) {
			for _, c := range []string{"A", "_", "\n", ""} {
				bad := tok.String()[:i] + c + tok.String()[i+1:]
				if bad == tok.String() {
					continue
				}
				if _, err := keys.ParseStream(bad); !errors.Is(err, ErrToken) {
					t.Fatalf("with %q at %d: %v", c, i, err)
				}
			}
		}
		if _, err := keys.Parse(tok.String()); !errors.Is(err, ErrToken) {
			t.Errorf("it is taken for a session id: %v", err)
		}
	}
	session, err := keys.Mint("all", "key/ops", "node-1", 3, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "x", session.String(), strings.Repeat("A", 1000)} {
		if _, err := keys.ParseStream(bad); !errors.Is(err, ErrToken) {
			t.Errorf("ParseStream(%.20q) = %v", bad, err)
		}
	}
	if _, err := keys.MintStream("a b", ""); err == nil {
		t.Error("a token was minted for no coordinator")
	}
}

func FuzzParseStream(f *testing.F) {
	keys, err := NewKeys([]byte("0123456789abcdef0123456789abcdef"))
	if err != nil {
		f.Fatal(err)
	}
	tok, err := keys.MintStream("host-1a2b3c", "")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(tok.String())
	f.Fuzz(func(t *testing.T, text string) {
		got, err := keys.ParseStream(text)
		if err != nil {
			return
		}
		// Nobody but the ring can make one. Each process of a fuzzing run has minted another.
		random, ok := parseSID(got.ID)
		if again := keys.encodeStream(random, got.subject, got.Owner); !ok || again != text {
			t.Fatalf("ParseStream accepted %q, which is spelled %q", text, again)
		}
	})
}
