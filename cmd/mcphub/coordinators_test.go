package main

import (
	"fmt"
	"testing"
)

func TestCoordinatorsTable(t *testing.T) {
	h := newHub(t)
	h.answers["GET /api/cluster/coordinators"] = fmt.Sprintf(`{"success":true,"data":[
		{"id":"host-1a2b3c","address":"10.0.0.2:3000","version":"v1","mode":"coordinator","startedAt":%d,"sessions":3,"inFlight":1,"ready":true,"self":true},
		{"id":"host-4d5e6f","address":"10.0.0.3:3000","version":"v1","mode":"coordinator","startedAt":%d,"sessions":0,"inFlight":0,"ready":false,"self":false}]}`,
		noon.UnixMilli()-3_600_000, noon.UnixMilli()-5000)
	got := command(t, nil, "", "coordinators", "--url", h.URL)
	if got.code != exitOK || got.stderr != "" {
		t.Fatalf("coordinators = %+v", got)
	}
	golden(t, "coordinators", got.stdout)
	h.answers["GET /api/cluster/coordinators"] = `{"success":true,"data":[]}`
	if got := command(t, nil, "", "coordinators", "--url", h.URL); got.stdout != "No coordinator has written its record yet.\n" {
		t.Errorf("of none = %+v", got)
	}
}
