package config

// Tracing is systemConfig.tracing.
type Tracing struct {
	// Endpoint takes OTLP over HTTP: http or https, without a trailing slash; /v1/traces is to
	// be appended. Empty: no traces.
	Endpoint string
	// Headers go with every export. Their values are often keys.
	Headers map[string]Secret
	// SampleRatio is the part of traces that is kept, 0 to 1, where the client did not decide.
	SampleRatio float64
}
