package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mcphub-go/mcphub/store"
)

// The parts of the REST answers that the tables show; -o json prints the whole.

type statusAnswer struct {
	Enabled       bool   `json:"enabled"`
	Mode          string `json:"mode"`
	NodeID        string `json:"nodeId"`
	CoordinatorID string `json:"coordinatorId"`
	Version       string `json:"version"`
	Stats         struct {
		Nodes       int `json:"nodes"`
		ActiveNodes int `json:"activeNodes"`
		Servers     int `json:"servers"`
		Sessions    int `json:"sessions"`
	} `json:"stats"`
	Warnings []string `json:"warnings"`
}

type readyAnswer struct {
	Status  string   `json:"status"`
	Reasons []string `json:"reasons"`
}

type nodeAnswer struct {
	ID            string         `json:"id"`
	Name          string         `json:"name"`
	URL           string         `json:"url"`
	Status        string         `json:"status"`
	Version       string         `json:"version"`
	Epoch         int64          `json:"epoch"`
	LastHeartbeat int64          `json:"lastHeartbeat"`
	Servers       []string       `json:"servers"`
	ServerDetails []store.Server `json:"serverDetails"`
}

type serverAnswer struct {
	ID       string          `json:"serverId"`
	Replicas []replicaAnswer `json:"replicas"`
}

type replicaAnswer struct {
	ServerID string   `json:"serverId"`
	NodeID   string   `json:"nodeId"`
	NodeURL  string   `json:"nodeUrl"`
	Status   string   `json:"status"`
	Weight   int      `json:"weight"`
	Tools    int      `json:"tools"`
	Sessions int      `json:"sessions"`
	Error    string   `json:"error"`
	Stderr   []string `json:"stderr"`
	// Of servers with a process for each session.
	Processes    int `json:"processes"`
	MaxProcesses int `json:"maxProcesses"`
}

type sessionAnswer struct {
	SessionID    string `json:"sessionId"`
	NodeID       string `json:"nodeId"`
	ServerID     string `json:"serverId"`
	Scope        string `json:"scope"`
	CreatedAt    int64  `json:"createdAt"`
	LastAccessed int64  `json:"lastAccessed"`
}

type sessionsAnswer struct {
	Sessions   []json.RawMessage `json:"sessions"`
	NextCursor string            `json:"nextCursor"`
}

func (a *app) statusCommand() *cobra.Command {
	var f hubFlags
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how a hub is doing; exits 1 when it is not ready",
		Long:  "Show how a hub is doing. The exit code is 1 when the hub says that it is not ready.\n\n" + exitHelp,
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return a.status(cmd, &f) },
	}
	f.register(cmd, a.getenv)
	return cmd
}

func (a *app) status(cmd *cobra.Command, f *hubFlags) error {
	c, err := f.client(a.getenv)
	if err != nil {
		return err
	}
	code, body, err := c.raw(cmd.Context(), http.MethodGet, "/ready", nil)
	if err != nil {
		return err
	}
	var ready readyAnswer
	_ = json.Unmarshal(body, &ready) // what is not JSON says nothing of its own
	ready.Status = cmp.Or(ready.Status, fmt.Sprintf("%d %s", code, http.StatusText(code)))
	var s statusAnswer
	data, err := c.get(cmd.Context(), "/api/cluster/status", nil, &s)
	if err != nil {
		return err
	}
	if f.output.json() {
		err = a.printJSON(map[string]any{"ready": ready, "status": data})
	} else {
		err = a.printStatus(c, s, ready)
	}
	if err != nil {
		return err
	}
	if code != http.StatusOK {
		return failed("%s is not ready: %s", c.name, plain(strings.Join(append([]string{ready.Status}, ready.Reasons...), "; ")))
	}
	return nil
}

func (a *app) printStatus(c *hubClient, s statusAnswer, ready readyAnswer) error {
	t := table{head: []string{"hub", c.name}}
	t.add("mode", s.Mode)
	t.add("coordinator", s.CoordinatorID)
	t.add("version", s.Version)
	t.add("ready", strings.Join(append([]string{ready.Status}, ready.Reasons...), "; "))
	t.add("nodes", fmt.Sprintf("%d active of %d", s.Stats.ActiveNodes, s.Stats.Nodes))
	t.add("servers", s.Stats.Servers)
	t.add("sessions", s.Stats.Sessions)
	for _, w := range s.Warnings {
		t.add("warning", w)
	}
	return a.printTable(t, "")
}

