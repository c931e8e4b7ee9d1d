package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mcphub-go/mcphub/store"
)

type groupAnswer struct {
	Name        string              `json:"name"`
	Description string              `json:"description"`
	Servers     []store.GroupServer `json:"servers"`
	Source      string              `json:"source"`
	Unknown     []string            `json:"unknown"`
	Conflict    bool                `json:"conflict"`
}

func (a *app) groupsCommand() *cobra.Command {
	var f hubFlags
	cmd := &cobra.Command{
		Use:   "groups",
		Short: "List, show and change groups of servers",
		Long: "List the groups of servers, each an endpoint at /mcp/<group>. Those of the settings file are changed\n" +
			"there; the others with 'mcphub groups create', 'set' and 'delete'.\n\n" + exitHelp,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var all []groupAnswer
			return a.list(cmd, &f, "/api/groups", nil, &all, func() error { return a.printGroups(all) })
		},
	}
	f.register(cmd, a.getenv)
	cmd.AddCommand(
		a.groupShowCommand(),
		a.groupChangeCommand("create", "Make a group", http.MethodPost, "has been made"),
		a.groupChangeCommand("set", "Give a group another content", http.MethodPut, "has been changed"),
		a.groupDeleteCommand(),
	)
	return cmd
}

func (a *app) printGroups(all []groupAnswer) error {
	t := table{head: []string{"GROUP", "FROM", "SERVERS", "DESCRIPTION"}}
	for _, g := range all {
		t.add(g.Name, g.Source, strings.Join(g.parts(), ", "), g.Description)
	}
	if err := a.printTable(t, "There are no groups."); err != nil {
		return err
	}
	for _, g := range all {
		if g.Conflict {
			if err := a.printf("A node has a server named %s as well: new sessions at /mcp/%s are refused until one of them is renamed.\n", plain(g.Name), plain(g.Name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// parts names the servers of a group, with what is special about them.
func (g groupAnswer) parts() []string {
	unknown := map[string]bool{}
	for _, name := range g.Unknown {
		unknown[name] = true
	}
	var out []string
	for _, s := range g.Servers {
		part := string(s.Name)
		switch n := len(s.Tools); {
		case s.Tools == nil:
		case n == 1:
			part += " (1 tool)"
		default:
			part += fmt.Sprintf(" (%d tools)", n)
		}
		if unknown[string(s.Name)] {
			part += " (unknown)"
		}
		out = append(out, part)
	}
	return out
}

func (a *app) groupShowCommand() *cobra.Command {
	var f hubFlags
	cmd := &cobra.Command{
		Use:   "show <name>",
		Short: "Show one group, with the tools that it offers of each server",
		Long:  "Show one group, with the tools that it offers of each server.\n\n" + exitHelp,
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var g groupAnswer
			return a.list(cmd, &f, groupPath(args[0]), nil, &g, func() error { return a.printGroup(g) })
		},
	}
	f.register(cmd, a.getenv)
	return cmd
}

func (a *app) printGroup(g groupAnswer) error {
	unknown := map[string]bool{}
	for _, name := range g.Unknown {
		unknown[name] = true
	}
	t := table{head: []string{"SERVER", "TOOLS", "NOTE"}}
	for _, s := range g.Servers {
		tools, note := "all", ""
		if s.Tools != nil {
			tools = strings.Join(s.Tools, ", ")
		}
		if unknown[string(s.Name)] {
			note = "no node has it"
		}
		t.add(s.Name, tools, note)
	}
	if g.Description != "" {
		if err := a.printf("%s\n\n", plain(g.Description)); err != nil {
			return err
		}
	}
	return a.printTable(t, "The group is empty.")
}

// groupChangeCommand is create or set: they differ in what must be there before.
func (a *app) groupChangeCommand(verb, short, method, done string) *cobra.Command {
	var f hubFlags
	var description string
	cmd := &cobra.Command{
		Use:   verb + " <name> [server[:tool,…]]…",
		Short: short,
		Long: short + ". A server is offered whole, or with the tools named after a colon:\n\n" +
			"  mcphub groups " + verb + " team memory github:search_code,get_issue\n\n" + exitHelp,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := f.client(a.getenv)
			if err != nil {
				return err
			}
			g := store.Group{Name: args[0], Description: description, Servers: groupServers(args[1:])}
			path := "/api/groups"
			if method == http.MethodPut {
				path = groupPath(args[0])
			}
			data, err := c.send(cmd.Context(), method, path, g)
			if err != nil {
				return err
			}
			if f.output.json() {
				return a.printJSON(data)
			}
			return a.printChange(c, data, done)
		},
	}
	f.register(cmd, a.getenv)
	cmd.Flags().StringVar(&description, "description", "", "`text` for people; without it a description is taken away")
	return cmd
}

// printChange says what has been done, and what may have been meant otherwise.
func (a *app) printChange(c *hubClient, data json.RawMessage, done string) error {
	var g groupAnswer
	if err := json.Unmarshal(data, &g); err != nil {
		return failed("%s does not answer like a hub: %v in the answer about a group", c.name, err)
	}
	if err := a.printf("Group %s %s; clients find it at /mcp/%s.\n", plain(g.Name), done, plain(g.Name)); err != nil {
		return err
	}
	if len(g.Unknown) == 0 {
		return nil
	}
	return a.printf("No node has named these servers so far: %s.\n", plain(strings.Join(g.Unknown, ", ")))
}

// groupServers reads servers of the command line; the hub judges them.
func groupServers(args []string) []store.GroupServer {
	servers := make([]store.GroupServer, len(args))
	for i, arg := range args {
		name, tools, some := strings.Cut(arg, ":")
		servers[i].Name = store.ServerID(name)
		if some {
			servers[i].Tools = []string{}
		}
		if tools != "" {
			servers[i].Tools = strings.Split(tools, ",")
		}
	}
	return servers
}

func (a *app) groupDeleteCommand() *cobra.Command {
	var f hubFlags
	cmd := &cobra.Command{
		Use:   "delete <name>",
		Short: "Delete a group; sessions over it end",
		Long:  "Delete a group. Sessions over it end: their clients are told at their next request.\n\n" + exitHelp,
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := f.client(a.getenv)
			if err != nil {
				return err
			}
			data, err := c.do(cmd.Context(), http.MethodDelete, groupPath(args[0]), nil)
			if err != nil {
				return err
			}
			if f.output.json() {
				return a.printJSON(data)
			}
			return a.printf("Group %s has been deleted.\n", plain(args[0]))
		},
	}
	f.register(cmd, a.getenv)
	return cmd
}

func groupPath(name string) string { return "/api/groups/" + url.PathEscape(name) }
