package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"

	mcpgo "github.com/mark3labs/mcp-go/mcp"
	gosdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

// offers is a client that asks for everything a server may offer. Each SDK has one.
type offers interface {
	client
	// Prompts, Resources and Templates list names, URIs and URI templates.
	Prompts(ctx context.Context) ([]string, error)
	Resources(ctx context.Context) ([]string, error)
	Templates(ctx context.Context) ([]string, error)
	// Prompt is the text of a prompt's first message.
	Prompt(ctx context.Context, name string, args map[string]string) (string, error)
	// Read is the text of a resource's first contents.
	Read(ctx context.Context, uri string) (string, error)
	// Complete suggests values of an argument of a prompt, or of a template if the name is a URI.
	Complete(ctx context.Context, of reference, argument, value string) ([]string, error)
	Instructions(ctx context.Context) (string, error)
}

// reference is what a completion is for: a prompt, or a resource template.
type reference struct{ prompt, template string }

func (r reference) object() map[string]any {
	if r.template != "" {
		return map[string]any{"type": "ref/resource", "uri": r.template}
	}
	return map[string]any{"type": "ref/prompt", "name": r.prompt}
}

// promptText and contentText read the answers of every SDK, as JSON.
func promptText(v any) (string, error) {
	var p struct {
		Messages []struct{ Content struct{ Text string } }
	}
	if err := again(v, &p); err != nil || len(p.Messages) == 0 {
		return "", fmt.Errorf("a prompt without a message: %+v %w", v, err)
	}
	return p.Messages[0].Content.Text, nil
}

func contentText(v any) (string, error) {
	var r struct{ Contents []struct{ Text string } }
	if err := again(v, &r); err != nil || len(r.Contents) == 0 {
		return "", fmt.Errorf("a resource without contents: %+v %w", v, err)
	}
	return r.Contents[0].Text, nil
}

func suggested(v any) ([]string, error) {
	var c struct{ Completion struct{ Values []string } }
	err := again(v, &c)
	return c.Completion.Values, err
}

// again reads v as JSON into out.
func again(v, out any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, out)
}

// named collects what name says of each item.
func named[T any](seq iter.Seq2[T, error], name func(T) string) ([]string, error) {
	var out []string
	for item, err := range seq {
		if err != nil {
			return nil, err
		}
		out = append(out, name(item))
	}
	return out, nil
}

func (c goSDKClient) Prompts(ctx context.Context) ([]string, error) {
	return named(c.ClientSession.Prompts(ctx, nil), func(p *gosdk.Prompt) string { return p.Name })
}

func (c goSDKClient) Resources(ctx context.Context) ([]string, error) {
	return named(c.ClientSession.Resources(ctx, nil), func(r *gosdk.Resource) string { return r.URI })
}

func (c goSDKClient) Templates(ctx context.Context) ([]string, error) {
	return named(c.ResourceTemplates(ctx, nil), func(r *gosdk.ResourceTemplate) string { return r.URITemplate })
}

func (c goSDKClient) Prompt(ctx context.Context, name string, args map[string]string) (string, error) {
	res, err := c.GetPrompt(ctx, &gosdk.GetPromptParams{Name: name, Arguments: args})
	if err != nil {
		return "", err
	}
	return promptText(res)
}

func (c goSDKClient) Read(ctx context.Context, uri string) (string, error) {
	res, err := c.ReadResource(ctx, &gosdk.ReadResourceParams{URI: uri})
	if err != nil {
		return "", err
	}
	return contentText(res)
}

func (c goSDKClient) Complete(ctx context.Context, of reference, argument, value string) ([]string, error) {
	ref := &gosdk.CompleteReference{Type: "ref/prompt", Name: of.prompt}
	if of.template != "" {
		ref = &gosdk.CompleteReference{Type: "ref/resource", URI: of.template}
	}
	res, err := c.ClientSession.Complete(ctx, &gosdk.CompleteParams{Ref: ref, Argument: gosdk.CompleteParamsArgument{Name: argument, Value: value}})
	if err != nil {
		return nil, err
	}
	return suggested(res)
}

func (c goSDKClient) Instructions(context.Context) (string, error) {
	return c.InitializeResult().Instructions, nil
}

