package main

import (
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/internal/config"
)

func TestWorkerTakesNewServersWhileItRuns(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := func(name string) config.Server {
		return config.Server{Name: name, Type: config.Stdio, Command: self, Env: map[string]string{childVariable: "1"}, Enabled: true}
	}
	reg := newRegistry(t)
	l, err := listen(t.Context(), "127.0.0.1", 0)
	if err != nil {
		t.Fatal(err)
	}
	w, err := startWorker(t.Context(), workerConfig{
		ID: "n1", CoordinatorURL: reg.URL, Listener: l, Servers: serverConfigs([]config.Server{child("a")}),
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := w.stop(); err != nil {
			t.Errorf("stop() = %v", err)
		}
	}()
	offers := func(names ...string) {
		t.Helper()
		deadline := time.Now().Add(20 * time.Second)
		for {
			got := reg.record().Servers
			same := len(got) == len(names)
			for i := range min(len(got), len(names)) {
				same = same && string(got[i]) == names[i]
			}
			if same {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("the coordinator knows of %v, want %v", got, names)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	offers("a")
	if err := w.setServers([]config.Server{child("a"), child("b")}); err != nil {
		t.Fatal(err)
	}
	offers("a", "b")
	if err := w.setServers([]config.Server{child("b"), child("b")}); err == nil {
		t.Error("a list with one name twice is taken")
	}
	offers("a", "b")
	if err := w.setServers(nil); err != nil {
		t.Fatal(err)
	}
	offers()
}
