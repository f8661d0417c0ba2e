package server

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/trunkline/trunkline/internal/pgtest"
)

func TestMain(m *testing.M) {
	// The realtime library starts one per node and has no way to stop it.
	pgtest.Main(m, goleak.IgnoreAnyFunction("github.com/FZambia/eagle.(*Eagle).aggregate"))
}
