package e2e

import (
	"os"
	"testing"

	"github.com/mcphub-go/mcphub/e2e/harness"
)

func TestMain(m *testing.M) {
	os.Exit(harness.Main(func() int {
		defer func() {
			if dir, err := ledgers(); err == nil {
				_ = os.RemoveAll(dir)
			}
		}()
		return m.Run()
	}))
}

// long skips a test of whole processes under -short.
func long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("SKIPPED: starts processes (-short)")
	}
}
