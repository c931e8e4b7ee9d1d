package web

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"github.com/mcphub-go/mcphub/store"
)

// Explanation says where a session goes for a server, as the coordinator sees it.
type Explanation struct {
	Server store.ServerID
	// Existing says that the session exists.
	Existing bool
	// Rule made the choice, Choice is the node or empty, and Reason says what the rule does not.
	Rule   string
	Choice store.NodeID
	Reason string
	// Candidates are all nodes that have the server, the preferred ones first.
	Candidates []Candidate
	// Moves has an entry for each node of Without and With.
	Moves []Move
}

// Candidate is one node that has the server.
type Candidate struct {
	Node  store.NodeID
	Score float64
	// Load and Limit are sessions; a Limit of zero is none.
	Load, Limit, Weight int
	State               store.NodeState
	// Reason is empty for one that may be chosen, and otherwise says why not.
	Reason string
}

// Move is what one node more or less would change.
type Move struct {
	Node   store.NodeID
	Change string // "without" or "with"
	// Moves says that the session would be served by another node than it is now: To, by Rule.
	Moves bool
	To    store.NodeID
	Rule  string
	// Share is the part of new sessions that the node would lose or get, from 0 to 1.
	Share  float64
	Reason string
}

// answerView is an explanation.
type answerView struct {
	Session, Short, Server string
	Existing               bool
	Class, Choice          string
	Rule, Verdict, Reason  string
	Candidates             []candidateView
	Moves                  []moveView
	JSON                   string // the address of the same answer in REST
}

type candidateView struct {
	Node, Score         string
	Bar                 int // length of a bar for the score, 0 to 100
	Load, Limit, Weight string
	State               stateView
	Chosen              bool
	Verdict             string
	WithoutIt           string // the address of the same question without this node; empty if it is asked already
}

type moveView struct {
	Change, Node string
	Class, Text  string
	Rule, Share  string
	Reason       string
}

// ruleText words the rules that make a choice.
var ruleText = map[string]string{
	"binding":               "The session sits there already, and stays",
	"consistent-hash":       "Of the nodes that may be chosen it has the highest score for this session",
	"bounded-load fallback": "Nodes with a higher score have more than their share of sessions, so the next one is taken",
	"cookie":                "The client's cookie names it",
	"header":                "The client's header names it",
	"least-in-flight":       "Without affinity each call goes to the less busy of two nodes",
	"none":                  "No node can be chosen",
}

func newAnswerView(q *Question, x *Explanation) answerView {
	v := answerView{
		Session: cmp.Or(string(q.Session), q.Key), Short: cmp.Or(short(string(q.Session)), q.Key), Server: string(x.Server), Existing: x.Existing,
		Choice: string(x.Choice), Class: "good", Rule: x.Rule, Verdict: cmp.Or(ruleText[x.Rule], x.Rule), Reason: x.Reason,
		JSON: "api/cluster/explain?" + q.query("key"),
	}
	if x.Choice == "" {
		v.Class = "bad"
	}
	best := 0.0
	for i := range x.Candidates {
		best = max(best, x.Candidates[i].Score)
	}
	for i := range x.Candidates[:min(len(x.Candidates), nodesShown)] {
		c := newCandidateView(&x.Candidates[i], best)
		if c.Chosen = x.Candidates[i].Node == x.Choice; c.Chosen {
			c.Verdict = "chosen"
		}
		c.WithoutIt = withoutToo(q, x.Candidates[i].Node)
		v.Candidates = append(v.Candidates, c)
	}
	for i := range x.Moves {
		v.Moves = append(v.Moves, newMoveView(&x.Moves[i], x))
	}
	return v
}

func newCandidateView(c *Candidate, best float64) candidateView {
	v := candidateView{
		Node: string(c.Node), Score: strconv.FormatFloat(c.Score, 'f', 3, 64), Load: strconv.Itoa(c.Load), Limit: "–",
		Weight: strconv.Itoa(c.Weight), State: nodeState(c.State), Verdict: cmp.Or(c.Reason, "may be chosen"),
	}
	if best > 0 {
		v.Bar = int(100 * c.Score / best)
	}
	if c.Limit > 0 {
		v.Limit = strconv.Itoa(c.Limit)
		if c.Reason == "" && c.Load >= c.Limit {
			v.Verdict = "has more than its share"
		}
	}
	return v
}

// withoutToo is the same question with one node more to be thought away.
func withoutToo(q *Question, n store.NodeID) string {
	if slices.Contains(q.Without, n) || len(q.Without) == maxNames {
		return ""
	}
	more := *q
	more.Without = append(slices.Clone(q.Without), n)
	return "explain?" + more.query("session")
}

func newMoveView(m *Move, x *Explanation) moveView {
	v := moveView{Change: m.Change, Node: string(m.Node), Class: "good", Rule: m.Rule, Reason: m.Reason, Share: fmt.Sprintf("%.0f %%", 100*m.Share)}
	switch {
	case m.To == "":
		v.Class, v.Text = "bad", "no node could take it"
	case m.Moves:
		v.Class, v.Text = "warn", "moves to "+string(m.To)
	case m.To != x.Choice: // without affinity, or nothing could be chosen before
		v.Text = "goes to " + string(m.To)
	default:
		v.Text = "stays on " + string(m.To)
	}
	return v
}
