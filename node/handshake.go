package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
)

// hello is what the server said in its handshake.
type hello struct {
	result  []byte    // the InitializeResult, as written
	at      wire.Span // of its protocolVersion, in result
	version string

	tools, prompts, resources, logging, tasks bool
}

const initialized = `{"jsonrpc":"2.0","method":"notifications/initialized"}` + "\n"

// handshake introduces the node to the server (MCP 2025-11-25, Lifecycle). It speaks for clients
// that are yet to come, so it declares all that any of them may be able to do.
func (l *link) handshake(ctx context.Context) error { return l.greet(ctx, l.ownGreeting()) }

// ownGreeting is the node's own initialize.
func (l *link) ownGreeting() *greeting {
	params := append([]byte(`{"protocolVersion":"`+wire.LatestLegacy+`","capabilities":`+declared(l.rootless)+`,"clientInfo":{"name":"mcphub","version":`),
		wire.Quote(l.lim.Version)...)
	return &greeting{params: append(params, "}}"...)}
}

// greet shakes hands. If that is for a session the server has been started for, the session is
// known before the server is told that all is ready, since it may ask its client something at once.
func (l *link) greet(ctx context.Context, g *greeting) error {
	f, err := l.introduce(ctx, g.params)
	if err != nil {
		return err
	}
	h, err := readHello(f.ResultBytes())
	if err != nil {
		return fmt.Errorf("initialize: %w", err)
	}
	if v, ok := l.up.(interface{ negotiated(version string) }); ok {
		v.negotiated(h.version)
	}
	l.hello.Store(&h)
	if g.session != "" {
		if _, err := l.openSession(g.session, client{revision: h.version, caps: g.caps}); err != nil {
			return err
		}
	}
	if err := l.transmit(ctx, message{frame: []byte(initialized), allowed: always}); err != nil {
		return fmt.Errorf("notifications/initialized: %w", err)
	}
	return nil
}

// olderTimeout bounds initialize with a server that is tried as an older one: what is not one
// may offer an event stream on which nothing ever comes.
const olderTimeout = 10 * time.Second

// introduce sends initialize, and again over an older transport if the upstream takes the
// answer for that of a server which knows no other.
func (l *link) introduce(ctx context.Context, params []byte) (wire.Frame, error) {
	f, err := l.ask(ctx, "initialize", params)
	up, ok := l.up.(interface{ older(error) upstream })
	if err == nil || !ok {
		return f, err
	}
	older := up.older(err)
	if older == nil {
		return f, err
	}
	l.up.close()
	l.up = older
	ctx, cancel := context.WithTimeout(ctx, olderTimeout)
	defer cancel()
	f, again := l.ask(ctx, "initialize", params)
	if again != nil {
		return f, fmt.Errorf("%w; met as a server of HTTP+SSE: %v", err, again)
	}
	return f, nil
}

func readHello(result []byte) (hello, error) {
	h := hello{result: append([]byte(nil), result...)}
	at, ok := wire.Lookup(h.result, "protocolVersion")
	if !ok {
		return h, errors.New("the server named no protocolVersion")
	}
	h.at = at
	if h.version, ok = wire.Unquote(at.Of(h.result)); !ok {
		return h, errors.New("the server's protocolVersion is not a string")
	}
	if !wire.IsLegacy(h.version) {
		return h, fmt.Errorf("the server speaks MCP %q, which this hub does not", printable(clip(h.version, 32)))
	}
	has := func(path ...string) bool {
		at, ok := wire.Lookup(h.result, append([]string{"capabilities"}, path...)...)
		return ok && h.result[at.Start] == '{'
	}
	h.tools, h.prompts, h.resources, h.logging = has("tools"), has("prompts"), has("resources"), has("logging")
	h.tasks = has("tasks")
	return h, nil
}

// fits says that the server would give the same answer to a client that asks for a version: it
// was asked for our latest, and with a version that we do not speak the client is offered that.
func (h *hello) fits(version string) bool {
	return version == h.version || version == wire.LatestLegacy || !wire.IsLegacy(version)
}

// greeting is an initialize.
type greeting struct {
	session string // whose it is; empty for the node's own
	version string
	params  []byte // as a process of the session's own gets them
	caps    capabilities
}

// greetingOf is a client's initialize as a process of its own gets it: with the client's own
// params. all says that the process is to be told of all capabilities, as those are that have
// been started ahead, so that no session's process does less than another's; rootless, that it gets
// no roots.
func greetingOf(f *wire.Frame, version string, all, rootless bool) greeting {
	params := f.ParamsBytes()
	g := greeting{version: version, caps: readCapabilities(params)}
	var edits []wire.Edit
	if at, ok := wire.Lookup(params, "capabilities"); ok {
		_, has := wire.LookupIn(params, at, "roots")
		switch {
		case all:
			edits = append(edits, wire.Edit{Span: at, New: []byte(declared(rootless))})
		case rootless && has:
			edits = append(edits, wire.Edit{Span: at, New: withoutRoots(at.Of(params))})
		}
	}
	if at, ok := wire.Lookup(params, "protocolVersion"); ok && !wire.IsLegacy(version) {
		edits = append(edits, wire.Edit{Span: at, New: wire.Quote(wire.LatestLegacy)})
	}
	g.params = wire.Splice(params, edits...)
	return g
}

// client is what a session's initialize has declared, and settled by asking for a version.
func (h *hello) client(version string, caps capabilities) client {
	if wire.IsLegacy(version) && version < h.version {
		return client{revision: version, caps: caps}
	}
	return client{revision: h.version, caps: caps}
}

// answerTo is the InitializeResult for a client that asks for a version: byte for byte the server's,
// but for a client of an older revision with that revision in it (MCP 2025-11-25, Lifecycle,
// Version Negotiation).
func (h *hello) answerTo(version string) []byte {
	if wire.IsLegacy(version) && version < h.version {
		return wire.Splice(h.result, wire.Edit{Span: h.at, New: wire.Quote(version)})
	}
	return h.result
}
