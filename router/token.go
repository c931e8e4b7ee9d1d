package router

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// MaxToken is the length of the longest token, in characters. MCP sets no limit; common
// proxies do.
const MaxToken = 256

// tokenVersion is the first byte of every token.
const tokenVersion = 1

// Layout of a token's bytes, before base64url:
//
//	version 1 | key id 4 | issued 8 | epoch 8 | scope 16 | subject 16 | random 16 | home n | MAC 16
//
// home takes what is left, so it needs no length; the MAC covers everything before it.
const (
	atKey     = 1
	atIssued  = atKey + 4
	atEpoch   = atIssued + 8
	atScope   = atEpoch + 8
	atSubject = atScope + 16
	atRandom  = atSubject + 16
	atHome    = atRandom + 16
	minToken  = atHome + macSize
	maxToken  = minToken + wire.MaxName
)

// ErrToken says that a session id is not one that this fleet has given out: malformed, made up,
// tampered with, or minted under a key that is no longer in the ring. Which, nobody is told.
var ErrToken = errors.New("not a session id of this fleet")

// digest is a shortened SHA-256 of something a token is bound to.
type digest [16]byte

func digestOf(domain, s string) digest {
	var buf [128]byte
	sum := sha256.Sum256(append(append(append(buf[:0], domain...), '\n'), s...))
	return digest(sum[:16])
}

func (d digest) equal(other digest) bool { return subtle.ConstantTimeCompare(d[:], other[:]) == 1 }

// anonymous is the subject digest of clients that need not say who they are.
var anonymous = digestOf("subject", "")

func subjectDigest(subject string) digest {
	if subject == "" {
		return anonymous
	}
	return digestOf("subject", subject)
}

// sid is the random part of a token: the session's name in this process.
type sid [16]byte

// SessionID is the name in the store: 32 hex digits.
func (s sid) SessionID() store.SessionID {
	var buf [32]byte
	hex.Encode(buf[:], s[:])
	return store.SessionID(buf[:])
}

func parseSID(id store.SessionID) (s sid, ok bool) {
	if len(id) != 2*len(s) {
		return s, false
	}
	n, err := hex.Decode(s[:], []byte(id))
	return s, err == nil && n == len(s)
}

// Token is a session's public id, taken apart: what a coordinator needs to route a session it
// has never heard of. Whoever holds the text may use the session, so it is kept out of logs.
//
// The zero Token is none.
type Token struct {
	text    string
	random  sid
	scope   digest
	subject digest

	// Home and Epoch say where a single-server session was placed at first; both are zero for
	// a session over several servers.
	Home  store.NodeID
	Epoch store.Epoch
	// Issued has second precision and is the clock of the coordinator that minted the token.
	Issued time.Time
}

// String is the session id as the client has it: visible ASCII, at most MaxToken characters.
func (t Token) String() string { return t.text }

// SessionID is the session's name in the store and in REST, which is of no use to a client.
func (t Token) SessionID() store.SessionID { return t.random.SessionID() }

// LogValue prints a short hash that joins up with the store's.
func (t Token) LogValue() slog.Value { return t.SessionID().LogValue() }

// For reports whether the token was minted for this scope and subject. It takes the same
// time whether neither, one or both are wrong.
func (t Token) For(scope, subject string) bool {
	return t.scope.equal(digestOf("scope", scope)) && t.subject.equal(subjectDigest(subject))
}

// Mint makes the token of a new session.
//
// Home may be empty, and epoch is then 0. It fails if home is not a valid name, if epoch is
// negative, or if the system gives no randomness.
func (k *Keys) Mint(scope, subject string, home store.NodeID, epoch store.Epoch, now time.Time) (Token, error) {
	random, err := newSID()
	if err != nil {
		return Token{}, err
	}
	return k.mint(random, scope, subject, home, epoch, now)
}

// newSID draws the random part of a token, which decides where the session is placed.
func newSID() (s sid, err error) {
	if _, err := rand.Read(s[:]); err != nil {
		return s, fmt.Errorf("mint a session id: %w", err)
	}
	return s, nil
}

func (k *Keys) mint(random sid, scope, subject string, home store.NodeID, epoch store.Epoch, now time.Time) (Token, error) {
	if home != "" {
		if err := wire.CheckName("home node", string(home)); err != nil {
			return Token{}, err
		}
	}
	if epoch < 0 || (home == "") != (epoch == 0) {
		return Token{}, fmt.Errorf("mint a session id: epoch %d does not go with home %q", epoch, home)
	}
	t := Token{
		random: random, scope: digestOf("scope", scope), subject: subjectDigest(subject),
		Home: home, Epoch: epoch, Issued: now.Truncate(time.Second),
	}
	t.text = k.encode(t)
	return t, nil
}

func (k *Keys) encode(t Token) string {
	var buf [maxToken]byte
	key := k.newest()
	b := append(buf[:0], tokenVersion)
	b = append(b, key.id[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(t.Issued.Unix())) //nolint:gosec // bits, not a number
	b = binary.BigEndian.AppendUint64(b, uint64(t.Epoch))         //nolint:gosec // never negative
	b = append(b, t.scope[:]...)
	b = append(b, t.subject[:]...)
	b = append(b, t.random[:]...)
	b = append(b, t.Home...)
	mac := key.states.Get().(*macState)
	defer key.states.Put(mac)
	return base64.RawURLEncoding.EncodeToString(mac.seal(b))
}

// randomOf is the random part of a session id that nobody has verified yet; zero if there is none.
func randomOf(text string) (s sid) {
	const from, to = atRandom / 3 * 4, atHome / 3 * 4 // 4 characters are 3 bytes; the part begins within 4 and ends with 4
	var buf [(to - from) / 4 * 3]byte
	if len(text) >= to {
		var src [to - from]byte
		copy(src[:], text[from:to])
		if n, err := strictBase64.Decode(buf[:], src[:]); err == nil && n == len(buf) {
			copy(s[:], buf[atRandom%3:])
		}
	}
	return s
}

// strictBase64 refuses a last character with stray bits, so that no token has two spellings.
var strictBase64 = base64.RawURLEncoding.Strict()

// Parse verifies the MAC of a session id, in constant time and before any other part of it is
// looked at, and takes it apart. Every failure is ErrToken. It does not say that the session
// exists, nor whose it is: see Token.For.
func (k *Keys) Parse(text string) (Token, error) {
	if len(text) > MaxToken || len(text) < base64.RawURLEncoding.EncodedLen(minToken) {
		return Token{}, ErrToken
	}
	var buf [MaxToken]byte
	var src [MaxToken]byte
	n, err := strictBase64.Decode(buf[:], src[:copy(src[:], text)])
	// The decoder skips line breaks; a token with one is shorter than its text.
	if err != nil || strictBase64.EncodedLen(n) != len(text) || n < minToken || n > maxToken {
		return Token{}, ErrToken
	}
	b := buf[:n]
	if !k.genuine(b) || b[0] != tokenVersion {
		return Token{}, ErrToken
	}
	body := b[:n-macSize]
	return Token{
		text:    text,
		random:  sid(body[atRandom:atHome]),
		scope:   digest(body[atScope:atSubject]),
		subject: digest(body[atSubject:atRandom]),
		Home:    store.NodeID(body[atHome:]),
		Epoch:   store.Epoch(binary.BigEndian.Uint64(body[atEpoch:])),          //nolint:gosec // ours
		Issued:  time.Unix(int64(binary.BigEndian.Uint64(body[atIssued:])), 0), //nolint:gosec // ours
	}, nil
}
