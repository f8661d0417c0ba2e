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
		// The SDK waits for an answer as long as it was told to, though its connection is gone.
		goleak.IgnoreAnyFunction("github.com/centrifugal/centrifuge-go.(*Client).sendAsync.func1"),
	)
}
