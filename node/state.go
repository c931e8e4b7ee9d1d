package node

import (
	"context"
	"fmt"
	"slices"

	"github.com/mcphub-go/mcphub/internal/wire"
)

// What sessions set at a server they share: one log level, and subscriptions. The server is
// sent the lowest level any session asked for, info at most, and one subscription for each
// URI; the rest is kept here. gate, a lock with a context, is held from a decision to the
// server's answer, so that requests reach the server in the order in which they were decided.

// maxSubscriptions bounds the URIs one session is subscribed to.
const maxSubscriptions = 1000

// enterState takes the gate.
func (l *link) enterState(ctx context.Context) error {
	select {
	case l.gate <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-l.gone:
		return l.reason
	}
}

func (l *link) exitState() { <-l.gate }

// setLevel notes the level of a session and tells the server if it has to speak up, or may
// speak less. An error is an *rpcError if the server refused.
func (l *link) setLevel(ctx context.Context, ses *session, level logLevel) error {
	if err := l.enterState(ctx); err != nil {
		return err
	}
	defer l.exitState()
	l.mu.Lock()
	if !ses.ended {
		l.levels.move(ses.level, level)
		ses.level = level
	}
	l.mu.Unlock()
	return l.sendLevel(ctx)
}

// sendLevel brings the server to the lowest level asked for, but never above info, which
// sessions that did not ask are served. The gate is held.
func (l *link) sendLevel(ctx context.Context) error {
	l.mu.Lock()
	want := min(l.levels.lowest(), levelInfo)
	same := want == l.sentLevel || want == levelUnset
	l.mu.Unlock()
	if same {
		return nil
	}
	params := []byte(`{"level":"` + want.String() + `"}`)
	if _, err := l.ask(ctx, "logging/setLevel", params); err != nil {
		return err
	}
	l.mu.Lock()
	l.sentLevel = want
	l.mu.Unlock()
	return nil
}

// subscribe relays a session's resources/subscribe, or resources/unsubscribe unless another
// session still wants the URI. It returns the answer to give.
func (l *link) subscribe(ctx context.Context, ses *session, f *wire.Frame, uri string, on bool) ([]byte, error) {
	if err := l.enterState(ctx); err != nil {
		return nil, err
	}
	defer l.exitState()
	l.mu.Lock()
	others := len(l.subs[uri])
	_, mine := l.subs[uri][ses]
	if mine {
		others--
	}
	full := on && len(ses.uris) >= maxSubscriptions
	if on && !mine && !full && !ses.ended {
		l.subscribed(ses, uri) // before the server's first update can come
	}
	l.mu.Unlock()
	if full {
		return nil, errTooMany
	}
	answer := wire.Result(f.IDBytes(), []byte("{}"))
	done := others > 0
	var err error
	if !done {
		answer, err = l.relay(ctx, ses, f)
		a, bad := wire.Scan(answer, wire.ServerLimits)
		done = err == nil && bad == nil && a.Error.IsZero()
	}
	if done && !on || !done && on && !mine {
		l.mu.Lock()
		l.unsubscribed(ses, uri)
		ses.uris = slices.DeleteFunc(ses.uris, func(u string) bool { return u == uri })
		l.mu.Unlock()
	}
	return answer, err
}

// subscribed gives a session a hold on a URI. l.mu is held.
func (l *link) subscribed(ses *session, uri string) {
	holders := l.subs[uri]
	if holders == nil {
		holders = map[*session]struct{}{}
		l.subs[uri] = holders
	}
	if _, has := holders[ses]; !has {
		holders[ses] = struct{}{}
		ses.uris = append(ses.uris, uri)
	}
}

// unsubscribed takes a session's hold off a URI and reports whether it was the last. l.mu is
// held.
func (l *link) unsubscribed(ses *session, uri string) bool {
	holders := l.subs[uri]
	delete(holders, ses)
	if len(holders) > 0 {
		return false
	}
	delete(l.subs, uri)
	return true
}

// leaveState takes back what an ended session had set here, and reports whether the server
// has to be told.
func (l *link) leaveState(ses *session) (tell bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ses.level != levelUnset {
		l.levels.move(ses.level, levelUnset)
		ses.level = levelUnset
		tell = true
	}
	for _, uri := range ses.uris {
		if l.unsubscribed(ses, uri) {
			l.unwanted = append(l.unwanted, uri)
			tell = true
		}
	}
	ses.uris = nil
	return tell
}

// settleState tells the server what ended sessions no longer want.
func (l *link) settleState(ctx context.Context) {
	if l.enterState(ctx) != nil {
		return
	}
	defer l.exitState()
	if err := l.sendLevel(ctx); err != nil {
		l.log.Debug("log level not lowered", "err", err)
	}
	l.mu.Lock()
	var uris []string
	for _, uri := range l.unwanted {
		if len(l.subs[uri]) == 0 {
			uris = append(uris, uri)
		}
	}
	l.unwanted = nil
	l.mu.Unlock()
	for _, uri := range uris {
		if _, err := l.ask(ctx, "resources/unsubscribe", uriParams(uri)); err != nil {
			l.log.Debug("resource not unsubscribed", "err", err)
		}
	}
}

// replayState repeats to a server that has forgotten us what its sessions had set.
func (l *link) replayState(ctx context.Context) error {
	l.mu.Lock()
	level := l.sentLevel
	var uris []string
	for uri := range l.subs {
		uris = append(uris, uri)
	}
	l.mu.Unlock()
	if level != levelUnset {
		if _, err := l.ask(ctx, "logging/setLevel", []byte(`{"level":"`+level.String()+`"}`)); err != nil {
			return fmt.Errorf("set the log level again: %w", err)
		}
	}
	for _, uri := range uris {
		if _, err := l.ask(ctx, "resources/subscribe", uriParams(uri)); err != nil {
			return fmt.Errorf("subscribe again: %w", err)
		}
	}
	return nil
}

func uriParams(uri string) []byte {
	return append(append([]byte(`{"uri":`), wire.Quote(uri)...), '}')
}
