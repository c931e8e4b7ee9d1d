package deploy

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql/parser"
)

// family is one row of docs/metrics.md.
type family struct {
	kind   string              // counter, gauge, histogram
	labels map[string][]string // name → its closed list of values; empty where it is open
}

var (
	familyRow = regexp.MustCompile("^\\| `(mcphub_\\w+)` \\| (counter|gauge|histogram) \\| ([^|]*)\\|")
	labelWord = regexp.MustCompile("`(\\w+)`(: )?")
)

// families reads the tables of docs/metrics.md.
func families(t *testing.T) map[string]family {
	t.Helper()
	all := map[string]family{}
	for line := range strings.Lines(readFile(t, "docs", "metrics.md")) {
		m := familyRow.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		f := family{kind: m[2], labels: map[string][]string{}}
		// `state`: `active`, `draining`; `reason`: … — a label, and after a colon its values.
		for part := range strings.SplitSeq(m[3], ";") {
			var name string
			for i, w := range labelWord.FindAllStringSubmatch(part, -1) {
				switch {
				case i == 0 || w[2] != "" || name == "" || f.labels[name] == nil:
					name = w[1]
					if w[2] == "" {
						f.labels[name] = nil
					} else {
						f.labels[name] = []string{}
					}
				default:
					f.labels[name] = append(f.labels[name], w[1])
				}
			}
		}
		if _, twice := all[m[1]]; twice {
			t.Errorf("docs/metrics.md has %s twice", m[1])
		}
		all[m[1]] = f
	}
	if len(all) < 30 {
		t.Fatalf("docs/metrics.md has %d families; has its form changed?", len(all))
	}
	return all
}

func TestMetricsDocument(t *testing.T) {
	all := families(t)
	if got := all["mcphub_nodes"].labels["state"]; !slices.Equal(got, []string{"active", "draining", "unhealthy"}) {
		t.Errorf("the states of mcphub_nodes are read as %v", got)
	}
	if got := slices.Sorted(maps.Keys(all["mcphub_requests_total"].labels)); !slices.Equal(got, []string{"code", "method_kind", "scope_kind"}) {
		t.Errorf("the labels of mcphub_requests_total are read as %v", got)
	}
	if got := all["mcphub_replicas"].labels; got["server"] != nil || len(got["status"]) != 5 {
		t.Errorf("the labels of mcphub_replicas are read as %v", got)
	}
	for name, f := range all {
		if (f.kind == "counter") != strings.HasSuffix(name, "_total") {
			t.Errorf("%s is a %s: counters, and they alone, end in _total", name, f.kind)
		}
		for label := range f.labels {
			if slices.Contains([]string{"session", "session_id", "tool", "node", "client", "key"}, label) {
				t.Errorf("%s has the label %s, of which there is no end", name, label)
			}
		}
	}
}

// targetLabels are those that Prometheus puts on itself.
var targetLabels = []string{"job", "instance", "namespace", "pod", "le", "alertname"}

// checkExpr parses a PromQL expression and holds the series and labels in it against the documented
// families.
func checkExpr(t *testing.T, where, expr string, all map[string]family) {
	t.Helper()
	parsed, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
	if err != nil {
		t.Errorf("%s: %v\n%s", where, err, expr)
		return
	}
	known := map[string]bool{} // labels of the families in this expression
	series := 0
	parser.Inspect(parsed, func(n parser.Node, _ []parser.Node) error {
		if v, ok := n.(*parser.VectorSelector); ok {
			series++
			checkSelectorOf(t, where, v, all, known)
		}
		return nil
	})
	if series == 0 {
		t.Errorf("%s: asks for nothing: %s", where, expr)
	}
	parser.Inspect(parsed, func(n parser.Node, _ []parser.Node) error {
		var grouped []string
		switch x := n.(type) {
		case *parser.AggregateExpr:
			grouped = x.Grouping
		case *parser.BinaryExpr:
			if x.VectorMatching != nil {
				grouped = x.VectorMatching.MatchingLabels
			}
		}
		for _, l := range grouped {
			if !known[l] && !slices.Contains(targetLabels, l) {
				t.Errorf("%s: groups by %s, which no series of it has: %s", where, l, expr)
			}
		}
		return nil
	})
}

func checkSelectorOf(t *testing.T, where string, v *parser.VectorSelector, all map[string]family, known map[string]bool) {
	t.Helper()
	f, ok := all[v.Name]
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		if base, found := strings.CutSuffix(v.Name, suffix); found && all[base].kind == "histogram" {
			f, ok = all[base], true
		}
	}
	if !ok {
		t.Errorf("%s: asks for %s, which is not in docs/metrics.md", where, v.Name)
		return
	}
	if f.kind == "histogram" && all[v.Name].kind == "histogram" {
		t.Errorf("%s: asks for %s itself, which is a histogram", where, v.Name)
	}
	for l := range f.labels {
		known[l] = true
	}
	for _, m := range v.LabelMatchers {
		if m.Name == model.MetricNameLabel || slices.Contains(targetLabels, m.Name) {
			continue
		}
		values, has := f.labels[m.Name]
		if !has {
			t.Errorf("%s: %s has no label %s", where, v.Name, m.Name)
			continue
		}
		if len(values) > 0 && !slices.ContainsFunc(values, m.Matches) {
			t.Errorf("%s: no %s of %s is %s", where, m.Name, v.Name, m)
		}
		// A value that is spelled out must be one of the list, also where others match as well.
		for word := range strings.SplitSeq(m.Value, "|") {
			if len(values) > 0 && !strings.ContainsAny(word, ".*[") && !slices.Contains(values, word) {
				t.Errorf("%s: %s of %s is never %q", where, m.Name, v.Name, word)
			}
		}
	}
}
