package config

import (
	"encoding/json"
	"strconv"
	"strings"
)

// schemaID is the address of the published schema.
const schemaID = "https://raw.githubusercontent.com/mcphub-go/mcphub/main/docs/mcp_settings.schema.json"

type object = map[string]any

// Schema returns the JSON Schema (2020-12) of the settings file, made from the table: the
// content of docs/mcp_settings.schema.json. It knows less than [Parse] (duplicate keys,
// ports, several sums over times), but refuses nothing that Parse accepts.
func Schema() []byte {
	s := schemaOf(root)
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	s["$id"] = schemaID
	s["title"] = "MCPHub settings (mcp_settings.json)"
	s["$defs"] = object{"variable": object{
		"description": "A string with an environment variable in it.",
		"type":        "string",
		"pattern":     `\$\{`,
	}}
	out, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		panic("config: schema: " + err.Error()) // maps of strings, numbers and lists always marshal
	}
	return append(out, '\n')
}

// schemaOf is the schema of one row and what is below it.
func schemaOf(k *key) object {
	s := object{}
	if k.doc != "" {
		s["description"] = strings.ReplaceAll(k.doc, "`", "")
	}
	if k.later != "" {
		s["description"] = "Not yet supported. " + k.doc
		s["not"] = object{}
		return s
	}
	if k.def != "" {
		s["default"] = json.RawMessage(k.def)
	}
	switch k.kind {
	case kindObject:
		schemaOfObject(k, s)
	case kindEntries:
		s["type"] = "object"
		s["propertyNames"] = object{"pattern": namePattern}
		s["additionalProperties"] = schemaOf(k.child("*"))
	case kindList:
		schemaOfList(k, s)
	case kindBool:
		s["type"] = "boolean"
		for value := range k.laterValues {
			s["const"] = value != "true"
		}
	case kindMillis:
		s["type"] = "integer"
		s["minimum"], s["maximum"] = minTime.Milliseconds(), maxTime.Milliseconds()
		if k.zero {
			s["minimum"] = 0
			s["not"] = object{"exclusiveMinimum": 0, "exclusiveMaximum": minTime.Milliseconds()}
		}
	case kindCount, kindNumber:
		s["type"] = map[bool]string{true: "integer", false: "number"}[k.kind == kindCount]
		s["minimum"], s["maximum"] = k.min, k.max
	case kindChoice:
		schemaOfChoice(k, s)
	case kindStrings:
		s["type"] = "array"
		s["items"] = schemaOfString(k, object{})
	case kindMap:
		s["type"] = "object"
		s["additionalProperties"] = schemaOfString(k, object{})
	case kindAny:
		if !k.unused {
			s["type"] = "string"
		}
	default:
		schemaOfString(k, s)
	}
	return s
}

// schemaOfList allows strings that stand for objects, and an object that stands for the list.
func schemaOfList(k *key, s object) {
	row := k.child("[]")
	items := schemaOf(row)
	if row.plain != "" {
		items = object{"anyOf": []object{schemaOf(row.child(row.plain)), items}}
	}
	list := object{"type": "array", "items": items}
	if k.keyed == "" {
		s["type"], s["items"] = list["type"], list["items"]
		return
	}
	s["anyOf"] = []object{list, {
		"type":          "object",
		"propertyNames": object{"pattern": namePattern},
		"additionalProperties": object{"anyOf": []object{
			schemaOf(row.child("servers")), keyedEntry(row, k.keyed),
		}},
	}}
}

// keyedEntry is an item of a list whose name stands before it; one inside is any text.
func keyedEntry(row *key, name string) object {
	entry := schemaOf(row)
	delete(entry, "required")
	properties := entry["properties"].(object)
	properties[name] = object{"type": "string", "description": "A title for people."}
	return entry
}

func schemaOfChoice(k *key, s object) {
	choices := []object{{"const": everything}, {"$ref": "#/$defs/variable"}}
	if k.laterItems == "" {
		choices = append(choices, object{"type": "array", "items": schemaOfString(k, object{})})
	}
	s["anyOf"] = choices
}

func schemaOfObject(k *key, s object) {
	properties := object{}
	var required []string
	for _, c := range k.children {
		properties[c.name] = schemaOf(c)
		if c.required {
			required = append(required, c.name)
		}
	}
	s["type"] = "object"
	s["properties"] = properties
	if !k.lax {
		s["additionalProperties"] = false
	}
	if required != nil {
		s["required"] = required
	}
	for name, value := range between[k.path] {
		s[name] = value
	}
}

// schemaOfString allows a variable wherever a pattern or a list of values is asked for.
func schemaOfString(k *key, s object) object {
	s["type"] = "string"
	variable := object{"$ref": "#/$defs/variable"}
	switch {
	case len(k.enum) > 0:
		s["anyOf"] = []object{{"enum": k.enum}, variable}
	case k.pattern != "":
		s["anyOf"] = []object{{"pattern": k.pattern}, variable}
	}
	return s
}

// between are rules over several keys, by the path of their section.
var between = map[string]object{
	"mcpServers.*": {
		"oneOf": []object{
			{"required": []string{"command"}, "properties": object{
				"headers": object{"maxProperties": 0},
				"type":    object{"not": object{"enum": []string{StreamableHTTP, SSE}}},
			}},
			{"required": []string{"url"}, "properties": object{
				"args": object{"maxItems": 0}, "env": object{"maxProperties": 0},
				"type":             object{"not": object{"const": Stdio}},
				"isolation":        object{"not": object{"const": PerSession}},
				"perSessionClient": object{"const": false},
			}},
		},
		"dependentSchemas": object{"maxProcesses": perSession, "warm": perSession, "idleTimeoutMs": perSession},
	},
	"systemConfig.cluster": {
		"if": object{"required": []string{"enabled", "mode"}, "properties": object{
			"enabled": object{"const": true}, "mode": object{"const": string(Node)}}},
		"then": object{"required": []string{"node"}, "properties": object{
			"node": object{"required": []string{"coordinatorUrl"}}}},
	},
	"": {
		"if": object{"required": []string{"systemConfig"}, "properties": object{"systemConfig": object{
			"required": []string{"routing"}, "properties": object{"routing": object{
				"required": []string{"enableBearerAuth"}, "properties": object{"enableBearerAuth": object{"const": true}}}}}}},
		"then": object{"anyOf": []object{
			{"required": []string{"bearerKeys"}},
			{"properties": object{"systemConfig": object{"properties": object{"routing": object{"required": []string{"bearerAuthKey"}}}}}},
		}},
	},
}

// perSession holds of a server that has a process for each session.
var perSession = object{"anyOf": []object{
	{"required": []string{"isolation"}, "properties": object{"isolation": object{"not": object{"const": Shared}}}},
	{"required": []string{"perSessionClient"}, "properties": object{"perSessionClient": object{"const": true}}},
}}

// unquote is the text of a JSON string, or the JSON itself.
func unquote(value string) string {
	if s, err := strconv.Unquote(value); err == nil {
		return s
	}
	return value
}
