package config

// root is the table as a tree.
var root = newTree(table())

// variable is an environment variable that is read beside the file.
type variable struct {
	name string
	// path is the row that the variable wins over; empty when the file has no such key.
	path string
	def  string
	doc  string
}

// Names of the environment variables.
const (
	envPort       = "PORT"
	envSettings   = "MCPHUB_SETTINGS"
	envRedisURL   = "REDIS_URL"
	envSecret     = "MCPHUB_CLUSTER_SECRET"
	envAdminToken = "MCPHUB_ADMIN_TOKEN"
	envTracing    = "OTEL_EXPORTER_OTLP_ENDPOINT"
)

// defaultPort is the TCP port when PORT is not set.
const defaultPort = 3000

var variables = []variable{
	{name: envPort, def: "3000", doc: "TCP port to listen on, 1 to 65535."},
	{name: "HOST", doc: "Address to listen on, as `--host`. Without it: 127.0.0.1 in standalone mode, every address otherwise."},
	{name: "POD_IP", doc: "Address of this node in the cluster, where `cluster.node.url` is not set."},
	{name: envSettings, def: DefaultPath, doc: "The settings file, when none is named on the command line. A file named here must exist."},
	{name: envRedisURL, path: "systemConfig.cluster.redis.url", doc: "URL of Redis."},
	{name: envSecret, path: "systemConfig.cluster.secret", doc: "The secret of the cluster."},
	{name: envAdminToken, path: "systemConfig.cluster.adminToken", doc: "The token for management calls."},
	{name: envTracing, path: "systemConfig.tracing.endpoint", doc: "Where traces go, over HTTP."},
}

// table lists every key, sections before what they hold and in the order of the reference.
func table() []key {
	rows := []key{
		{path: "$schema", kind: kindAny, doc: "Address of the JSON Schema, for editors. MCPHub does not read it."},
	}
	rows = append(rows, serverKeys()...)
	rows = append(rows, key{path: "systemConfig", kind: kindObject, lax: true, doc: "Settings of the hub itself."},
		key{path: "systemConfig.nameSeparator", kind: kindString, def: `"-"`,
			doc: "What stands between a server's name and a tool's where several servers are shown as one " +
				"(`files-read`): 1 to 8 letters, digits, dots, underscores and hyphens. When a name can be read in two ways, the longest server name wins.",
			pattern: `^[A-Za-z0-9_.-]{1,8}$`, check: matches(`^[A-Za-z0-9_.-]{1,8}$`, "must be 1 to 8 letters, digits, dots, underscores and hyphens"),
			field: into(func(t *target) *string { return &t.NameSeparator })},
	)
	rows = append(rows, clusterKeys()...)
	rows = append(rows, routingKeys()...)
	rows = append(rows, limitKeys()...)
	rows = append(rows, tracingKeys()...)
	rows = append(rows, groupKeys()...)
	rows = append(rows, bearerKeys()...)
	return append(rows, userKeys()...)
}
