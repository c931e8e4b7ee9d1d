package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/e2e/harness"
)

// through is a session that the round robin opened, continued at one coordinator.
func through(s *harness.Session, co *harness.Hub, path string) *harness.Session {
	one := harness.NewSession(co.URL + path)
	one.ID, one.Version = s.ID, s.Version
	return one
}

// sameEverywhere wants every list, byte for byte, from each coordinator.
func (f *referenceFleet) sameEverywhere(t *testing.T) {
	for _, path := range []string{"/mcp", "/mcp/desk"} {
		s := harness.MustOpen(t, f.Front.URL+path)
		for _, method := range []string{"tools/list", "prompts/list", "resources/list", "resources/templates/list"} {
			var first []byte
			for _, co := range f.Coordinators {
				got, err := through(s, co, path).Request(t.Context(), method, map[string]any{})
				if err != nil {
					t.Fatalf("%s at %s of %s: %v", method, path, co.Name, err)
				}
				if first == nil {
					first = got
				} else if !bytes.Equal(first, got) {
					t.Errorf("%s at %s differs between %s and %s:\n%.300s\n%.300s", method, path, f.Coordinators[0].Name, co.Name, first, got)
				}
			}
		}
	}
}

// cursorsHold takes each page from another coordinator than the one before, and wants what one
// alone shows.
func (f *referenceFleet) cursorsHold(t *testing.T) {
	s := harness.MustOpen(t, f.Front.URL+"/mcp")
	whole, err := through(s, f.Coordinators[0], "/mcp").Tools(t.Context())
	if err != nil || len(whole) < dullTools {
		t.Fatalf("one coordinator alone shows %d tools, %v, want more than %d", len(whole), err, dullTools)
	}
	for start := range f.Coordinators {
		var paged []string
		pages := 0
		for params := map[string]any{}; ; pages++ {
			co := f.Coordinators[(start+pages)%len(f.Coordinators)]
			raw, err := through(s, co, "/mcp").Request(t.Context(), "tools/list", params)
			if err != nil {
				t.Fatalf("page %d at %s: %v", pages, co.Name, err)
			}
			var page struct {
				Tools      []struct{ Name string }
				NextCursor string
			}
			if err := json.Unmarshal(raw, &page); err != nil {
				t.Fatal(err)
			}
			for _, tool := range page.Tools {
				paged = append(paged, tool.Name)
			}
			if page.NextCursor == "" {
				break
			}
			params["cursor"] = page.NextCursor
		}
		if pages == 0 || !slices.Equal(paged, whole) {
			t.Errorf("%d more pages from changing coordinators show %d tools, one alone %d, or in another order", pages, len(paged), len(whole))
		}
	}
	if _, err := s.Request(t.Context(), "tools/list", map[string]any{"cursor": "made up"}); err == nil {
		t.Error("a made-up cursor was accepted")
	}
}

// resourcesHaveOneOwner wants what two servers offer to be listed once, and every coordinator
// to tell which of them answers for it.
func (f *referenceFleet) resourcesHaveOneOwner(t *testing.T) {
	const shared, template = "demo://resource/static/document/features.md", "demo://resource/dynamic/text/{resourceId}"
	raw, err := harness.MustOpen(t, f.Front.URL+"/mcp").Request(t.Context(), "resources/list", map[string]any{})
	if n := bytes.Count(raw, []byte(`"`+shared+`"`)); err != nil || n != 1 {
		t.Errorf("resources/list shows %s %d times, %v, want once", shared, n, err)
	}
	for _, co := range f.Coordinators {
		var conflicts []struct {
			URI, URITemplate, Owner string
			Others                  []string
		}
		if err := co.API("/conflicts", &conflicts); err != nil {
			t.Fatal(err)
		}
		found := 0
		for _, c := range conflicts {
			if (c.URI == shared || c.URITemplate == template) && c.Owner == "everything" && slices.Equal(c.Others, []string{"more"}) {
				found++
			}
		}
		if found != 2 {
			t.Errorf("%s: conflicts = %+v, want %s and %s owned by everything", co.Name, conflicts, shared, template)
		}
		if err := co.API("/conflicts?scope=group/desk", &conflicts); err != nil || len(conflicts) != 0 {
			t.Errorf("%s: conflicts in the group = %+v, %v, want none", co.Name, conflicts, err)
		}
	}
}

