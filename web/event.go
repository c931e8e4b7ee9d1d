package web

import (
	"cmp"
	"strings"
	"time"

	"github.com/mcphub-go/mcphub/store"
)

type eventView struct {
	ID, Class, Kind, Text, Age, At string
}

// eventClass is how an event looks; one that is not here is neither good nor bad.
var eventClass = map[store.EventKind]string{
	store.EventNodeRegistered: "good", store.EventNodeRecovered: "good", store.EventServerReady: "good",
	store.EventCoordinatorUp: "good",
	store.EventNodeUnhealthy: "bad", store.EventServerFailed: "bad", store.EventSessionLost: "bad",
	store.EventNodeRemoved: "warn", store.EventNodeDraining: "warn", store.EventSessionMoved: "warn",
}

func newEventViews(events []store.Event, now time.Time) []eventView {
	out := make([]eventView, 0, len(events))
	for i := range events[:min(len(events), eventsShown)] {
		e := &events[i]
		out = append(out, eventView{
			ID: e.ID, Class: cmp.Or(eventClass[e.Kind], "off"), Kind: strings.ReplaceAll(string(e.Kind), "_", " "),
			Text: e.Text, Age: age(now, e.Time), At: stamp(e.Time),
		})
	}
	return out
}
