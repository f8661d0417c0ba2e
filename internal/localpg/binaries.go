package localpg

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// minMajor is the oldest PostgreSQL that is supported.
const minMajor = 14

// binaries is a folder with initdb, postgres and pg_ctl, all of one major version.
type binaries struct {
	dir   string
	major int
}

func (b binaries) path(program string) string { return filepath.Join(b.dir, program) }

// FindBinaries looks for PostgreSQL 14 or newer: on the PATH, then where distributions put it, the newest first. It
// returns the folder of its programs and the major version. Errors: ErrNoBinaries.
func FindBinaries() (dir string, version int, err error) {
	b, err := pickBinaries(searchBinaries(context.Background(), searchDirs(), nil), 0, "")
	return b.dir, b.major, err
}

// chooseBinaries finds the binaries for a cluster of that major version (0: a new one), or fetches them.
func (s *Server) chooseBinaries(ctx context.Context, major int) (binaries, error) {
	dir := s.cfg.BinDir
	if dir == "" {
		dir = os.Getenv("TRUNKLINE_PG_BIN_DIR")
	}
	if dir != "" {
		dir, err := filepath.Abs(dir) // the programs run in another folder
		if err != nil {
			return binaries{}, fmt.Errorf("PostgreSQL in %s: %w", dir, err)
		}
		found := searchBinaries(ctx, []string{dir}, nil)
		if len(found) == 0 {
			return binaries{}, failf(ErrNoBinaries, "%s does not hold a PostgreSQL that runs (initdb, postgres and pg_ctl)", dir)
		}
		if !s.account.reaches(found[0].dir) {
			return binaries{}, failf(ErrNoBinaries, "user %s, as whom PostgreSQL runs, cannot reach %s: put it where all may read, or open the folders above it (chmod o+x)", s.account.name, found[0].dir)
		}
		return pickBinaries(found, major, s.data)
	}
	reachable := func(dir string) bool { return s.account.reaches(dir) }
	found := searchBinaries(ctx, searchDirs(), reachable)
	if slices.ContainsFunc(found, func(b binaries) bool { return b.major >= minMajor }) {
		return pickBinaries(found, major, s.data)
	}
	return fetchBinaries(ctx, fetchPlan{
		major: major, mirror: s.cfg.MirrorURL, cache: s.cfg.CacheDir, old: found, account: s.account, log: s.log,
	})
}

// pickBinaries takes the first of the found ones that suits a cluster of that major version in data (0: a new one).
func pickBinaries(found []binaries, major int, data string) (binaries, error) {
	var names []string
	for _, b := range found {
		if b.major >= minMajor && (major == 0 || b.major == major) {
			return b, nil
		}
		names = append(names, fmt.Sprintf("%d (%s)", b.major, b.dir))
	}
	switch {
	case major != 0 && len(found) > 0:
		return binaries{}, failf(ErrOtherMajor,
			"data folder %s is of PostgreSQL %d, the binaries found are of PostgreSQL %s: install PostgreSQL %d, or use another --data-dir, or move the data with pg_upgrade",
			data, major, strings.Join(names, ", "), major)
	case len(found) > 0:
		return binaries{}, failf(ErrNoBinaries, "Trunkline needs PostgreSQL %d or newer, found is %s: %s",
			minMajor, strings.Join(names, ", "), installHint())
	}
	return binaries{}, failf(ErrNoBinaries, "PostgreSQL was not found: %s", installHint())
}

// searchBinaries keeps, in order and once each, the folders that hold a PostgreSQL that runs; allowed may be nil.
func searchBinaries(ctx context.Context, dirs []string, allowed func(dir string) bool) []binaries {
	var found []binaries
	seen := map[string]bool{}
	for _, dir := range dirs {
		initdb, err := filepath.EvalSymlinks(filepath.Join(dir, "initdb"))
		if err != nil {
			continue
		}
		dir = filepath.Dir(initdb)
		if seen[dir] || (allowed != nil && !allowed(dir)) {
			continue
		}
		seen[dir] = true
		if !completeDir(dir) {
			continue
		}
		if major := majorOf(ctx, dir); major != 0 {
			found = append(found, binaries{dir, major})
		}
	}
	return found
}

