package containers

import (
	"cmp"
	"context"
	"os"
	"testing"
	"time"

	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/wait"

	"github.com/mcphub-go/mcphub/store/storetest"
)

// requireDocker skips, with the reason on the test's own line, unless an engine answers.
// REQUIRE_DOCKER=1 turns the skip into a failure.
func requireDocker(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	p, err := testcontainers.NewDockerProvider()
	if err == nil {
		defer func() { _ = p.Close() }()
		err = p.Health(ctx)
	}
	if err != nil {
		if os.Getenv("REQUIRE_DOCKER") == "1" {
			t.Fatalf("REQUIRE_DOCKER=1 but no engine answers: %v", err)
		}
		t.Skipf("SKIPPED (no Docker engine): %v", err)
	}
}

// The store's contract on a Redis in a container.
func TestContractInAContainer(t *testing.T) {
	requireDocker(t)
	ctx := t.Context()
	image := cmp.Or(os.Getenv("TEST_REDIS_IMAGE"), "redis:7.4-alpine")
	c, err := testcontainers.Run(ctx, image,
		testcontainers.WithExposedPorts("6379/tcp"),
		testcontainers.WithWaitStrategy(wait.ForListeningPort("6379/tcp").WithStartupTimeout(time.Minute)))
	testcontainers.CleanupContainer(t, c)
	if err != nil {
		t.Fatalf("start %s: %v", image, err)
	}
	addr, err := c.PortEndpoint(ctx, "6379/tcp", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("image %s at %s", image, addr)
	storetest.Run(t, func(t *testing.T) storetest.Env { return storetest.Dial(t, "redis://"+addr) })
}
