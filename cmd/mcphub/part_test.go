package main

import (
	"context"
	"errors"
	"testing"
)

func untilDone(ctx context.Context) error { <-ctx.Done(); return nil }

func TestPartsEndOnlyWhenStopped(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	p := launch(ctx, "p", untilDone)
	cancel()
	select {
	case <-p.done:
		t.Fatal("the part ended with the context it was launched under")
	default:
	}
	if err := errors.Join(p.stop(), p.stop(), (*part)(nil).stop()); err != nil {
		t.Errorf("stop = %v", err)
	}
}

func TestUntilOver(t *testing.T) {
	well := launch(t.Context(), "well", untilDone)
	defer func() { _ = well.stop() }()
	broken := errors.New("broken")
	ill := launch(t.Context(), "ill", func(context.Context) error { return broken })
	if err := untilOver(t.Context(), well, ill); !errors.Is(err, broken) || err.Error() != "ill: broken" {
		t.Errorf("a part that failed = %v", err)
	}
	quiet := launch(t.Context(), "quiet", func(context.Context) error { return nil })
	if err := untilOver(t.Context(), well, quiet); err == nil || err.Error() != "quiet ended by itself" {
		t.Errorf("a part that ended = %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := untilOver(ctx, well); err != nil {
		t.Errorf("the end of the context = %v, want nil", err)
	}
}
