package router

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"slices"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// Bounds of event ids, in characters. A client sends one back as a header, Last-Event-ID.
const (
	maxNodeEvent   = 128
	maxCallEvent   = len(callPrefix) + wire.MaxName + 1 + maxNodeEvent
	maxMergedEvent = 4096
	// maxParts bounds the servers of a merged id. Those that are too many are left out: their
	// streams are begun anew where the client takes its own up.
	maxParts = 160
)

// How the ids of endpoints over several servers begin. A '~' stands in no id of a node and in no
// server's name.
const (
	callPrefix   = "c~"
	mergedPrefix = "m~"
)

// nodeEvent is an event id as a node gives it out, which clients of an endpoint over one server
// see as it is:
//
//	<incarnation>.<c or g><stream>.<seq>[.<base64url of the id of the request>]
//
// c is a stream that answers a call, g one that was opened with GET. The incarnation is another
// each time the session is opened on a node, so no id can be taken for one of another node.
type nodeEvent struct {
	inc    string // 8 characters of 0-9 and a-z
	call   bool
	stream uint64
	seq    uint64
	// request is the id of the call's request, raw JSON. It is nil where the stream is none of a
	// call, and where the id is too long to stand here.
	request []byte
}

// incSize is the length of an incarnation.
const incSize = 8

// text writes the id.
func (e nodeEvent) text() string {
	b := make([]byte, 0, maxNodeEvent)
	kind := byte('g')
	if e.call {
		kind = 'c'
	}
	b = append(append(append(b, e.inc...), '.', kind), strconv.FormatUint(e.stream, 10)...)
	b = strconv.AppendUint(append(b, '.'), e.seq, 10)
	if e.request != nil {
		b = base64.RawURLEncoding.AppendEncode(append(b, '.'), e.request)
	}
	return string(b)
}

// parseNodeEvent reads an id of a node. It is false for everything that no node would write.
func parseNodeEvent(text string) (e nodeEvent, ok bool) {
	if len(text) > maxNodeEvent {
		return e, false
	}
	var rest, kind, seq, request string
	e.inc, rest, _ = strings.Cut(text, ".")
	kind, rest, ok = strings.Cut(rest, ".")
	seq, request, named := strings.Cut(rest, ".")
	if !ok || !isInc(e.inc) || len(kind) < 2 || kind[0] != 'c' && kind[0] != 'g' {
		return nodeEvent{}, false
	}
	e.call = kind[0] == 'c'
	if e.stream, ok = decimal(kind[1:]); !ok {
		return nodeEvent{}, false
	}
	if e.seq, ok = decimal(seq); !ok || named && !e.call {
		return nodeEvent{}, false
	}
	if named {
		raw, err := strictBase64.DecodeString(request)
		if err != nil || strictBase64.EncodedLen(len(raw)) != len(request) || !isRequestID(raw) {
			return nodeEvent{}, false
		}
		e.request = raw
	}
	return e, true
}

func isInc(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return len(s) == incSize
}

// decimal reads a number in its one spelling, without sign or leading zeros.
func decimal(s string) (n uint64, ok bool) {
	n, err := strconv.ParseUint(s, 10, 64)
	return n, err == nil && s[0] != '+' && (s[0] != '0' || len(s) == 1)
}

// isRequestID says whether something is a JSON string or number, as ids of requests are: it is put
// into a message as it stands.
func isRequestID(raw []byte) bool {
	f, err := wire.Scan(wire.Result(raw, []byte("{}")), wire.ClientLimits)
	return err == nil && wire.SameID(f.IDBytes(), raw)
}

// eventKind tells event ids apart by what they go on with.
type eventKind uint8

const (
	noEvent     eventKind = iota // no id, or none that was given out
	nodesEvent                   // a node's own: what clients of one server see
	callEvent                    // of the answer to a call, on an endpoint over several servers
	mergedEvent                  // of a stream that is merged from those of several servers
)

// eventID is what a client's Last-Event-ID says. It carries no MAC: a client can only ask for what
// its own session was sent.
type eventID struct {
	kind   eventKind
	server store.ServerID // of callEvent
	text   string         // of nodesEvent and callEvent: the id as the node gave it out
	node   nodeEvent      // the same, taken apart
	// positions say, for mergedEvent, how far the stream of each server has come.
	positions positions
	// print is, for mergedEvent, the fingerprint of the lists that were last announced.
	print uint32
}

