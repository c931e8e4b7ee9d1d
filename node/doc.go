// Package node is the worker: it runs MCP servers and serves them to coordinators.
//
// A supervisor per server starts it, with bounded parallelism and back-off, shakes hands and
// reads its lists, and keeps that true for as long as the server is called ready. All sessions
// of a server share one connection, a link: requests go out under ids of the node's own and
// come back under the client's, byte for byte. An isolated server has a pool of processes, one
// for each session and spares, each with a link. The far end of a link is a child process
// (stdio), a server over streamable HTTP or the older HTTP+SSE, or one in this process (builtin).
//
// The package leaves to others: which node a session is on (router), keeping the lease
// (heartbeat), sockets and settings (cmd).
//
// The conversation with a client lives here and nowhere else: its event streams are kept with
// the session, and coordinators only follow them. An answer becomes a stream with the first
// message before it, or when it takes long; a GET opens one for what belongs to no call. Each
// event has an id that names the life of the session, the stream and the place in it, so that
// whichever coordinator the client comes back to can ask for the rest.
//
// # Invariants
//
//   - A server is ready only between a handshake followed by all its lists and the loss of its
//     connection. When that is lost its sessions are forgotten, so that a coordinator learns by
//     a 404 that what the server knew of them is gone.
//   - An isolated server is ready while processes of it can be started. A session of it lives
//     and ends with its process, which no other session has used or will.
//   - Every request gets exactly one outcome: the server's answer; error 1001 when it may have
//     run; or a refusal, with X-MCPHub-Refused, when nothing of it has reached the server. Two
//     things stretch that: requests that only read are refused, and so sent elsewhere, even if
//     they may have run; and a server that still works on what was given up is not waited for.
//   - Nothing is sent to a server for a client without a fresh lease, asked right before the
//     write, and nothing is ever sent twice that may have been received.
//   - A caller that goes away cancels nothing. Once an answer has become a stream, it is kept
//     for a caller that comes back.
//   - A message is on one stream at most, of one session, and is never moved to another. A
//     stream has one reader, and the newest wins.
//   - What is kept of streams is bounded, for a session in bytes and time and for a node in
//     bytes. Messages make room, the oldest first, and are counted; an answer stays while its
//     call is open, and until newer ones need the room after that. A client that reads too
//     slowly is cut off, and costs nobody else a message.
//   - No session gets another's answer, progress or task, and whose any other message is, is
//     never guessed. Requests and log messages on a shared stream name no call: they are given
//     to a session only while the server works for no other, and from a server that has been
//     heard to speak of calls after answering them, only to a session that has always been
//     alone. What that does not settle is refused, or dropped and counted. The first thing a
//     server says so late can still reach another session that is alone at work just then.
//   - A request of a server's is given to one client at most, which has declared what it needs,
//     under an id of the node's own, and has exactly one end: the client's answer, byte for byte
//     but for the id; the server's own cancellation; or an error in its place, when what it was
//     part of is over or the client cannot be reached, of which the client is told. While it
//     waits nothing runs for it, and its call and session live on.
//   - Whoever reads from a server waits for nobody: neither for a slow client nor for the
//     server to read.
//   - Servers change while the node runs (SetServers), and those whose settings are as before
//     notice nothing of it.
//   - When Run has returned, no child process, no connection and no goroutine of it is left.
//
// # A session's life
//
// initialize makes a session known under the id its coordinator gave it, and is answered with
// the server's own InitializeResult. What the client says there that it can do decides what its
// server may ask of it; to servers that are met before their clients the node declares all. What one session sets at a server shared by many, a log
// level or a subscription, is kept per session and sent on as the least that serves all.
// DELETE, the idle timeout or the loss of the server end it. While one of its streams is read it
// is not idle. Its own streams end with it, and before that when the node, or the server on it,
// is about to stop: then with the time after which the client is to look for another.
package node
