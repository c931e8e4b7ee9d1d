package config

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Times of a watch.
const (
	// settleTime is how long a file must be quiet before it is read, because editors and copies
	// write in several steps; settleLimit is the longest wait for that.
	settleTime  = 200 * time.Millisecond
	settleLimit = 2 * time.Second
	// pollTime is the time between looks at a file that the system does not tell of.
	pollTime = 10 * time.Second
)

// Watch follows the settings file from which s was loaded until ctx ends, and calls changed with
// the new settings whenever they differ from those before, s at first. It compares what settings
// mean, so a comment alone is no change. The calls come one after the other.
//
// The folders on the way to the file are watched and not the file, so that it may be replaced by
// renaming, by swapping a symbolic link (as Kubernetes does), or be away for a while. Where s
// came from no file, the default one is waited for. A value from hup makes it look at once; nil
// means there is none.
//
// What cannot be read, and a file with mistakes, is logged with all that is wrong, once; the
// settings before stay. Environment variables win over the file here too. The error is not nil
// only if the file's path cannot be found out.
func Watch(ctx context.Context, s *Settings, getenv func(string) string, hup <-chan os.Signal, log *slog.Logger, changed func(*Settings)) error {
	name := cmp.Or(s.Path, DefaultPath)
	path, err := filepath.Abs(name)
	if err != nil {
		return fmt.Errorf("watch settings: %w", err)
	}
	w := &watch{
		name: name, path: path, current: s, absent: s.Path == "", getenv: getenv, changed: changed, log: log.With("file", name),
		open: fsnotify.NewWatcher, read: readFile, settle: settleTime, limit: settleLimit, poll: pollTime,
	}
	w.run(ctx, hup)
	return nil
}

// watch is the state of Watch. It belongs to one goroutine.
type watch struct {
	name, path string // as the settings call the file; the same, absolute
	getenv     func(string) string
	changed    func(*Settings)
	log        *slog.Logger

	open                func() (*fsnotify.Watcher, error)
	read                func(string) ([]byte, error)
	settle, limit, poll time.Duration

	current *Settings
	seen    [sha256.Size]byte // hash of what was read last
	refused bool              // what was read last had mistakes
	absent  bool              // there has been no file yet
	trouble string            // why the file could not be read at the last look

	notify  *fsnotify.Watcher // nil: the system cannot tell of changes
	entries map[string]bool   // paths whose changes concern us
	blind   bool              // changes may go unseen
}

// run looks at the file at once, since it may have changed after it was loaded, and then
// whenever something may have happened to it.
func (w *watch) run(ctx context.Context, hup <-chan os.Signal) {
	var events <-chan fsnotify.Event
	var faults <-chan error
	if notify, err := w.open(); err != nil {
		w.cannotWatch(err)
	} else {
		defer func() { _ = notify.Close() }() // nothing to lose
		w.notify, events, faults = notify, notify.Events, notify.Errors
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	var first time.Time // of the events that wait for the timer; zero: none
	wake := func() {
		now := time.Now()
		if first.IsZero() {
			first = now
		}
		timer.Reset(min(w.settle, max(0, w.limit-now.Sub(first))))
	}
	for {
		told := false
		select {
		case <-ctx.Done():
			return
		case e := <-events:
			if w.entries[e.Name] {
				wake()
			}
			continue
		case err := <-faults: // events were lost
			w.log.WarnContext(ctx, "events of the settings file were lost", "err", err)
			wake()
			continue
		case _, told = <-hup:
			if !told {
				hup = nil
				continue
			}
		case <-timer.C:
			first = time.Time{}
		}
		w.look(told)
		if w.blind && first.IsZero() {
			timer.Reset(w.poll)
		}
	}
}

// look reads the file if it may have changed, and tells of settings that differ. Told says that
// somebody asked for it and wants to hear what came of it.
func (w *watch) look(told bool) {
	w.follow() // first, so that what comes after the reading is not missed
	data, err := w.read(w.path)
	if err != nil {
		w.unreadable(err, told)
		return
	}
	if w.trouble != "" {
		w.log.Info("settings file can be read again")
	}
	w.trouble, w.absent = "", false
	hash := sha256.Sum256(data)
	if hash == w.seen && !told {
		return
	}
	w.seen = hash
	newer, err := Parse(w.name, data, w.getenv)
	switch {
	case err != nil:
		w.refuse(err)
		return
	case !reflect.DeepEqual(w.current, newer):
		w.current, w.refused = newer, false
		w.changed(newer)
		return
	case told || w.refused:
		w.log.Info("settings read, nothing has changed")
	}
	w.refused = false
}

// unreadable tells once why the file could not be read. A default file that never was there is
// no trouble.
func (w *watch) unreadable(err error, told bool) {
	missing := errors.Is(err, fs.ErrNotExist)
	if missing && w.absent {
		if told {
			w.log.Info("there is no settings file")
		}
		return
	}
	trouble := err.Error()
	if trouble == w.trouble && !told {
		return
	}
	w.trouble = trouble
	if missing {
		w.log.Warn("settings file is gone; the settings before stay until it is back")
		return
	}
	w.log.Error("settings file cannot be read; the settings before stay", "err", err)
}

// refuse tells what is wrong with the file.
func (w *watch) refuse(err error) {
	w.refused = true
	var problems Problems
	if !errors.As(err, &problems) {
		problems = Problems{{File: w.name, Message: err.Error()}}
	}
	for _, p := range problems[:min(len(problems), maxProblems)] {
		w.log.Error("settings refused", "err", p)
	}
	w.log.Error("settings file has mistakes; the settings before stay", "problems", len(problems))
}

// follow watches the folders that lead to the file now. What it finds may change while it sets
// up watches, so it looks again after each.
func (w *watch) follow() {
	if w.notify == nil {
		return
	}
	const enough = 5 // then the folders change faster than they can be watched
	var fault error
	for range enough {
		fault = nil
		w.entries = map[string]bool{}
		folders := map[string]bool{}
		for _, entry := range trail(w.path) {
			folder := filepath.Dir(entry)
			w.entries[entry], w.entries[folder], folders[folder] = true, true, true
		}
		watched := w.notify.WatchList()
		added := false
		for folder := range folders {
			if slices.Contains(watched, folder) {
				continue
			}
			added = true
			fault = errors.Join(fault, w.notify.Add(folder))
		}
		for _, folder := range watched {
			if !folders[folder] {
				_ = w.notify.Remove(folder) // fails only where it is gone already
			}
		}
		if !added {
			break
		}
	}
	if fault != nil {
		w.cannotWatch(fault)
		return
	}
	w.blind = false
}

// cannotWatch tells once that changes will be noticed late.
func (w *watch) cannotWatch(err error) {
	if !w.blind {
		w.log.Warn("settings file cannot be watched; it is looked at now and then, and at SIGHUP", "interval", w.poll, "err", err)
	}
	w.blind = true
}
