// Package config reads mcp_settings.json, the settings of MCPHub: JSON with comments and
// trailing commas, ${VARIABLE} in values, and a few environment variables that win over
// the file.
//
// One table (keys.go) names every option with its type, default, range and text. The
// parser, the defaults, docs/settings.md and the JSON Schema are all made from it, so an
// option that is documented is read, and one that is read is documented. An option whose
// feature is not there yet stands in the table too and is refused with a sentence that
// says so: nothing in a file is ignored silently.
//
// The package only reads and checks, once with [Load] and again with [Watch] whenever the
// file changes; [Settings.Changes] tells what follows from a change. It opens no connection,
// resolves no name and starts no command; whether a server can run is for node to find out.
//
// Invariants:
//   - Every problem found in a file carries file, line and column, and all of them are
//     reported at once, in the order of the file ([Problems]).
//   - No value that may be secret (a [Secret], a variable's value, an environment entry, a
//     header, an argument, the path and query of a URL) appears in an error, a warning or
//     a printed Settings.
package config