func (a *app) nodesCommand() *cobra.Command {
	var f hubFlags
	var active bool
	cmd := &cobra.Command{
		Use:   "nodes",
		Short: "List the nodes that a hub knows",
		Long:  "List the nodes that a hub knows.\n\n" + exitHelp,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			query := url.Values{}
			if active {
				query.Set("active", "true")
			}
			var nodes []nodeAnswer
			return a.list(cmd, &f, "/api/cluster/nodes", query, &nodes, func() error { return a.printNodes(nodes) })
		},
	}
	f.register(cmd, a.getenv)
	cmd.Flags().BoolVar(&active, "active", false, "only those that take new sessions")
	return cmd
}

// list gets one address and prints it raw or as a table.
func (a *app) list(cmd *cobra.Command, f *hubFlags, path string, query url.Values, into any, print func() error) error {
	c, err := f.client(a.getenv)
	if err != nil {
		return err
	}
	data, err := c.get(cmd.Context(), path, query, into)
	if err != nil {
		return err
	}
	if f.output.json() {
		return a.printJSON(data)
	}
	return print()
}

func (a *app) printNodes(nodes []nodeAnswer) error {
	t := table{head: []string{"NODE", "STATUS", "URL", "EPOCH", "HEARTBEAT", "SESSIONS", "SERVERS"}}
	for _, n := range nodes {
		sessions, servers := 0, slices.Clone(n.Servers)
		for _, s := range n.ServerDetails {
			sessions += s.Sessions
			if s.Status == store.ServerFailed {
				servers = append(servers, string(s.ID)+" (failed)")
			}
		}
		t.add(n.ID, n.Status, n.URL, n.Epoch, a.ago(n.LastHeartbeat), sessions, strings.Join(servers, ", "))
	}
	return a.printTable(t, "No node is registered.")
}

func (a *app) serversCommand() *cobra.Command {
	var f hubFlags
	cmd := &cobra.Command{
		Use:   "servers [name]",
		Short: "List the MCP servers and where their replicas run",
		Long: "List the MCP servers and where their replicas run. With a name, only the replicas of that\n" +
			"server, and what a failed one last wrote.\n\n" + exitHelp,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				var servers []serverAnswer
				return a.list(cmd, &f, "/api/cluster/servers", nil, &servers, func() error { return a.printServers(servers) })
			}
			var replicas []replicaAnswer
			path := "/api/cluster/servers/" + url.PathEscape(args[0]) + "/replicas"
			return a.list(cmd, &f, path, nil, &replicas, func() error { return a.printReplicas(replicas) })
		},
	}
	f.register(cmd, a.getenv)
	return cmd
}

var replicaHead = []string{"SERVER", "NODE", "STATUS", "TOOLS", "SESSIONS", "PROCESSES", "WEIGHT", "NODE URL"}

func (t *table) addReplica(r replicaAnswer) {
	processes := ""
	if r.MaxProcesses > 0 {
		processes = fmt.Sprintf("%d of %d", r.Processes, r.MaxProcesses)
	}
	t.add(r.ServerID, r.NodeID, r.Status, r.Tools, r.Sessions, processes, r.Weight, r.NodeURL)
}

func (a *app) printServers(servers []serverAnswer) error {
	t := table{head: replicaHead}
	var broken []replicaAnswer
	for _, s := range servers {
		for _, r := range s.Replicas {
			r.ServerID = cmp.Or(r.ServerID, s.ID)
			t.addReplica(r)
			if r.Error != "" {
				broken = append(broken, r)
			}
		}
	}
	if err := a.printTable(t, "No node runs a server."); err != nil {
		return err
	}
	for _, r := range broken {
		if err := a.printf("\n%s on %s: %s\n", plain(r.ServerID), plain(r.NodeID), plain(r.Error)); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) printReplicas(replicas []replicaAnswer) error {
	t := table{head: replicaHead}
	for _, r := range replicas {
		t.addReplica(r)
	}
	if err := a.printTable(t, "No node runs this server."); err != nil {
		return err
	}
	for _, r := range replicas {
		if r.Error == "" && len(r.Stderr) == 0 {
			continue
		}
		if err := a.printf("\n%s on %s: %s\n", plain(r.ServerID), plain(r.NodeID), plain(r.Error)); err != nil {
			return err
		}
		for _, line := range r.Stderr {
			if err := a.printf("  | %s\n", plain(line)); err != nil {
				return err
			}
		}
	}
	return nil
}
