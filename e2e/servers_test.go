package e2e

import (
	"slices"
	"strings"
	"testing"

	"github.com/mcphub-go/mcphub/e2e/harness"
)

// npmServers are the reference servers from npm over stdio.
func npmServers(t *testing.T) harness.Servers {
	t.Helper()
	node := harness.Node(t)
	return harness.Servers{
		"everything": {
			Command: node,
			Args:    []string{harness.Script(t, "@modelcontextprotocol/server-everything", "mcp-server-everything"), "stdio"},
		},
		"memory": {
			Command: node,
			Args:    []string{harness.Script(t, "@modelcontextprotocol/server-memory", "mcp-server-memory")},
			Env:     map[string]string{"MEMORY_FILE_PATH": t.TempDir() + "/memory.jsonl"},
		},
	}
}

// The reference servers, on three nodes, through three coordinators that take turns, with
// every client.
func TestReferenceServersThroughEveryClient(t *testing.T) {
	long(t)
	var nodes []harness.NodeOptions
	for _, id := range []string{"node-1", "node-2", "node-3"} {
		nodes = append(nodes, harness.NodeOptions{ID: id, Servers: npmServers(t)})
	}
	c := harness.StartCluster(t, harness.Options{Secret: "a-secret-of-the-tests", Nodes: nodes})

	for kind, connect := range kinds {
		t.Run(kind+"/everything", func(t *testing.T) {
			cl := connect(t, c.Front.URL+"/mcp/everything")
			if tools, err := cl.Tools(t.Context()); err != nil || !slices.Contains(tools, "echo") {
				t.Errorf("Tools = %v, %v, want echo among them, unprefixed", tools, err)
			}
			checkCall(t, cl, "echo", map[string]any{"message": "grüße"}, "Echo: grüße")
			checkCall(t, cl, "get-sum", map[string]any{"a": 20, "b": 22}, "42")
			if err := cl.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
		t.Run(kind+"/memory", func(t *testing.T) {
			cl := connect(t, c.Front.URL+"/mcp/memory")
			checkMemory(t, cl, "", "only-"+kind)
		})
		t.Run(kind+"/all", func(t *testing.T) {
			cl := connect(t, c.Front.URL+"/mcp")
			tools, err := cl.Tools(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{"everything-echo", "memory-read_graph"} {
				if !slices.Contains(tools, want) {
					t.Errorf("Tools = %v, want %s among them", tools, want)
				}
			}
			if slices.Contains(tools, "echo") {
				t.Errorf("Tools shows echo without its server's name: %v", tools)
			}
			checkCall(t, cl, "everything-echo", map[string]any{"message": "x"}, "Echo: x")
			checkMemory(t, cl, "memory-", "all-"+kind)
		})
	}
	checkSpread(t, c.Front, 3)
}

// checkCall calls a tool and wants part in its text.
func checkCall(t *testing.T, c client, tool string, args map[string]any, part string) {
	t.Helper()
	got, err := c.Call(t.Context(), tool, args)
	if err != nil || !strings.Contains(got, part) {
		t.Errorf("Call(%s, %v) = %q, %v, want %q in it", tool, args, got, err, part)
	}
}

// checkMemory stores something in the session's memory server and reads it back, which only
// works if both calls reach the same process.
func checkMemory(t *testing.T, c client, prefix, name string) {
	t.Helper()
	entity := map[string]any{"name": name, "entityType": "test", "observations": []string{"seen by " + name}}
	checkCall(t, c, prefix+"create_entities", map[string]any{"entities": []any{entity}}, name)
	for range 5 {
		checkCall(t, c, prefix+"read_graph", map[string]any{}, "seen by "+name)
	}
}

// checkSpread wants each of n backends to have had a fair part of the requests, or the test
// was not one of many coordinators.
func checkSpread(t *testing.T, rr *harness.RoundRobin, n int) {
	t.Helper()
	counts, total := rr.Counts(), 0
	for _, c := range counts {
		total += c
	}
	for backend, c := range counts {
		if c*n*2 < total {
			t.Errorf("coordinator %s had %d of %d requests, want about a %dth", backend, c, total, n)
		}
	}
	if len(counts) != n {
		t.Errorf("requests reached %d coordinators, want %d", len(counts), n)
	}
}