// serverAway takes solo's process away: it leaves the lists, and a call says where it was.
func (f *referenceFleet) serverAway(t *testing.T) {
	s := harness.MustOpen(t, f.Front.URL+"/mcp")
	if got, err := s.Call(t.Context(), "solo-whoami", nil); err != nil || nodeOf(got) != "solo" {
		t.Fatalf("solo-whoami = %q, %v", got, err)
	}
	f.solo.Kill()
	var said error
	harness.Eventually(t, harness.ReadyLimit, "solo has left the lists of every coordinator", func() error {
		_, said = s.Call(t.Context(), "solo-whoami", nil) // the node notices by a call
		for _, co := range f.Coordinators {
			tools, err := through(s, co, "/mcp").Tools(t.Context())
			if err != nil {
				return err
			}
			if slices.ContainsFunc(tools, func(tool string) bool { return strings.HasPrefix(tool, "solo-") }) {
				return fmt.Errorf("%s shows %d tools, solo's among them", co.Name, len(tools))
			}
			if !slices.Contains(tools, "everything-echo") {
				return fmt.Errorf("%s shows %s, and not everything's", co.Name, brief(tools))
			}
		}
		return nil
	})
	for _, co := range f.Coordinators {
		_, said = through(s, co, "/mcp").Call(t.Context(), "solo-whoami", nil)
		var rpc *harness.RPCError
		if !errors.As(said, &rpc) || rpc.Code != 1002 || !strings.Contains(rpc.Message, "solo") || !strings.Contains(rpc.Message, "node-2") {
			t.Errorf("%s: a call of a server that is away = %v, want error 1002 naming solo and node-2", co.Name, said)
		}
	}
	if got, err := s.Call(t.Context(), "everything-echo", map[string]any{"message": "still"}); err != nil || !strings.Contains(got, "still") {
		t.Errorf("the other servers: %q, %v", got, err)
	}
}

// admin makes a management call and wants a status.
func admin(t *testing.T, method, url string, body any, want int) []byte {
	t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	status, answer, err := harness.Do(t.Context(), method, url, http.Header{"Content-Type": {"application/json"}}, bytes.NewReader(b))
	if err != nil || status != want {
		t.Errorf("%s %s = %d %.300s %v, want %d", method, url, status, answer, err, want)
	}
	return answer
}

// groupLimit is how soon a change of groups is to be known everywhere, and slack what a busy
// machine may add to the round of requests that finds it out.
const (
	groupLimit = time.Second
	groupSlack = 1500 * time.Millisecond
)

