package harness

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
)

// noted is a test that only notes what would have failed.
type noted struct {
	*testing.T
	said []string
}

func (n *noted) Errorf(format string, args ...any) {
	n.said = append(n.said, fmt.Sprintf(format, args...))
}

func TestSecretsAreFoundInLogs(t *testing.T) {
	raw := make([]byte, 96)
	for i := range raw {
		raw[i] = byte(7 * i)
	}
	id, name := base64.RawURLEncoding.EncodeToString(raw), hex.EncodeToString(raw[53:69])
	for _, tt := range []struct {
		name, log, says string
	}{
		{"nothing", "level=INFO msg=started session=1a2b3c4d instance=" + strings.Repeat("5a", 16), ""},
		{"the id", "msg=x id=" + id + " more", "session id"},
		{"the name in Redis", `{"msg":"x","session":"` + name + `"}`, "the name"},
		{"the secret", "msg=x secret=hush-hush", "secret"},
	} {
		ended := make(chan struct{})
		close(ended)
		h := &Hub{Proc: &Proc{Name: "h", Log: &Log{}, done: ended}}
		_, _ = h.Log.Write([]byte(tt.log))
		n := &noted{T: t}
		c := &Cluster{t: n, opts: Options{Secret: "hush-hush"}, hubs: []*Hub{h}, fronts: []*RoundRobin{{ids: map[string]bool{id: true, "a server's own": true}}}}
		c.checkSecrets()
		if got := strings.Join(n.said, "; "); (tt.says == "") != (got == "") || !strings.Contains(got, tt.says) {
			t.Errorf("%s: it says %q, want %q", tt.name, got, tt.says)
		}
	}
}
