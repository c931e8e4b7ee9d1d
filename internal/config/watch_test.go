package config

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// logbook is a log that can be read while it is written.
type logbook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logbook) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// has waits until the log has n lines with the words.
func (l *logbook) has(t *testing.T, words string, n int) {
	t.Helper()
	for deadline := time.Now().Add(patience); strings.Count(l.String(), words) < n; {
		if time.Now().After(deadline) {
			t.Fatalf("the log has %q %d times, want %d:\n%s", words, strings.Count(l.String(), words), n, l)
		}
		time.Sleep(time.Millisecond) // between two looks
	}
}

// trial is a watch under test.
type trial struct {
	t     *testing.T
	w     *watch
	log   *logbook
	got   chan *Settings
	hup   chan os.Signal
	reads atomic.Int64
	stop  func()
}

// newTrial loads the file at path, and has a watch for it that is quick.
func newTrial(t *testing.T, path string, getenv func(string) string) *trial {
	t.Helper()
	s, err := Load(path, getenv)
	if err != nil {
		t.Fatal(err)
	}
	c := &trial{t: t, log: &logbook{}, got: make(chan *Settings, 100), hup: make(chan os.Signal)}
	name := s.Path
	if name == "" {
		name = DefaultPath
	}
	full, err := filepath.Abs(name)
	if err != nil {
		t.Fatal(err)
	}
	c.w = &watch{
		name: name, path: full, current: s, absent: s.Path == "", getenv: getenv, log: slog.New(slog.NewTextHandler(c.log, nil)),
		changed: func(s *Settings) { c.got <- s }, open: fsnotify.NewWatcher,
		read:   func(p string) ([]byte, error) { c.reads.Add(1); return readFile(p) },
		settle: 5 * time.Millisecond, limit: 100 * time.Millisecond, poll: time.Hour,
	}
	return c
}

// start runs the watch until the test ends.
func (c *trial) start() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); c.w.run(ctx, c.hup) }()
	c.stop = sync.OnceFunc(func() { cancel(); <-done })
	c.t.Cleanup(c.stop)
}

// next waits for settings, which must have this name separator.
func (c *trial) next(separator string) *Settings {
	c.t.Helper()
	select {
	case s := <-c.got:
		if s.NameSeparator != separator {
			c.t.Fatalf("the separator is %q, want %q", s.NameSeparator, separator)
		}
		return s
	case <-time.After(patience):
		c.t.Fatalf("no settings came; the log:\n%s", c.log)
		return nil
	}
}

// poke makes the watch look, and returns once it has begun to.
func (c *trial) poke() {
	c.t.Helper()
	select {
	case c.hup <- syscall.SIGHUP:
	case <-time.After(patience):
		c.t.Fatal("the watch does not take the signal")
	}
}

// over ends the watch, after which there must be no more settings.
func (c *trial) over() {
	c.t.Helper()
	c.stop()
	if n := len(c.got); n > 0 {
		c.t.Errorf("settings came %d times too often: %+v", n, <-c.got)
	}
}

// with is a file with this name separator.
func with(separator string) string { return `{"systemConfig": {"nameSeparator": "` + separator + `"}}` }

