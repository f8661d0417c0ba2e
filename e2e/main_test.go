package e2e

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trunkline/trunkline/internal/pgtest"
)

func TestMain(m *testing.M) {
	flag.Parse()
	// They mostly wait for one another's processes: more at once than there are processors.
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	pgtest.Main(m)
}

// patience bounds every wait. It is for a machine that is busy with other things; what is waited for takes milliseconds.
const patience = 90 * time.Second

// trunkline builds the program once and returns its path.
var trunkline = sync.OnceValues(func() (string, error) {
	// go test believes a former result as long as the files that the tests looked at are the same. It doesn't see those that
	// another process makes the program of.
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := entry.Name(); entry.IsDir() && path != ".." && (strings.HasPrefix(name, ".") || name == "node_modules" || name == "bin") {
			return fs.SkipDir
		}
		switch filepath.Ext(path) {
		case ".go", ".sql", ".mod", ".sum":
			_, err = os.Stat(path)
		}
		return err
	})
	if err != nil {
		return "", err
	}
	path, err := filepath.Abs("../bin/trunkline-e2e")
	if err != nil {
		return "", err
	}
	build := exec.Command("go", "build", "-o", path, "../cmd/trunkline")
	if output, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, output)
	}
	return path, nil
})

// need returns the path of a program that the tests can't do without. Leaving them out would look as if they had passed.
func need(t testing.TB, names ...string) string {
	t.Helper()
	for _, name := range names {
		for _, candidate := range []string{name, "/usr/sbin/" + name, "/Applications/Chromium.app/Contents/MacOS/" + name} {
			if path, err := exec.LookPath(candidate); err == nil {
				return path
			}
		}
	}
	t.Fatalf("%s is not installed: `make test` installs it, or says what to install", names[0])
	return ""
}

// needModules makes sure that the clients' packages are there.
func needModules(t testing.TB) {
	t.Helper()
	if _, err := os.Stat("node_modules/centrifuge/dist/centrifuge.js"); err != nil {
		t.Fatal("e2e/node_modules is not complete: `make test` installs it, and so does `npm ci` in e2e")
	}
}
