package conformance

import (
	"slices"
	"strings"
	"testing"
)

// The gate is tried on runs that it must refuse.
func TestCompareSeesWhatChanged(t *testing.T) {
	direct := Verdicts{"a/x": pass, "a/y": pass, "b/z": pass}
	want := Expected{Direct: 3, Hub: 2, Differences: []Difference{{Check: "b/z", Direct: pass, Hub: "FAILURE", Reason: "later"}}}
	tests := []struct {
		name string
		hub  Verdicts
		says string // part of the only complaint; "" means none
	}{
		{"as expected", Verdicts{"a/x": pass, "a/y": pass, "b/z": "FAILURE"}, ""},
		{"worse", Verdicts{"a/x": pass, "a/y": "FAILURE", "b/z": "FAILURE"}, "a/y: direct SUCCESS, through the hub FAILURE"},
		{"missing", Verdicts{"a/x": pass, "b/z": "FAILURE"}, "a/y: direct SUCCESS, through the hub ABSENT"},
		{"better", Verdicts{"a/x": pass, "a/y": pass, "b/z": pass}, "b/z no longer differs"},
		{"other", Verdicts{"a/x": pass, "a/y": pass, "b/z": "WARNING"}, "b/z: direct SUCCESS, through the hub WARNING"},
	}
	for _, tt := range tests {
		got := want.Compare(direct, tt.hub)
		found := slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, tt.says) })
		if tt.says == "" && len(got) > 0 || tt.says != "" && !found {
			t.Errorf("%s: Compare said %q, want %q", tt.name, got, tt.says)
		}
	}
	if got := want.Compare(Verdicts{"a/x": pass}, Verdicts{"a/x": pass}); len(got) < 2 {
		t.Errorf("a direct run that lost checks is not noticed: %q", got)
	}
}
