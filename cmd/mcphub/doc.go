// Command mcphub runs MCP servers on many machines and shows them to AI clients as one.
//
// Without a command it serves: as a coordinator, as a node, or as both in one process,
// whatever the settings file says. The other commands look at a running hub, talk MCP to
// it, check settings, or run a whole small cluster to try things on.
//
// The package reads flags, files and the environment, builds the other packages out of
// their parts and handles signals; it is the only one that knows them all. Every command
// goes through [run], which tests call with their own arguments and streams.
package main
