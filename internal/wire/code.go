package wire

// JSON-RPC 2.0 error codes, with the meaning MCP gives them.
const (
	CodeParse          = -32700 // not JSON, or not text
	CodeInvalidRequest = -32600 // JSON, but not one MCP message
	CodeMethodNotFound = -32601
	CodeInvalidParams  = -32602
	CodeInternal       = -32603

	// CodeResourceNotFound has the URI as its data (MCP up to 2025-11-25, Resources, Error
	// Handling). Later revisions have CodeInvalidParams instead.
	CodeResourceNotFound = -32002

	// CodeUnsupportedVersion is UnsupportedProtocolVersion of MCP 2026-07-28; its data
	// lists the supported versions.
	CodeUnsupportedVersion = -32022
)

// Codes of our own. MCP 2026-07-28 keeps -32768 to -32000 for itself, so they lie outside.
const (
	// CodeOutcomeUnknown says that the call may or may not have run; it was not sent twice.
	CodeOutcomeUnknown = 1001
	// CodeNotExecuted says that the call has certainly not run.
	CodeNotExecuted = 1002
	// CodeStateLost says that the state a session had on a pinned server is gone.
	CodeStateLost = 1003
)
