// Package wire reads and writes what travels between MCP clients and servers: JSON-RPC
// messages as raw frames, event streams, and the names of headers, versions and codes.
//
// Frames are scanned, not decoded. [Scan] walks the bytes once, refuses whatever two JSON
// parsers could read differently (duplicate keys, case variants of envelope keys, bad UTF-8,
// trailing data), and gives back offsets into the bytes it was handed. What is forwarded is
// those bytes, so ids such as 9007199254740993 or 1.0, unknown methods and unknown fields
// arrive as they were sent. [Lookup] and [Splice] read and change single values in place.
//
// Event streams are split by [EventReader] into blocks whose Raw bytes can be passed on
// as they came, and composed by [WriteEvent], which lets no field smuggle in a line.
//
// The package leaves to others: what a method means, who may call it, how many bytes are
// read from a socket, HTTP statuses.
//
// Invariants:
//
//   - No text of a message appears in an error of this package.
//   - A frame that Scan accepted is one valid JSON object in valid UTF-8 with no raw CR or LF
//     inside a string: replacing those bytes by spaces (see [OneLine]) keeps its meaning.
//   - Nothing here starts a goroutine or keeps a reference to a caller's bytes, except the
//     results that are documented to alias them.
package wire
