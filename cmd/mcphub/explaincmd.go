package main

import (
	"fmt"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/mcphub-go/mcphub/router"
)

// question is what explain asks for.
type question struct {
	key, server, prefer string
	without, with       []string
}

func (a *app) explainCommand() *cobra.Command {
	var f hubFlags
	var q question
	cmd := &cobra.Command{
		Use:   "explain [session]",
		Short: "Say where a session goes for a server, and why",
		Long: "Say where a session goes for a server, by which rule, what speaks for and against each node, and what one\n" +
			"node more or less would change. Nothing is placed or moved. The session is an id that 'mcphub sessions' lists;\n" +
			"--key with any text stands for one that does not exist.\n\n" + exitHelp,
		Example: "  mcphub explain 00112233445566778899aabbccddeeff --without node-1\n" +
			"  mcphub explain --key somebody-new --server memory --with node-9",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			query, err := q.query(args)
			if err != nil {
				return err
			}
			var x router.Explanation
			return a.list(cmd, &f, "/api/cluster/explain", query, &x, func() error { return a.printExplanation(x) })
		},
	}
	f.register(cmd, a.getenv)
	flags := cmd.Flags()
	flags.StringVar(&q.key, "key", "", "any `text`, instead of a session; equal texts are equal sessions")
	flags.StringVar(&q.server, "server", "", "`name` of the server; may be left out for a session with one server")
	flags.StringVar(&q.prefer, "prefer", "", "the `node` that a cookie or header of the client would name")
	flags.StringArrayVar(&q.without, "without", nil, "a `node` to think away; may come several times")
	flags.StringArrayVar(&q.with, "with", nil, "a `node` to think there; may come several times")
	return cmd
}

func (q question) query(args []string) (url.Values, error) {
	if (len(args) == 1) == (q.key != "") {
		return nil, badUsage("give a session, or --key for one that does not exist")
	}
	v := url.Values{}
	for name, value := range map[string]string{"key": q.key, "server": q.server, "prefer": q.prefer} {
		if value != "" {
			v.Set(name, value)
		}
	}
	if len(args) == 1 {
		v.Set("session", args[0])
	}
	for name, values := range map[string][]string{"without": q.without, "with": q.with} {
		if len(values) > 0 {
			v[name] = values
		}
	}
	return v, nil
}

func (a *app) printExplanation(x router.Explanation) error {
	where := "the session would go to " + string(x.Choice) + ", by " + x.Rule
	switch {
	case x.Choice == "":
		where = "the session has nowhere to go"
	case x.Existing:
		where = "the session goes to " + string(x.Choice) + ", by " + x.Rule
	}
	if err := a.printf("For server %s %s.\n", plain(string(x.Server)), plain(where)); err != nil {
		return err
	}
	if x.Reason != "" {
		if err := a.printf("(%s)\n", plain(x.Reason)); err != nil {
			return err
		}
	}
	t := table{head: []string{"NODE", "SCORE", "LOAD", "LIMIT", "WEIGHT", "STATUS", "WHY NOT"}}
	for _, c := range x.Candidates {
		t.add(c.Node, fmt.Sprintf("%.3f", c.Score), c.Load, c.Limit, c.Weight, c.State, c.Reason)
	}
	if err := a.printf("\n"); err != nil {
		return err
	}
	if err := a.printTable(t, "No node has the server."); err != nil {
		return err
	}
	return a.printMoves(x.Moves)
}

func (a *app) printMoves(moves []router.Move) error {
	if len(moves) == 0 {
		return nil
	}
	t := table{head: []string{"CHANGE", "SESSION", "RULE", "SHARE OF NEW SESSIONS", "NOTE"}}
	for _, m := range moves {
		what := "stays"
		switch {
		case m.To == "":
			what = "has nowhere to go"
		case m.Moves:
			what = "moves to " + string(m.To)
		}
		t.add(m.Change+" "+string(m.Node), what, m.Rule, fmt.Sprintf("%.0f %%", 100*m.Share), m.Reason)
	}
	if err := a.printf("\n"); err != nil {
		return err
	}
	return a.printTable(t, "")
}
