package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/spf13/cobra"
)

func (a *app) callCommand() *cobra.Command {
	var f mcpFlags
	cmd := &cobra.Command{
		Use:   "call <tool> [JSON | - | key=value...]",
		Short: "Call a tool through a hub and print what it answers",
		Long: `Call a tool through a hub, over MCP, in a session of its own.

Arguments are a JSON object, - for one on standard input, or key=value pairs. A pair takes the
type that the tool asks for: by=2 is a number where a number is wanted, else text.
The exit code is 1 when the tool reports an error.

` + exitHelp,
		Example: `  mcphub call counter-increment
  mcphub call counter-increment by=2
  mcphub call --server counter increment '{"by": 2}'`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			given, err := a.readArguments(args[1:])
			if err != nil {
				return err
			}
			s, err := f.open(cmd.Context(), a.getenv)
			if err != nil {
				return err
			}
			defer s.Close()
			return a.call(cmd.Context(), s, args[0], given, f.output.json())
		},
	}
	f.register(cmd, a.getenv)
	return cmd
}

// callArguments are arguments as given: a whole object, or pairs still without types.
type callArguments struct {
	object json.RawMessage
	pairs  [][2]string
}

func (a *app) readArguments(args []string) (callArguments, error) {
	switch {
	case len(args) == 0:
		return callArguments{object: json.RawMessage("{}")}, nil
	case len(args) == 1 && args[0] == "-":
		raw, err := io.ReadAll(io.LimitReader(a.stdin, maxAnswer))
		if err != nil {
			return callArguments{}, failed("read standard input: %w", err)
		}
		return objectArguments(raw)
	case len(args) == 1 && strings.HasPrefix(strings.TrimSpace(args[0]), "{"):
		return objectArguments([]byte(args[0]))
	}
	var out callArguments
	for _, arg := range args {
		key, value, ok := strings.Cut(arg, "=")
		if !ok || key == "" {
			return callArguments{}, badUsage("argument %q is neither key=value nor a JSON object", arg)
		}
		if slices.ContainsFunc(out.pairs, func(p [2]string) bool { return p[0] == key }) {
			return callArguments{}, badUsage("argument %s is given twice", key)
		}
		out.pairs = append(out.pairs, [2]string{key, value})
	}
	return out, nil
}

func objectArguments(raw []byte) (callArguments, error) {
	raw = bytes.TrimSpace(raw)
	if !bytes.HasPrefix(raw, []byte("{")) || !json.Valid(raw) {
		return callArguments{}, badUsage("the arguments are not a JSON object")
	}
	return callArguments{object: raw}, nil
}

func (a *app) call(ctx context.Context, s *mcpSession, tool string, given callArguments, asJSON bool) error {
	object := given.object
	if given.pairs != nil {
		var err error
		if object, err = s.typed(ctx, tool, given.pairs); err != nil {
			return err
		}
	}
	raw, err := s.call(ctx, tool, object)
	if err != nil {
		return err
	}
	var result struct {
		IsError bool `json:"isError"`
	}
	if err := json.Unmarshal(raw, &result); err != nil {
		return failed("%s: the answer is not the result of a tool: %w", s.endpoint, err)
	}
	if asJSON {
		err = a.printJSON(raw)
	} else {
		err = a.printResult(raw)
	}
	if err != nil {
		return err
	}
	if result.IsError {
		return failed("tool %s reported an error", tool)
	}
	return nil
}

// typed gives pairs the types that the tool's schema asks for.
func (s *mcpSession) typed(ctx context.Context, tool string, pairs [][2]string) (json.RawMessage, error) {
	tools, err := s.tools(ctx)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(tools, func(t mcp.Tool) bool { return t.Name == tool })
	if i < 0 {
		return nil, failed("%s has no tool %q; 'mcphub tools' lists them", s.endpoint, tool)
	}
	want := inputSchema(tools[i])
	object := map[string]json.RawMessage{}
	for _, p := range pairs {
		value, err := typedValue(want.Properties[p[0]].Type, p[1])
		if err != nil {
			return nil, badUsage("argument %s: %w", p[0], err)
		}
		object[p[0]] = value
	}
	raw, err := json.Marshal(object)
	if err != nil {
		return nil, failed("encode the arguments: %w", err)
	}
	return raw, nil
}

// typedValue reads text as the JSON type that a schema names. Where it names none or
// several, text that is JSON is taken as such.
func typedValue(want any, text string) (json.RawMessage, error) {
	name, _ := want.(string)
	quoted, err := json.Marshal(text)
	if err != nil || name == "string" {
		return quoted, err
	}
	if !json.Valid([]byte(text)) {
		if name == "" {
			return quoted, nil
		}
		return nil, fmt.Errorf("%q is not a JSON %s", text, name)
	}
	return json.RawMessage(text), nil
}

// printResult prints what a tool answered: its text as it is, a line about everything else,
// and the structured part when there is nothing else.
func (a *app) printResult(raw json.RawMessage) error {
	var result struct {
		Content []struct {
			Type     string `json:"type"`
			Text     string `json:"text"`
			Data     string `json:"data"`
			MIMEType string `json:"mimeType"`
			URI      string `json:"uri"`
			Resource struct {
				URI  string `json:"uri"`
				Text string `json:"text"`
			} `json:"resource"`
		} `json:"content"`
		Structured json.RawMessage `json:"structuredContent"`
	}
	if err := json.Unmarshal(raw, &result); err != nil {
		return failed("the answer is not the result of a tool: %w", err)
	}
	for _, c := range result.Content {
		var line string
		switch {
		case c.Type == "text":
			line = plainText(c.Text)
		case c.Type == "resource" && c.Resource.Text != "":
			line = plain(c.Resource.URI) + ":\n" + plainText(c.Resource.Text)
		case c.Type == "resource" || c.Type == "resource_link":
			line = fmt.Sprintf("[%s %s]", plain(c.Type), plain(c.URI+c.Resource.URI))
		default:
			line = fmt.Sprintf("[%s %s, %d characters of base64; -o json prints them]", plain(c.Type), plain(c.MIMEType), len(c.Data))
		}
		if err := a.printf("%s\n", strings.TrimSuffix(line, "\n")); err != nil {
			return err
		}
	}
	if len(result.Content) == 0 && len(result.Structured) > 0 {
		return a.printJSON(result.Structured)
	}
	return nil
}
