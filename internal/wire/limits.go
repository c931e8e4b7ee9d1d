package wire

// Limits bound what Scan accepts. A zero number means that of ClientLimits.
type Limits struct {
	// MaxBytes is the greatest length of a message.
	MaxBytes int
	// MaxDepth is the greatest nesting of objects and arrays; the message itself is level 1.
	MaxDepth int
	// MaxKeys is the greatest number of keys in one object.
	MaxKeys int
	// MaxTokens is the greatest number of keys and values in a message, all levels together.
	MaxTokens int
	// Lenient lets duplicate keys pass below the envelope, as some servers emit them.
	// The envelope stays strict.
	Lenient bool
}

// ClientLimits hold for messages from clients. It is not to be changed.
var ClientLimits = Limits{MaxBytes: 4 << 20, MaxDepth: 64, MaxKeys: 1000, MaxTokens: 100_000}

// ServerLimits hold for messages from MCP servers, which answer with whole catalogs and
// files. It is not to be changed.
var ServerLimits = Limits{MaxBytes: 8 << 20, MaxDepth: 512, MaxKeys: 100_000, MaxTokens: 4_000_000, Lenient: true}

func (l Limits) withDefaults() Limits {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&l.MaxBytes, ClientLimits.MaxBytes)
	def(&l.MaxDepth, ClientLimits.MaxDepth)
	def(&l.MaxKeys, ClientLimits.MaxKeys)
	def(&l.MaxTokens, ClientLimits.MaxTokens)
	return l
}
