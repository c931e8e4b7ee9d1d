package main

import (
	"strings"
	"testing"
)

func TestExplainTables(t *testing.T) {
	h := newHub(t)
	h.answers["GET /api/cluster/explain?server=memory&session=abc&with=node-9&without=node-1&without=node-2"] = `{"success":true,"data":{
		"server":"memory","existing":true,"rule":"binding","choice":"node-1","reason":"the node is draining: it keeps the session, and takes no new ones",
		"candidates":[{"nodeId":"node-2","score":2.71828,"load":4,"limit":5,"weight":2,"status":"active","reason":""},
			{"nodeId":"node-1","score":1.5,"load":1,"limit":5,"weight":1,"status":"draining","reason":"the node is draining"}],
		"moves":[{"nodeId":"node-1","change":"without","moves":true,"to":"node-2","rule":"consistent-hash","share":0.333},
			{"nodeId":"node-2","change":"without","moves":false,"to":"node-1","rule":"binding","share":0.667},
			{"nodeId":"node-9","change":"with","moves":false,"to":"node-1","rule":"binding","share":0.25,"reason":"a session stays where it is"}]}}`
	h.answers["GET /api/cluster/explain?key=new&prefer=node-3&server=memory"] = `{"success":true,"data":{
		"server":"memory","existing":false,"rule":"none","choice":"","reason":"no node can take the session; the candidates say why","candidates":[],
		"moves":[{"nodeId":"node-1","change":"without","moves":false,"to":"","rule":"none","share":1}]}}`
	for name, args := range map[string][]string{
		"explain":     {"explain", "abc", "--server", "memory", "--without", "node-1", "--without", "node-2", "--with", "node-9"},
		"explain_new": {"explain", "--key", "new", "--server", "memory", "--prefer", "node-3"},
	} {
		got := command(t, nil, "", append(args, "--url", h.URL)...)
		if got.code != exitOK || got.stderr != "" {
			t.Fatalf("%v = %+v", args, got)
		}
		golden(t, name, got.stdout)
	}
}

func TestExplainIsAskedWell(t *testing.T) {
	h := newHub(t)
	for _, args := range [][]string{{"explain"}, {"explain", "abc", "--key", "x"}, {"explain", "a", "b"}} {
		if got := command(t, nil, "", append(args, "--url", h.URL)...); got.code != exitUsage {
			t.Errorf("%v = %+v, want exit %d", args, got, exitUsage)
		}
	}
	if got := command(t, nil, "", "explain", "abc", "--url", h.URL); got.code != exitFailed || !strings.Contains(got.stderr, "no such thing") {
		t.Errorf("explain of what is not there = %+v", got)
	}
}
