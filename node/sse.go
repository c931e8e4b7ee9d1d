package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
)

// maxEndpoint bounds the address that a server names for messages.
const maxEndpoint = 8 << 10

// sseUpstream is a server behind HTTP+SSE (MCP 2024-11-05, Transports, HTTP with SSE): it says
// everything on one event stream, whose first event names the address that messages are posted
// to. The stream is the server's session, so its end is the loss of the link, as the end of a
// child process is. It is safe for concurrent use.
type sseUpstream struct {
	web
	link *link
	url  string

	begin sync.Once
	named chan struct{} // closed once to is set
	to    string        // where messages are posted; it usually names the session, which is a secret
	doubt chan struct{} // of 1: a message was turned away
	loops sync.WaitGroup

	mu      sync.Mutex // guards the rest
	version string
	stops   []context.CancelFunc // of the loops
	posts   map[*call]*posting
}

// posting is the request that carries a call to the server.
type posting struct {
	cancel context.CancelFunc
	over   bool // the call had its outcome when we last looked
}

var (
	// errTurnedAway says of the node's own requests that the server takes none any more: it
	// cannot be reached, or does not know the stream.
	errTurnedAway = fmt.Errorf("%w: it takes no more messages", errLost)

	errOtherOrigin = errors.New("it names an address for messages on another origin")
)

func openSSE(l *link, cfg *ServerConfig) *sseUpstream {
	return &sseUpstream{
		web: newWeb(l.lim.Version, cfg.Headers), link: l, url: cfg.URL,
		named: make(chan struct{}), doubt: make(chan struct{}, 1), posts: map[*call]*posting{},
	}
}

// transport is what the server is described as, whatever the settings leave open.
func (s *sseUpstream) transport() string { return TransportSSE }

// negotiated sets the version that later messages name.
func (s *sseUpstream) negotiated(version string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version = version
}

// loop runs f until it returns, which it does soon after close.
func (s *sseUpstream) loop(f func(context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stops = append(s.stops, cancel)
	s.loops.Go(func() { f(ctx) })
}

// follow reads the event stream until it ends, and with it the link.
func (s *sseUpstream) follow(ctx context.Context) {
	s.link.lose(fmt.Errorf("%w: %w", errLost, s.read(ctx)))
}

// read opens the stream and hands on what comes. It returns why the stream is over.
func (s *sseUpstream) read(ctx context.Context) error {
	res, err := s.get(ctx, s.url, "", "", "")
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		_ = readError(res)
		return fmt.Errorf("asked for its event stream, %v", &statusError{res.StatusCode}) // not for errors.As: it is no answer to a message
	}
	defer func() { _ = res.Body.Close() }()
	if !isStream(res) {
		return fmt.Errorf("asked for its event stream, the MCP server answered with Content-Type %q",
			printable(clip(res.Header.Get("Content-Type"), 100)))
	}
	events := wire.NewEventReader(res.Body, maxLine)
	for {
		ev, err := events.Next()
		switch {
		case errors.Is(err, wire.ErrEventTooLarge):
			return fmt.Errorf("it sent an event of over %d MiB", maxLine>>20)
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return errors.New("it ended its event stream")
		case err != nil:
			return fmt.Errorf("its event stream broke: %w", err)
		}
		if err := s.take(&ev); err != nil {
			return err
		}
	}
}

// take takes one event: the address for messages, or a message.
func (s *sseUpstream) take(ev *wire.Event) error {
	switch ev.Name {
	case "", "message":
		if len(ev.Data) > 0 {
			s.link.receive(ev.Data, nil)
		}
	case "endpoint":
		if s.isNamed() {
			return nil // only the first is meant
		}
		to, err := endpointFrom(s.url, string(ev.Data))
		if err != nil {
			return err
		}
		s.to = to
		close(s.named)
	}
	return nil
}

func (s *sseUpstream) isNamed() bool {
	select {
	case <-s.named:
		return true
	default:
		return false
	}
}

// endpointFrom is the address for messages that a server names on the stream at base. It must
// be of the same origin: the headers of the settings, keys among them, are sent there. Errors
// name no more of it than its origin.
func endpointFrom(base, named string) (string, error) {
	at, err := url.Parse(base)
	if err != nil {
		return "", errors.New("its URL cannot be read")
	}
	named = strings.TrimSpace(named)
	rel, err := url.Parse(named)
	if err != nil || named == "" || len(named) > maxEndpoint {
		return "", errors.New("it names no usable address for messages")
	}
	to := at.ResolveReference(rel)
	if originOf(to) != originOf(at) {
		return "", fmt.Errorf("%w: %s, not %s; give the server its public address, or give its url as it names itself",
			errOtherOrigin, printable(clip(originOf(to), 200)), originOf(at))
	}
	to.User, to.Fragment, to.RawFragment = at.User, "", ""
	return to.String(), nil
}

// originOf is scheme, host and port, in lower case and with the port always named.
func originOf(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[strings.ToLower(u.Scheme)]
	}
	return strings.ToLower(u.Scheme + "://" + u.Hostname() + ":" + port)
}

// listen watches the server beside the calls. It is called once, after the handshake.
func (s *sseUpstream) listen() { s.loop(s.watch) }

// watch pings the server, at once when it has turned a message away, and ends requests that it
// leaves open though it has answered on the stream.
func (s *sseUpstream) watch(ctx context.Context) {
	ping := time.NewTicker(s.link.lim.PingInterval)
	defer ping.Stop()
	tidy := time.NewTicker(time.Second)
	defer tidy.Stop()
	for misses := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-tidy.C:
			s.tidy()
			continue
		case <-s.doubt:
		case <-ping.C:
		}
		err := s.link.ping(ctx)
		switch {
		case err == nil:
			misses = 0
		case errors.Is(err, errTurnedAway):
			s.link.lose(err)
		default:
			if misses++; misses >= pingMisses {
				s.link.lose(errUnresponsive)
			}
		}
	}
}

// suspect has the server pinged now.
func (s *sseUpstream) suspect() {
	select {
	case s.doubt <- struct{}{}:
	default:
	}
}

// close ends the stream, which ends the server's session, and every request.
func (s *sseUpstream) close() {
	s.begin.Do(func() {}) // from now on nothing begins
	s.mu.Lock()
	stops := s.stops
	for _, p := range s.posts {
		p.cancel()
	}
	s.mu.Unlock()
	for _, stop := range stops {
		stop()
	}
	s.loops.Wait()
	s.client.CloseIdleConnections()
}

func (s *sseUpstream) stderr() []string { return nil }
