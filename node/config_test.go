package node

import (
	"strings"
	"testing"
	"time"
)

func TestSettingsOfAServerAreChecked(t *testing.T) {
	session := func(change func(*ServerConfig)) ServerConfig {
		sc := ServerConfig{Name: "a", Command: "x", Isolation: IsolationSession}
		change(&sc)
		return sc
	}
	for _, tc := range []struct {
		name string
		sc   ServerConfig
		want string // part of the error; empty for none
	}{
		{"shared", ServerConfig{Name: "a", Command: "x", Isolation: IsolationShared}, ""},
		{"isolated", session(func(sc *ServerConfig) {}), ""},
		{"isolated, all spares", session(func(sc *ServerConfig) { sc.MaxProcesses, sc.Warm, sc.IdleTimeout = 3, 3, time.Minute }), ""},
		{"own timeouts", ServerConfig{Name: "a", Command: "x", StartTimeout: time.Second, CallTimeout: time.Second}, ""},
		{"odd isolation", ServerConfig{Name: "a", Command: "x", Isolation: "process"}, `isolation "process" is neither`},
		{"isolated HTTP", ServerConfig{Name: "a", URL: "http://x/", Isolation: IsolationSession}, "this one is streamable-http"},
		{"isolated builtin", ServerConfig{Name: "a", Builtin: echoServer{}, Isolation: IsolationSession}, "this one is builtin"},
		{"more spares than processes", session(func(sc *ServerConfig) { sc.MaxProcesses, sc.Warm = 2, 3 }), "0 to maxProcesses, 2, not 3"},
		{"more spares than the default", session(func(sc *ServerConfig) { sc.Warm = 17 }), "0 to maxProcesses, 16, not 17"},
		{"negative spares", session(func(sc *ServerConfig) { sc.Warm = -1 }), "warm must be"},
		{"negative processes", session(func(sc *ServerConfig) { sc.MaxProcesses = -1 }), "at least 1"},
		{"negative idle time", session(func(sc *ServerConfig) { sc.IdleTimeout = -1 }), "must not be negative"},
		{"spares of a shared server", ServerConfig{Name: "a", Command: "x", Warm: 1}, "need isolation: session"},
		{"bound of a shared server", ServerConfig{Name: "a", Command: "x", MaxProcesses: 1, Isolation: IsolationShared}, "need isolation: session"},
		{"idle time of a shared server", ServerConfig{Name: "a", Command: "x", IdleTimeout: 1}, "need isolation: session"},
		{"negative call time", ServerConfig{Name: "a", Command: "x", CallTimeout: -1}, "must not be negative"},
	} {
		err := Config{ID: "n1", Instance: "i", Servers: []ServerConfig{tc.sc}}.Validate()
		switch {
		case tc.want == "" && err != nil:
			t.Errorf("%s: Validate() = %v, want nil", tc.name, err)
		case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
			t.Errorf("%s: Validate() = %v, want %q in it", tc.name, err, tc.want)
		}
	}
}