// parseEventID reads an event id of any kind. What cannot be read is noEvent: whoever sends it
// gets a stream that begins anew, as for an id that was forgotten.
func parseEventID(text string) eventID {
	switch {
	case strings.HasPrefix(text, callPrefix):
		server, id, _ := strings.Cut(text[len(callPrefix):], "~")
		e, ok := parseNodeEvent(id)
		if !ok || !e.call || wire.CheckName("server", server) != nil {
			return eventID{}
		}
		return eventID{kind: callEvent, server: store.ServerID(server), text: id, node: e}
	case strings.HasPrefix(text, mergedPrefix):
		return parseMerged(text)
	}
	if e, ok := parseNodeEvent(text); ok {
		return eventID{kind: nodesEvent, text: text, node: e}
	}
	return eventID{}
}

// callEventID is the id of an event in the answer to a call on an endpoint over several servers:
// c~<server>~<the node's id>.
func callEventID(server store.ServerID, id string) string {
	return callPrefix + string(server) + "~" + id
}

// positions are, for each server, the id of the last event of its own stream.
type positions map[serverHash]nodeEvent

// serverHash stands for a server's name where there is no room for it. Should two names have the
// same, one of them is taken up with an incarnation that its node has never had, and begins anew.
type serverHash [4]byte

func hashOf(server store.ServerID) serverHash {
	var h serverHash
	binary.BigEndian.PutUint32(h[:], uint32(xxhash.Sum64String(string(server)))) //nolint:gosec // cut on purpose
	return h
}

// set notes the id of an event of a server's own stream. It ignores one that is no such id.
func (p positions) set(server store.ServerID, id string) {
	if e, ok := parseNodeEvent(id); ok && !e.call {
		p[hashOf(server)] = e
	}
}

// of is the id with which a server's own stream is to be taken up; empty for a new one.
func (p positions) of(server store.ServerID) string {
	if e, ok := p[hashOf(server)]; ok {
		return e.text()
	}
	return ""
}

// Layout of a merged id's bytes, before base64url: what it is worth keeping short.
//
//	fingerprint 4 | for each server, by hash: hash 4 | incarnation 6 | stream uvarint | seq uvarint
const incBytes = 6

// mergedID writes positions, and the fingerprint of the lists that were last announced, as the id
// of an event: m~<base64url>. Of too many servers those with the lowest hashes are named.
func mergedID(p positions, print uint32) string {
	hashes := make([]serverHash, 0, len(p))
	for h := range p {
		hashes = append(hashes, h)
	}
	slices.SortFunc(hashes, compareHashes)
	b := make([]byte, 4, 4+16*len(hashes))
	binary.BigEndian.PutUint32(b, print)
	for i, h := range hashes {
		had := len(b)
		e := p[h]
		b = packInc(append(b, h[:]...), e.inc)
		b = binary.AppendUvarint(b, e.stream)
		b = binary.AppendUvarint(b, e.seq)
		if i == maxParts || len(mergedPrefix)+strictBase64.EncodedLen(len(b)) > maxMergedEvent {
			b = b[:had]
			break
		}
	}
	return mergedPrefix + strictBase64.EncodeToString(b)
}

func compareHashes(a, b serverHash) int { return bytes.Compare(a[:], b[:]) }

// parseMerged reads what mergedID has written, in that one spelling.
func parseMerged(text string) eventID {
	if len(text) > maxMergedEvent {
		return eventID{}
	}
	b, err := strictBase64.DecodeString(text[len(mergedPrefix):])
	if err != nil || len(b) < 4 {
		return eventID{}
	}
	id := eventID{kind: mergedEvent, print: binary.BigEndian.Uint32(b), positions: positions{}}
	for b = b[4:]; len(b) > 0; {
		var h serverHash
		if len(b) < len(h)+incBytes || len(id.positions) == maxParts {
			return eventID{}
		}
		e := nodeEvent{inc: unpackInc(b[len(h):])}
		b = b[copy(h[:], b)+incBytes:]
		for _, n := range []*uint64{&e.stream, &e.seq} {
			v, size := binary.Uvarint(b)
			if size <= 0 {
				return eventID{}
			}
			*n, b = v, b[size:]
		}
		if !isInc(e.inc) {
			return eventID{}
		}
		id.positions[h] = e
	}
	if mergedID(id.positions, id.print) != text {
		return eventID{}
	}
	return id
}

// packInc appends an incarnation, a number of base 36, in six bytes.
func packInc(b []byte, inc string) []byte {
	n, _ := strconv.ParseUint(inc, 36, 64) // it is one: see isInc
	var all [8]byte
	binary.BigEndian.PutUint64(all[:], n)
	return append(b, all[8-incBytes:]...)
}

func unpackInc(b []byte) string {
	var all [8]byte
	copy(all[8-incBytes:], b[:incBytes])
	s := strconv.FormatUint(binary.BigEndian.Uint64(all[:]), 36)
	return strings.Repeat("0", max(0, incSize-len(s))) + s
}
