package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

const aTeam = `{"name":"team","description":"ours","servers":["memory",{"name":"github","tools":["search_code","get_issue"]},{"name":"later","tools":["x"]}],"source":"redis","unknown":["later"]}`

func TestGroupTables(t *testing.T) {
	h := newHub(t)
	h.answers["GET /api/groups"] = `{"success":true,"data":[{"name":"memory","description":"","servers":["everything"],"source":"settings","conflict":true},` + aTeam + `]}`
	h.answers["GET /api/groups/team"] = `{"success":true,"data":` + aTeam + `}`
	for name, args := range map[string][]string{"groups": {"groups"}, "groups_show": {"groups", "show", "team"}} {
		got := command(t, nil, "", append(args, "--url", h.URL)...)
		if got.code != exitOK || got.stderr != "" {
			t.Fatalf("%v = %+v", args, got)
		}
		golden(t, name, got.stdout)
	}
	h.answers["GET /api/groups"] = `{"success":true,"data":[]}`
	if got := command(t, nil, "", "groups", "--url", h.URL); got.stdout != "There are no groups.\n" {
		t.Errorf("of none = %+v", got)
	}
	if got := command(t, nil, "", "groups", "show", "none", "--url", h.URL); got.code != exitFailed || !strings.Contains(got.stderr, "no such thing") {
		t.Errorf("show of none = %+v", got)
	}
}

// groupHub takes changes of groups down.
func groupHub(t *testing.T) (hub *httptest.Server, seen *string) {
	t.Helper()
	seen = new(string)
	hub = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		*seen = r.Method + " " + r.URL.Path + " " + r.Header.Get("Content-Type") + " " + string(body)
		_, _ = io.WriteString(w, `{"success":true,"data":`+aTeam+`}`)
	}))
	t.Cleanup(hub.Close)
	return hub, seen
}

func TestGroupsAreChanged(t *testing.T) {
	hub, seen := groupHub(t)
	for _, tt := range []struct {
		args       []string
		sent, says string
	}{
		{
			[]string{"create", "team", "memory", "github:search_code,get_issue", "none:", "--description", "ours"},
			`POST /api/groups application/json {"name":"team","description":"ours","servers":["memory",{"name":"github","tools":["search_code","get_issue"]},{"name":"none","tools":[]}]}`,
			"Group team has been made; clients find it at /mcp/team.\nNo node has named these servers so far: later.\n",
		},
		{
			[]string{"set", "team"}, `PUT /api/groups/team application/json {"name":"team","servers":[]}`,
			"Group team has been changed; clients find it at /mcp/team.\nNo node has named these servers so far: later.\n",
		},
		{[]string{"delete", "a/b"}, `DELETE /api/groups/a/b  `, "Group a/b has been deleted.\n"},
	} {
		got := command(t, nil, "", append(append([]string{"groups"}, tt.args...), "--url", hub.URL)...)
		if got.code != exitOK || got.stdout != tt.says || *seen != tt.sent {
			t.Errorf("groups %v = %+v and sends %s, want %q and %s", tt.args, got, *seen, tt.says, tt.sent)
		}
		got = command(t, nil, "", append(append([]string{"groups"}, tt.args...), "--url", hub.URL, "-o", "json")...)
		if got.code != exitOK || !strings.Contains(got.stdout, `"name": "team"`) {
			t.Errorf("groups %v -o json = %+v", tt.args, got)
		}
	}
	for _, args := range [][]string{{"create"}, {"set"}, {"delete"}, {"delete", "a", "b"}, {"show"}} {
		if got := command(t, nil, "", append(append([]string{"groups"}, args...), "--url", hub.URL)...); got.code != exitUsage {
			t.Errorf("groups %v = %+v, want exit %d", args, got, exitUsage)
		}
	}
}

func TestARefusedChangeIsTold(t *testing.T) {
	h := newHub(t)
	h.answers["POST /api/groups"] = `{"success":false,"message":"there is a group team already"}`
	h.statuses["POST /api/groups"] = http.StatusConflict
	if got := command(t, nil, "", "groups", "create", "team", "--url", h.URL); got.code != exitFailed || !strings.Contains(got.stderr, "there is a group team already") {
		t.Errorf("create = %+v", got)
	}
}
