package router

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcphub-go/mcphub/store"
)

// groupShelf is a store of groups whose failures the test chooses.
type groupShelf struct {
	mu       sync.Mutex
	down     error // every call fails with it
	mute     bool  // hints are lost
	groups   map[string]store.Group
	rev      int64
	clock    int64
	asked    int // how often it was read
	restored int
	events   []string
	told     []*Groups // who gets the hints
}

func newShelf() *groupShelf { return &groupShelf{groups: map[string]store.Group{}} }

func (s *groupShelf) flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.groups, s.rev = map[string]store.Group{}, 0
}

func (s *groupShelf) set(down error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

// edit changes what is stored, behind everyone's back.
func (s *groupShelf) edit(groups ...store.Group) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range groups {
		s.groups[g.Name] = g
	}
	s.moved()
}

func (s *groupShelf) moved() {
	s.clock++
	s.rev = s.clock
}

func (s *groupShelf) Groups(_ context.Context, since int64) ([]store.Group, int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	if s.down != nil {
		return nil, 0, s.down
	}
	if since == s.rev {
		return nil, s.rev, nil
	}
	list := []store.Group{}
	for _, g := range s.groups {
		list = append(list, g)
	}
	slices.SortFunc(list, func(a, b store.Group) int { return strings.Compare(a.Name, b.Name) })
	return list, s.rev, nil
}

func (s *groupShelf) PutGroup(_ context.Context, g store.Group, create bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, there := s.groups[g.Name]
	switch {
	case s.down != nil:
		return s.down
	case create && there:
		return store.ErrExists
	case !create && !there:
		return store.ErrNotFound
	}
	g.Updated = time.Now()
	s.groups[g.Name] = g
	s.moved()
	return nil
}

func (s *groupShelf) DeleteGroup(_ context.Context, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down != nil {
		return s.down
	}
	if _, there := s.groups[name]; !there {
		return store.ErrNotFound
	}
	delete(s.groups, name)
	s.moved()
	return nil
}

func (s *groupShelf) RestoreGroups(_ context.Context, list []store.Group) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down != nil || s.rev != 0 {
		return s.down
	}
	for _, g := range list {
		s.groups[g.Name] = g
	}
	s.restored++
	s.moved()
	return nil
}

func (s *groupShelf) AppendEvent(_ context.Context, e store.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.Kind == store.EventGroupChanged && s.down == nil {
		s.events = append(s.events, e.Coordinator+": "+e.Text)
	}
	return s.down
}

func (s *groupShelf) Notify(_ context.Context, h store.Hint) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h.Kind == store.HintGroups && s.down == nil && !s.mute {
		for _, g := range s.told {
			g.Poke()
		}
	}
	return s.down
}

// groupWorld is several replicas' groups over one store.
type groupWorld struct {
	shelf    *groupShelf
	log      *bytes.Buffer // of all of them
	replicas []*Groups
	stop     func()
}

// syncBuffer lets several goroutines log.
type syncBuffer struct {
	mu sync.Mutex
	b  *bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func newGroupWorld(t *testing.T, n int, fixed ...store.Group) *groupWorld {
	t.Helper()
	return newGroupWorldOver(t, newShelf(), n, fixed...)
}

func newGroupWorldOver(t *testing.T, shelf *groupShelf, n int, fixed ...store.Group) *groupWorld {
	t.Helper()
	w := &groupWorld{shelf: shelf, log: &bytes.Buffer{}}
	log := slog.New(slog.NewTextHandler(&syncBuffer{b: w.log}, nil))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, n)
	for i := range n {
		g := NewGroups(fixed, w.shelf, store.CoordinatorID(fmt.Sprint("c", i)), log)
		w.replicas = append(w.replicas, g)
		go func() { done <- g.Run(ctx) }()
	}
	w.shelf.told = w.replicas
	w.stop = func() {
		cancel()
		for range n {
			if err := <-done; err != nil {
				t.Errorf("Run() = %v, want nil", err)
			}
		}
	}
	return w
}

func (w *groupWorld) names(replica int) string {
	var all []string
	for _, g := range w.replicas[replica].List() {
		all = append(all, g.Name)
	}
	return strings.Join(all, " ")
}

func someGroup(name string, servers ...store.ServerID) store.Group {
	g := store.Group{Name: name, Servers: []store.GroupServer{}}
	for _, s := range servers {
		g.Servers = append(g.Servers, store.GroupServer{Name: s})
	}
	return g
}

