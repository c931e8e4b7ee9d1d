package web

import (
	"time"

	"github.com/mcphub-go/mcphub/store"
)

type coordinatorView struct {
	ID, Address, Version string
	Mode                 string
	OtherVersion         bool // than the one that answers
	Self                 bool // it is the one that answers
	State                stateView
	Sessions, InFlight   int
	Age, Started         string
	Seen, SeenAt         string
}

func newCoordinatorViews(all []store.Coordinator, self Config, now time.Time) []coordinatorView {
	out := make([]coordinatorView, len(all))
	for i := range all {
		c := &all[i]
		out[i] = coordinatorView{
			ID: string(c.ID), Address: c.Address, Version: c.Version, Mode: c.Mode, OtherVersion: c.Version != self.Version,
			Self: string(c.ID) == self.CoordinatorID, State: stateView{Class: "good", Text: "ready"},
			Sessions: c.Sessions, InFlight: c.InFlight,
			Age: age(now, c.Started), Started: stamp(c.Started), Seen: age(now, c.Seen), SeenAt: stamp(c.Seen),
		}
		if !c.Ready {
			out[i].State = stateView{Class: "warn", Text: "not ready"}
		}
	}
	return out
}
