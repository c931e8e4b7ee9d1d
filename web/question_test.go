package web

import (
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/mcphub-go/mcphub/store"
)

func TestQuestionOf(t *testing.T) {
	const id = "00112233445566778899aabbccddeeff"
	for query, want := range map[string]Question{
		"session=" + id:                            {Session: id},
		"session=+" + id + "+":                     {Session: id},
		"session=trial&server=notes":               {Key: "trial", Server: "notes"},
		"session=" + id[:31]:                       {Key: id[:31]},
		"session=" + id[:31] + "G":                 {Key: id[:31] + "G"},
		"session=x&prefer=n1":                      {Key: "x", Prefer: "n1"},
		"session=x&without=a,+b&with":              {Key: "x", Without: []store.NodeID{"a", "b"}},
		"session=x&without=a&without=b&with=c+d,e": {Key: "x", Without: []store.NodeID{"a", "b"}, With: []store.NodeID{"c", "d", "e"}},
	} {
		q, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := questionOf(q); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("questionOf(%s) = %+v, %v, want %+v", query, got, err, want)
		}
	}
	for _, query := range []string{
		"", "session=", "server=notes", "session=" + strings.Repeat("x", maxKey+1), "session=x&server=a/b", "session=x&prefer=..", "session=x&without=a,%20b%3f",
		"session=x&with=" + strings.Repeat("a,", maxNames+1),
	} {
		q, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := questionOf(q); err == nil {
			t.Errorf("questionOf(%s) = %+v, want an error", query, got)
		}
	}
}

// The link to REST asks what the page has asked.
func TestAnswerNamesTheSameQuestionInREST(t *testing.T) {
	q := Question{Key: "a b", Server: "notes", Prefer: "n1", Without: []store.NodeID{"n1", "n2"}, With: []store.NodeID{"n9"}}
	a := newAnswerView(&q, &Explanation{Choice: "n1", Candidates: []Candidate{{Node: "n1"}, {Node: "n3"}}})
	if want := "api/cluster/explain?key=a+b&prefer=n1&server=notes&with=n9&without=n1&without=n2"; a.JSON != want {
		t.Errorf("JSON = %q, want %q", a.JSON, want)
	}
	if a.Candidates[0].WithoutIt != "" {
		t.Error("a node that is thought away already is offered to be thought away")
	}
	if want := "explain?prefer=n1&server=notes&session=a+b&with=n9&without=n1&without=n2&without=n3"; a.Candidates[1].WithoutIt != want {
		t.Errorf("without n3: %q, want %q", a.Candidates[1].WithoutIt, want)
	}
}

// Whoever enters a whole Mcp-Session-Id is led to the id that REST has; a text that may be one of
// another hub is not repeated.
func TestCredentialsAreNeitherShownNorKept(t *testing.T) {
	f := fleet()
	f.whole = strings.Repeat("c", 140)
	p := newPage(f)
	resp := get(t, p, "/explain?server=counter&session="+f.whole+"+&without=node-1")
	want := "explain?server=counter&session=00112233445566778899aabbccddeeff&without=node-1"
	if resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != want {
		t.Errorf("a whole session id: %d to %q, want 303 to %q", resp.StatusCode, resp.Header.Get("Location"), want)
	}
	if got := body(t, resp); strings.Contains(got, f.whole[:20]) {
		t.Errorf("the answer repeats it: %s", got)
	}
	stranger := strings.Repeat("d", 140)
	got := body(t, get(t, p, "/explain?server=counter&session="+stranger))
	if strings.Contains(got, stranger[:20]) || !strings.Contains(got, "No answer: that is no session of this hub") {
		t.Errorf("a session id that cannot be read:\n%s", got)
	}
	if f.question.Key != "" || f.question.Session != "" {
		t.Errorf("it was asked about: %+v", f.question)
	}
}

// What was asked stands in the form, also a server that nobody knows.
func TestFormKeepsWhatWasAsked(t *testing.T) {
	f := fleet()
	got := body(t, get(t, newPage(f), "/explain?session=trial&server=unheard&prefer=n1&without=n2&without=n3&with=n4"))
	for _, want := range []string{
		`value="trial"`, `<option selected>unheard</option>`, `name="prefer" value="n1"`, `name="without" value="n2, n3"`, `name="with" value="n4"`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the form does not hold %s:\n%s", want, got)
		}
	}
	want := Question{Key: "trial", Server: "unheard", Prefer: "n1", Without: []store.NodeID{"n2", "n3"}, With: []store.NodeID{"n4"}}
	if !reflect.DeepEqual(f.question, want) {
		t.Errorf("asked %+v, want %+v", f.question, want)
	}
}
