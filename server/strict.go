package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"
)

// decodeStrict reads one JSON object into v, a pointer to a struct. Where encoding/json would
// guess, it refuses: text that is not UTF-8, a second value after the first, a key that comes
// twice, and a key that differs from a known one in case only, which encoding/json takes for
// it. Keys that are not known are passed over, since nodes of other releases may send them.
// What v holds as raw JSON is checked for being JSON and no further.
func decodeStrict(body []byte, v any) error { return decode(body, v, false) }

// decodeExact is decodeStrict for what people send: it refuses keys that are not known, which
// are mistakes or meant for another release, and would be lost silently.
func decodeExact(body []byte, v any) error { return decode(body, v, true) }

func decode(body []byte, v any, exact bool) error {
	if !utf8.Valid(body) {
		return fmt.Errorf("the body is not valid UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return fmt.Errorf("the body must be one JSON object")
	}
	if err := (reading{dec, exact}).object(reflect.TypeOf(v).Elem(), 1); err != nil {
		return err
	}
	if dec.More() {
		return fmt.Errorf("there is more after the JSON object")
	}
	if err := json.Unmarshal(body, v); err != nil {
		return describe(err)
	}
	return nil
}

// describe says what is wrong without the names of Go's types.
func describe(err error) error {
	if e, ok := err.(*json.UnmarshalTypeError); ok { //nolint:errorlint // Unmarshal returns it bare
		return fmt.Errorf("%s: a JSON %s does not fit here", e.Field, e.Value)
	}
	return fmt.Errorf("the body is not JSON")
}

const maxDepth = 32

// reading is one check of a body.
type reading struct {
	*json.Decoder
	exact bool // keys that are not known are refused
}

// object checks the keys of an object whose brace has been read.
func (dec reading) object(t reflect.Type, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("the JSON is nested deeper than %d levels", maxDepth)
	}
	known := keysOf(t)
	seen := map[string]bool{}
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return fmt.Errorf("the body is not JSON")
		}
		key, _ := tok.(string) // the decoder gives nothing else here
		field, ok := known[key]
		if !ok {
			for name := range known {
				if strings.EqualFold(name, key) {
					return fmt.Errorf("the key %s must be written in just that case", name)
				}
			}
			if dec.exact {
				return fmt.Errorf("the key %q is not known here; known are %s", key, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
			}
		}
		if seen[key] {
			return fmt.Errorf("a key comes twice in one object")
		}
		seen[key] = true
		if err := dec.value(field, depth); err != nil {
			return err
		}
	}
	return dec.skip()
}

// value checks the value of a field of type t; nil is a field that nobody reads.
func (dec reading) value(t reflect.Type, depth int) error {
	if t == nil || !hasKeys(t) {
		var raw json.RawMessage
		if dec.Decode(&raw) != nil {
			return fmt.Errorf("the body is not JSON")
		}
		return nil
	}
	tok, err := dec.Token()
	if err != nil {
		return fmt.Errorf("the body is not JSON")
	}
	switch {
	case tok == json.Delim('{') && t.Kind() == reflect.Struct:
		return dec.object(t, depth+1)
	case tok == json.Delim('[') && t.Kind() == reflect.Slice:
		for dec.More() {
			if err := dec.value(t.Elem(), depth+1); err != nil {
				return err
			}
		}
		return dec.skip()
	case tok == json.Delim('{'), tok == json.Delim('['):
		return fmt.Errorf("an object or a list stands where the other is expected")
	}
	return nil // a scalar; Unmarshal judges it
}

func (dec reading) skip() error {
	if _, err := dec.Token(); err != nil {
		return fmt.Errorf("the body is not JSON")
	}
	return nil
}

// hasKeys says whether values of the type hold objects whose keys are fields.
func hasKeys(t reflect.Type) bool {
	return t.Kind() == reflect.Struct || t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct
}

var keysCache sync.Map // reflect.Type → map[string]reflect.Type

// keysOf lists the JSON names of a struct's fields and the fields' types.
func keysOf(t reflect.Type) map[string]reflect.Type {
	if m, ok := keysCache.Load(t); ok {
		return m.(map[string]reflect.Type)
	}
	m := map[string]reflect.Type{}
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if name != "" && name != "-" {
			m[name] = t.Field(i).Type
		}
	}
	keysCache.Store(t, m)
	return m
}
