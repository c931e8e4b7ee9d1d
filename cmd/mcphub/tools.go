package main

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/spf13/cobra"
)

func (a *app) toolsCommand() *cobra.Command {
	var f mcpFlags
	cmd := &cobra.Command{
		Use:   "tools",
		Short: "List the tools that clients of a hub see",
		Long: "List the tools that clients of a hub see, over MCP. Arguments in brackets may be left out.\n\n" +
			exitHelp,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := f.open(cmd.Context(), a.getenv)
			if err != nil {
				return err
			}
			defer s.Close()
			tools, err := s.tools(cmd.Context())
			if err != nil {
				return err
			}
			if f.output.json() {
				return a.printJSON(tools)
			}
			t := table{head: []string{"TOOL", "ARGUMENTS", "DESCRIPTION"}}
			for _, tool := range tools {
				t.add(tool.Name, arguments(tool), summary(tool.Description))
			}
			return a.printTable(t, "No server offers a tool.")
		},
	}
	f.register(cmd, a.getenv)
	return cmd
}

// schema is the part of a tool's input schema that the command line needs.
type schema struct {
	Properties map[string]struct {
		Type any `json:"type"` // a string, or a list of them
	} `json:"properties"`
	Required []string `json:"required"`
}

func inputSchema(t mcp.Tool) schema {
	raw := []byte(t.RawInputSchema)
	if len(raw) == 0 {
		raw, _ = json.Marshal(t.InputSchema) // it came from JSON
	}
	var s schema
	_ = json.Unmarshal(raw, &s) // an unusual schema has nothing to say here
	return s
}

// arguments words the schema: required names, then the others in brackets.
func arguments(t mcp.Tool) string {
	s := inputSchema(t)
	var must, may []string
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		if slices.Contains(s.Required, name) {
			must = append(must, name)
		} else {
			may = append(may, "["+name+"]")
		}
	}
	return strings.Join(append(must, may...), " ")
}

// summary is the first sentence or line of a description, at most 70 characters of it.
func summary(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	if first, _, ok := strings.Cut(s, ". "); ok {
		s = first
	}
	if r := []rune(s); len(r) > 70 {
		return string(r[:69]) + "…"
	}
	return s
}
