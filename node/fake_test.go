package node

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"go.uber.org/goleak"
)

// The test binary is also the MCP server that the tests run as a child process: with
// FAKE_SERVER set it serves on its pipes instead of testing.
func TestMain(m *testing.M) {
	if os.Getenv("FAKE_SERVER") != "" {
		runFake()
		return
	}
	goleak.VerifyTestMain(m)
}

// fakeServer is a small MCP server whose tools misbehave on request.
type fakeServer struct {
	mu     sync.Mutex // guards out and tools
	out    *bufio.Writer
	tools  int
	stored map[string]string
	asked  chan json.RawMessage
	last   int                             // of its requests to clients
	wait   map[string]chan json.RawMessage // for their answers
}

type fakeMessage struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params struct {
		Name      string `json:"name"`
		Arguments struct {
			Text  string `json:"text"`
			Delay int    `json:"delay"`
			Times int    `json:"times"`
		} `json:"arguments"`
		Meta struct {
			Token json.RawMessage `json:"progressToken"`
		} `json:"_meta"`
		Level  string `json:"level"`
		URI    string `json:"uri"`
		Cursor string `json:"cursor"`
	} `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  json.RawMessage `json:"error"`
}

func runFake() {
	s := &fakeServer{out: bufio.NewWriter(os.Stdout), tools: 2, asked: make(chan json.RawMessage, 8), stored: map[string]string{}}
	switch os.Getenv("FAKE_MODE") {
	case "exit":
		fmt.Fprintln(os.Stderr, "cannot find the thing\nit is not there")
		os.Exit(3)
	case "host": // a node's process, to be killed
		c, err := startChild(childSpec{command: os.Args[0], env: []string{"FAKE_SERVER=1", "FAKE_MODE=mute"}}, func([]byte) {}, func(error) {})
		if err != nil {
			panic(err)
		}
		s.raw(strconv.Itoa(c.cmd.Process.Pid))
		select {}
	case "sdk":
		runSDKServer()
		return
	case "sdk asking":
		_ = newAskingServer().Run(context.Background(), &mcp.StdioTransport{})
		return
	case "mute":
		select {}
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
	}
	if path := os.Getenv("FAKE_PIDS"); path != "" {
		appendLine(path, strconv.Itoa(os.Getpid()))
	}
	if os.Getenv("FAKE_NOISE") != "" {
		s.raw("Server listening on stdio")
		s.raw(`{"level":"info","id":1,"msg":"a log line that looks like JSON"}`)
	}
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			if os.Getenv("FAKE_MODE") == "stubborn" {
				select {}
			}
			return
		}
		if path := os.Getenv("FAKE_LOG"); path != "" {
			appendLine(path, strings.TrimSpace(string(line)))
		}
		var m fakeMessage
		if err := json.Unmarshal(line, &m); err != nil {
			fmt.Fprintln(os.Stderr, "bad line:", err)
			os.Exit(4) // as some servers do
		}
		s.handle(&m, line)
	}
}

func appendLine(path, line string) {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	fmt.Fprintln(f, line)
}

func (s *fakeServer) raw(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out.WriteString(line + "\n")
	s.out.Flush()
}

func (s *fakeServer) result(id json.RawMessage, result string) {
	s.raw(`{"jsonrpc":"2.0","id":` + string(id) + `,"result":` + result + `}`)
}

func text(t string) string {
	b, _ := json.Marshal(t)
	return `{"content":[{"type":"text","text":` + string(b) + `}]}`
}

func (s *fakeServer) handle(m *fakeMessage, line []byte) {
	switch m.Method {
	case "":
		s.mu.Lock()
		waiting := s.wait[string(m.ID)]
		s.mu.Unlock()
		if waiting != nil {
			waiting <- line
		} else if m.Error != nil {
			s.asked <- m.Error
		} else {
			s.asked <- m.Result
		}
	case "notifications/initialized", "notifications/roots/list_changed":
		if os.Getenv("FAKE_ROOTS") != "" {
			s.raw(`{"jsonrpc":"2.0","id":"roots","method":"roots/list"}`)
		}
	case "initialize":
		for path := os.Getenv("FAKE_GATE"); path != ""; time.Sleep(5 * time.Millisecond) {
			if _, err := os.Stat(path); err == nil {
				break
			}
		}
		if ms, _ := strconv.Atoi(os.Getenv("FAKE_SLOW")); ms > 0 {
			time.Sleep(time.Duration(ms) * time.Millisecond)
		}
		s.result(m.ID, `{"protocolVersion" : "2025-11-25","capabilities":{"tools":{"listChanged":true},"logging":{},"resources":{"subscribe":true}},"serverInfo":{"name":"fake","version":"1.0"},"odd":[1.0,2e3]}`)
	case "tools/list":
		s.list(m)
	case "resources/list":
		s.result(m.ID, `{"resources":[{"uri":"test://a","name":"a"}]}`)
	case "resources/templates/list", "prompts/list":
		s.raw(`{"jsonrpc":"2.0","id":` + string(m.ID) + `,"error":{"code":-32601,"message":"no such method"}}`)
	case "tools/call":
		s.call(m)
	case "raw/echo": // an unknown method: answers with the line as it came
		b, _ := json.Marshal(strings.TrimRight(string(line), "\n"))
		s.result(m.ID, `{"line":`+string(b)+`}`)
	case "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe":
		s.result(m.ID, `{}`)
	}
}

// list answers in pages of one tool each.
func (s *fakeServer) list(m *fakeMessage) {
	s.mu.Lock()
	n := s.tools
	s.mu.Unlock()
	at, _ := strconv.Atoi(m.Params.Cursor)
	next := ""
	if at+1 < n {
		next = `,"nextCursor":"` + strconv.Itoa(at+1) + `"`
	}
	s.result(m.ID, fmt.Sprintf(`{"tools":[{"name":"tool%d", "inputSchema":{"type":"object"},"x":9007199254740993}]%s}`, at, next))
}

func (s *fakeServer) call(m *fakeMessage) {
	args := m.Params.Arguments
	switch m.Params.Name {
	case "echo":
		go func() {
			if args.Delay > 0 {
				time.Sleep(time.Duration(rand.IntN(args.Delay)) * time.Microsecond)
			}
			for i := range args.Times {
				s.raw(fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":%d,"progressToken":%s,"message":"%s"}}`, i+1, m.Params.Meta.Token, args.Text))
			}
			s.result(m.ID, text(args.Text))
		}()
	case "keep": // answers with what was said before
		s.mu.Lock()
		before := s.stored["kept"]
		s.stored["kept"] = args.Text
		s.mu.Unlock()
		s.result(m.ID, text(strconv.Itoa(os.Getpid())+" "+before))
	case "log":
		for _, level := range []string{"debug", "info", "error"} {
			s.raw(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"` + level + `","data":"` + args.Text + `"}}`)
		}
		s.result(m.ID, text("logged"))
	case "hang":
	case "die":
		fmt.Fprintln(os.Stderr, "dying as told")
		os.Exit(7)
	case "env":
		b, _ := json.Marshal(os.Environ())
		s.result(m.ID, text(string(b)))
	case "flood":
		s.mu.Lock()
		for range 10 {
			s.out.WriteString(strings.Repeat("x", 1<<20))
		}
		s.out.Flush()
		s.mu.Unlock()
	case "deaf":
		s.result(m.ID, text("not listening"))
		time.Sleep(time.Hour)
	case "garbled":
		s.raw(`{"jsonrpc":"2.0","id":` + string(m.ID) + `,"result":{"a":1,}}`)
	case "grandchild":
		s.grandchild(m)
	case "grow":
		s.mu.Lock()
		s.tools++
		s.mu.Unlock()
		s.raw(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`)
		s.result(m.ID, text("grown"))
	case "elicit": // answers with the line that the client's answer came as
		s.mu.Lock()
		s.last++
		id, answer := strconv.Itoa(s.last), make(chan json.RawMessage, 1)
		if s.wait == nil {
			s.wait = map[string]chan json.RawMessage{}
		}
		s.wait[id] = answer
		s.mu.Unlock()
		s.raw(`{"jsonrpc":"2.0","id":` + id + `,"method":"elicitation/create","params":{"message":"` + args.Text + `","requestedSchema":{"type":"object","properties":{}}}}`)
		go func() { s.result(m.ID, text(string(<-answer))) }()
	case "ask":
		s.raw(`{"jsonrpc":"2.0","id":"p1","method":"ping"}`)
		s.raw(`{"jsonrpc":"2.0","id":"r1","method":"roots/list"}`)
		go func() { s.result(m.ID, text(string(<-s.asked)+" "+string(<-s.asked))) }()
	}
}

// grandchild starts a process that holds our pipes, in our group or in a session of its own,
// and says its pid.
func (s *fakeServer) grandchild(m *fakeMessage) {
	cmd := exec.Command("/bin/sleep", "600")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if m.Params.Arguments.Text == "away" {
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	}
	if err := cmd.Start(); err != nil {
		panic(err)
	}
	s.result(m.ID, text(strconv.Itoa(cmd.Process.Pid)))
}
