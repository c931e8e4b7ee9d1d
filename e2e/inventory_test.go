package e2e

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// refusing are the functions that refuse a request, with the place of the sentence among their
// arguments.
var refusing = map[string]int{
	"refuse": -1, "fail": -1, "badRequest": 1, "refuseParams": 2, "Error": 2, // wire.Error
}

// shortest is the length from which a piece of text tells one sentence from the others.
const shortest = 12

// sentences are what the product says where it refuses a request, as far as it stands in the
// source: for each sentence its longest part, and where it is.
func sentences(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	files, err := filepath.Glob(filepath.Join("..", dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no sources in %s: %v", dir, err)
	}
	set := token.NewFileSet()
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(set, file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			for _, said := range said(n) {
				if part := longest(said); part != "" {
					at := set.Position(said.Pos())
					out[part] = dir + "/" + filepath.Base(at.Filename) + ":" + strconv.Itoa(at.Line)
				}
			}
			return true
		})
	}
	return out
}

// said are the expressions of sentences in one node of the source.
func said(n ast.Node) []ast.Expr {
	switch n := n.(type) {
	case *ast.CallExpr:
		name := ""
		switch f := n.Fun.(type) {
		case *ast.Ident:
			name = f.Name
		case *ast.SelectorExpr:
			if x, ok := f.X.(*ast.Ident); ok && f.Sel.Name == "Error" && x.Name != "wire" {
				return nil
			}
			name = f.Sel.Name
		}
		at, ok := refusing[name]
		if at < 0 {
			at = len(n.Args) - 1
		}
		if ok && at >= 0 && at < len(n.Args) {
			return []ast.Expr{n.Args[at]}
		}
	case *ast.KeyValueExpr: // problem{message: …}, router.Error{Message: …}
		if k, ok := n.Key.(*ast.Ident); ok && strings.EqualFold(k.Name, "message") {
			return []ast.Expr{n.Value}
		}
	case *ast.ReturnStmt: // return status, "sentence"
		if len(n.Results) >= 2 {
			if x, ok := n.Results[len(n.Results)-2].(*ast.SelectorExpr); ok && strings.HasPrefix(x.Sel.Name, "Status") {
				return n.Results[len(n.Results)-1:]
			}
		}
	}
	return nil
}

// longest is the longest piece of text in an expression; empty if there is none to speak of.
func longest(e ast.Expr) string {
	best := ""
	ast.Inspect(e, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			if text, err := strconv.Unquote(lit.Value); err == nil {
				for part := range strings.SplitSeq(strings.NewReplacer("%q", "%s", "%d", "%s", "%v", "%s").Replace(text), "%s") {
					if len(part) > len(best) {
						best = part
					}
				}
			}
		}
		return true
	})
	if len(best) < shortest {
		return ""
	}
	return best
}

