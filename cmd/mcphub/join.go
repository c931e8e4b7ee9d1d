package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mcphub-go/mcphub/heartbeat"
)

const (
	// defaultNodeURL is where the guide's worker listens.
	defaultNodeURL = "http://127.0.0.1:3001"
	// joinPoll is the time between looks at a node that is joining.
	joinPoll = 250 * time.Millisecond
	// maxSecretFile bounds the file that holds the cluster secret.
	maxSecretFile = 64 << 10
)

// joinFlags are those of 'mcphub join'.
type joinFlags struct {
	url, coordinator   string
	secretFile, config string
	wait               time.Duration
	output             outputFlag
}

func (a *app) joinCommand() *cobra.Command {
	var f joinFlags
	cmd := &cobra.Command{
		Use:   "join",
		Short: "Tell a node that waits to join its fleet",
		Long: `Tell a node to register with its coordinator. It is for nodes whose settings say registerOnStartup: false,
which start their servers and then wait; to any other node it changes nothing. The node asks for the cluster
secret: it is read from --secret-file, else $MCPHUB_CLUSTER_SECRET, else the settings file. Where the cluster has
none, a node takes the order from its own machine only.

` + exitHelp,
		Example: `  mcphub join                                          the node at ` + defaultNodeURL + `
  mcphub join --url http://10.0.0.7:3001 --coordinator http://blue.example:3000`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.join(cmd.Context(), &f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.url, "url", defaultNodeURL, "`address` of the node")
	flags.StringVar(&f.coordinator, "coordinator", "", "register with the coordinator at this `address`, not with that of the node's settings")
	flags.StringVar(&f.secretFile, "secret-file", "", "`file` that holds the cluster secret and nothing else")
	flags.StringVar(&f.config, "config", "", "settings `file` to take the cluster secret from")
	flags.DurationVar(&f.wait, "wait", 10*time.Second, "how long to wait until the node has joined; 0 only tells it")
	_ = cmd.MarkFlagFilename("secret-file")
	_ = cmd.MarkFlagFilename("config", "json")
	f.output.register(cmd)
	return cmd
}

// join tells the node, and then asks it by telling it again, which changes nothing.
func (a *app) join(ctx context.Context, f *joinFlags) error {
	base, err := url.Parse(strings.TrimRight(f.url, "/"))
	if err != nil || (base.Scheme != "http" && base.Scheme != "https") || base.Host == "" || base.User != nil {
		return badUsage("%q is not the address of a node: want something like %s", shownURL(f.url), defaultNodeURL)
	}
	if f.wait < 0 {
		return badUsage("--wait %s: want 0 or more", f.wait)
	}
	secret, err := a.clusterSecret(f)
	if err != nil {
		return err
	}
	n := &nodeClient{base: base, secret: secret, http: &http.Client{
		Timeout: clientTimeout,
		// A redirect would carry the secret to wherever it points.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	defer n.http.CloseIdleConnections()
	state, raw, err := n.join(ctx, f.coordinator)
	over := time.After(f.wait)
	for err == nil && f.wait > 0 && state.State != heartbeat.JoinJoined {
		select {
		case <-ctx.Done():
			return failed("interrupted; the node goes on joining")
		case <-over:
			return errors.Join(a.printJoin(f, state, raw), failed("node %s has not joined %s in %s: %s",
				plain(string(state.NodeID)), plain(state.CoordinatorURL), f.wait, plain(cmp.Or(state.Error, "its coordinator has not answered yet"))))
		case <-time.After(joinPoll):
			state, raw, err = n.join(ctx, f.coordinator)
		}
	}
	if err != nil {
		return err
	}
	return a.printJoin(f, state, raw)
}

func (a *app) printJoin(f *joinFlags, s heartbeat.JoinState, raw json.RawMessage) error {
	if f.output.json() {
		return a.printJSON(raw)
	}
	t := table{head: []string{"NODE", "STATE", "FOR", "COORDINATOR"}}
	t.add(s.NodeID, s.State, a.ago(s.Since), s.CoordinatorURL)
	return a.printTable(t, "")
}

// clusterSecret finds the secret; empty means that there is none.
func (a *app) clusterSecret(f *joinFlags) (string, error) {
	if f.secretFile != "" {
		return readSecret(f.secretFile)
	}
	if s := a.getenv("MCPHUB_CLUSTER_SECRET"); s != "" {
		return s, nil
	}
	settings, err := a.loadSettings(f.config)
	if err != nil {
		return "", err
	}
	return settings.Cluster.Secret.Reveal(), nil
}

func readSecret(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", badUsage("--secret-file: %w", err)
	}
	defer func() { _ = file.Close() }()
	raw, err := io.ReadAll(io.LimitReader(file, maxSecretFile+1))
	if err != nil {
		return "", badUsage("--secret-file: %w", err)
	}
	secret := strings.TrimSpace(string(raw))
	switch {
	case secret == "":
		return "", badUsage("--secret-file %s: it is empty", path)
	case len(raw) > maxSecretFile || strings.ContainsFunc(secret, func(r rune) bool { return r < '!' || r > '~' }):
		return "", badUsage("--secret-file %s: want one secret of visible ASCII characters and nothing else", path)
	}
	return secret, nil
}

// nodeClient talks to one node.
type nodeClient struct {
	base   *url.URL
	secret string
	http   *http.Client
}

func (n *nodeClient) join(ctx context.Context, coordinator string) (s heartbeat.JoinState, raw json.RawMessage, err error) {
	order := map[string]string{}
	if coordinator != "" {
		order["coordinatorUrl"] = coordinator
	}
	body, err := json.Marshal(order)
	if err != nil {
		return s, nil, failed("encode the order: %w", err)
	}
	status, answer, err := n.post(ctx, "/api/node/join", body)
	if err != nil {
		return s, nil, err
	}
	var e envelope
	err = json.Unmarshal(answer, &e)
	switch {
	case err != nil || !e.Success && e.Message == "":
		return s, nil, failed("%s does not answer like a node: %d %s", n.base, status, http.StatusText(status))
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return s, nil, failed("%s refuses: %s (cluster secret: --secret-file, $MCPHUB_CLUSTER_SECRET or --config)", n.base, plain(e.Message))
	case status == http.StatusNotFound:
		return s, nil, failed("%s says: %s; is that a node?", n.base, plain(e.Message))
	case status != http.StatusOK || !e.Success:
		return s, nil, failed("%s says: %s", n.base, plain(e.Message))
	}
	if err := json.Unmarshal(e.Data, &s); err != nil || s.State == "" {
		return s, nil, failed("%s does not answer like a node: its state is missing", n.base)
	}
	return s, e.Data, nil
}

func (n *nodeClient) post(ctx context.Context, path string, body []byte) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, n.base.String()+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, badUsage("%s cannot be asked for: %v", n.base, err)
	}
	req.Header.Set("Content-Type", "application/json")
	if n.secret != "" {
		req.Header.Set("Authorization", "Bearer "+n.secret)
	}
	resp, err := n.http.Do(req)
	if err == nil {
		defer func() { _ = resp.Body.Close() }()
		var answer []byte
		if answer, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer)); err == nil {
			return resp.StatusCode, answer, nil
		}
	}
	if errors.Is(err, context.Canceled) {
		return 0, nil, failed("interrupted")
	}
	cause := err
	var ue *url.Error
	if errors.As(err, &ue) {
		cause = ue.Err
	}
	return 0, nil, unreachable("cannot reach a node at %s: %v", n.base, cause)
}
