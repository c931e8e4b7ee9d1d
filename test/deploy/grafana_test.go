package deploy

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

type panel struct {
	ID      int
	Type    string
	Title   string
	GridPos struct{ X, Y, W, H int }
	Targets []struct {
		RefID      string
		Expr       string
		Datasource struct{ UID string }
	}
}

// The board is one that Grafana reads, lies straight, and asks for what there is.
func TestBoard(t *testing.T) {
	all := families(t)
	var board struct {
		UID        string
		Title      string
		Panels     []panel
		Templating struct{ List []struct{ Name string } }
	}
	if err := json.Unmarshal([]byte(readFile(t, "deploy", "grafana", "mcphub.json")), &board); err != nil {
		t.Fatal(err)
	}
	if board.UID == "" || board.Title == "" || len(board.Panels) < 20 {
		t.Fatalf("%q %q has %d panels", board.UID, board.Title, len(board.Panels))
	}
	variables := strings.NewReplacer("$job", ".*", "$__rate_interval", "5m", "${datasource}", "")
	asked := map[string]bool{}
	ids := map[int]bool{}
	taken := map[string]string{}
	for _, p := range board.Panels {
		if ids[p.ID] || p.ID == 0 || p.Title == "" {
			t.Errorf("panel %d %q: wants an id and a title of its own", p.ID, p.Title)
		}
		ids[p.ID] = true
		if p.GridPos.W < 1 || p.GridPos.H < 1 || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("%s: does not fit the grid: %+v", p.Title, p.GridPos)
		}
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				cell := fmt.Sprint(p.GridPos.X+x, " ", p.GridPos.Y+y)
				if taken[cell] != "" {
					t.Fatalf("%s lies over %s", p.Title, taken[cell])
				}
				taken[cell] = p.Title
			}
		}
		if (p.Type == "row") != (len(p.Targets) == 0) {
			t.Errorf("%s: a %s with %d queries", p.Title, p.Type, len(p.Targets))
		}
		for _, q := range p.Targets {
			expr := variables.Replace(q.Expr)
			if strings.Contains(expr, "$") {
				t.Errorf("%s: uses a variable that the board does not have: %s", p.Title, q.Expr)
				continue
			}
			if q.Datasource.UID != "${datasource}" || !strings.Contains(q.Expr, `job=~"$job"`) {
				t.Errorf("%s: asks another source or of every job: %s", p.Title, q.Expr)
			}
			checkExpr(t, p.Title, expr, all)
			for name := range all {
				if strings.Contains(expr, name) {
					asked[name] = true
				}
			}
		}
	}
	for name := range all {
		if !asked[name] {
			t.Errorf("no panel shows %s", name)
		}
	}
	if len(board.Templating.List) != 2 || board.Templating.List[0].Name != "datasource" || board.Templating.List[1].Name != "job" {
		t.Errorf("variables: %v", board.Templating.List)
	}
}