// elsewhere are sentences for which there has to be a condition that a request alone does not
// bring about, with the test that does: "package: test".
var elsewhere = map[string]string{
	" clients follow the events at this replica already; try again": "server: TestFollowersAreBounded",
	"internal error of the server":                                  "node: TestBuiltinThatPanicsHarmsNobody",
	"internal error":                                                "server: TestPanicEndsItsRequestOnly",
	"no admin is configured, so management calls answer to loopback and private addresses only; set cluster.adminToken":           "server: TestManagementWithoutAnAdmin",
	"that host name may be anybody's, and no credentials are asked for here; name it in routing.allowedHosts if it is this hub's": "server: TestHostsThatMayBeAnybodys",
	"the body came too slowly":                                                    "server: TestSlowBodyIsCutOff",
	" streams open, which is the most (systemConfig.limits.":                      "server: TestStreamsAreLimited",
	"the answer broke off":                                                        "server: TestBatchesAreAnsweredAsOneArray",
	"the first message must be initialize":                                        "server: TestLegacyConversation",
	"the key with which this stream was opened is no longer valid":                "server: TestLegacyKeysOnBothHalves",
	"the node answered with ":                                                     "server: TestBatchesAreAnsweredAsOneArray",
	"too many messages wait for this stream; try again":                           "server: TestLegacyOrderWhenRedisGoes",
	"there are no metrics here":                                                   "server: TestAHubWithoutGroups",
	"this hub keeps no groups":                                                    "server: TestAHubWithoutGroups",
	"this replica has not read yet which groups there are; try again":             "server: TestGroupsWithoutRedis",
	"this replica has not read yet which servers and groups there are; try again": "server: TestUnknownServerBeforeTheFirstPicture",
	"this replica is stopping; another one takes it from here":                    "server: TestStreamsEndWithTheReplica",
	"too many large requests at once; try again":                                  "server: TestTooMuchInHand",
	"without a cluster secret nodes must come from loopback or private addresses; set cluster.secret on coordinators and nodes": "server: TestManagementWithoutAnAdmin",
	" header of 1 to 256 visible ASCII characters is needed":                                                                    "node: TestCallersAreCheckedFirst",
	"a request with this id is still being worked on in this session":                                                           "node: TestIDInFlightIsRefused",
	"metrics are for loopback and private addresses":                                                                            "node: TestMetricsAreForProgramsNearby",
	", and may have no more (the limit is MaxStreams); close one first":                                                         "node: TestOwnStreams",
	"this node knows nothing of the call, or not any more":                                                                      "node: TestAStreamThatIsNotKnownIsToldSo",
	"not executed: ": "node: TestBoundsAreRefusedWithoutMovingTheSession",
	"the message is larger than this hub accepts":                                                            "node: TestBodyWithoutALengthIsBounded",
	"the server did not answer in time":                                                                      "node: TestSubscriptionThatTheServerDoesNotAnswer",
	"this node belongs to the process that started it":                                                       "node: TestJoinOfANodeThatStopsOrBelongsToAProcess",
	"this node does not know the session":                                                                    "node: TestDeleteEndsASession",
	"this node has all the sessions it can take":                                                             "node: TestBoundsAreRefusedWithoutMovingTheSession",
	"this node has no metrics of its own; its coordinator shows them":                                        "node: TestMetricsAreForProgramsNearby",
	"this node has no such server":                                                                           "node: TestCallersAreCheckedFirst",
	"this node is stopping":                                                                                  "node: TestJoinOfANodeThatStopsOrBelongsToAProcess",
	"this node takes no new sessions":                                                                        "node: TestShutdownLetsCallsFinishAndCutsOffTheRest",
	"without a cluster secret only a program of its own machine may tell this node to join; ":                "node: TestJoinRefusals",
	"Not executed: the hub is recovering its memory of this session; try again shortly":                      "router: TestLostSession",
	"Not executed: this part of the hub does not know the groups yet; try again shortly":                     "router: TestGroupsNotKnownYet",
	"Not executed: this part of the hub does not know the nodes yet; try again shortly":                      "router: TestNoReplica",
	"Not executed: this part of the hub is stopping; send the message again, another part serves it":         "router: TestAbandonEndsWaitingCalls",
	"Outcome unknown: the call may or may not have run":                                                      "router: TestPossiblyReceived",
	"only POST, GET and DELETE are served here":                                                              "router: TestRefusedBeforeAnyNode",
	"the Mcp-Protocol-Version header names no revision that is served here; ":                                "router: TestRefusedBeforeAnyNode",
	"the body is not one JSON-RPC message":                                                                   "router: TestRefusedBeforeAnyNode",
	"the end of the session could not be recorded; try again shortly":                                        "router: TestDeleteWithStoreAway",
	" sessions, which is the most (systemConfig.limits.maxSessionsPerKey); ":                                 "router: TestSessionsOfAClientAreLimited",
	" subscriptions, which is the most that one may have; unsubscribe from some first":                       "router: TestSubscriptionRefusals",
	"Outcome unknown: the stream of the call cannot be taken up again, its node is gone or has forgotten it": "router: TestResumeCallOfALostNode",
	"Not executed: this part of the hub is stopping; open the stream again, another part serves it":          "router: TestEndStreams",
	"there are too many resources and templates to compare; ask for a group of servers":                      "router: TestConflicts",
	"this coordinator does not know the session, and Redis cannot be asked at the moment; try again shortly": "router: TestExplainCost",
}

// Every sentence with which the product refuses a request is provoked: by a row of the table of
// TestRefusals, or by the test that is named for it. A new one needs one, too.
func TestEveryRefusalHasATest(t *testing.T) {
	var rows []string
	for _, r := range everyRefusal() {
		rows = append(rows, r.says)
	}
	used := map[string]bool{}
	for _, dir := range []string{"server", "node", "router"} {
		for sentence, at := range sentences(t, dir) {
			if slices.ContainsFunc(rows, func(says string) bool {
				return len(says) >= shortest && (strings.Contains(sentence, says) || strings.Contains(says, sentence))
			}) {
				continue
			}
			switch {
			case elsewhere[sentence] == "":
				t.Errorf("%s: no test is known that has somebody refused with %q", at, sentence)
			case !hasTest(t, elsewhere[sentence]):
				t.Errorf("%s: %q is to be shown by %s, which is not there", at, sentence, elsewhere[sentence])
			}
			used[sentence] = true
		}
	}
	for sentence := range elsewhere {
		if !used[sentence] {
			t.Errorf("nobody says %q, or a row has it", sentence)
		}
	}
}

// hasTest looks for "package: test".
func hasTest(t *testing.T, name string) bool {
	t.Helper()
	dir, test, _ := strings.Cut(name, ": ")
	files, err := filepath.Glob(filepath.Join("..", dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if b, err := os.ReadFile(file); err == nil && strings.Contains(string(b), "\nfunc "+test+"(t *testing.T)") {
			return true
		}
	}
	return false
}
