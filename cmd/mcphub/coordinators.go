package main

import (
	"github.com/spf13/cobra"
)

type coordinatorAnswer struct {
	ID        string `json:"id"`
	Address   string `json:"address"`
	Version   string `json:"version"`
	Mode      string `json:"mode"`
	StartedAt int64  `json:"startedAt"`
	Sessions  int    `json:"sessions"`
	InFlight  int    `json:"inFlight"`
	Ready     bool   `json:"ready"`
	Self      bool   `json:"self"`
}

func (a *app) coordinatorsCommand() *cobra.Command {
	var f hubFlags
	cmd := &cobra.Command{
		Use:   "coordinators",
		Short: "List the coordinators of a hub",
		Long:  "List the coordinators of a hub. The one that has answered is marked with a star.\n\n" + exitHelp,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var all []coordinatorAnswer
			return a.list(cmd, &f, "/api/cluster/coordinators", nil, &all, func() error { return a.printCoordinators(all) })
		},
	}
	f.register(cmd, a.getenv)
	return cmd
}

func (a *app) printCoordinators(all []coordinatorAnswer) error {
	t := table{head: []string{"COORDINATOR", "ADDRESS", "MODE", "VERSION", "STARTED", "READY", "SESSIONS", "IN FLIGHT"}}
	for _, c := range all {
		name, ready := c.ID, "no"
		if c.Self {
			name += " *"
		}
		if c.Ready {
			ready = "yes"
		}
		t.add(name, c.Address, c.Mode, c.Version, a.ago(c.StartedAt), ready, c.Sessions, c.InFlight)
	}
	return a.printTable(t, "No coordinator has written its record yet.")
}