// groupsByREST makes, changes and removes a group at one coordinator and looks at all of them.
func (f *referenceFleet) groupsByREST(t *testing.T) {
	api := f.Front.URL + "/api/groups"
	admin(t, http.MethodPost, api, map[string]any{"name": "memory", "servers": []any{}}, http.StatusConflict)
	admin(t, http.MethodPost, api, map[string]any{"name": "desk", "servers": []any{}}, http.StatusConflict)
	admin(t, http.MethodDelete, api+"/desk", nil, http.StatusConflict)
	admin(t, http.MethodPost, api, map[string]any{"name": "a b", "servers": []any{}}, http.StatusBadRequest)
	admin(t, http.MethodPost, api, map[string]any{"name": "talk"}, http.StatusBadRequest)
	admin(t, http.MethodPut, api+"/talk", map[string]any{"servers": []any{}}, http.StatusNotFound)

	admin(t, http.MethodPost, api, map[string]any{
		"name": "talk", "description": "to talk to", "servers": []any{"memory-2", map[string]any{"name": "everything", "tools": []string{"echo"}}},
	}, http.StatusCreated)
	s := harness.NewSession(f.Front.URL + "/mcp/talk")
	f.within(t, "the group is there", func(co *harness.Hub) error {
		s = harness.NewSession(co.URL + "/mcp/talk")
		return s.Initialize(t.Context(), "2025-11-25")
	})
	f.within(t, "it has echo alone of everything", func(co *harness.Hub) error {
		return f.talks(t, s, co, "everything-echo", "memory-2-whoami")
	})
	admin(t, http.MethodPost, api, map[string]any{"name": "talk", "servers": []any{}}, http.StatusConflict)

	admin(t, http.MethodPut, api+"/talk", map[string]any{"servers": []any{map[string]any{"name": "everything", "tools": []string{"get-sum"}}}}, http.StatusOK)
	f.within(t, "it has get-sum and no more", func(co *harness.Hub) error {
		if err := f.talks(t, s, co, "everything-get-sum"); err != nil {
			return err
		}
		if got, err := through(s, co, "/mcp/talk").Call(t.Context(), "everything-echo", map[string]any{"message": "x"}); err == nil {
			return fmt.Errorf("everything-echo answers %q", got)
		}
		return nil
	})

	admin(t, http.MethodDelete, api+"/talk", nil, http.StatusOK)
	f.within(t, "it is gone", func(co *harness.Hub) error {
		r, err := harness.NewSession(co.URL+"/mcp/talk").Post(t.Context(), []byte(initialize))
		if err == nil && r.Status != http.StatusNotFound {
			err = fmt.Errorf("initialize: status %d", r.Status)
		}
		return err
	})
	for _, co := range f.Coordinators {
		var groups []struct{ Name, Source string }
		if err := json.Unmarshal(dataOf(t, admin(t, http.MethodGet, co.URL+"/api/groups", nil, http.StatusOK)), &groups); err != nil ||
			len(groups) != 1 || groups[0].Name != "desk" || groups[0].Source != "settings" {
			t.Errorf("%s: groups = %+v, %v, want that of the settings", co.Name, groups, err)
		}
	}
}

// dataOf is the data of a REST answer.
func dataOf(t *testing.T, body []byte) json.RawMessage {
	t.Helper()
	var e struct{ Data json.RawMessage }
	if err := json.Unmarshal(body, &e); err != nil {
		t.Errorf("%v: %.200s", err, body)
	}
	return e.Data
}

// within wants ok of every coordinator within groupLimit, and tells how long it took.
func (f *referenceFleet) within(t *testing.T, what string, ok func(co *harness.Hub) error) {
	t.Helper()
	began := time.Now()
	for _, co := range f.Coordinators {
		harness.Eventually(t, time.Until(began.Add(groupLimit+groupSlack)), co.Name+": "+what, func() error { return ok(co) })
	}
	t.Logf("%s, at every coordinator, after %v", what, time.Since(began).Round(time.Millisecond))
}

// talks wants the tools of a session at a coordinator to be these; memory-2's others are left out.
func (f *referenceFleet) talks(t *testing.T, s *harness.Session, co *harness.Hub, want ...string) error {
	t.Helper()
	tools, err := through(s, co, "/mcp/talk").Tools(t.Context())
	if err != nil {
		return err
	}
	tools = slices.DeleteFunc(tools, func(tool string) bool { return strings.HasPrefix(tool, "memory-2-") && tool != "memory-2-whoami" })
	if !slices.Equal(tools, want) {
		return fmt.Errorf("tools are %v, want %v", tools, want)
	}
	return nil
}

// groupsAtOnce has every coordinator change one group, all at once: the last change holds, and
// it is the same one everywhere.
func (f *referenceFleet) groupsAtOnce(t *testing.T) {
	api := "/api/groups/busy"
	admin(t, http.MethodPost, f.Front.URL+"/api/groups", map[string]any{"name": "busy", "servers": []any{}}, http.StatusCreated)
	var wg sync.WaitGroup
	for i, co := range f.Coordinators {
		wg.Go(func() {
			for n := range 20 {
				admin(t, http.MethodPut, co.URL+api, map[string]any{"description": fmt.Sprint(i, " ", n), "servers": []any{"memory"}}, http.StatusOK)
			}
		})
	}
	wg.Wait()
	describe := func(co *harness.Hub) string {
		var g struct{ Description string }
		if err := json.Unmarshal(dataOf(t, admin(t, http.MethodGet, co.URL+api, nil, http.StatusOK)), &g); err != nil {
			t.Error(err)
		}
		return g.Description
	}
	f.within(t, "the last change", func(co *harness.Hub) error {
		got, want := describe(co), describe(f.Coordinators[0])
		if got != want || !strings.HasSuffix(got, " 19") {
			return fmt.Errorf("it has %q, %s has %q", got, f.Coordinators[0].Name, want)
		}
		return nil
	})
	admin(t, http.MethodDelete, f.Front.URL+api, nil, http.StatusOK)
}

