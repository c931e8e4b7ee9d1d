package store_test

import (
	"testing"

	"github.com/mcphub-go/mcphub/store/storetest"
)

func TestContractOnMiniredis(t *testing.T) {
	storetest.Run(t, storetest.Miniredis)
}

func TestContractOnRedisServer(t *testing.T) {
	server := storetest.StartServer(t)
	storetest.Run(t, func(t *testing.T) storetest.Env { return storetest.Dial(t, server.URL()) })
}

// The whole contract on three primaries proves that no script crosses a slot.
func TestContractOnCluster(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED (-short): Redis Cluster")
	}
	url, _ := storetest.StartCluster(t)
	storetest.Run(t, func(t *testing.T) storetest.Env { return storetest.Dial(t, url) })
}
