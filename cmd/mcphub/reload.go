package main

import (
	"context"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/mcphub-go/mcphub/internal/config"
)

// reloader makes a running process do what its settings file says now. Settings that may
// change are servers, groups, keys and users; of the others the log says that they need a restart.
type reloader struct {
	service *service
	// front is the coordinator of this process; nil where there is none.
	front *coordinator
	// setServers hands new servers to the node of this process. After an error nothing has changed.
	setServers func([]config.Server) error

	current *config.Settings
	told    []string // settings of which a restart was said to be needed
}

// watchSettings follows the settings file, for a coordinator, a node or both. SIGHUP makes it look
// at once.
func (s *service) watchSettings(ctx context.Context, front *coordinator, setServers func([]config.Server) error) *part {
	r := &reloader{service: s, front: front, setServers: setServers, current: s.settings}
	return launch(ctx, "settings", func(ctx context.Context) error {
		hup := make(chan os.Signal, 1)
		signal.Notify(hup, syscall.SIGHUP)
		defer signal.Stop(hup)
		err := config.Watch(ctx, s.settings, s.app.getenv, hup, s.log, r.apply)
		if err != nil {
			s.log.Error("the settings file is not watched", "err", err)
		}
		return err
	})
}

// apply takes over what has changed. What is refused stays as it was, and the log says why.
func (r *reloader) apply(next *config.Settings) {
	log := r.service.log
	changes := r.current.Changes(next)
	for _, w := range next.Warnings {
		if !slices.Contains(r.current.Warnings, w) {
			log.Warn(w)
		}
	}
	r.tellRestart(next)
	now := *next // what holds from here on
	taken := []string{}
	try := func(what string, changed bool, do func() error, keep func()) {
		if !changed {
			return
		}
		if err := do(); err != nil {
			log.Error("new settings are not taken over", "settings", what, "err", err)
			keep()
			return
		}
		taken = append(taken, what)
	}
	try("mcpServers", changes.Servers, func() error { return r.setServers(next.Servers) }, func() { now.Servers = r.current.Servers })
	if r.front != nil {
		try("groups", changes.Groups, func() error { r.front.setGroups(next); return nil }, nil)
		try("keys and users", changes.Keys || changes.Users, func() error { return r.front.setAccess(next) }, func() {
			now.Routing, now.BearerKeys, now.Users = r.current.Routing, r.current.BearerKeys, r.current.Users
		})
	}
	log.Info("settings have been read again", "taken", strings.Join(taken, ", "))
	r.current = &now
}

// tellRestart says which settings hold from the next start on only, when that has changed. What
// runs is what the process was started with.
func (r *reloader) tellRestart(next *config.Settings) {
	waiting := r.service.settings.Changes(next).Restart
	switch {
	case slices.Equal(waiting, r.told):
	case len(waiting) == 0:
		r.service.log.Info("no restart is needed any more: the settings are those that run")
	default:
		r.service.log.Warn("SETTINGS THAT NEED A RESTART HAVE CHANGED: they hold from the next start on", "settings", strings.Join(waiting, ", "))
	}
	r.told = waiting
}
