package store

import (
	"encoding/json"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/mcphub-go/mcphub/internal/wire"
)

// ScopeGroup begins the scope of a session over a group of servers; its name follows. A name
// holds no slash, so it can be no server's.
const ScopeGroup = "group/"

// Group is a choice of servers under one name, shown as one endpoint.
type Group struct {
	// Name follows wire.CheckName and is no server's.
	Name        string        `json:"name"`
	Description string        `json:"description,omitempty"`
	Servers     []GroupServer `json:"servers"`
	// Updated is Redis's clock at the last change; zero for one that stands in a settings file.
	Updated time.Time `json:"-"`
}

// Server finds a server of the group by name.
func (g *Group) Server(id ServerID) (GroupServer, bool) {
	for _, s := range g.Servers {
		if s.Name == id {
			return s, true
		}
	}
	return GroupServer{}, false
}

// GroupServer is a server of a group, whole or in part. In JSON it is a string where all is
// offered, and otherwise an object with name and tools.
type GroupServer struct {
	Name ServerID
	// Tools are the only tools of it that are offered, by the server's own names; nil means
	// all. It says nothing of prompts and resources.
	Tools []string
}

// Limits of a group.
const (
	maxGroups       = 500 // in Redis; those of settings files are not counted
	maxGroupServers = 200
	maxGroupTools   = 1000 // of all its servers together
	maxGroupSize    = 64 << 10
	maxDescription  = 2 << 10 // bytes
	maxToolName     = 256     // bytes; MCP 2025-11-25 asks for at most 128 characters
)

// Check says what keeps g from being a group, wherever it came from: the name and the servers'
// follow wire.CheckName, no server and no tool of one comes twice, and there are at most 200
// servers, 1000 tools, 2 KiB of description and 64 KiB in all. Its errors wrap ErrInvalid, and
// wire.ErrName where a name is bad.
func (g *Group) Check() error {
	if err := checkGroupName(g.Name); err != nil {
		return err
	}
	if len(g.Description) > maxDescription || !utf8.ValidString(g.Description) {
		return invalid("description: want at most %d bytes of UTF-8", maxDescription)
	}
	if len(g.Servers) > maxGroupServers {
		return invalid("servers: %d, at most %d", len(g.Servers), maxGroupServers)
	}
	seen := make(map[ServerID]bool, len(g.Servers))
	tools := 0
	for _, srv := range g.Servers {
		if err := checkServer(srv.Name); err != nil {
			return err
		}
		if seen[srv.Name] {
			return invalid("servers: %s comes twice", srv.Name)
		}
		seen[srv.Name] = true
		if err := checkTools(srv); err != nil {
			return err
		}
		tools += len(srv.Tools)
	}
	if tools > maxGroupTools {
		return invalid("tools: %d, at most %d in a group", tools, maxGroupTools)
	}
	if raw, err := groupJSON(g); err != nil || len(raw) > maxGroupSize {
		return invalid("size: more than %d KiB of JSON", maxGroupSize>>10)
	}
	return nil
}

// checkTools looks at the names of the tools that are offered of a server.
func checkTools(srv GroupServer) error {
	seen := make(map[string]bool, len(srv.Tools))
	for _, name := range srv.Tools {
		if name == "" || len(name) > maxToolName || !utf8.ValidString(name) {
			return invalid("tools of server %s: want names of 1 to %d bytes of UTF-8", srv.Name, maxToolName)
		}
		if seen[name] {
			return invalid("tools of server %s: %s comes twice", srv.Name, printable(name))
		}
		seen[name] = true
	}
	return nil
}

// wholeOrPart is GroupServer as an object.
type wholeOrPart struct {
	Name  ServerID `json:"name"`
	Tools []string `json:"tools"`
}

// MarshalJSON implements [json.Marshaler].
func (s GroupServer) MarshalJSON() ([]byte, error) {
	if s.Tools == nil {
		return json.Marshal(s.Name)
	}
	return json.Marshal(wholeOrPart(s))
}

// UnmarshalJSON implements [json.Unmarshaler]. Beside what MarshalJSON writes it takes an object
// without tools, or with "all" for them, as the settings of MCPHub have it.
func (s *GroupServer) UnmarshalJSON(b []byte) error {
	*s = GroupServer{}
	if json.Unmarshal(b, &s.Name) == nil {
		return wire.CheckName("server", string(s.Name))
	}
	var o struct {
		Name  ServerID        `json:"name"`
		Tools json.RawMessage `json:"tools"`
	}
	if err := json.Unmarshal(b, &o); err != nil {
		return fmt.Errorf("a server of a group is a name, or an object with name and tools: %w", err)
	}
	s.Name = o.Name
	if err := wire.CheckName("server", string(s.Name)); err != nil {
		return err
	}
	if t := string(o.Tools); t == "" || t == "null" || t == `"all"` {
		return nil
	}
	if err := json.Unmarshal(o.Tools, &s.Tools); err != nil {
		return fmt.Errorf(`tools of server %s in a group: a list of names, or "all"`, s.Name)
	}
	return nil
}
