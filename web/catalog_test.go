package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/mcphub-go/mcphub/store"
)

const notesCatalog = `{"protocolVersion":"2025-11-25","serverInfo":{"name":"notes","title":"Notes","version":"1.2.3"},"capabilities":{"tools":{}},
"instructions":"A notepad for each session.\nCall clear when you are done.","tools":[
{"name":"add_note","title":"Add a note","description":"Write a note down and return its number.","inputSchema":{"type":"object","required":["text"],"properties":{
  "text":{"type":"string","description":"What to write down."},"tags":{"type":"array","items":{"type":"string"}},"level":{"enum":["low","high"],"default":"low"},
  "where":{"anyOf":[{"type":"string"},{"type":"null"}]},"odd":true}},"annotations":{"destructiveHint":false}},
{"name":"list_notes","description":"Return this session's notes.","inputSchema":{"type":"object"},"outputSchema":{"type":"object"},"annotations":{"readOnlyHint":true,"idempotentHint":true}},
{"name":"clear","description":"Forget them all.","annotations":{"destructiveHint":true,"idempotentHint":true}},
{"name":7}],
"prompts":[{"name":"summary","description":"Sums the notes up.","arguments":[{"name":"style","description":"How to write.","required":true},{"name":"length"}]}],
"resources":[{"uri":"note://1","name":"first","mimeType":"text/plain","size":12345}],
"resourceTemplates":[{"uriTemplate":"note://{id}","name":"note","description":"One note."}]}`

// However many rows are opened, a catalog is read once: its digest names its content.
func TestCatalogIsReadOnce(t *testing.T) {
	f := fleet()
	p := newPage(f)
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if got := body(t, get(t, p, "/catalog?digest="+notesDigest)); !strings.Contains(got, "add_note") {
				t.Errorf("the catalog does not show add_note:\n%s", got)
			}
		})
	}
	all.Wait()
	if got := body(t, get(t, p, "/server?name=notes")); !strings.Contains(got, "add_note") {
		t.Errorf("the page of the server does not show add_note:\n%s", got)
	}
	if n := f.read.Load(); n != 1 {
		t.Errorf("read %d times, want once", n)
	}
}

// One that could not be read is asked for again.
func TestCatalogThatFailedIsReadAgain(t *testing.T) {
	f := fleet()
	p := newPage(f)
	f.err = errors.New("redis unavailable")
	if got := body(t, get(t, p, "/catalog?digest="+notesDigest)); !strings.Contains(got, "cannot be read now: redis unavailable") {
		t.Errorf("without Redis:\n%s", got)
	}
	f.err = nil
	if got := body(t, get(t, p, "/catalog?digest="+notesDigest)); !strings.Contains(got, "add_note") {
		t.Errorf("with Redis again:\n%s", got)
	}
}

func TestCatalogsKeptAreBounded(t *testing.T) {
	c := catalogs{read: func(context.Context, store.Digest) ([]byte, error) { return []byte("{}"), nil }}
	for i := range 3 * catalogKept {
		d := store.Digest(fmt.Sprint(i))
		if v, err := c.view(t.Context(), d); err != nil || v.Digest != string(d) {
			t.Fatalf("view %s = %+v, %v", d, v, err)
		}
	}
	if len(c.kept) != catalogKept {
		t.Errorf("%d catalogs are kept, want %d", len(c.kept), catalogKept)
	}
}

func TestLongCatalogIsCut(t *testing.T) {
	var tools, props []string
	for i := range itemsShown + 7 {
		tools = append(tools, fmt.Sprintf(`{"name":"tool-%d"}`, i))
	}
	for i := range argsShown + 3 {
		props = append(props, fmt.Sprintf(`"p%d":{"type":"string"}`, i))
	}
	tools[0] = `{"name":"` + strings.Repeat("ä", nameCut+1) + `","description":"` + strings.Repeat("ö", textCut+1) + `","inputSchema":{"properties":{` + strings.Join(props, ",") + `}}}`
	v, err := newCatalogView("d", []byte(`{"tools":[`+strings.Join(tools, ",")+`]}`))
	if err != nil || len(v.Lists) != 1 {
		t.Fatalf("%d lists, %v", len(v.Lists), err)
	}
	l := v.Lists[0]
	if l.Total != itemsShown+7 || l.More != 7 || len(l.Items) != itemsShown {
		t.Errorf("total %d, more %d, shown %d", l.Total, l.More, len(l.Items))
	}
	first := l.Items[0]
	if first.Name != strings.Repeat("ä", nameCut)+"…" || first.About != strings.Repeat("ö", textCut)+"…" {
		t.Errorf("name of %d and text of %d characters", len([]rune(first.Name)), len([]rune(first.About)))
	}
	if len(first.Args) != argsShown || first.MoreArgs != 3 || first.Args[1].Name != "p1" {
		t.Errorf("%d arguments and %d more, the second is %q", len(first.Args), first.MoreArgs, first.Args[1].Name)
	}
}

func TestDamagedCatalog(t *testing.T) {
	for _, raw := range []string{"", "[]", "{", `{"tools":{}}`, "null "} {
		f := fleet()
		f.catalogs[notesDigest] = raw
		resp := get(t, newPage(f), "/server?name=notes")
		got := body(t, resp)
		if resp.StatusCode != http.StatusOK || !strings.Contains(got, "damaged") && !strings.Contains(got, "no tools, prompts or resources") {
			t.Errorf("catalog %q: %d\n%s", raw, resp.StatusCode, got)
		}
	}
}

func TestSchemaArgs(t *testing.T) {
	for schema, want := range map[string][]argView{
		``:                  nil,
		`true`:              nil,
		`{"properties":7}`:  nil,
		`{"properties":{}}`: nil,
		`{"required":"x"}`:  nil,
		`{"properties":{"b":{"type":"integer","default":1},"a":{"type":["string","null"]}},"required":["a"]}`: {{Name: "b", Type: "integer = 1"}, {Name: "a", Type: "string | null", Required: true}},
		`{"properties":{"x":{"type":"array","items":{"enum":[1,"two"]}}}}`:                                    {{Name: "x", Type: `list of 1 | "two"`}},
		`{"properties":{"x":{"oneOf":[{"const":"on"},{"type":"array"}]},"y":{"type":7},"z":false}}`:           {{Name: "x", Type: `"on" | array`}, {Name: "y", Type: "any"}, {Name: "z", Type: "any"}},
		`{"properties":{"x":{"enum":[1,2,3,4,5,6,7]}}}`:                                                       {{Name: "x", Type: "1 | 2 | 3 | 4 | 5 | 6 | …"}},
	} {
		got, more := schemaArgs([]byte(schema))
		if !reflect.DeepEqual(got, want) || more != 0 {
			t.Errorf("schemaArgs(%s) = %+v and %d more, want %+v", schema, got, more, want)
		}
	}
}
