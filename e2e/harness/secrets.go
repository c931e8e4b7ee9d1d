package harness

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"regexp"
	"strings"
	"time"
)

// hex32 is what a session's name in Redis looks like, among other things.
var hex32 = regexp.MustCompile(`\b[0-9a-f]{32}\b`)

// checkSecrets fails the test if a process of the cluster wrote the id of a session, or its
// name in Redis, into its log or shows it in its metrics. Ids are those that went through a
// round robin of the cluster. It looks for the cluster's secret as well.
func (c *Cluster) checkSecrets() {
	c.t.Helper()
	var ids []string
	for _, rr := range c.fronts {
		ids = append(ids, rr.SessionIDs()...)
	}
	for _, h := range c.hubs {
		text := h.Log.String()
		if h.Alive() {
			text += metricsOf(h)
		}
		names := map[string]bool{}
		for _, word := range hex32.FindAllString(text, -1) {
			names[word] = true
		}
		for _, id := range ids {
			if strings.Contains(text, id) {
				c.t.Errorf("%s tells the session id %s", h.Name, id)
			}
			raw, err := base64.RawURLEncoding.DecodeString(id)
			if err != nil {
				continue // not one of ours: a server's own, shown to a client of the server
			}
			for name := range names {
				if strings.Contains(hex.EncodeToString(raw), name) {
					c.t.Errorf("%s tells the name %s of a session", h.Name, name)
				}
			}
		}
		if c.opts.Secret != "" && strings.Contains(text, c.opts.Secret) {
			c.t.Errorf("%s tells the cluster's secret", h.Name)
		}
	}
}

// metricsOf is what a process shows to Prometheus, or nothing.
func metricsOf(h *Hub) string {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_, body, err := Get(ctx, h.URL+"/metrics")
	if err != nil {
		return ""
	}
	return string(body)
}
