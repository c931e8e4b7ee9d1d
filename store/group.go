package store

import (
	"encoding/json"
	"fmt"
	"time"

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