// link makes a symbolic link, or skips where there are none.
func link(t *testing.T, target, at string) {
	t.Helper()
	if err := os.Symlink(target, at); err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestWatchNoticesHowFilesAreChanged(t *testing.T) {
	for _, c := range []struct {
		name string
		// before makes folder/f.json with the separator "a"; after changes it to "b".
		before, after func(t *testing.T, folder string)
	}{
		{"written in place", writeA, func(t *testing.T, folder string) {
			write(t, filepath.Join(folder, "f.json"), with("b"))
		}},
		{"renamed over, as editors do", writeA, func(t *testing.T, folder string) {
			write(t, filepath.Join(folder, ".f.json.swp"), with("b"))
			must(t, os.Rename(filepath.Join(folder, ".f.json.swp"), filepath.Join(folder, "f.json")))
		}},
		{"moved away and written anew", writeA, func(t *testing.T, folder string) {
			must(t, os.Rename(filepath.Join(folder, "f.json"), filepath.Join(folder, "f.json~")))
			write(t, filepath.Join(folder, "f.json"), with("b"))
		}},
		{"a link swapped, as Kubernetes does", func(t *testing.T, folder string) {
			must(t, os.Mkdir(filepath.Join(folder, "..1"), 0o700))
			write(t, filepath.Join(folder, "..1", "f.json"), with("a"))
			link(t, "..1", filepath.Join(folder, "..data"))
			link(t, "..data/f.json", filepath.Join(folder, "f.json"))
		}, func(t *testing.T, folder string) {
			must(t, os.Mkdir(filepath.Join(folder, "..2"), 0o700))
			write(t, filepath.Join(folder, "..2", "f.json"), with("b"))
			link(t, "..2", filepath.Join(folder, "..data_tmp"))
			must(t, os.Rename(filepath.Join(folder, "..data_tmp"), filepath.Join(folder, "..data")))
			must(t, os.RemoveAll(filepath.Join(folder, "..1")))
		}},
		{"the file behind a link to elsewhere", func(t *testing.T, folder string) {
			must(t, os.Mkdir(filepath.Join(folder, "home"), 0o700))
			write(t, filepath.Join(folder, "home", "real"), with("a"))
			link(t, filepath.Join(folder, "home", "real"), filepath.Join(folder, "f.json"))
		}, func(t *testing.T, folder string) {
			write(t, filepath.Join(folder, "home", "real"), with("b"))
		}},
		{"the folder removed and made again", writeA, func(t *testing.T, folder string) {
			must(t, os.RemoveAll(folder))
			must(t, os.Mkdir(folder, 0o700))
			write(t, filepath.Join(folder, "f.json"), with("b"))
		}},
		{"the folder changed for another", writeA, func(t *testing.T, folder string) {
			must(t, os.Mkdir(folder+".new", 0o700))
			write(t, filepath.Join(folder+".new", "f.json"), with("b"))
			must(t, os.Rename(folder, folder+".old"))
			must(t, os.Rename(folder+".new", folder))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			folder := filepath.Join(t.TempDir(), "conf")
			must(t, os.Mkdir(folder, 0o700))
			c.before(t, folder)
			trial := newTrial(t, filepath.Join(folder, "f.json"), env())
			trial.start()
			trial.poke() // taken once the first look is over, so everything below comes as events
			c.after(t, folder)
			trial.next("b")
			write(t, filepath.Join(folder, "f.json"), with("c")) // it goes on with what is there now
			trial.next("c")
			trial.over()
		})
	}
}

func writeA(t *testing.T, folder string) {
	t.Helper()
	write(t, filepath.Join(folder, "f.json"), with("a"))
}

func TestWatchNoticesALinkOnTheWay(t *testing.T) {
	top := t.TempDir()
	for _, name := range []string{"1", "2"} {
		must(t, os.Mkdir(filepath.Join(top, name), 0o700))
		write(t, filepath.Join(top, name, "f.json"), with(name))
	}
	link(t, "1", filepath.Join(top, "now"))
	c := newTrial(t, filepath.Join(top, "now", "f.json"), env())
	c.start()
	c.poke()
	link(t, "2", filepath.Join(top, "next"))
	must(t, os.Rename(filepath.Join(top, "next"), filepath.Join(top, "now")))
	c.next("2")
	write(t, filepath.Join(top, "1", "f.json"), with("old")) // concerns nobody now
	write(t, filepath.Join(top, "2", "f.json"), with("new"))
	c.next("new")
	c.over()
}

func TestWatchSeesWhatChangedBeforeItBegan(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f.json")
	write(t, path, with("a"))
	c := newTrial(t, path, env())
	write(t, path, with("b"))
	c.start()
	c.next("b")
	c.over()
}

func TestWatchWaitsForAFileThatIsGone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f.json")
	write(t, path, with("a"))
	c := newTrial(t, path, env())
	c.start()
	c.poke()
	must(t, os.Remove(path))
	c.log.has(t, "settings file is gone", 1)
	before := c.reads.Load()
	for range 3 { // each is taken when the look before is over
		c.poke()
	}
	c.log.has(t, "settings file is gone", 3) // it answers those who ask
	if n := c.reads.Load() - before; n > 10 {
		t.Errorf("the missing file was looked for %d times, want about 3: it must wait", n)
	}
	write(t, path, with("a")) // as it was
	c.log.has(t, "can be read again", 1)
	write(t, path, with("b"))
	c.next("b")
	c.over()
}

