package router

import (
	"bytes"
	"strings"
	"testing"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

func TestRequestIDs(t *testing.T) {
	old, both := testKeys(t, 1), testKeys(t, 2, 1)
	s := sid{1, 2, 3}
	for _, server := range []store.ServerID{"memory", store.ServerID(strings.Repeat("s", wire.MaxName))} {
		for _, id := range []string{`"0a9zzzzz.r0"`, `"0a9zzzzz.r18446744073709551615"`, `"a~b"`, `"~"`, `"` + strings.Repeat("x", maxRequestID-2) + `"`} {
			signed := old.signRequestID(s, server, []byte(id))
			if text, ok := wire.Unquote(signed); !ok || !strings.HasPrefix(text, string(server)+"~") || len(signed) > maxSignedID {
				t.Fatalf("%s of %s became %s", id, server, signed)
			}
			for _, k := range []*Keys{old, both} {
				if got, inner, ok := k.openRequestID(s, signed); !ok || got != server || string(inner) != id {
					t.Errorf("%s is opened as %s of %q, %t", signed, inner, got, ok)
				}
			}
			if _, _, ok := testKeys(t, 3).openRequestID(s, signed); ok {
				t.Error("an id of a key that is not in the ring is taken")
			}
			if _, _, ok := old.openRequestID(sid{1, 2, 4}, signed); ok {
				t.Error("an id is taken from another session")
			}
			for i := range signed {
				forged := bytes.Clone(signed)
				forged[i] ^= 1
				if _, _, ok := old.openRequestID(s, forged); ok {
					t.Errorf("%s is taken, and was %s", forged, signed)
				}
			}
		}
	}
}

// Ids that no node gives out are not signed: they could not be told apart once they are wrapped.
func TestRequestIDsRefused(t *testing.T) {
	k := testKeys(t, 1)
	for _, id := range []string{"", "7", "null", `""`, `"`, `"a b"`, `"a\"b"`, `"a\u0041"`, "\"a\nb\"", `"é"`, `"` + strings.Repeat("x", maxRequestID) + `"`} {
		if signed := k.signRequestID(sid{}, "memory", []byte(id)); signed != nil {
			t.Errorf("%s became %s", id, signed)
		}
	}
	for _, id := range []string{"", "7", `""`, `"~"`, `"~~"`, `"memory~a~"`, `"memory~a~AAAA"`, `"memory~a"`, `"` + strings.Repeat("~", 1000) + `"`} {
		if _, _, ok := k.openRequestID(sid{}, []byte(id)); ok {
			t.Errorf("%s is taken", id)
		}
	}
}

// FuzzRequestID: nothing but what was given out is taken.
func FuzzRequestID(f *testing.F) {
	k := testKeys(f, 1)
	f.Add([]byte(`"0a9zzzzz.r0"`))
	f.Add(k.signRequestID(sid{}, "memory", []byte(`"0a9zzzzz.r0"`)))
	f.Add([]byte(`"memory~a~AAAAAAAAAAAAAAAAAAAAAAAAAAA"`))
	f.Fuzz(func(t *testing.T, id []byte) {
		if server, inner, ok := k.openRequestID(sid{}, id); ok && !bytes.Equal(k.signRequestID(sid{}, server, inner), id) {
			t.Errorf("%s is taken as %s of %q", id, inner, server)
		}
		signed := k.signRequestID(sid{}, "memory", id)
		if _, inner, ok := k.openRequestID(sid{}, signed); ok != (signed != nil) || ok && !bytes.Equal(inner, id) {
			t.Errorf("%s was signed as %s and is opened as %s, %t", id, signed, inner, ok)
		}
	})
}