func TestGroupsReachEveryReplica(t *testing.T) {
	for _, mute := range []bool{false, true} {
		t.Run(fmt.Sprintf("hints lost %v", mute), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newGroupWorld(t, 3)
				defer w.stop()
				w.shelf.mute = mute
				time.Sleep(700 * time.Millisecond)
				if err := w.replicas[0].Put(t.Context(), someGroup("dev", "a", "b"), true, nil); err != nil {
					t.Fatal(err)
				}
				if g, ok := w.replicas[0].Group("dev"); !ok || len(g.Servers) != 2 || g.Updated.IsZero() {
					t.Fatalf("right after Put: %+v, %v", g, ok)
				}
				if mute {
					time.Sleep(500 * time.Millisecond)
				}
				synctest.Wait()
				for i := range w.replicas {
					if w.names(i) != "dev" {
						t.Errorf("replica %d has %q", i, w.names(i))
					}
				}
				if err := w.replicas[1].Put(t.Context(), someGroup("dev", "a"), false, nil); err != nil {
					t.Fatal(err)
				}
				if err := w.replicas[1].Put(t.Context(), someGroup("all"), true, nil); err != nil {
					t.Fatal(err)
				}
				if err := w.replicas[2].Delete(t.Context(), "dev"); err != nil {
					t.Fatal(err)
				}
				time.Sleep(500 * time.Millisecond)
				synctest.Wait()
				for i := range w.replicas {
					if w.names(i) != "all" {
						t.Errorf("replica %d has %q, want all", i, w.names(i))
					}
				}
				want := []string{"c0: group dev was made: 2 servers", "c1: group dev was changed: 1 servers", "c1: group all was made: 0 servers", "c2: group dev was deleted"}
				if !slices.Equal(w.shelf.events, want) {
					t.Errorf("events %q, want %q", w.shelf.events, want)
				}
			})
		})
	}
}

func TestGroupsThatAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newGroupWorld(t, 1, someGroup("fixed", "a"))
		defer w.stop()
		g := w.replicas[0]
		fleet := &store.Snapshot{Nodes: []store.Node{
			{ID: "n1"}, {ID: "n2", Servers: []store.Server{{ID: "time", Status: store.ServerFailed}}},
		}}
		synctest.Wait()
		put := func(name string, create bool) error {
			return g.Put(t.Context(), someGroup(name, "a"), create, fleet)
		}
		if err := put("dev", true); err != nil {
			t.Fatal(err)
		}
		rev := g.Revision()
		for _, c := range []struct {
			what string
			err  error
			want error
		}{
			{"create what the file has", put("fixed", true), ErrGroupFixed},
			{"change what the file has", put("fixed", false), ErrGroupFixed},
			{"delete what the file has", g.Delete(t.Context(), "fixed"), ErrGroupFixed},
			{"the name of a server", put("time", true), ErrGroupName},
			{"create again", put("dev", true), store.ErrExists},
			{"change what is not there", put("other", false), store.ErrNotFound},
			{"delete what is not there", g.Delete(t.Context(), "other"), store.ErrNotFound},
			{"a name that cannot be one", put("a/b", true), store.ErrInvalid},
		} {
			if !errors.Is(c.err, c.want) {
				t.Errorf("%s: %v, want %v", c.what, c.err, c.want)
			}
		}
		w.shelf.set(store.ErrUnavailable)
		if err := put("more", true); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("without Redis: %v", err)
		}
		if err := g.Delete(t.Context(), "dev"); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("without Redis: %v", err)
		}
		if w.names(0) != "dev fixed" || g.Revision() != rev {
			t.Errorf("groups %q, revision %d, want dev fixed, %d", w.names(0), g.Revision(), rev)
		}
	})
}

func TestGroupsOutliveRedis(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newGroupWorld(t, 1)
		defer w.stop()
		g := w.replicas[0]
		synctest.Wait()
		if !g.Loaded() {
			t.Error("not loaded although the store has answered")
		}
		if err := g.Put(t.Context(), someGroup("dev", "a"), true, nil); err != nil {
			t.Fatal(err)
		}
		rev := g.Revision()
		w.shelf.set(store.ErrUnavailable)
		time.Sleep(time.Minute)
		synctest.Wait()
		if _, ok := g.Group("dev"); !ok || g.Revision() != rev {
			t.Errorf("a minute without Redis: %q, revision %d, was %d", w.names(0), g.Revision(), rev)
		}
		w.shelf.set(nil)
		time.Sleep(time.Second)
		synctest.Wait()
		if log := w.log.String(); strings.Count(log, "groups cannot be read") != 1 || strings.Count(log, "groups can be read again") != 1 {
			t.Errorf("log:\n%s\nwant one line for the absence and one for its end", log)
		}
	})
}

func TestGroupsAreNotKnownBeforeRedisAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shelf := newShelf()
		shelf.down = store.ErrUnavailable
		w := newGroupWorldOver(t, shelf, 1, someGroup("fixed"))
		defer w.stop()
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if w.replicas[0].Loaded() || w.names(0) != "fixed" {
			t.Errorf("loaded %v, groups %q; want not loaded, those of the settings file", w.replicas[0].Loaded(), w.names(0))
		}
		shelf.set(nil)
		time.Sleep(500 * time.Millisecond)
		synctest.Wait()
		if !w.replicas[0].Loaded() {
			t.Error("not loaded although the store has answered")
		}
	})
}

