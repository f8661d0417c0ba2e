package server

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/trunkline/trunkline/internal/pgtest"
)

func TestMain(m *testing.M) {
	// The realtime library starts one per node and has no way to stop it.
	pgtest.Main(m, goleak.IgnoreAnyFunction("github.com/FZambia/eagle.(*Eagle).aggregate"),
		// It leaves a channel a second after its last client, and waits up to 5 s for clients to close their side.
		goleak.IgnoreAnyFunction("github.com/centrifugal/centrifuge.(*Node).removeSubscription.func1"),
		goleak.IgnoreAnyFunction("github.com/centrifugal/centrifuge.(*WebsocketHandler).ServeHTTP.func2"),
	)
}
