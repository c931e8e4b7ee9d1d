package node

// streams are a session's event streams: the answers to its calls that have become streams, and
// its own, by GET.
type streams struct{}

// tell gives a session a message of its server's: on the stream of c, which may be nil, while
// that is open and somebody can read it; otherwise on one of the session's own streams, the next
// one if there is none now. It reports false if there was no room for the message. The frame is
// the streams' to keep.
func (l *link) tell(ses *session, c *call, frame []byte) bool {
	return c != nil && c.deliver(frame)
}
