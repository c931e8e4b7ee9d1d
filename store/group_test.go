package store

import (
	"encoding/json"
	"errors"
	"reflect"
	"testing"

	"github.com/mcphub-go/mcphub/internal/wire"
)

func TestGroupJSON(t *testing.T) {
	const text = `{"name":"dev","servers":["a",{"name":"b"},{"name":"c","tools":"all"},{"name":"d","tools":null},{"name":"e","tools":[]},{"name":"f","tools":["x","y"]}]}`
	var g Group
	if err := json.Unmarshal([]byte(text), &g); err != nil {
		t.Fatal(err)
	}
	want := Group{Name: "dev", Servers: []GroupServer{
		{Name: "a"}, {Name: "b"}, {Name: "c"}, {Name: "d"}, {Name: "e", Tools: []string{}}, {Name: "f", Tools: []string{"x", "y"}},
	}}
	if !reflect.DeepEqual(g, want) {
		t.Fatalf("Unmarshal = %+v, want %+v", g, want)
	}
	raw, err := json.Marshal(g)
	const short = `{"name":"dev","servers":["a","b","c","d",{"name":"e","tools":[]},{"name":"f","tools":["x","y"]}]}`
	if err != nil || string(raw) != short {
		t.Errorf("Marshal = %s, %v, want %s", raw, err, short)
	}
	for _, bad := range []string{`null`, `1`, `[]`, `""`, `"a b"`, `{}`, `{"name":""}`, `{"name":"a/b"}`, `{"name":"a","tools":"some"}`, `{"name":"a","tools":{}}`, `{"name":"a","tools":[1]}`} {
		var s GroupServer
		if err := json.Unmarshal([]byte(bad), &s); err == nil {
			t.Errorf("Unmarshal(%s) = %+v, want an error", bad, s)
		}
	}
}

// Whatever is taken for a group is written and read back as the same one.
func FuzzGroup(f *testing.F) {
	f.Add([]byte(`{"name":"dev","description":"d","servers":["a",{"name":"b","tools":["x"]},{"name":"c","tools":[]}]}`))
	f.Add([]byte(`{"name":"é","servers":[{"name":"b","tools":["\u0000"]}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var g Group
		if json.Unmarshal(raw, &g) != nil {
			return
		}
		if err := g.Check(); err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("Check = %v, not an ErrInvalid", err)
			}
			return
		}
		if wire.CheckName("name", g.Name) != nil {
			t.Errorf("accepted the name %q", g.Name)
		}
		text, err := groupJSON(storedGroup{shown(g), 5})
		if err != nil {
			t.Fatal(err)
		}
		again, err := groupFrom(g.Name, text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if g.Updated = fromMillis(5); !reflect.DeepEqual(again, shown(g)) {
			t.Errorf("%s reads back as %+v, was %+v", text, again, g)
		}
	})
}

func FuzzEventID(f *testing.F) {
	f.Add("1767261600123-0")
	f.Add("1-")
	f.Fuzz(func(t *testing.T, id string) {
		err := checkEventID(id)
		if err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("checkEventID(%q) = %v", id, err)
		}
		if err == nil && len(id) > 41 {
			t.Errorf("accepted %q", id)
		}
	})
}