// searchDirs lists where PostgreSQL may be, in order of preference.
func searchDirs() []string {
	var dirs []string
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		if filepath.IsAbs(dir) {
			dirs = append(dirs, dir)
		}
	}
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin",
		"/usr/pgsql-*/bin",
		"/opt/homebrew/opt/postgresql@*/bin",
		"/opt/homebrew/opt/postgresql/bin",
		"/usr/local/opt/postgresql@*/bin",
		"/usr/local/opt/postgresql/bin",
		"/Applications/Postgres.app/Contents/Versions/*/bin",
	} {
		matches, _ := filepath.Glob(pattern) // fails for a malformed pattern only
		slices.SortFunc(matches, func(a, b string) int { return numberIn(b) - numberIn(a) })
		dirs = append(dirs, matches...)
	}
	return dirs
}

var digits = regexp.MustCompile(`\d+`)

func numberIn(path string) int {
	n, _ := strconv.Atoi(digits.FindString(path))
	return n
}

func completeDir(dir string) bool {
	for _, program := range []string{"initdb", "postgres", "pg_ctl"} {
		info, err := os.Stat(filepath.Join(dir, program))
		if err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0 {
			return false
		}
	}
	return true
}

var versionText = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

// majorOf asks the postgres in dir for its major version; 0 if it does not say.
func majorOf(ctx context.Context, dir string) int {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()

	out, err := exec.CommandContext(ctx, filepath.Join(dir, "postgres"), "--version").Output()
	if err != nil {
		return 0
	}
	if m := versionText.FindSubmatch(out); m != nil {
		n, _ := strconv.Atoi(string(m[1]))
		return n
	}
	return 0
}

// clusterMajor reads the major version of the cluster in data; 0 if there is none yet.
func clusterMajor(data string) (int, error) {
	text, err := os.ReadFile(filepath.Join(data, "PG_VERSION"))
	if err == nil {
		major, _, _ := strings.Cut(strings.TrimSpace(string(text)), ".")
		n, err := strconv.Atoi(major)
		if err != nil {
			return 0, fmt.Errorf("%s does not hold a version: %w", filepath.Join(data, "PG_VERSION"), err)
		}
		return n, nil
	}
	entries, errDir := os.ReadDir(data)
	switch {
	case os.IsNotExist(errDir), errDir == nil && len(entries) == 0:
		return 0, nil
	case errDir != nil:
		return 0, inFolder(data, errDir)
	case os.IsNotExist(err):
		return 0, failf(nil, "%s is not empty, and no PostgreSQL cluster: move it away, or use another --data-dir", data)
	}
	return 0, inFolder(data, err)
}

// binariesOf says which binaries run the server on data, from what it noted down when it started.
func binariesOf(data string) binaries {
	text, err := os.ReadFile(filepath.Join(data, "postmaster.opts"))
	if err != nil {
		return binaries{}
	}
	// "/usr/lib/postgresql/17/bin/postgres" "-D" "…", without the quotes around the first on older versions
	line := strings.TrimPrefix(strings.TrimSpace(string(text)), `"`)
	program, _, ok := strings.Cut(line, `" "`)
	if i := strings.Index(line, ` "`); i >= 0 && (!ok || i < len(program)) {
		program = strings.TrimSuffix(line[:i], `"`)
	}
	dir := filepath.Dir(program)
	if !filepath.IsAbs(dir) || !completeDir(dir) {
		return binaries{}
	}
	major, _ := clusterMajor(data)
	return binaries{dir, major}
}

// installHint says how to get PostgreSQL on this system.
func installHint() string {
	if runtime.GOOS == "darwin" {
		return "install it with `brew install postgresql@17`, or name a server with --database-url"
	}
	switch {
	case exists("/etc/debian_version"):
		return "install it with `apt-get install postgresql`, or name a server with --database-url"
	case exists("/etc/redhat-release"):
		return "install it with `dnf install postgresql-server`, or name a server with --database-url"
	case exists("/etc/alpine-release"):
		return "install it with `apk add postgresql17`, or name a server with --database-url"
	}
	return "install it from https://www.postgresql.org/download/, or name a server with --database-url"
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
