package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"
)

func (a *app) sessionsCommand() *cobra.Command {
	var f hubFlags
	limit := 50
	cmd := &cobra.Command{
		Use:   "sessions",
		Short: "List, show and end the sessions of clients",
		Long:  "List the sessions of clients.\n\n" + exitHelp,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 1 {
				return badUsage("--limit %d: want at least 1", limit)
			}
			return a.sessions(cmd, &f, limit)
		},
	}
	f.register(cmd, a.getenv)
	cmd.Flags().IntVar(&limit, "limit", limit, "list at most this `number`")
	cmd.AddCommand(a.sessionCommand("show <id>", "Show one session", http.MethodGet), a.sessionCommand("end <id>", "End a session; its client is told at its next request", http.MethodDelete))
	return cmd
}

// sessions follows the pages until limit is reached.
func (a *app) sessions(cmd *cobra.Command, f *hubFlags, limit int) error {
	c, err := f.client(a.getenv)
	if err != nil {
		return err
	}
	all, more, err := c.sessions(cmd.Context(), limit)
	if err != nil {
		return err
	}
	if f.output.json() {
		return a.printJSON(all)
	}
	t := table{head: []string{"SESSION", "NODE", "SERVER", "AGE", "LAST SEEN"}}
	for _, raw := range all {
		var s sessionAnswer
		if err := json.Unmarshal(raw, &s); err != nil {
			return failed("%s does not answer like a hub: %v in a session", c.name, err)
		}
		t.add(s.SessionID, s.NodeID, s.ServerID, a.ago(s.CreatedAt), a.ago(s.LastAccessed))
	}
	if err := a.printTable(t, "No client has a session."); err != nil {
		return err
	}
	if more {
		return a.printf("More than %d; see --limit.\n", limit)
	}
	return nil
}

func (c *hubClient) sessions(ctx context.Context, limit int) (all []json.RawMessage, more bool, err error) {
	query := url.Values{}
	all = []json.RawMessage{} // prints as [], not null
	for {
		var page sessionsAnswer
		if _, err := c.get(ctx, "/api/cluster/sessions", query, &page); err != nil {
			return nil, false, err
		}
		all = append(all, page.Sessions...)
		if len(all) >= limit || page.NextCursor == "" || page.NextCursor == query.Get("cursor") {
			return all[:min(limit, len(all))], len(all) > limit || page.NextCursor != "", nil
		}
		query.Set("cursor", page.NextCursor)
	}
}

// sessionCommand is show or end: one request about one session.
func (a *app) sessionCommand(use, short, method string) *cobra.Command {
	var f hubFlags
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Long:  short + ". The id is the one that 'mcphub sessions' lists.\n\n" + exitHelp,
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := f.client(a.getenv)
			if err != nil {
				return err
			}
			data, err := c.do(cmd.Context(), method, "/api/cluster/sessions/"+url.PathEscape(args[0]), nil)
			if err != nil {
				return err
			}
			if method == http.MethodDelete && !f.output.json() {
				return a.printf("Session %s has ended.\n", plain(args[0]))
			}
			return a.printJSON(data)
		},
	}
	f.register(cmd, a.getenv)
	return cmd
}
