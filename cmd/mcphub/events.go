package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/mcphub-go/mcphub/internal/wire"
)

// Figures of following events.
const (
	maxEvent     = 64 << 10               // bytes of one
	followRetry  = 250 * time.Millisecond // before the first new attempt; it doubles
	followPause  = 5 * time.Second        // before any later one, at most
	followSilent = 45 * time.Second       // without a sign of life, three of which should have come
)

type eventAnswer struct {
	ID   string `json:"id"`
	Time int64  `json:"time"`
	Kind string `json:"kind"`
	Text string `json:"text"`
}

func (a *app) eventsCommand() *cobra.Command {
	var f hubFlags
	var follow bool
	last := 20
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Show what has happened in a hub, and with -f what happens",
		Long: "Show the last events of a hub, the oldest first. With --follow go on with those that come, over\n" +
			"restarts of the hub as well; those that happen in between are not missed. -o json prints one object a line.\n\n" + exitHelp,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if last < 0 || last > 1000 {
				return badUsage("--last %d: want 0 to 1000", last)
			}
			return a.events(cmd, &f, last, follow)
		},
	}
	f.register(cmd, a.getenv)
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "wait for further events until interrupted")
	cmd.Flags().IntVarP(&last, "last", "n", last, "begin with this `number` of past events")
	return cmd
}

func (a *app) events(cmd *cobra.Command, f *hubFlags, last int, follow bool) error {
	c, err := f.client(a.getenv)
	if err != nil {
		return err
	}
	var past []json.RawMessage
	query := url.Values{"limit": {strconv.Itoa(max(last, 1))}} // one is needed to know where to go on
	if _, err := c.get(cmd.Context(), "/api/cluster/events", query, &past); err != nil {
		return err
	}
	from := "0-0" // before every event
	if len(past) > 0 {
		var newest eventAnswer
		if err := json.Unmarshal(past[0], &newest); err != nil {
			return failed("%s does not answer like a hub: %v in an event", c.name, err)
		}
		from = newest.ID
	}
	past = past[:min(last, len(past))]
	slices.Reverse(past)
	for _, raw := range past {
		if err := a.printEvent(raw, f.output.json()); err != nil {
			return err
		}
	}
	if follow {
		return a.follow(cmd.Context(), c, from, f.output.json())
	}
	if len(past) == 0 && last > 0 && !f.output.json() {
		return a.printf("Nothing has happened yet.\n")
	}
	return nil
}

// printEvent prints one event on one line.
func (a *app) printEvent(raw []byte, asJSON bool) error {
	if asJSON {
		var line bytes.Buffer
		if err := json.Compact(&line, raw); err != nil {
			return failed("the hub sent an event that is not JSON: %w", err)
		}
		return a.printf("%s\n", line.Bytes())
	}
	var e eventAnswer
	if err := json.Unmarshal(raw, &e); err != nil {
		return failed("the hub sent an event that is not JSON: %w", err)
	}
	return a.printf("%s  %-18s  %s\n", time.UnixMilli(e.Time).UTC().Format("2006-01-02T15:04:05Z"), plain(e.Kind), plain(e.Text))
}

// follow prints events after the one with the id from until ctx ends. A hub that goes away is
// asked again, with the id of the last event; one that refuses is not.
func (a *app) follow(ctx context.Context, c *hubClient, from string, asJSON bool) error {
	stream := *c.http
	stream.Timeout = 0 // a stream has no end
	c.http = &stream
	pause := followRetry
	for {
		before := from
		err := a.followOnce(ctx, c, &from, asJSON)
		var ee *exitError
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.As(err, &ee) && ee.code != exitUnreachable:
			return err
		case from != before:
			pause = followRetry
		}
		_, _ = fmt.Fprintf(a.stderr, "mcphub: %v; asking again\n", err) // what can be done about stderr
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause/2 + rand.N(pause)): //nolint:gosec // it spreads attempts, no more
		}
		pause = min(2*pause, followPause)
	}
}

// followOnce follows one stream to its end and moves from on with each event. It always returns
// an error; one that says unreachable is worth another attempt.
func (a *app) followOnce(ctx context.Context, c *hubClient, from *string, asJSON bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	silence := time.AfterFunc(followSilent, cancel)
	defer silence.Stop()
	req, err := c.request(ctx, http.MethodGet, "/api/cluster/events", nil, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", wire.TypeEventStream)
	req.Header.Set(wire.HeaderLastEventID, *from)
	resp, err := c.http.Do(req)
	if err != nil {
		return followError(c, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != wire.TypeEventStream {
		return c.notFollowed(resp)
	}
	events := wire.NewEventReader(resp.Body, maxEvent)
	for {
		e, err := events.Next()
		if err != nil {
			return followError(c, err)
		}
		silence.Reset(followSilent)
		if e.Data == nil {
			continue // a sign of life
		}
		if err := a.printEvent(e.Data, asJSON); err != nil {
			return err
		}
		if e.ID != "" {
			*from = e.ID
		}
	}
}

// notFollowed says why a hub does not stream; one that is stopping or full may do so later.
func (c *hubClient) notFollowed(resp *http.Response) error {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer)) // what came says enough
	_, err := c.open(resp.StatusCode, body, http.MethodGet, "/api/cluster/events")
	switch {
	case err == nil:
		return failed("%s does not stream events: is it an older release?", c.name)
	case resp.StatusCode >= http.StatusInternalServerError:
		return unreachable("%v", err)
	}
	return err
}

// followError words the end of a stream.
func followError(c *hubClient, err error) error {
	switch {
	case errors.Is(err, io.EOF):
		return unreachable("%s has ended the stream", c.name)
	case errors.Is(err, context.Canceled):
		return unreachable("%s has been silent for too long", c.name)
	}
	return cannotReach(c.base, 0, err)
}
