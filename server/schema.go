package server

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"unicode"

	"github.com/mcphub-go/mcphub/heartbeat"
	"github.com/mcphub-go/mcphub/store"
)

// schema is a JSON Schema (2020-12, as OpenAPI 3.1 has it).
type schema map[string]any

// schemas makes the schemas of Go types, as encoding/json writes them, and collects those of
// structs under names of their own.
type schemas struct {
	named map[string]schema
	types map[string]reflect.Type
}

func newSchemas() *schemas {
	return &schemas{named: map[string]schema{}, types: map[string]reflect.Type{}}
}

// titles are the names of types whose own would say too little in a document, or would come twice.
var titles = map[reflect.Type]string{
	reflect.TypeFor[store.Server]():       "ServerDetail",
	reflect.TypeFor[heartbeat.Record]():   "NodeRecord",
	reflect.TypeFor[groupServerBody]():    "GroupPart",
	reflect.TypeFor[groupBody]():          "GroupChange",
	reflect.TypeFor[endedView]():          "SessionEnded",
	reflect.TypeFor[deletedView]():        "GroupDeleted",
	reflect.TypeFor[catalogUpload]():      "CatalogUpload",
	reflect.TypeFor[heartbeat.Farewell](): "Farewell",
}

// title is the name of a struct in the document.
func title(t reflect.Type) string {
	if name, ok := titles[t]; ok {
		return name
	}
	name := []rune(strings.TrimSuffix(t.Name(), "View"))
	name[0] = unicode.ToUpper(name[0])
	return string(name)
}

// of is the schema of a type. A type that it cannot describe is a mistake in this package.
func (d *schemas) of(t reflect.Type) schema {
	switch t {
	case reflect.TypeFor[json.RawMessage]():
		return schema{} // anything
	case reflect.TypeFor[store.GroupServer]():
		return schema{"oneOf": []any{schema{"type": "string"}, d.of(reflect.TypeFor[groupPart]())}}
	}
	if t.Implements(reflect.TypeFor[json.Marshaler]()) {
		panic("server: no schema for " + t.String() + ", which writes itself")
	}
	switch t.Kind() {
	case reflect.Pointer:
		return d.of(t.Elem())
	case reflect.String:
		return schema{"type": "string"}
	case reflect.Bool:
		return schema{"type": "boolean"}
	case reflect.Int, reflect.Int32, reflect.Int64, reflect.Uint32, reflect.Uint64:
		return schema{"type": "integer"}
	case reflect.Float64:
		return schema{"type": "number"}
	case reflect.Slice:
		return schema{"type": "array", "items": d.of(t.Elem())}
	case reflect.Map:
		return schema{"type": "object", "additionalProperties": d.of(t.Elem())}
	case reflect.Struct:
		if t.NumField() == 0 {
			return schema{"type": "object"}
		}
		return d.ref(t)
	default:
		panic(fmt.Sprintf("server: no schema for %s", t))
	}
}

// groupPart is the form of store.GroupServer where it is an object.
type groupPart struct {
	Name  store.ServerID `json:"name"`
	Tools []string       `json:"tools" doc:"The only tools of the server that the group offers."`
}

// ref names the schema of a struct.
func (d *schemas) ref(t reflect.Type) schema {
	name := title(t)
	switch other, ok := d.types[name]; {
	case ok && other != t:
		panic(fmt.Sprintf("server: %s and %s are both called %s", other, t, name))
	case !ok:
		d.types[name] = t
		d.named[name] = d.object(t)
	}
	return schema{"$ref": "#/components/schemas/" + name}
}

// object is the schema of a struct's fields. What may be left out is not required.
func (d *schemas) object(t reflect.Type) schema {
	props, required := schema{}, []string{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" || name == "-" {
			continue
		}
		p := d.of(f.Type)
		if text := f.Tag.Get("doc"); text != "" {
			p["description"] = text
		}
		if values := f.Tag.Get("enum"); values != "" {
			p["enum"] = strings.Split(values, ",")
		}
		props[name] = p
		if !strings.Contains(options, "omitempty") {
			required = append(required, name)
		}
	}
	return schema{"type": "object", "properties": props, "required": required}
}
