package harness

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"time"
)

// Server is one entry of mcpServers.
type Server struct {
	Type    string            `json:"type,omitempty"`
	Command string            `json:"command,omitempty"`
	Args    []string          `json:"args,omitempty"`
	Env     map[string]string `json:"env,omitempty"`
	URL     string            `json:"url,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`
	Enabled *bool             `json:"enabled,omitempty"`

	Isolation     string `json:"isolation,omitempty"`
	MaxProcesses  int    `json:"maxProcesses,omitempty"`
	Warm          int    `json:"warm,omitempty"`
	IdleTimeoutMS int    `json:"idleTimeoutMs,omitempty"`
	StartTimeout  int    `json:"startTimeout,omitempty"`
	CallTimeout   int    `json:"callTimeout,omitempty"`
}

// Servers is mcpServers.
type Servers map[string]Server

// Object is a JSON object.
type Object = map[string]any

type object = Object

// overlay lays over on base: objects are merged, anything else is replaced. base is changed.
func overlay(base, over Object) Object {
	for k, v := range over {
		if sub, ok := v.(Object); ok {
			if under, ok := base[k].(Object); ok {
				overlay(under, sub)
				continue
			}
		}
		base[k] = v
	}
	return base
}

// Rewrite changes the settings file of a process as careful editors do: a new file takes the
// place of the old one.
func (h *Hub) Rewrite(t T, change func(settings Object)) {
	t.Helper()
	b, err := os.ReadFile(h.Settings)
	if err != nil {
		t.Fatalf("settings: %v", err)
	}
	var settings Object
	if err := json.Unmarshal(b, &settings); err != nil {
		t.Fatalf("settings: %v", err)
	}
	change(settings)
	if b, err = json.MarshalIndent(settings, "", "  "); err != nil {
		t.Fatalf("settings: %v", err)
	}
	next := h.Settings + ".new"
	if err := os.WriteFile(next, b, 0o600); err != nil {
		t.Fatalf("settings: %v", err)
	}
	if err := os.Rename(next, h.Settings); err != nil {
		t.Fatalf("settings: %v", err)
	}
}

// Timing are the times of a cluster under test; the settings' defaults are for real networks.
type Timing struct {
	NodeTimeout, CleanupInterval, SessionTimeout, Heartbeat time.Duration
}

// Quick is short enough for tests and long enough that a busy machine of two cores lets no
// lease lapse by accident.
var Quick = Timing{
	NodeTimeout: 5 * time.Second, CleanupInterval: 30 * time.Second,
	SessionTimeout: time.Hour, Heartbeat: 500 * time.Millisecond,
}

func ms(d time.Duration) int64 { return d.Milliseconds() }

// coordinatorSettings is the settings file of a coordinator.
func coordinatorSettings(o Options) object {
	cluster := object{
		"enabled": true,
		"mode":    "coordinator",
		"coordinator": object{
			"nodeTimeout": ms(o.Timing.NodeTimeout), "cleanupInterval": ms(o.Timing.CleanupInterval),
			"stickySessionTimeout": ms(o.Timing.SessionTimeout),
		},
		"stickySession": object{"enabled": true, "strategy": "consistent-hash"},
		// What its nodes have, so that it can tell whether the times fit together.
		"node": object{"heartbeatInterval": ms(o.Timing.Heartbeat)},
	}
	if o.Secret != "" {
		cluster["secret"] = o.Secret
	}
	return object{"systemConfig": object{"cluster": cluster}}
}

// nodeSettings is the settings file of a node.
func nodeSettings(o Options, n NodeOptions, coordinator string) object {
	cluster := object{
		"enabled": true,
		"mode":    "node",
		"node": object{
			"id": n.ID, "name": n.Name, "coordinatorUrl": coordinator,
			"heartbeatInterval": ms(o.Timing.Heartbeat), "registerOnStartup": true,
		},
	}
	if o.Secret != "" {
		cluster["secret"] = o.Secret
	}
	return object{"mcpServers": Marked(n.Servers), "systemConfig": object{"cluster": cluster}}
}

// Marked adds the run's marker to the environment of every stdio server.
func Marked(servers Servers) Servers {
	out := Servers{}
	for name, s := range servers {
		if s.Command != "" {
			env := maps.Clone(s.Env)
			if env == nil {
				env = map[string]string{}
			}
			env[marker] = runID
			s.Env = env
		}
		out[name] = s
	}
	return out
}

// WriteSettings writes v as an mcp_settings.json of its own and returns its path. A string is
// written as it is.
func WriteSettings(t T, v any) string {
	t.Helper()
	b, isText := []byte(nil), false
	if s, ok := v.(string); ok {
		b, isText = []byte(s), true
	}
	if !isText {
		var err error
		if b, err = json.MarshalIndent(v, "", "  "); err != nil {
			t.Fatalf("settings: %v", err)
		}
	}
	path := filepath.Join(t.TempDir(), "mcp_settings.json")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatalf("settings: %v", err)
	}
	return path
}
