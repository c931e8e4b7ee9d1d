package heartbeat

import (
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

func goodRecord() Record {
	return Record{
		ID: "node-1", Name: "Worker Node 1", Host: "10.0.0.5", Port: 3001, URL: "http://10.0.0.5:3001",
		Servers: []store.ServerID{"a", "b"}, Instance: instanceA, Version: "1.0",
		Weight: 2, Status: store.NodeDraining, StartedAt: 1767261600000, Epoch: 3,
		ServerDetails: []store.Server{
			ready("a"),
			{
				ID: "b", Status: store.ServerReady, Transport: "stdio", Weight: 1, Tools: 1, Prompts: 2, Resources: 3, Templates: 4,
				Isolation: "session", Processes: 5, Spares: 2, MaxProcesses: 5, StartSeconds: 30, Full: true,
			},
			{ID: "c", Status: store.ServerFailed, Error: "exit status 1", Stderr: []string{"boom"}, Weight: 1},
		},
	}
}

func TestRecordRoundTrip(t *testing.T) {
	want := goodRecord()
	raw, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var r Record
	if err := json.Unmarshal(raw, &r); err != nil {
		t.Fatal(err)
	}
	n, err := r.ToNode(AddressPolicy{})
	if err != nil {
		t.Fatal(err)
	}
	if got := RecordOf(n); !reflect.DeepEqual(got, want) {
		t.Errorf("round trip:\n got %+v\nwant %+v", got, want)
	}
}

// The guide's record has names and no details; it is enough, with an instance.
func TestGuidesRecordIsEnough(t *testing.T) {
	const guide = `{"id":"node-1","name":"Worker Node 1","host":"localhost","port":3001,"url":"http://localhost:3001",
		"servers":["playwright","fetch"],"instance":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}`
	var r Record
	if err := json.Unmarshal([]byte(guide), &r); err != nil {
		t.Fatal(err)
	}
	n, err := r.ToNode(AddressPolicy{})
	if err != nil {
		t.Fatal(err)
	}
	if !n.Callable("playwright") || !n.Callable("fetch") || n.State != store.NodeActive || n.Weight != 1 || n.Servers[0].Weight != 1 {
		t.Errorf("ToNode() = %+v, want an active node with two callable servers", n)
	}
}

func TestRecordRefused(t *testing.T) {
	long := strings.Repeat("x", 5000)
	tests := []struct {
		name  string
		spoil func(*Record)
		want  error
		says  string
	}{
		{"empty id", func(r *Record) { r.ID = "" }, wire.ErrName, "id"},
		{"id with a space", func(r *Record) { r.ID = "a b" }, wire.ErrName, "id"},
		{"id with a brace", func(r *Record) { r.ID = "a{b}" }, wire.ErrName, "id"},
		{"id with a colon", func(r *Record) { r.ID = "a:b" }, wire.ErrName, "id"},
		{"id with a line break", func(r *Record) { r.ID = "a\nb" }, wire.ErrName, "id"},
		{"id with NUL", func(r *Record) { r.ID = "a\x00" }, wire.ErrName, "id"},
		{"id of 64", func(r *Record) { r.ID = store.NodeID(strings.Repeat("a", 64)) }, wire.ErrName, "63"},
		{"id of dots", func(r *Record) { r.ID = ".." }, wire.ErrName, "id"},
		{"no instance", func(r *Record) { r.Instance = "" }, ErrRecord, "instance"},
		{"short instance", func(r *Record) { r.Instance = "abc" }, ErrRecord, "instance"},
		{"upper-case instance", func(r *Record) { r.Instance = store.Instance(strings.Repeat("A", 32)) }, ErrRecord, "instance"},
		{"long name", func(r *Record) { r.Name = long }, ErrRecord, "name"},
		{"name with an escape", func(r *Record) { r.Name = "\x1b[31m" }, ErrRecord, "U+001B"},
		{"name with a line break", func(r *Record) { r.Name = "a\nMarking node" }, ErrRecord, "name"},
		{"name that is not text", func(r *Record) { r.Name = "\xff" }, ErrRecord, "UTF-8"},
		{"name with an override", func(r *Record) { r.Name = "a\u202eb" }, ErrRecord, "name"},
		{"long host", func(r *Record) { r.Host = long }, ErrRecord, "host"},
		{"negative port", func(r *Record) { r.Port = -1 }, ErrRecord, "port"},
		{"port too high", func(r *Record) { r.Port = 65536 }, ErrRecord, "port"},
		{"negative epoch", func(r *Record) { r.Epoch = -1 }, ErrRecord, "epoch"},
		{"long version", func(r *Record) { r.Version = long }, ErrRecord, "version"},
		{"negative weight", func(r *Record) { r.Weight = -1 }, ErrRecord, "weight"},
		{"huge weight", func(r *Record) { r.Weight = math.MaxInt }, ErrRecord, "weight"},
		{"negative start", func(r *Record) { r.StartedAt = -1 }, ErrRecord, "startedAt"},
		{"start after all time", func(r *Record) { r.StartedAt = math.MaxInt64 }, ErrRecord, "startedAt"},
		{"unhealthy by itself", func(r *Record) { r.Status = store.NodeUnhealthy }, ErrRecord, "status"},
		{"unknown status", func(r *Record) { r.Status = "Active" }, ErrRecord, "status"},
		{"no url", func(r *Record) { r.URL = "" }, ErrAddress, "url"},
		{"public url", func(r *Record) { r.URL = "http://8.8.8.8" }, ErrAddress, "secret"},
		{"server name", func(r *Record) { r.Servers = []store.ServerID{"a", "b", "c d"} }, wire.ErrName, "servers"},
		{"server twice", func(r *Record) { r.Servers = []store.ServerID{"a", "a"} }, ErrRecord, "twice"},
		{"server ready, not named", func(r *Record) { r.Servers = []store.ServerID{"a"} }, ErrRecord, "b"},
		{"server named, not ready", func(r *Record) { r.Servers = []store.ServerID{"a", "b", "c"} }, ErrRecord, "3"},
		{"server detailed twice", func(r *Record) { r.ServerDetails[2].ID = "a" }, ErrRecord, "twice"},
		{"server status", func(r *Record) { r.ServerDetails[0].Status = "up" }, ErrRecord, "status"},
		{"server detail name", func(r *Record) { r.ServerDetails[2].ID = "x/y" }, wire.ErrName, "serverDetails"},
		{"transport", func(r *Record) { r.ServerDetails[0].Transport = long }, ErrRecord, "transport"},
		{"error", func(r *Record) { r.ServerDetails[2].Error = long }, ErrRecord, "error"},
		{"stderr line", func(r *Record) { r.ServerDetails[2].Stderr = []string{long} }, ErrRecord, "stderr"},
		{"stderr lines", func(r *Record) { r.ServerDetails[2].Stderr = make([]string, 51) }, ErrRecord, "stderr"},
		{"catalog", func(r *Record) { r.ServerDetails[0].Catalog = "abc" }, ErrRecord, "catalog"},
		{"negative tools", func(r *Record) { r.ServerDetails[0].Tools = -1 }, ErrRecord, "range"},
		{"huge sessions", func(r *Record) { r.ServerDetails[0].Sessions = math.MaxInt }, ErrRecord, "range"},
		{"negative prompts", func(r *Record) { r.ServerDetails[0].Prompts = -1 }, ErrRecord, "range"},
		{"huge resources", func(r *Record) { r.ServerDetails[0].Resources = math.MaxInt }, ErrRecord, "range"},
		{"negative templates", func(r *Record) { r.ServerDetails[0].Templates = -1 }, ErrRecord, "range"},
		{"negative processes", func(r *Record) { r.ServerDetails[1].Processes = -1 }, ErrRecord, "range"},
		{"negative spares", func(r *Record) { r.ServerDetails[1].Spares = -1 }, ErrRecord, "range"},
		{"huge limit", func(r *Record) { r.ServerDetails[1].MaxProcesses = math.MaxInt }, ErrRecord, "range"},
		{"negative start", func(r *Record) { r.ServerDetails[1].StartSeconds = -1 }, ErrRecord, "range"},
		{"isolation", func(r *Record) { r.ServerDetails[0].Isolation = "shared" }, ErrRecord, "isolation of server a"},
		{"server weight", func(r *Record) { r.ServerDetails[0].Weight = 1001 }, ErrRecord, "weight"},
		{"501 servers", func(r *Record) { r.Servers = make([]store.ServerID, 501) }, ErrRecord, "500"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := goodRecord()
			tt.spoil(&r)
			_, err := r.ToNode(AddressPolicy{})
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
				t.Fatalf("ToNode() = %v, want %v that mentions %q", err, tt.want, tt.says)
			}
			if !errors.Is(err, ErrRecord) && !errors.Is(err, ErrAddress) {
				t.Errorf("ToNode() = %v, which the server cannot tell from an internal error", err)
			}
			if len(err.Error()) > 400 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
		})
	}
}

