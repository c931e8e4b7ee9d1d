package server

import (
	"encoding/json"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/mcphub-go/mcphub/internal/wire"
)

// showAPI answers with the OpenAPI document, which is made of the very table that the routes are
// made of.
func (s *Server) showAPI(c echo.Context) error {
	h := c.Response().Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	return c.Blob(http.StatusOK, wire.TypeJSON, s.api)
}

// document makes the OpenAPI document of some routes.
func document(version string, routes []route) ([]byte, error) {
	d := newSchemas()
	paths := map[string]map[string]any{}
	for _, rt := range routes {
		path := pathOf(rt.path)
		if paths[path] == nil {
			paths[path] = map[string]any{}
		}
		paths[path][strings.ToLower(rt.method)] = d.operation(rt)
	}
	return json.Marshal(map[string]any{
		"openapi": "3.1.0",
		"info": map[string]any{
			"title": "MCPHub", "version": version, "license": map[string]any{"name": "Apache 2.0", "identifier": "Apache-2.0"},
			"description": "The REST interface of a coordinator; each of a fleet answers the same. Times are milliseconds since 1970. " +
				"Failures are {\"success\": false, \"message\": …} with a status that says the kind. " +
				"MCP itself is at /mcp, /mcp/{server} and /mcp/{group}, and is not part of this document.",
		},
		"servers": []any{map[string]any{"url": "/"}},
		"tags": []any{
			tag("Fleet", "What runs where, and how it is."),
			tag("Sessions", "Sessions of MCP clients."),
			tag("Groups", "Choices of servers, each an endpoint of its own at /mcp/{name}."),
			tag("Probes", "For balancers, supervisors and Prometheus."),
			tag("Nodes", "The calls that nodes make."),
		},
		"paths": paths,
		"components": map[string]any{
			"schemas": d.withError(),
			"securitySchemes": map[string]any{
				"adminToken":    map[string]any{"type": "http", "scheme": "bearer", "description": "cluster.adminToken"},
				"adminUser":     map[string]any{"type": "http", "scheme": "basic", "description": "A user of the settings with isAdmin."},
				"clusterSecret": map[string]any{"type": "http", "scheme": "bearer", "description": "cluster.secret"},
			},
		},
	})
}

func tag(name, about string) map[string]any {
	return map[string]any{"name": name, "description": about}
}

// pathOf spells a path of Echo as OpenAPI does.
func pathOf(path string) string {
	parts := strings.Split(path, "/")
	for i, p := range parts {
		if name, ok := strings.CutPrefix(p, ":"); ok {
			parts[i] = "{" + name + "}"
		}
	}
	return strings.Join(parts, "/")
}

// withError adds the shape of failures.
func (d *schemas) withError() map[string]schema {
	d.named["Error"] = schema{
		"type": "object", "required": []string{"success", "message"},
		"properties": schema{"success": schema{"const": false}, "message": schema{"type": "string", "description": "A sentence that says what is wrong."}},
	}
	return d.named
}

// operation describes one route.
func (d *schemas) operation(rt route) map[string]any {
	op := map[string]any{
		"operationId": rt.id, "summary": rt.about, "tags": []string{rt.tag},
		"responses": d.responses(rt), "security": securityOf(rt.door),
	}
	if rt.more != "" {
		op["description"] = rt.more
	}
	if ps := parameters(rt); len(ps) > 0 {
		op["parameters"] = ps
	}
	if rt.body != nil {
		op["requestBody"] = map[string]any{"required": true, "content": map[string]any{
			wire.TypeJSON: map[string]any{"schema": d.of(reflect.TypeOf(rt.body)), "example": rt.body},
		}}
	}
	return op
}

// securityOf says what a door asks for. The empty choice is there because none is asked for where
// none is configured.
func securityOf(d door) []any {
	need := func(name string) map[string]any { return map[string]any{name: []string{}} }
	switch d {
	case forAdmins:
		return []any{need("adminToken"), need("adminUser"), map[string]any{}}
	case forNodes:
		return []any{need("clusterSecret"), map[string]any{}}
	}
	return []any{}
}

