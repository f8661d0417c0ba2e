package demo

import (
	"testing"

	"github.com/trunkline/trunkline/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }
