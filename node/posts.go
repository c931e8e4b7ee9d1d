package node

import "context"

// maxPosts bounds what waits for reply.
const maxPosts = 4096

// reply writes what the node itself has to say to the server. It is a goroutine of its own,
// because whoever reads from a server must never wait for it to read.
func (l *link) reply() {
	for {
		select {
		case <-l.gone:
			return
		case <-l.queued:
		}
		l.mu.Lock()
		posts := l.posts
		l.posts = nil
		l.mu.Unlock()
		for _, m := range posts {
			if err := l.transmit(context.Background(), m); err != nil {
				l.log.Debug("message to the server not delivered", "err", err)
			}
		}
	}
}

// post queues a frame for reply.
func (l *link) post(frame []byte) { l.postFor(nil, frame) }

// postFor is post for what concerns a session; ses may be nil.
func (l *link) postFor(ses *session, frame []byte) {
	l.mu.Lock()
	full := len(l.posts) >= maxPosts
	if !full {
		l.posts = append(l.posts, message{frame: frame, ses: ses, reply: true, allowed: always})
	}
	l.mu.Unlock()
	if full {
		l.stats.droppedReplies.Add(1)
		return
	}
	select {
	case l.queued <- struct{}{}:
	default:
	}
}
