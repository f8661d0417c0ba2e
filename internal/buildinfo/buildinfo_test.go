package buildinfo_test

import (
	"runtime"
	"testing"

	"github.com/trunkline/trunkline/internal/buildinfo"
)

func TestString(t *testing.T) {
	t.Parallel()
	for want, b := range map[string]buildinfo.Info{
		"unknown":                         {Version: "unknown"},
		"v1.2.3 (0123456789ab)":           {Version: "v1.2.3", Revision: "0123456789abcdef0123"},
		"(devel) (0123, modified)":        {Version: "(devel)", Revision: "0123", Modified: true},
		"v1.2.3 (0123456789ab, modified)": {Version: "v1.2.3", Revision: "0123456789ab", Modified: true},
	} {
		if got := b.String(); got != want {
			t.Errorf("%q instead of %q", got, want)
		}
	}
}

func TestRead(t *testing.T) {
	t.Parallel()
	if b := buildinfo.Read(); b.Version == "" || b.Go != runtime.Version() || b.Platform != runtime.GOOS+"/"+runtime.GOARCH {
		t.Errorf("%+v", b)
	}
}
