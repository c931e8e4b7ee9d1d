package server

import (
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// seats counts the streams that clients have open at this replica. Safe for concurrent use.
type seats struct {
	mu        sync.Mutex
	all       int
	bySession map[string]int
	byClient  map[string]int
}

// fullFor is when it is worth trying again for a stream.
const fullFor = 5 * time.Second

// take counts one more stream until leave is called. session may be empty. It fails where the
// client, the session or this replica has as many as it may.
func (s *Server) take(client, session string) (leave func(), p *problem) {
	st := &s.seats
	st.mu.Lock()
	defer st.mu.Unlock()
	switch {
	case session != "" && st.bySession[session] >= s.cfg.MaxStreamsPerSession:
		return nil, tooMany(http.StatusTooManyRequests, "this session", s.cfg.MaxStreamsPerSession, "maxStreamsPerSession")
	case st.byClient[client] >= s.cfg.MaxStreamsPerKey:
		return nil, tooMany(http.StatusTooManyRequests, "this client", s.cfg.MaxStreamsPerKey, "maxStreamsPerKey")
	case st.all >= s.cfg.MaxStreams:
		return nil, tooMany(http.StatusServiceUnavailable, "this replica", s.cfg.MaxStreams, "maxStreams")
	}
	if st.byClient == nil {
		st.byClient, st.bySession = map[string]int{}, map[string]int{}
	}
	count := func(n int) {
		st.all += n
		for m, name := range map[*map[string]int]string{&st.byClient: client, &st.bySession: session} {
			if (*m)[name] += n; (*m)[name] == 0 {
				delete(*m, name)
			}
		}
	}
	count(1)
	return sync.OnceFunc(func() {
		st.mu.Lock()
		defer st.mu.Unlock()
		count(-1)
	}), nil
}

func tooMany(status int, who string, limit int, setting string) *problem {
	return &problem{status: status, retry: fullFor, message: who + " has " + strconv.Itoa(limit) +
		" streams open, which is the most (systemConfig.limits." + setting + "); close one, or try again"}
}

// clientName tells clients apart: by their key, and those without one by the address that their
// connection comes from.
func clientName(r *http.Request, key *clientKey) string {
	if key.subject != "" {
		return key.subject
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	return "address/" + host
}