// redisAway freezes Redis: lists, groups and calls go on as they were, changes are refused,
// and afterwards all is as before.
func (f *referenceFleet) redisAway(t *testing.T) {
	admin(t, http.MethodPost, f.Front.URL+"/api/groups", map[string]any{"name": "kept", "servers": []any{"memory-2"}}, http.StatusCreated)
	f.within(t, "the group is there", func(co *harness.Hub) error {
		_, err := harness.Open(t.Context(), co.URL+"/mcp/kept")
		return err
	})
	wide, group := harness.MustOpen(t, f.Front.URL+"/mcp"), harness.MustOpen(t, f.Front.URL+"/mcp/kept")
	before, err := wide.Tools(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f.within(t, "the lists have been read", func(co *harness.Hub) error {
		_, err := through(wide, co, "/mcp").Tools(t.Context())
		return err
	})
	f.Redis.Freeze()
	thaw := sync.OnceFunc(f.Redis.Thaw)
	defer thaw()
	for range 2 * len(f.Coordinators) {
		if tools, err := wide.Tools(t.Context()); err != nil || !slices.Equal(tools, before) {
			t.Errorf("Tools without Redis = %d, %v, want the %d from before", len(tools), err, len(before))
		}
		if got, err := wide.Call(t.Context(), "everything-echo", map[string]any{"message": "x"}); err != nil || got != "Echo: x" {
			t.Errorf("a call without Redis = %q, %v", got, err)
		}
		if got, err := group.Call(t.Context(), "memory-2-whoami", nil); err != nil || nodeOf(got) == "" {
			t.Errorf("a call in a group without Redis = %q, %v", got, err)
		}
	}
	fresh, err := harness.Open(t.Context(), f.Front.URL+"/mcp/kept")
	if err != nil {
		t.Fatalf("a new session in a group without Redis: %v", err)
	}
	var at []string // the nodes that answer, call by call
	for range 2 * len(f.Coordinators) {
		got, err := fresh.Call(t.Context(), "memory-2-whoami", nil)
		if err != nil {
			t.Errorf("a call in a session begun without Redis: %v", err)
		}
		at = append(at, nodeOf(got))
	}
	if at = slices.Compact(at); len(at) != 1 || at[0] == "" {
		t.Errorf("calls in a session begun without Redis went to %v, want one node", at)
	}
	for _, co := range f.Coordinators {
		admin(t, http.MethodPut, co.URL+"/api/groups/kept", map[string]any{"servers": []any{}}, http.StatusServiceUnavailable)
	}
	thaw()
	for _, co := range f.Coordinators { // each finds out by itself
		harness.Eventually(t, 15*time.Second, "groups can be changed again at "+co.Name, func() error {
			status, body, err := harness.Do(t.Context(), http.MethodPut, co.URL+"/api/groups/kept",
				http.Header{"Content-Type": {"application/json"}}, strings.NewReader(`{"servers":["memory-2","memory"]}`))
			if err == nil && status != http.StatusOK {
				err = fmt.Errorf("status %d: %s", status, body)
			}
			return err
		})
	}
	for _, co := range f.Coordinators {
		harness.Eventually(t, 15*time.Second, co.Name+" knows the session begun without Redis", func() error {
			got, err := through(fresh, co, "/mcp/kept").Call(t.Context(), "memory-2-whoami", nil)
			if err == nil && !slices.Equal(at, []string{nodeOf(got)}) {
				t.Errorf("once Redis is back, %s takes the session to %s, before it was on %v", co.Name, nodeOf(got), at)
			}
			return err
		})
	}
	admin(t, http.MethodDelete, f.Front.URL+"/api/groups/kept", nil, http.StatusOK)
	if got, err := wide.Call(t.Context(), "everything-echo", map[string]any{"message": "x"}); err != nil || got != "Echo: x" {
		t.Errorf("a call once Redis is back = %q, %v", got, err)
	}
}
