package conformance

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Verdicts are the states of a run's checks, by "scenario/check"; a check that occurs more than
// once in a scenario has "#2" and so on behind its name. What is only information is left out.
type Verdicts map[string]string

// pass and absent are two of the states: the suite's own, and ours for a check that one run
// has and the other has not.
const (
	pass   = "SUCCESS"
	absent = "ABSENT"
)

// Passed counts the checks that passed.
func (v Verdicts) Passed() int {
	n := 0
	for _, s := range v {
		if s == pass {
			n++
		}
	}
	return n
}

// resultDir is how the suite names its folders: server-<scenario>-<time>.
var resultDir = regexp.MustCompile(`^server-(.+)-\d{4}-\d{2}-\d{2}T[0-9-]+Z$`)

// ReadVerdicts reads what the suite has left below dir.
func ReadVerdicts(dir string) (Verdicts, error) {
	out := Verdicts{}
	files, err := filepath.Glob(filepath.Join(dir, "server-*", "checks.json"))
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		m := resultDir.FindStringSubmatch(filepath.Base(filepath.Dir(f)))
		if m == nil {
			return nil, fmt.Errorf("unknown folder name: %s", f)
		}
		b, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		var checks []struct{ ID, Status string }
		if err := json.Unmarshal(b, &checks); err != nil {
			return nil, fmt.Errorf("%s: %w", f, err)
		}
		for _, c := range checks {
			if c.Status == "INFO" {
				continue
			}
			key := m[1] + "/" + c.ID
			for n := 2; out[key] != ""; n++ {
				key = fmt.Sprintf("%s/%s#%d", m[1], c.ID, n)
			}
			out[key] = c.Status
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no checks below %s", dir)
	}
	return out, nil
}

// Difference is one check on which the two runs do not agree.
type Difference struct {
	Check  string `json:"check"`
	Direct string `json:"direct"`
	Hub    string `json:"hub"`
	// Reason says why this is so for now. It plays no part in comparing.
	Reason string `json:"reason,omitempty"`
}

// Differences are the checks on which the runs do not agree, sorted by name.
func Differences(direct, hub Verdicts) []Difference {
	var out []Difference
	for check, d := range direct {
		h := hub[check]
		if h == "" {
			h = absent
		}
		if h != d {
			out = append(out, Difference{Check: check, Direct: d, Hub: h})
		}
	}
	for check, h := range hub {
		if direct[check] == "" {
			out = append(out, Difference{Check: check, Direct: absent, Hub: h})
		}
	}
	slices.SortFunc(out, func(a, b Difference) int { return strings.Compare(a.Check, b.Check) })
	return out
}

// Expected is what expected.json says of one chain.
type Expected struct {
	// Direct is how many checks the server passes when reached directly.
	Direct int `json:"direct"`
	// Hub is how many it passes through the hub.
	Hub int `json:"hub"`
	// Differences are all checks on which the two disagree.
	Differences []Difference `json:"differences"`
}

// Compare lists what got differs from want, as sentences; none means that all is as expected.
func (want Expected) Compare(direct, hub Verdicts) []string {
	var out []string
	if n := direct.Passed(); n != want.Direct {
		out = append(out, fmt.Sprintf("direct: %d checks passed, expected %d", n, want.Direct))
	}
	if n := hub.Passed(); n != want.Hub {
		out = append(out, fmt.Sprintf("through the hub: %d checks passed, expected %d", n, want.Hub))
	}
	known := map[string]Difference{}
	for _, d := range want.Differences {
		known[d.Check] = d
		if strings.TrimSpace(d.Reason) == "" {
			out = append(out, "expected.json gives no reason for "+d.Check)
		}
	}
	for _, d := range Differences(direct, hub) {
		k, ok := known[d.Check]
		delete(known, d.Check)
		if !ok || k.Direct != d.Direct || k.Hub != d.Hub {
			out = append(out, fmt.Sprintf("%s: direct %s, through the hub %s, which expected.json does not say", d.Check, d.Direct, d.Hub))
		}
	}
	for _, d := range known {
		out = append(out, fmt.Sprintf("%s no longer differs: remove it from expected.json", d.Check))
	}
	slices.Sort(out)
	return out
}
