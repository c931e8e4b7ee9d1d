package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
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

// dullTools is how many tools the server "paging" lists: more than fit on a page.
const dullTools = 1100

// referenceFleet is the reference servers on three nodes behind three coordinators, and what makes
// an endpoint over them difficult: a server whose name begins with another's, one with more
// tools than a page holds, one that offers the resources of another, and one on a single node
// that can be taken away.
type referenceFleet struct {
	*harness.Cluster
	files string        // the folder that filesystem may read, with hello.txt
	solo  *harness.Proc // the process behind the server "solo", on node-2 only
	desk  []string      // tools of the group "desk", of the settings files
}

func startReferenceFleet(t *testing.T) *referenceFleet {
	t.Helper()
	f := &referenceFleet{files: t.TempDir(), desk: []string{"everything-echo", "everything-get-sum"}}
	if err := os.WriteFile(filepath.Join(f.files, "hello.txt"), []byte("hello from a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	addr := "127.0.0.1:" + strconv.Itoa(harness.FreePort(t))
	f.solo = startFixture(t, "solo", addr)
	var nodes []harness.NodeOptions
	for _, id := range []string{"node-1", "node-2", "node-3"} {
		servers := npmServers(t)
		servers["files"] = harness.Server{
			Command: harness.Node(t),
			Args:    []string{harness.Script(t, "@modelcontextprotocol/server-filesystem", "mcp-server-filesystem"), f.files},
		}
		servers["memory-2"] = harness.Server{Command: harness.FixtureBinary(t), Env: map[string]string{"FIXTURE_NAME": id}}
		servers["paging"] = harness.Server{Command: harness.FixtureBinary(t), Args: []string{"-tools", strconv.Itoa(dullTools)}}
		if id == "node-2" {
			servers["solo"] = harness.Server{Type: "streamable-http", URL: "http://" + addr + "/mcp"}
			servers["more"] = servers["everything"] // the same resources once more
		}
		nodes = append(nodes, harness.NodeOptions{ID: id, Servers: servers})
	}
	f.Cluster = harness.StartCluster(t, harness.Options{
		Secret: "a-secret-of-the-tests", Nodes: nodes,
		Coordinator: harness.Object{"groups": []any{harness.Object{
			"name": "desk", "description": "what lies on the desk",
			"servers": []any{"memory", harness.Object{"name": "everything", "tools": []string{"get-sum", "echo"}}},
		}}},
	})
	return f
}

// The reference servers, on three nodes, through three coordinators that take turns, with
// every client: each by itself, in a group, and all of them as one.
func TestReferenceServersThroughEveryClient(t *testing.T) {
	long(t)
	f := startReferenceFleet(t)
	for kind, connect := range kinds {
		t.Run(kind+"/everything", func(t *testing.T) {
			cl := connect(t, f.Front.URL+"/mcp/everything")
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
			checkMemory(t, connect(t, f.Front.URL+"/mcp/memory"), "", "only-"+kind)
		})
		t.Run(kind+"/all", func(t *testing.T) {
			cl := connect(t, f.Front.URL+"/mcp")
			f.checkHub(t, cl)
			checkMemory(t, cl, "memory-", "all-"+kind)
			if o, ok := cl.(offers); ok {
				f.checkOffers(t, o)
			}
		})
		t.Run(kind+"/group", func(t *testing.T) {
			cl := connect(t, f.Front.URL+"/mcp/desk")
			f.checkDesk(t, cl)
			checkMemory(t, cl, "memory-", "desk-"+kind)
			if o, ok := cl.(offers); ok {
				checkDeskOffers(t, o)
			}
		})
	}
	t.Run("same order everywhere", f.sameEverywhere)
	t.Run("cursors", f.cursorsHold)
	t.Run("one owner", f.resourcesHaveOneOwner)
	t.Run("groups", f.groupsByREST)
	t.Run("groups at once", f.groupsAtOnce)
	t.Run("server away", f.serverAway) // takes "solo" away
	t.Run("Redis away", f.redisAway)
	checkSpread(t, f.Front, 3)
}

// checkHub wants tools of all servers under names that lead to them.
func (f *referenceFleet) checkHub(t *testing.T, cl client) {
	t.Helper()
	tools, err := cl.Tools(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"everything-echo", "files-read_text_file", "memory-read_graph", "memory-2-whoami", "paging-tool_0001"} {
		if !slices.Contains(tools, want) {
			t.Errorf("Tools = %v, want %s among them", brief(tools), want)
		}
	}
	if slices.Contains(tools, "echo") {
		t.Errorf("Tools shows echo without its server's name: %v", brief(tools))
	}
	checkCall(t, cl, "everything-echo", map[string]any{"message": "x"}, "Echo: x")
	checkCall(t, cl, "files-read_text_file", map[string]any{"path": filepath.Join(f.files, "hello.txt")}, "hello from a file")
	checkCall(t, cl, "memory-2-whoami", map[string]any{}, `"name":"node-`) // not memory's tool 2-whoami
	checkCall(t, cl, "paging-tool_1100", map[string]any{}, "tool_1100")    // on the second page
}

// brief is a list cut to what a person reads.
func brief(list []string) string {
	if len(list) > 40 {
		return fmt.Sprintf("%v … and %d more", list[:40], len(list)-40)
	}
	return fmt.Sprint(list)
}

// checkOffers wants everything's prompts, resources, templates and completions, and the
// instructions of the servers that have some, on the endpoint over all servers.
func (f *referenceFleet) checkOffers(t *testing.T, o offers) {
	t.Helper()
	checkList(t, "Prompts", o.Prompts, "everything-simple-prompt", "everything-args-prompt", "everything-completable-prompt")
	checkList(t, "Resources", o.Resources, "demo://resource/static/document/features.md")
	checkList(t, "Templates", o.Templates, "demo://resource/dynamic/text/{resourceId}")
	text, err := o.Prompt(t.Context(), "everything-args-prompt", map[string]string{"city": "Köln"})
	checkText(t, "Prompt", text, err, "What's weather in Köln?")
	text, err = o.Read(t.Context(), "demo://resource/static/document/features.md")
	checkText(t, "Read", text, err, "Everything Server")
	text, err = o.Read(t.Context(), "demo://resource/dynamic/text/7")
	checkText(t, "Read by template", text, err, "Resource 7:")
	if text, err = o.Read(t.Context(), "nobody://has/this"); err == nil || !strings.Contains(strings.ToLower(err.Error()), "not found") {
		t.Errorf("Read of what nobody has = %q, %v, want an error that says so", text, err)
	}
	values, err := o.Complete(t.Context(), reference{prompt: "everything-completable-prompt"}, "department", "S")
	if err != nil || !slices.Equal(values, []string{"Sales", "Support"}) {
		t.Errorf("Complete(department S) = %v, %v, want Sales and Support", values, err)
	}
	values, err = o.Complete(t.Context(), reference{template: "demo://resource/dynamic/text/{resourceId}"}, "resourceId", "12")
	if err != nil || !slices.Equal(values, []string{"12"}) {
		t.Errorf("Complete(resourceId 12) = %v, %v, want 12", values, err)
	}
	text, err = o.Instructions(t.Context())
	checkText(t, "Instructions", text, err, "# everything\n")
}

// checkList wants a list to hold wanted.
func checkList(t *testing.T, what string, list func(context.Context) ([]string, error), wanted ...string) {
	t.Helper()
	got, err := list(t.Context())
	for _, want := range wanted {
		if err != nil || !slices.Contains(got, want) {
			t.Errorf("%s = %s, %v, want %s among them", what, brief(got), err, want)
		}
	}
}

func checkText(t *testing.T, what, got string, err error, part string) {
	t.Helper()
	if err != nil || !strings.Contains(got, part) {
		t.Errorf("%s = %.200q, %v, want %q in it", what, got, err, part)
	}
}

// checkDesk wants the group of the settings: memory whole, and two tools of everything.
func (f *referenceFleet) checkDesk(t *testing.T, cl client) {
	t.Helper()
	tools, err := cl.Tools(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, tool := range tools {
		if !strings.HasPrefix(tool, "memory-") && !slices.Contains(f.desk, tool) || strings.HasPrefix(tool, "memory-2") {
			t.Errorf("the group shows %s, which it has not", tool)
		}
	}
	for _, want := range append([]string{"memory-read_graph"}, f.desk...) {
		if !slices.Contains(tools, want) {
			t.Errorf("the group shows %v, want %s among them", tools, want)
		}
	}
	checkCall(t, cl, "everything-get-sum", map[string]any{"a": 1, "b": 2}, "3")
	for _, outside := range []string{"everything-get-tiny-image", "memory-2-whoami", "files-list_directory"} {
		if got, err := cl.Call(t.Context(), outside, map[string]any{}); err == nil {
			t.Errorf("Call(%s) in a group without it = %.100q, want an error", outside, got)
		}
	}
}

// checkDeskOffers wants the prompts and resources of the group's servers, and of no others.
func checkDeskOffers(t *testing.T, o offers) {
	t.Helper()
	checkList(t, "Prompts", o.Prompts, "everything-simple-prompt")
	text, err := o.Read(t.Context(), "demo://resource/dynamic/text/3")
	checkText(t, "Read in a group", text, err, "Resource 3:")
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