// Whatever a node is made to say of its servers, its record is not refused for it.
func TestTrimmedServersPass(t *testing.T) {
	long := strings.Repeat("\xff", 5000)
	wild := store.Server{
		ID: "a", Status: store.ServerReady, Error: long, Stderr: []string{long, long}, Weight: 1 << 40,
		Tools: -1, Prompts: -1, Resources: math.MaxInt, Templates: -1, Sessions: -5, InFlight: math.MinInt, Restarts: math.MaxInt,
		Isolation: "shared", Processes: -1, Spares: math.MaxInt, MaxProcesses: -1, StartSeconds: math.MaxInt,
	}
	for _, brief := range []bool{false, true} {
		r := goodRecord()
		r.Servers, r.ServerDetails = []store.ServerID{"a"}, trim([]store.Server{wild}, brief)
		if _, err := r.ToNode(AddressPolicy{}); err != nil {
			t.Errorf("brief %v: %v", brief, err)
		}
	}
	kept := goodRecord().ServerDetails[1]
	if got := trim([]store.Server{kept}, false)[0]; !reflect.DeepEqual(got, kept) {
		t.Errorf("trim changed what is within the limits: %+v, want %+v", got, kept)
	}
}

// What passes keeps the laws that everything after it relies on.
func FuzzRecord(f *testing.F) {
	raw, err := json.Marshal(goodRecord())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte(`{"id":"n","url":"http://127.0.0.1:1","instance":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","servers":["x"]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var r Record
		if json.Unmarshal(raw, &r) != nil {
			return
		}
		n, err := r.ToNode(AddressPolicy{})
		if err != nil {
			return
		}
		if wire.CheckName("id", string(n.ID)) != nil || n.Weight < 1 || n.Weight > maxWeight || n.State == store.NodeUnhealthy {
			t.Fatalf("accepted %+v", n)
		}
		ready := 0
		for _, s := range n.Servers {
			if wire.CheckName("server", string(s.ID)) != nil || s.Weight < 1 || s.Sessions < 0 {
				t.Fatalf("accepted server %+v", s)
			}
			if s.Status == store.ServerReady {
				ready++
			}
		}
		if ready != len(r.Servers) {
			t.Fatalf("%d callable servers of %d named", ready, len(r.Servers))
		}
		if n.Started.After(time.UnixMilli(lastMillis)) {
			t.Fatalf("started %v", n.Started)
		}
	})
}
