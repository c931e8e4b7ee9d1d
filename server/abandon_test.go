package server

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mcphub-go/mcphub/router"
)

// partingCarrier has a last word for each call in hand.
type partingCarrier struct {
	*fakeCarrier
	leave chan struct{}
}

func (c *partingCarrier) Abandon() { close(c.leave) }

// When the time to drain is over, a call in hand gets its last word before its connection is
// closed, be it a last event or a whole answer.
func TestCallsInHandGetALastWord(t *testing.T) {
	for name, stream := range map[string]bool{"stream": true, "plain": false} {
		t.Run(name, func(t *testing.T) {
			cfg := global
			cfg.DrainTime = 50 * time.Millisecond
			r := newServer(t, cfg, nil)
			c := &partingCarrier{fakeCarrier: r.carrier, leave: make(chan struct{})}
			r.deps.Carrier = c
			inside := make(chan struct{})
			r.carrier.carry = func(_ context.Context, w http.ResponseWriter, _ router.Request) error {
				if stream {
					w.Header().Set("Content-Type", "text/event-stream")
					w.WriteHeader(http.StatusOK)
					_ = http.NewResponseController(w).Flush()
				}
				close(inside)
				<-c.leave
				_, err := io.WriteString(w, "last word")
				return err
			}
			r.run(t)
			got := make(chan reply, 1)
			go func() {
				resp, err := http.Post(r.url+"/mcp/everything", "application/json", strings.NewReader(ping))
				if err != nil {
					got <- reply{body: err.Error()}
					return
				}
				defer resp.Body.Close()
				body, err := io.ReadAll(resp.Body)
				if err != nil {
					body = append(body, err.Error()...)
				}
				got <- reply{status: resp.StatusCode, body: string(body)}
			}()
			<-inside
			if err := r.stop(); err != nil {
				t.Errorf("Run() = %v, want nil", err)
			}
			if p := <-got; p.status != http.StatusOK || p.body != "last word" {
				t.Errorf("the call in hand got %d %q", p.status, p.body)
			}
		})
	}
}