func TestWatchKeepsTheSettingsBeforeABadFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f.json")
	write(t, path, with("a"))
	c := newTrial(t, path, env())
	c.start()
	replace := func(text string) {
		write(t, path+".new", text)
		must(t, os.Rename(path+".new", path))
	}
	replace("{\n  \"mcpServer\": {},\n  \"groups\": 1\n}")
	c.log.has(t, "the settings before stay", 1)
	for _, want := range []string{
		path + `:2:3: unknown key \"mcpServer\"; did you mean \"mcpServers\"?`,
		path + `:3:13: groups: want a list of objects, found a number`, "problems=2",
	} {
		if !strings.Contains(c.log.String(), want) {
			t.Errorf("the log does not say %s:\n%s", want, c.log)
		}
	}
	replace(with("a"))
	c.log.has(t, "nothing has changed", 1)
	replace(with(""))
	c.log.has(t, "the settings before stay", 2)
	replace(with("b"))
	c.next("b")
	c.over()
}

func TestWatchIsSilentWhenNothingChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f.json")
	write(t, path, with("a"))
	c := newTrial(t, path, env())
	c.start()
	c.poke()
	write(t, path+".new", with("a"))
	must(t, os.Rename(path+".new", path))
	must(t, os.Chmod(path, 0o640))
	write(t, path+".new", "// a comment\n"+with("a"))
	must(t, os.Rename(path+".new", path))
	write(t, filepath.Join(filepath.Dir(path), "other.json"), "{")
	c.poke()
	c.log.has(t, "nothing has changed", 2) // said to those who poked
	write(t, path, with("b"))
	c.next("b")
	c.over()
}

func TestWatchWithoutTheSystemsHelp(t *testing.T) {
	for _, c := range []struct {
		name string
		poll time.Duration
		tell func(*trial)
	}{
		{"at SIGHUP", time.Hour, (*trial).poke},
		{"now and then", time.Millisecond, func(*trial) {}},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "f.json")
			write(t, path, with("a"))
			trial := newTrial(t, path, env())
			trial.w.poll = c.poll
			trial.w.open = func() (*fsnotify.Watcher, error) { return nil, errors.New("too many open files") }
			trial.start()
			write(t, path+".new", with("b"))
			must(t, os.Rename(path+".new", path))
			c.tell(trial)
			trial.next("b")
			trial.over()
			if n := strings.Count(trial.log.String(), "cannot be watched"); n != 1 {
				t.Errorf("said %d times that it cannot watch, want once:\n%s", n, trial.log)
			}
		})
	}
}

func TestWatchReadsAFileThatIsNeverQuiet(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f.json")
	write(t, path, with("a"))
	c := newTrial(t, path, env())
	c.w.settle, c.w.limit = time.Hour, 10*time.Millisecond
	c.start()
	c.poke()
	write(t, path, with("b"))
	c.next("b")
}

func TestWatchLetsTheEnvironmentWin(t *testing.T) {
	file := func(secret, separator string) string {
		return `{"systemConfig": {"nameSeparator": "` + separator + `", "cluster": {"secret": "` + secret + `"}}}`
	}
	path := filepath.Join(t.TempDir(), "f.json")
	write(t, path, file("0123456789abcdef", "a"))
	c := newTrial(t, path, env(envSecret, "of-the-environment"))
	c.start()
	write(t, path, file("fedcba9876543210", "a")) // means the same
	write(t, path, file("fedcba9876543210", "b"))
	if s := c.next("b"); s.Cluster.Secret != "of-the-environment" {
		t.Error("the file won over the environment")
	}
	c.over()
}

func TestWatchWaitsForTheDefaultFile(t *testing.T) {
	t.Chdir(t.TempDir())
	c := newTrial(t, "", env())
	c.start()
	c.poke()
	c.log.has(t, "there is no settings file", 1)
	write(t, DefaultPath, with("b"))
	if s := c.next("b"); s.Path != DefaultPath {
		t.Errorf("Path = %q, want %q", s.Path, DefaultPath)
	}
	c.over()
	if strings.Contains(c.log.String(), "gone") {
		t.Errorf("a file that never was there is called gone:\n%s", c.log)
	}
}

// TestWatch is the exported function, with its own times.
func TestWatch(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f.json")
	write(t, path, with("a"))
	s, err := Load(path, env())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	write(t, path, with("b"))
	var separator string
	err = Watch(ctx, s, env(), nil, slog.New(slog.DiscardHandler), func(s *Settings) {
		separator = s.NameSeparator
		cancel()
	})
	if err != nil || separator != "b" {
		t.Errorf("Watch: %v, separator %q, want b", err, separator)
	}
}
