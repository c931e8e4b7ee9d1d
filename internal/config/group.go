package config

// Group is an entry of groups: a choice of servers under one name, shown as one endpoint.
type Group struct {
	// Name follows the rule for names, is unique, and is no server's of the file.
	Name string
	// ID is MCPHub's own identifier of the group, if the file gives one; unique. The list
	// allowedGroups of a key may name the group by it.
	ID          string
	Description string
	// Servers are in the order of the file, each named once.
	Servers []GroupServer
}

// GroupServer is a server of a group, whole or in part.
type GroupServer struct {
	// Name follows the rule for names. In a cluster the server may be on any node.
	Name string
	// Tools are the only tools that are offered, by the server's own names. Nil means all, and
	// an empty list none.
	Tools []string
}
