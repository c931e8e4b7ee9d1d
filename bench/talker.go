package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// talker is an MCP server over stdio that says when it says something: its tool "echo" gives back a
// text, and "say" answers and then tells those who have subscribed to a resource that it has
// changed, with the time of it. Each has the resources bench://<its name>/<anything>. It runs as
// a child of a node.
type talker struct {
	name string
	out  *bufio.Writer
}

// serveTalker serves until the input ends.
func serveTalker(name string, in io.Reader, out io.Writer) error {
	t := &talker{name: name, out: bufio.NewWriter(out)}
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return nil
		}
		if err := t.take(line); err != nil {
			return err
		}
		if err := t.out.Flush(); err != nil {
			return err
		}
	}
}

func (t *talker) take(line []byte) error {
	var m struct {
		ID     json.RawMessage
		Method string
		Params struct {
			Name      string
			Arguments struct{ Text, URI string }
		}
	}
	if err := json.Unmarshal(line, &m); err != nil {
		return err
	}
	args := m.Params.Arguments
	switch {
	case m.ID == nil:
	case m.Method == "initialize":
		t.result(m.ID, `{"protocolVersion":"`+protocolVersion+`","capabilities":{"tools":{},"resources":{"subscribe":true}},"serverInfo":{"name":"talker","version":"1"}}`)
	case m.Method == "tools/list":
		t.result(m.ID, `{"tools":[{"name":"echo","inputSchema":{"type":"object"}},{"name":"say","inputSchema":{"type":"object"}}]}`)
	case m.Method == "resources/list":
		t.result(m.ID, `{"resources":[]}`)
	case m.Method == "resources/templates/list":
		t.result(m.ID, `{"resourceTemplates":[{"name":"any","uriTemplate":"bench://`+t.name+`/{which}"}]}`)
	case m.Method == "tools/call" && m.Params.Name == "echo":
		t.result(m.ID, fmt.Sprintf(`{"content":[{"type":"text","text":%q}]}`, args.Text))
	case m.Method == "tools/call" && m.Params.Name == "say":
		t.result(m.ID, `{"content":[]}`)
		if err := t.out.Flush(); err != nil {
			return err
		}
		fmt.Fprintf(t.out, `{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":%q,"_meta":{"at":%d}}}`+"\n", args.URI, time.Now().UnixNano())
	default:
		t.result(m.ID, `{}`)
	}
	return nil
}

func (t *talker) result(id json.RawMessage, result string) {
	fmt.Fprintf(t.out, `{"jsonrpc":"2.0","id":%s,"result":%s}`+"\n", id, result)
}