// Redis loses everything: whoever remembers the groups puts them back, and nobody ever misses one.
func TestGroupsComeBackToAnEmptiedRedis(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newGroupWorld(t, 3)
		defer w.stop()
		for _, name := range []string{"dev", "ops"} {
			if err := w.replicas[0].Put(t.Context(), someGroup(name, "a"), true, nil); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		synctest.Wait()
		rev := w.replicas[1].Revision()
		w.shelf.flush()
		time.Sleep(time.Second)
		synctest.Wait()
		if len(w.shelf.groups) != 2 || w.shelf.restored != 1 {
			t.Errorf("Redis has %d groups again, put back %d times; want 2, once", len(w.shelf.groups), w.shelf.restored)
		}
		if w.replicas[1].Revision() != rev || w.names(1) != "dev ops" {
			t.Errorf("replica 1 has %q, revision %d, was %d", w.names(1), w.replicas[1].Revision(), rev)
		}
		// A change right after the next flush, before anyone has looked, loses nothing either.
		w.shelf.flush()
		if err := w.replicas[2].Put(t.Context(), someGroup("new", "b"), true, nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		for i := range w.replicas {
			if w.names(i) != "dev new ops" {
				t.Errorf("replica %d has %q", i, w.names(i))
			}
		}
		// Groups that were all deleted on purpose stay away.
		for _, name := range []string{"dev", "new", "ops"} {
			if err := w.replicas[0].Delete(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if w.names(2) != "" || len(w.shelf.groups) != 0 {
			t.Errorf("deleted groups are back: %q", w.names(2))
		}
	})
}

func TestGroupsOfTheSettingsFileWin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newGroupWorld(t, 1, someGroup("dev", "file"))
		defer w.stop()
		w.shelf.edit(store.Group{Name: "dev", Servers: []store.GroupServer{{Name: "redis"}}, Updated: time.Now()}, someGroup("ops"))
		g := w.replicas[0]
		time.Sleep(3 * time.Second)
		w.shelf.edit(someGroup("ops", "a"))
		time.Sleep(3 * time.Second)
		synctest.Wait()
		got, _ := g.Group("dev")
		if _, ok := got.Server("file"); !ok || !got.Updated.IsZero() || w.names(0) != "dev ops" {
			t.Errorf("Group(dev) = %+v of %q, want the file's", got, w.names(0))
		}
		if n := strings.Count(w.log.String(), "group=dev"); n != 1 {
			t.Errorf("warned %d times, want once:\n%s", n, w.log)
		}
		before := g.Revision()
		g.SetFixed([]store.Group{{Name: "extra"}})
		got, _ = g.Group("dev")
		if _, ok := got.Server("redis"); !ok || w.names(0) != "dev extra ops" || g.Revision() <= before {
			t.Errorf("after SetFixed: %+v of %q, revision %d, was %d", got, w.names(0), g.Revision(), before)
		}
		if err := g.Delete(t.Context(), "dev"); err != nil {
			t.Errorf("Delete of a group that the file has no more = %v", err)
		}
		before = g.Revision()
		g.SetFixed([]store.Group{{Name: "extra", Servers: []store.GroupServer{}}})
		if g.Revision() != before {
			t.Errorf("the same settings again: revision %d, was %d", g.Revision(), before)
		}
	})
}

// While nothing changes, following costs two looks a second and no new revision.
func TestGroupsCostLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newGroupWorld(t, 1)
		defer w.stop()
		synctest.Wait()
		rev := w.replicas[0].Revision()
		time.Sleep(10*time.Second - time.Millisecond)
		synctest.Wait()
		if w.shelf.asked > 21 || w.replicas[0].Revision() != rev {
			t.Errorf("asked %d times in 10 s, revision %d, was %d", w.shelf.asked, w.replicas[0].Revision(), rev)
		}
	})
}

// Reading goes on while groups are written from all sides.
func TestGroupsUnderConcurrentUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newGroupWorld(t, 2)
		defer w.stop()
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				g, name := w.replicas[i%2], fmt.Sprint("g", i%4)
				for n := range 50 {
					_ = g.Put(t.Context(), someGroup(name, store.ServerID(fmt.Sprint("s", n))), n%2 == 0, nil)
					g.SetFixed([]store.Group{someGroup(fmt.Sprint("f", n%3))})
					if list := g.List(); !slices.IsSortedFunc(list, func(a, b store.Group) int { return strings.Compare(a.Name, b.Name) }) {
						t.Errorf("not sorted: %v", list)
					}
					_, _ = g.Group(name)
					_ = g.Delete(t.Context(), name)
				}
			})
		}
		wg.Wait()
		time.Sleep(time.Second)
		synctest.Wait()
		w.shelf.mu.Lock()
		left := len(w.shelf.groups)
		w.shelf.mu.Unlock()
		for i, g := range w.replicas {
			if n := len(g.List()); n != left+1 {
				t.Errorf("replica %d serves %d groups, want %d of Redis and one of its file", i, n, left)
			}
		}
	})
}
