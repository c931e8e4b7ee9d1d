package web

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/mcphub-go/mcphub/internal/wire"
)

// How the items of a catalog are worded (MCP 2025-11-25, Server Features).

// named is what all items have.
type named struct {
	Name        string `json:"name"`
	Title       string `json:"title"`
	Description string `json:"description"`
}

func (n named) view() itemView {
	return itemView{Name: cut(n.Name, nameCut), Title: cut(n.Title, nameCut), About: cut(strings.TrimSpace(n.Description), textCut)}
}

func newTool(raw json.RawMessage) (itemView, error) {
	var t struct {
		named
		InputSchema  json.RawMessage `json:"inputSchema"`
		OutputSchema json.RawMessage `json:"outputSchema"`
		Annotations  struct {
			Title       string `json:"title"`
			ReadOnly    bool   `json:"readOnlyHint"`
			Destructive *bool  `json:"destructiveHint"`
			Idempotent  bool   `json:"idempotentHint"`
		} `json:"annotations"`
	}
	if err := json.Unmarshal(raw, &t); err != nil {
		return itemView{}, err
	}
	v := t.view()
	if v.Title == "" {
		v.Title = cut(t.Annotations.Title, nameCut)
	}
	switch d := t.Annotations.Destructive; {
	case t.Annotations.ReadOnly:
		v.Hints = append(v.Hints, hintView{"good", "read-only"})
	case d != nil && *d:
		v.Hints = append(v.Hints, hintView{"warn", "destructive"})
	}
	if t.Annotations.Idempotent && !t.Annotations.ReadOnly {
		v.Hints = append(v.Hints, hintView{"off", "idempotent"})
	}
	if len(t.OutputSchema) > 0 {
		v.Hints = append(v.Hints, hintView{"off", "structured result"})
	}
	v.Args, v.MoreArgs = schemaArgs(t.InputSchema)
	return v, nil
}

func newPrompt(raw json.RawMessage) (itemView, error) {
	var p struct {
		named
		Arguments []struct {
			named
			Required bool `json:"required"`
		} `json:"arguments"`
	}
	if err := json.Unmarshal(raw, &p); err != nil {
		return itemView{}, err
	}
	v := p.view()
	for _, a := range p.Arguments[:min(len(p.Arguments), argsShown)] {
		v.Args = append(v.Args, argView{Name: cut(a.Name, nameCut), About: cut(a.Description, textCut), Required: a.Required})
	}
	v.MoreArgs = len(p.Arguments) - len(v.Args)
	return v, nil
}

// newResource reads a resource or a template of resources.
func newResource(raw json.RawMessage) (itemView, error) {
	var r struct {
		named
		URI         string `json:"uri"`
		URITemplate string `json:"uriTemplate"`
		MIMEType    string `json:"mimeType"`
		Size        *int64 `json:"size"`
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		return itemView{}, err
	}
	v := r.view()
	v.Address = cut(r.URI+r.URITemplate, nameCut)
	if r.MIMEType != "" {
		v.Hints = append(v.Hints, hintView{"off", cut(r.MIMEType, 80)})
	}
	if r.Size != nil {
		v.Hints = append(v.Hints, hintView{"off", sized(*r.Size)})
	}
	return v, nil
}

// sized words a size.
func sized(n int64) string {
	switch {
	case n < 10<<10:
		return fmt.Sprintf("%d bytes", n)
	case n < 10<<20:
		return fmt.Sprintf("%d KiB", n>>10)
	default:
		return fmt.Sprintf("%d MiB", n>>20)
	}
}

// schemaArgs are the properties of a JSON schema, in its own order.
func schemaArgs(schema json.RawMessage) (args []argView, more int) {
	if len(schema) == 0 || schema[0] != '{' {
		return nil, 0
	}
	var required []string
	if at, ok := wire.Lookup(schema, "required"); ok {
		_ = json.Unmarshal(at.Of(schema), &required) // what is no list of names asks for nothing
	}
	props, ok := wire.Lookup(schema, "properties")
	if !ok || schema[props.Start] != '{' {
		return nil, 0
	}
	for key, value := range wire.Members(schema, props) {
		if len(args) == argsShown {
			more++
			continue
		}
		name, ok := wire.Unquote(key.Of(schema))
		if !ok {
			continue
		}
		args = append(args, schemaArg(name, value.Of(schema), slices.Contains(required, name)))
	}
	return args, more
}

func schemaArg(name string, raw json.RawMessage, required bool) argView {
	var p property
	_ = json.Unmarshal(raw, &p) // true and false are schemas, too, that say nothing
	v := argView{Name: cut(name, nameCut), Type: cut(p.kind(), nameCut), About: cut(strings.TrimSpace(p.Description), textCut), Required: required}
	if d := string(p.Default); d != "" && d != "null" && len(d) <= 40 {
		v.Type += " = " + d
	}
	return v
}

// property is the part of a schema that is worded.
type property struct {
	Type        json.RawMessage   `json:"type"`
	Description string            `json:"description"`
	Enum        []json.RawMessage `json:"enum"`
	Items       *property         `json:"items"`
	AnyOf       []property        `json:"anyOf"`
	OneOf       []property        `json:"oneOf"`
	Const       json.RawMessage   `json:"const"`
	Default     json.RawMessage   `json:"default"`
}

// kind words the type: string, integer or null, list of string, "a" or "b".
func (p *property) kind() string {
	const most = 6 // alternatives
	var some []string
	switch {
	case len(p.Enum) > 0:
		for _, e := range p.Enum {
			some = append(some, string(e))
		}
	case len(p.Const) > 0:
		return string(p.Const)
	case len(p.AnyOf)+len(p.OneOf) > 0:
		for _, alternative := range slices.Concat(p.AnyOf, p.OneOf) {
			some = append(some, alternative.kind())
		}
	default:
		some = p.types()
	}
	if len(some) > most {
		return strings.Join(some[:most], " | ") + " | …"
	}
	return strings.Join(some, " | ")
}

// types are the names of the type, of which there may be several.
func (p *property) types() []string {
	var one string
	var several []string
	if json.Unmarshal(p.Type, &one) == nil {
		several = []string{one}
	} else if json.Unmarshal(p.Type, &several) != nil {
		return []string{"any"}
	}
	for i, t := range several {
		if t == "array" && p.Items != nil {
			several[i] = "list of " + p.Items.kind()
		}
	}
	return several
}
