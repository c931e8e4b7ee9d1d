package deploy

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
)

func alerts(t *testing.T) map[string]rulefmt.Rule {
	t.Helper()
	p := parser.NewParser(parser.Options{})
	groups, errs := rulefmt.Parse([]byte(readFile(t, "deploy", "prometheus", "alerts.yaml")), false, model.UTF8Validation, p, slog.Default())
	for _, err := range errs {
		t.Error(err)
	}
	if groups == nil {
		t.FailNow()
	}
	rules := map[string]rulefmt.Rule{}
	for _, g := range groups.Groups {
		for _, r := range g.Rules {
			if _, twice := rules[r.Alert]; twice || r.Alert == "" {
				t.Errorf("group %s: %q is not the name of one alert", g.Name, r.Alert)
			}
			rules[r.Alert] = r
		}
	}
	return rules
}

// The rules are rules, ask for what there is, and tell a person what to do.
func TestAlerts(t *testing.T) {
	all := families(t)
	for name, r := range alerts(t) {
		checkExpr(t, name, r.Expr, all)
		if !slices.Contains([]string{"critical", "warning", "info"}, r.Labels["severity"]) {
			t.Errorf("%s: severity is %q", name, r.Labels["severity"])
		}
		if r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
			t.Errorf("%s: says neither what nor what then", name)
		}
	}
}

// healthy is a fleet of two coordinators, one node and one server where all is well: a sample each
// minute, in the notation of promtool's tests.
const healthy = `
mcphub_ready{job="hub",instance="a"} 1x30
mcphub_ready{job="hub",instance="b"} 1x30
mcphub_nodes{job="hub",instance="a",state="active"} 3x30
mcphub_nodes{job="hub",instance="a",state="unhealthy"} 0x30
mcphub_nodes{job="hub",instance="b",state="active"} 3x30
mcphub_nodes{job="hub",instance="b",state="unhealthy"} 0x30
mcphub_replicas{job="hub",instance="a",server="s",status="ready"} 2x30
mcphub_build_info{job="hub",instance="a",version="1"} 1x30
mcphub_build_info{job="hub",instance="b",version="1"} 1x30
mcphub_requests_total{job="hub",instance="a",scope_kind="all",method_kind="call",code="200"} 0+600x30
mcphub_requests_total{job="hub",instance="a",scope_kind="all",method_kind="call",code="503"} 0x30
mcphub_sessions_lost_total{job="hub",instance="a"} 0x30
mcphub_calls_outcome_unknown_total{job="hub",instance="a"} 0x30
mcphub_calls_not_executed_total{job="hub",instance="a"} 0x30
mcphub_session_recovery_seconds_bucket{job="hub",instance="a",le="1"} 0+5x30
mcphub_session_recovery_seconds_bucket{job="hub",instance="a",le="10"} 0+5x30
mcphub_session_recovery_seconds_bucket{job="hub",instance="a",le="+Inf"} 0+5x30
mcphub_redis_up{job="hub",instance="a"} 1x30
mcphub_redis_up{job="hub",instance="b"} 1x30
mcphub_redis_state{job="hub",instance="a",state="ok"} 1x30
mcphub_redis_state{job="hub",instance="a",state="oom"} 0x30
mcphub_redis_command_seconds_bucket{job="hub",instance="a",le="0.001"} 0+900x30
mcphub_redis_command_seconds_bucket{job="hub",instance="a",le="0.25"} 0+900x30
mcphub_redis_command_seconds_bucket{job="hub",instance="a",le="+Inf"} 0+900x30
mcphub_node_server_up{job="nodes",instance="n",server="s"} 1x30
mcphub_node_server_restarts_total{job="nodes",instance="n",server="s"} 0x30
mcphub_node_lease_seconds{job="nodes",instance="n"} 12x30
`

// unhealthy says for each alert what is other than in a healthy fleet when it has to fire. A series
// without samples is not there, as those of mcphub_replicas that would be zero.
var unhealthy = map[string]string{
	"MCPHubNoReadyCoordinator": `
		mcphub_ready{job="hub",instance="a"} 0x30
		mcphub_ready{job="hub",instance="b"} 0x30`,
	"MCPHubCoordinatorNotReady": `mcphub_ready{job="hub",instance="b"} 0x30`,
	"MCPHubNoActiveNode": `
		mcphub_nodes{job="hub",instance="a",state="active"} 0x30
		mcphub_nodes{job="hub",instance="b",state="active"} 0x30`,
	"MCPHubUnhealthyNodes": `mcphub_nodes{job="hub",instance="b",state="unhealthy"} 1x30`,
	"MCPHubServerDown": `
		mcphub_replicas{job="hub",instance="a",server="s",status="ready"}
		mcphub_replicas{job="hub",instance="a",server="s",status="failed"} 2x30`,
	"MCPHubServerFull": `
		mcphub_replicas{job="hub",instance="a",server="s",status="ready"}
		mcphub_replicas{job="hub",instance="a",server="s",status="full"} 2x30`,
	"MCPHubErrors":         `mcphub_requests_total{job="hub",instance="a",scope_kind="all",method_kind="call",code="503"} 0+30x30`,
	"MCPHubVersionsDiffer": `mcphub_build_info{job="hub",instance="b",version="2"} 1x30`,
	"MCPHubSessionsLost":   `mcphub_sessions_lost_total{job="hub",instance="a"} 0x15 1x15`,
	"MCPHubOutcomeUnknown": `mcphub_calls_outcome_unknown_total{job="hub",instance="a"} 0x15 1x15`,
	"MCPHubCallsNotExecuted": `
		mcphub_calls_not_executed_total{job="hub",instance="a"} 0+30x30`,
	"MCPHubSlowRecovery": `mcphub_session_recovery_seconds_bucket{job="hub",instance="a",le="1"} 0+1x30`,
	"MCPHubRedisDown": `
		mcphub_redis_up{job="hub",instance="a"} 0x30
		mcphub_redis_up{job="hub",instance="b"} 0x30`,
	"MCPHubRedisUnreachable":   `mcphub_redis_up{job="hub",instance="b"} 0x30`,
	"MCPHubRedisRefusesWrites": `mcphub_redis_state{job="hub",instance="a",state="oom"} 1x30`,
	"MCPHubRedisSlow":          `mcphub_redis_command_seconds_bucket{job="hub",instance="a",le="0.001"} 0+10x30`,
	"MCPHubServerRestarting":   `mcphub_node_server_restarts_total{job="nodes",instance="n",server="s"} 0+1x30`,
	"MCPHubNodeServerDown":     `mcphub_node_server_up{job="nodes",instance="n",server="s"} 0x30`,
	"MCPHubNodeFenced":         `mcphub_node_lease_seconds{job="nodes",instance="n"} 0x30`,
}

