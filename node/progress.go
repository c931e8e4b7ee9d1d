package node

import (
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/mcphub-go/mcphub/store"
)

// progressEvery is the time between two words on how far the start of the servers is.
const progressEvery = 5 * time.Second

// maxNamed bounds the servers that one line of the log names.
const maxNamed = 20

// awaitStarts waits until each of the servers has been tried, and tells how that goes.
func awaitStarts(servers []*server, log *slog.Logger) {
	begun := time.Now()
	var trying []*server
	for _, s := range servers {
		if s.current() != store.ServerDisabled {
			trying = append(trying, s)
		}
	}
	if len(trying) == 0 {
		return
	}
	log.Info("starting servers", "servers", len(trying), "disabled", len(servers)-len(trying))
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for _, s := range trying {
		for tried := false; !tried; {
			select {
			case <-s.tried:
				tried = true
			case <-tick.C:
				t := tallyOf(trying)
				log.Info("servers are starting", "ready", t.ready, "failed", len(t.failed), "starting", names(t.starting))
			}
		}
	}
	t := tallyOf(trying)
	say := log.Info
	if len(t.failed) > 0 {
		say = log.Warn
	}
	say("servers have been started", "ready", t.ready, "failed", names(t.failed), "dur", time.Since(begun).Round(time.Millisecond))
}

// tally is what has become of servers.
type tally struct {
	ready            int
	failed, starting []string
}

func tallyOf(servers []*server) (t tally) {
	for _, s := range servers {
		switch s.current() {
		case store.ServerReady:
			t.ready++
		case store.ServerStarting:
			t.starting = append(t.starting, s.cfg.Name)
		default:
			t.failed = append(t.failed, s.cfg.Name)
		}
	}
	return t
}

// names lists names, the first of them if there are many.
func names(all []string) string {
	if more := len(all) - maxNamed; more > 0 {
		return strings.Join(all[:maxNamed], " ") + " and " + strconv.Itoa(more) + " more"
	}
	return strings.Join(all, " ")
}
