package config

// Access is what a bearer key may use.
type Access string

// The values of [BearerKey].AccessType.
const (
	// AccessAll is everything, the endpoint over all servers included.
	AccessAll Access = "all"
	// AccessGroups is the groups in BearerKey.Groups.
	AccessGroups Access = "groups"
	// AccessServers is the servers in BearerKey.Servers.
	AccessServers Access = "servers"
	// AccessCustom is the groups in BearerKey.Groups and the servers in BearerKey.Servers.
	AccessCustom Access = "custom"
)

// BearerKey is an entry of bearerKeys.
type BearerKey struct {
	// Name is for people, unique and not empty.
	Name string
	// ID is MCPHub's own identifier of the key, if the file gives one; unique.
	ID string
	// Key is what the client shows after "Bearer "; never empty, and unique.
	Key Secret
	// Enabled is false for a key that opens nothing.
	Enabled    bool
	AccessType Access
	// Groups and Servers are names, each once. A list that does not go with AccessType is
	// empty, whatever the file says. Names that nobody has yet are allowed in a cluster.
	Groups, Servers []string
}
