package heartbeat

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/mcphub-go/mcphub/internal/wire"
	"github.com/mcphub-go/mcphub/store"
)

// findURL makes sure that the agent knows its own address: the URL of the settings, else
// POD_IP, else the address of our end of a connection to the coordinator.
func (a *Agent) findURL(ctx context.Context) error {
	if a.url != "" {
		return nil
	}
	if a.cfg.URL != "" {
		a.url = strings.TrimRight(a.cfg.URL, "/")
		return nil
	}
	if a.cfg.PodIP != "" {
		addr, err := netip.ParseAddr(a.cfg.PodIP)
		if err != nil {
			return fmt.Errorf("POD_IP: %q is not an IP address", a.cfg.PodIP)
		}
		a.url = listenURL(addr, a.cfg.Port)
		return nil
	}
	addr, err := a.client.localAddr(ctx, a.bound())
	if err != nil {
		return fmt.Errorf("find own address: %w", err)
	}
	a.url = listenURL(addr, a.cfg.Port)
	if a.told != a.url {
		a.told = a.url
		a.log.Info("coordinators are told to reach this node at " + a.url)
	}
	return nil
}

// forgetURL lets an address that was found be found again: the network may have changed.
func (a *Agent) forgetURL() {
	if a.cfg.URL == "" && a.cfg.PodIP == "" {
		a.url = ""
	}
}

// record is the body of a register or heartbeat call.
func (a *Agent) record(e store.Epoch) ([]byte, error) {
	d := a.source.Describe()
	body, err := json.Marshal(a.describe(d, e, false))
	if err == nil && len(body) > maxRecord {
		body, err = json.Marshal(a.describe(d, e, true))
	}
	if err != nil {
		return nil, fmt.Errorf("encode the record: %w", err)
	}
	return body, nil
}

func (a *Agent) describe(d Description, e store.Epoch, brief bool) Record {
	host, port := a.place()
	n := store.Node{
		ID: a.cfg.ID, Name: a.cfg.Name, URL: a.url, Host: host, Port: port,
		Instance: a.cfg.Instance, Epoch: e, Version: a.cfg.Version, Weight: max(a.cfg.Weight, 1),
		State: d.State, Started: a.cfg.Started, Servers: trim(d.Servers, brief),
	}
	if n.State == "" {
		n.State = store.NodeActive
	}
	if n.Name == "" {
		n.Name = string(n.ID)
	}
	return RecordOf(n)
}

// place is the host and the port of our URL, which is another than ours where a proxy stands
// before the node.
func (a *Agent) place() (host string, port int) {
	u, err := url.Parse(a.url)
	if err != nil {
		return "", a.cfg.Port
	}
	port, err = strconv.Atoi(u.Port())
	switch {
	case err == nil:
	case u.Scheme == "https":
		port = 443
	default:
		port = 80
	}
	return u.Hostname(), port
}

// sendCatalogs gives the coordinator the catalogs it lacks. One that does not arrive is asked
// for again with the next beat. One that is refused for what it is keeps no other waiting, and
// is not sent again for a while. Together they may take no longer than one call, so that they
// do not hold up that beat.
func (a *Agent) sendCatalogs(ctx context.Context, missing []store.Digest) {
	ctx, cancel := context.WithTimeout(ctx, a.bound())
	defer cancel()
	for _, digest := range missing {
		if a.refused.has(digest) {
			continue
		}
		raw, ok := a.source.Catalog(digest)
		if !ok { // it changed since; the next beat names the new one
			continue
		}
		err := a.client.post(ctx, "/api/cluster/catalogs", catalogBody(digest, raw), a.bound(), nil)
		var no *refusal
		switch {
		case err == nil:
		case errors.As(err, &no) && (no.status == http.StatusBadRequest || no.status == http.StatusRequestEntityTooLarge):
			a.refused.mark(digest)
			a.log.Warn("catalog refused: the tools of one server stay unknown to the coordinators", "server", a.offering(digest), "err", err)
		default:
			a.log.Warn("catalog not sent", "err", err)
			return
		}
	}
}

// offering names a server that has the catalog.
func (a *Agent) offering(d store.Digest) store.ServerID {
	for _, s := range a.source.Describe().Servers {
		if s.Catalog == d {
			return s.ID
		}
	}
	return ""
}

// catalogBody carries the catalog's bytes as they are: encoding/json would rewrite them, and
// the digest is over bytes.
func catalogBody(digest store.Digest, raw []byte) []byte {
	const head, mid = `{"digest":`, `,"catalog":`
	out := make([]byte, 0, len(head)+len(mid)+len(raw)+len(digest)+3)
	out = append(out, head...)
	out = append(out, wire.Quote(string(digest))...)
	out = append(out, mid...)
	out = append(out, raw...)
	return append(out, '}')
}