// Each alert fires when it should, and none in a healthy fleet.
func TestAlertsFire(t *testing.T) {
	rules := alerts(t)
	if got, want := slices.Sorted(maps.Keys(unhealthy)), slices.Sorted(maps.Keys(rules)); !slices.Equal(got, want) {
		t.Fatalf("alerts with a case here: %v\nalerts: %v", got, want)
	}
	well := load(t, healthy, "")
	for name, r := range rules {
		if got := evaluate(t, well, r.Expr); len(got) > 0 {
			t.Errorf("%s fires in a healthy fleet: %v", name, got)
		}
		if got := evaluate(t, load(t, healthy, unhealthy[name]), r.Expr); len(got) != 1 {
			t.Errorf("%s gives %v, want it to fire once", name, got)
		}
	}
	// Nobody tells anything: no coordinator runs, or none can be reached.
	if got := evaluate(t, load(t, "", ""), rules["MCPHubNoReadyCoordinator"].Expr); len(got) != 1 {
		t.Errorf("MCPHubNoReadyCoordinator gives %v when there are no coordinators", got)
	}
	// A full server is not also one that is down.
	if got := evaluate(t, load(t, healthy, unhealthy["MCPHubServerFull"]), rules["MCPHubServerDown"].Expr); len(got) != 0 {
		t.Errorf("MCPHubServerDown fires for a server that is full: %v", got)
	}
}

// load makes series out of lines; those of other replace those of the same name and labels.
func load(t *testing.T, base, other string) map[string]storage.Series {
	t.Helper()
	p := parser.NewParser(parser.Options{})
	all := map[string]storage.Series{}
	for line := range strings.Lines(base + "\n" + other) {
		if strings.TrimSpace(line) == "" {
			continue
		}
		metric, values, err := p.ParseSeriesDesc(strings.TrimSpace(line))
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		var points []promql.FPoint
		for i, v := range values {
			points = append(points, promql.FPoint{T: int64(i) * time.Minute.Milliseconds(), F: v.Value})
		}
		all[metric.String()] = promql.NewStorageSeries(promql.Series{Metric: metric, Floats: points})
	}
	return all
}

// evaluate asks the real engine at the 20th minute.
func evaluate(t *testing.T, series map[string]storage.Series, expr string) promql.Vector {
	t.Helper()
	engine := promql.NewEngine(promql.EngineOpts{
		MaxSamples: 100000, Timeout: 10 * time.Second, Parser: parser.NewParser(parser.Options{}),
	})
	defer func() { _ = engine.Close() }()
	q := &storage.MockQueryable{MockQuerier: &storage.MockQuerier{
		SelectMockFunction: func(_ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
			var found []storage.Series
			for _, key := range slices.Sorted(maps.Keys(series)) {
				s := series[key]
				if !slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !m.Matches(s.Labels().Get(m.Name)) }) {
					found = append(found, s)
				}
			}
			return &seriesList{list: found}
		},
	}}
	query, err := engine.NewInstantQuery(context.Background(), q, nil, expr, time.UnixMilli(0).Add(20*time.Minute))
	if err != nil {
		t.Fatalf("%s: %v", expr, err)
	}
	defer query.Close()
	result := query.Exec(t.Context())
	if result.Err != nil {
		t.Fatalf("%s: %v", expr, result.Err)
	}
	vector, err := result.Vector()
	if err != nil {
		t.Fatalf("%s: %v", expr, err)
	}
	return slices.Clone(vector)
}

// seriesList is a storage.SeriesSet over a list.
type seriesList struct {
	list []storage.Series
	at   int
}

func (s *seriesList) Next() bool                        { s.at++; return s.at <= len(s.list) }
func (s *seriesList) At() storage.Series                { return s.list[s.at-1] }
func (s *seriesList) Err() error                        { return nil }
func (s *seriesList) Warnings() annotations.Annotations { return nil }