func (c mcpGoClient) Prompts(ctx context.Context) ([]string, error) {
	res, err := c.ListPrompts(ctx, mcpgo.ListPromptsRequest{})
	if err != nil {
		return nil, err
	}
	var out []string
	for _, p := range res.Prompts {
		out = append(out, p.Name)
	}
	return out, nil
}

func (c mcpGoClient) Resources(ctx context.Context) ([]string, error) {
	res, err := c.ListResources(ctx, mcpgo.ListResourcesRequest{})
	if err != nil {
		return nil, err
	}
	var out []string
	for _, r := range res.Resources {
		out = append(out, r.URI)
	}
	return out, nil
}

func (c mcpGoClient) Templates(ctx context.Context) ([]string, error) {
	res, err := c.ListResourceTemplates(ctx, mcpgo.ListResourceTemplatesRequest{})
	if err != nil {
		return nil, err
	}
	var list struct {
		ResourceTemplates []struct{ URITemplate string }
	}
	if err := again(res, &list); err != nil {
		return nil, err
	}
	var out []string
	for _, r := range list.ResourceTemplates {
		out = append(out, r.URITemplate)
	}
	return out, nil
}

func (c mcpGoClient) Prompt(ctx context.Context, name string, args map[string]string) (string, error) {
	var req mcpgo.GetPromptRequest
	req.Params.Name, req.Params.Arguments = name, args
	res, err := c.GetPrompt(ctx, req)
	if err != nil {
		return "", err
	}
	return promptText(res)
}

func (c mcpGoClient) Read(ctx context.Context, uri string) (string, error) {
	var req mcpgo.ReadResourceRequest
	req.Params.URI = uri
	res, err := c.ReadResource(ctx, req)
	if err != nil {
		return "", err
	}
	return contentText(res)
}

func (c mcpGoClient) Complete(ctx context.Context, of reference, argument, value string) ([]string, error) {
	var req mcpgo.CompleteRequest
	req.Params.Ref = mcpgo.PromptReference{Type: "ref/prompt", Name: of.prompt}
	if of.template != "" {
		req.Params.Ref = mcpgo.ResourceReference{Type: "ref/resource", URI: of.template}
	}
	req.Params.Argument.Name, req.Params.Argument.Value = argument, value
	res, err := c.Client.Complete(ctx, req)
	if err != nil {
		return nil, err
	}
	return suggested(res)
}

func (c mcpGoClient) Instructions(context.Context) (string, error) { return c.instructions, nil }

func (c *typeScriptClient) list(ctx context.Context, op string) (out []string, err error) {
	a, err := c.do(ctx, map[string]any{"op": op})
	if err != nil {
		return nil, err
	}
	return out, json.Unmarshal(a.Result, &out)
}

func (c *typeScriptClient) Prompts(ctx context.Context) ([]string, error) {
	return c.list(ctx, "prompts")
}

func (c *typeScriptClient) Resources(ctx context.Context) ([]string, error) {
	return c.list(ctx, "resources")
}

func (c *typeScriptClient) Templates(ctx context.Context) ([]string, error) {
	return c.list(ctx, "templates")
}

func (c *typeScriptClient) Prompt(ctx context.Context, name string, args map[string]string) (string, error) {
	a, err := c.do(ctx, map[string]any{"op": "prompt", "name": name, "arguments": args})
	if err != nil {
		return "", err
	}
	return promptText(a.Result)
}

func (c *typeScriptClient) Read(ctx context.Context, uri string) (string, error) {
	a, err := c.do(ctx, map[string]any{"op": "read", "uri": uri})
	if err != nil {
		return "", err
	}
	return contentText(a.Result)
}

func (c *typeScriptClient) Complete(ctx context.Context, of reference, argument, value string) ([]string, error) {
	a, err := c.do(ctx, map[string]any{
		"op": "complete", "ref": of.object(), "argument": map[string]string{"name": argument, "value": value},
	})
	if err != nil {
		return nil, err
	}
	return suggested(a.Result)
}

func (c *typeScriptClient) Instructions(ctx context.Context) (string, error) {
	a, err := c.do(ctx, map[string]any{"op": "instructions"})
	if err != nil {
		return "", err
	}
	var text string
	return text, json.Unmarshal(a.Result, &text)
}
