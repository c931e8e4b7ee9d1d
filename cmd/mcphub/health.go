package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// probeTimeout is the longest wait for a probe's answer: shorter than the five seconds after
// which the image's HEALTHCHECK gives up, so that the reason is what is recorded.
const probeTimeout = 3 * time.Second

// healthCommand is the probe of images that hold nothing but this program.
func (a *app) healthCommand() *cobra.Command {
	var url string
	var ready bool
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask the mcphub of this machine whether it lives; made for container health checks",
		Long: "Ask the mcphub of this machine whether it lives, or with --ready whether it should get requests.\n" +
			"Prints nothing when all is well.\n\n" + exitHelp,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			path := "/health"
			if ready {
				path = "/ready"
			}
			f := hubFlags{url: cmp.Or(url, a.ownURL())}
			c, err := f.client(a.getenv)
			if err != nil {
				return err
			}
			c.token = "" // probes ask for none, and a wrong --url must not be shown ours
			c.http.Timeout = probeTimeout
			return probe(cmd, c, path)
		},
	}
	cmd.Flags().StringVar(&url, "url", "", "`address` to ask; default: this machine at $HOST and $PORT, else http://127.0.0.1:3000")
	cmd.Flags().BoolVar(&ready, "ready", false, "ask whether it is ready: a coordinator for requests, a node for sessions")
	return cmd
}

// probe asks one path and turns anything but 200 into an error that says why.
func probe(cmd *cobra.Command, c *hubClient, path string) error {
	status, body, err := c.raw(cmd.Context(), http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	if status == http.StatusOK {
		return nil
	}
	var said readyAnswer
	_ = json.Unmarshal(body, &said) // what is not JSON says nothing of its own
	why := append([]string{cmp.Or(said.Status, fmt.Sprintf("%d %s", status, http.StatusText(status)))}, said.Reasons...)
	return failed("%s answers %s with %s", c.name, path, plain(strings.Join(why, "; ")))
}

// ownURL is where a mcphub with this environment is reached from its own machine.
func (a *app) ownURL() string {
	host := a.getenv("HOST")
	if ip := net.ParseIP(host); host == "" || (ip != nil && ip.IsUnspecified()) {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, cmp.Or(a.getenv("PORT"), "3000"))
}
