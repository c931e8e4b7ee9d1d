package router

import (
	"log/slog"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// Layout of the token of a stream of HTTP+SSE, before base64url:
//
//	version 1 | key id 4 | subject 16 | random 16 | owner n | MAC 16
//
// Its first byte is that of no session id, no cursor and no id of a request.
const (
	streamVersion   = 0xc3
	atStreamSubject = 1 + 4
	atStreamRandom  = atStreamSubject + 16
	atStreamOwner   = atStreamRandom + 16
	minStreamToken  = atStreamOwner + 1 + macSize
	maxStreamToken  = atStreamOwner + wire.MaxName + macSize
)

// StreamToken is the sessionId of a stream of the HTTP+SSE transport (MCP 2024-11-05), taken apart.
// Like a session id it is kept out of logs. The zero StreamToken is none.
type StreamToken struct {
	// ID is the stream's name in the store.
	ID store.SessionID
	// Owner is the coordinator that has the stream.
	Owner store.CoordinatorID

	text    string
	subject digest
}

// String is the sessionId as the client has it: letters, digits, hyphens and underscores, at most
// MaxToken.
func (t StreamToken) String() string { return t.text }

// Of reports whether the stream was opened by this subject.
func (t StreamToken) Of(subject string) bool { return t.subject.equal(subjectDigest(subject)) }

// LogValue prints a short hash.
func (t StreamToken) LogValue() slog.Value { return t.ID.LogValue() }

// MintStream makes the token of a new stream. It fails if owner is not a valid name.
func (k *Keys) MintStream(owner store.CoordinatorID, subject string) (StreamToken, error) {
	if err := wire.CheckName("coordinator", string(owner)); err != nil {
		return StreamToken{}, err
	}
	random, err := newSID()
	if err != nil {
		return StreamToken{}, err
	}
	who := subjectDigest(subject)
	return StreamToken{text: k.encodeStream(random, who, owner), ID: random.SessionID(), Owner: owner, subject: who}, nil
}

func (k *Keys) encodeStream(random sid, subject digest, owner store.CoordinatorID) string {
	key := k.newest()
	var buf [maxStreamToken]byte
	b := append(append(buf[:0], streamVersion), key.id[:]...)
	b = append(append(b, subject[:]...), random[:]...)
	mac := key.states.Get().(*macState)
	defer key.states.Put(mac)
	return strictBase64.EncodeToString(mac.seal(append(b, owner...)))
}

// ParseStream verifies a sessionId and takes it apart. Every failure is ErrToken. It does not say
// that the stream is there, nor whose it is: see StreamToken.Of.
func (k *Keys) ParseStream(text string) (StreamToken, error) {
	if len(text) > strictBase64.EncodedLen(maxStreamToken) {
		return StreamToken{}, ErrToken
	}
	b, err := strictBase64.DecodeString(text)
	// The decoder skips line breaks; a token with one is shorter than its text.
	if err != nil || strictBase64.EncodedLen(len(b)) != len(text) || len(b) < minStreamToken || b[0] != streamVersion || !k.genuine(b) {
		return StreamToken{}, ErrToken
	}
	body := b[:len(b)-macSize]
	return StreamToken{
		ID: sid(body[atStreamRandom:atStreamOwner]).SessionID(), Owner: store.CoordinatorID(body[atStreamOwner:]),
		text: text, subject: digest(body[atStreamSubject:atStreamRandom]),
	}, nil
}

// NewStream makes the token of a stream that this coordinator has.
func (r *Router) NewStream(subject string) (StreamToken, error) {
	return r.cfg.Keys.MintStream(r.cfg.Coordinator, subject)
}

// ParseStream checks a sessionId, of whatever coordinator, and takes it apart. The error is ErrToken.
func (r *Router) ParseStream(text string) (StreamToken, error) { return r.cfg.Keys.ParseStream(text) }