// pathParams says what the parts of paths stand for.
var pathParams = map[string]string{
	"/nodes/:id":    "Id of a node.",
	"/servers/:id":  "Name of a server.",
	"/sessions/:id": "The sessionId of the list, or the whole Mcp-Session-Id.",
	"/groups/:name": "Name of a group.",
}

func parameters(rt route) []any {
	var out []any
	add := func(in string, p param, required bool) {
		sc := p.schema
		if sc == nil {
			sc = schema{"type": "string"}
		}
		if p.repeats {
			sc = schema{"type": "array", "items": sc}
		}
		out = append(out, map[string]any{"name": p.name, "in": in, "required": required, "description": p.about, "schema": sc})
	}
	for part, about := range pathParams {
		if strings.Contains(rt.path, part) {
			add("path", param{name: part[strings.IndexByte(part, ':')+1:], about: about}, true)
		}
	}
	for _, p := range rt.query {
		add("query", p, p.needed)
	}
	for _, p := range rt.header {
		add("header", p, false)
	}
	return out
}

// responses describes what a route answers.
func (d *schemas) responses(rt route) map[string]any {
	content := map[string]any{}
	if rt.data != nil {
		sc, example := d.of(reflect.TypeOf(rt.data)), rt.data
		if !rt.bare {
			sc = schema{"type": "object", "required": []string{"success", "data"}, "properties": schema{"success": schema{"const": true}, "data": sc}}
			example = map[string]any{"success": true, "data": rt.data}
		}
		content[wire.TypeJSON] = map[string]any{"schema": sc, "example": example}
	}
	if rt.stream != "" {
		content[wire.TypeEventStream] = map[string]any{"schema": schema{"type": "string"}, "example": rt.stream}
	}
	if rt.text != "" {
		content["text/plain"] = map[string]any{"schema": schema{"type": "string"}, "example": rt.text}
	}
	out := map[string]any{strconv.Itoa(rt.success()): map[string]any{"description": "Done.", "content": content}}
	for _, status := range rt.failures() {
		if status == http.StatusServiceUnavailable && rt.bare {
			out[strconv.Itoa(status)] = map[string]any{"description": failures[status], "content": content}
			continue
		}
		out[strconv.Itoa(status)] = map[string]any{"description": failures[status], "content": map[string]any{
			wire.TypeJSON: map[string]any{"schema": schema{"$ref": "#/components/schemas/Error"}},
		}}
	}
	return out
}

func (rt *route) success() int {
	if rt.status != 0 {
		return rt.status
	}
	return http.StatusOK
}

// failures says what the statuses of failures mean here.
var failures = map[int]string{
	http.StatusBadRequest:            "The request is not understood; the message says what of it.",
	http.StatusUnauthorized:          "Credentials are missing or wrong.",
	http.StatusForbidden:             "Whoever asks may not, or the Host or Origin is not one of this hub's.",
	http.StatusNotFound:              "There is no such thing.",
	http.StatusConflict:              "It does not go with what there is; the message says with what.",
	http.StatusRequestEntityTooLarge: "The body is too large.",
	http.StatusUnsupportedMediaType:  "The body is not application/json, or compressed.",
	http.StatusServiceUnavailable:    "Redis is away, or this replica is not ready; see Retry-After.",
}

// failures lists the statuses that a route may answer with beside success: its own, and those
// that its door, its query and its body have.
func (rt *route) failures() []int {
	out := append([]int{http.StatusForbidden}, rt.fails...)
	if rt.door != forAll {
		out = append(out, http.StatusUnauthorized)
	}
	if !rt.anyQuery || rt.body != nil {
		out = append(out, http.StatusBadRequest)
	}
	if rt.body != nil {
		out = append(out, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType)
	}
	return out
}
