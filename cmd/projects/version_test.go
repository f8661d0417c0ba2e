package main

import (
	"runtime"
	"strings"
	"testing"
)

func TestVersion(t *testing.T) {
	t.Parallel()
	if code, out, said := do(t, nil, "version"); code != exitOK || !strings.HasPrefix(out, "projects ") || !strings.Contains(out, runtime.Version()) {
		t.Errorf("exit code %d: %s%s", code, out, said)
	}
}
