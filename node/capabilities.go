package node

import (
	"strings"

	"github.com/mcphub-go/mcphub/internal/wire"
)

// capabilities are what a client has declared that a server may ask of it (MCP 2025-11-25,
// Lifecycle, Capability Negotiation): a bit for each of capabilityNames.
type capabilities uint16

// capabilityNames are paths in the capabilities of an initialize.
var capabilityNames = [...]string{
	"roots", "sampling", "sampling.tools", "elicitation", "elicitation.form", "elicitation.url",
	"tasks", "tasks.list", "tasks.cancel", "tasks.requests.sampling.createMessage", "tasks.requests.elicitation.create",
}

// anyCapabilities are declared to servers whose connection is for clients that are not known yet.
// A request that its client has not declared for is refused by the node.
const anyCapabilities = `{"roots":{"listChanged":true},` + otherCapabilities

// rootlessCapabilities are declared instead to servers that get no roots.
const rootlessCapabilities = `{` + otherCapabilities

const otherCapabilities = `"sampling":{"tools":{},"context":{}},"elicitation":{"form":{},"url":{}},` +
	`"tasks":{"list":{},"cancel":{},"requests":{"sampling":{"createMessage":{}},"elicitation":{"create":{}}}}}`

// declared is what a server is told that any client can do.
func declared(rootless bool) string {
	if rootless {
		return rootlessCapabilities
	}
	return anyCapabilities
}

// withoutRoots is an object of capabilities as a server is told of it that gets no roots.
func withoutRoots(caps []byte) []byte {
	out := []byte{'{'}
	for k, v := range wire.Members(caps, wire.Span{End: len(caps)}) {
		if name, _ := wire.Unquote(k.Of(caps)); name == "roots" {
			continue
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(append(append(out, k.Of(caps)...), ':'), v.Of(caps)...)
	}
	return append(out, '}')
}

// readCapabilities reads them from the params of an initialize.
func readCapabilities(params []byte) (c capabilities) {
	for i, name := range capabilityNames {
		at, ok := wire.Lookup(params, append([]string{"capabilities"}, strings.Split(name, ".")...)...)
		if ok && params[at.Start] == '{' {
			c |= 1 << i
		}
	}
	if c.has("elicitation") && !c.has("elicitation.url") {
		c |= bitOf("elicitation.form") // an empty object is that (Elicitation, Capabilities)
	}
	return c
}

func bitOf(name string) capabilities {
	for i, n := range capabilityNames {
		if n == name {
			return 1 << i
		}
	}
	return 0
}

func (c capabilities) has(name string) bool { return c&bitOf(name) != 0 }

// lacking names the capability that a server's request needs and the client has not declared. It
// is empty for none, and for methods that are not known.
func (c capabilities) lacking(f *wire.Frame) string {
	for _, need := range needs(f) {
		if !c.has(need) {
			return need
		}
	}
	return ""
}

// needs are the capabilities that a server's request takes for granted.
func needs(f *wire.Frame) []string {
	given := func(path ...string) bool {
		at, ok := f.Lookup(append([]string{"params"}, path...)...)
		return ok && f.Raw[at.Start] != 'n'
	}
	var all []string
	switch f.Method {
	case rootsList:
		return []string{"roots"}
	case "elicitation/create":
		mode := "elicitation.form"
		if at, ok := f.Lookup("params", "mode"); ok {
			if name, _ := wire.Unquote(at.Of(f.Raw)); name == "url" {
				mode = "elicitation.url"
			}
		}
		all = append(all, mode)
		if given("task") {
			all = append(all, "tasks.requests.elicitation.create")
		}
	case "sampling/createMessage":
		all = append(all, "sampling")
		if given("tools") || given("toolChoice") {
			all = append(all, "sampling.tools")
		}
		if given("task") {
			all = append(all, "tasks.requests.sampling.createMessage")
		}
	case "tasks/get", "tasks/result":
		return []string{"tasks"}
	case "tasks/list":
		return []string{"tasks.list"}
	case "tasks/cancel":
		return []string{"tasks.cancel"}
	}
	return all
}

// rootsList is a server's request for its client's roots.
const rootsList = "roots/list"

// rootsChanged tells a server to ask its client again.
const rootsChanged = `{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}` + "\n"
