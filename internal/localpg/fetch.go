package localpg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"
)

// fetchable are the versions that can be fetched, by major; 0 is what a new cluster gets.
var fetchable = map[int]embeddedpostgres.PostgresVersion{
	0:  embeddedpostgres.V18,
	14: embeddedpostgres.V14,
	15: embeddedpostgres.V15,
	16: embeddedpostgres.V16,
	17: embeddedpostgres.V17,
	18: embeddedpostgres.V18,
}

type fetchPlan struct {
	major   int    // of the existing cluster, 0 if there is none
	mirror  string // "": TRUNKLINE_PG_MIRROR, else the library's own
	cache   string // "": by user
	old     []binaries
	account account
	log     *slog.Logger
}

// fetchBinaries returns binaries fetched earlier, or fetches them now.
func fetchBinaries(ctx context.Context, plan fetchPlan) (binaries, error) {
	version, ok := fetchable[plan.major]
	if !ok {
		return binaries{}, failf(ErrNoBinaries, "the data folder is of PostgreSQL %d, which was not found and cannot be fetched: install PostgreSQL %d",
			plan.major, plan.major)
	}
	if plan.cache == "" {
		var err error
		if plan.cache, err = fetchCache(plan.account); err != nil {
			return binaries{}, err
		}
	}
	place := filepath.Join(plan.cache, "postgresql-"+string(version))
	if found := searchBinaries(ctx, []string{filepath.Join(place, "bin")}, nil); len(found) > 0 {
		return found[0], nil
	}
	if plan.mirror == "" {
		plan.mirror = os.Getenv("TRUNKLINE_PG_MIRROR")
	}
	if err := os.MkdirAll(plan.cache, 0o755); err != nil {
		return binaries{}, inFolder(plan.cache, err)
	}
	plan.log.Info("fetching PostgreSQL, since none is installed", "version", string(version), "to", place)
	begin := time.Now()

	// The library's download heeds no context: let it run on, into a folder that it alone uses.
	done := make(chan error, 1)
	go func() { done <- download(plan.cache, place, version, plan.mirror) }()
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			if err != nil {
				return binaries{}, fetchFailure(plan, err)
			}
			found := searchBinaries(ctx, []string{filepath.Join(place, "bin")}, nil)
			if len(found) == 0 {
				_ = os.RemoveAll(place)
				return binaries{}, fetchFailure(plan, errors.New("the fetched programs do not run on this system"))
			}
			if !plan.account.reaches(found[0].dir) {
				return binaries{}, fetchFailure(plan, fmt.Errorf("user %s cannot reach %s", plan.account.name, found[0].dir))
			}
			plan.log.Info("fetched PostgreSQL", "version", string(version), "seconds", int(time.Since(begin).Seconds()))
			return found[0], nil
		case <-ctx.Done():
			return binaries{}, fmt.Errorf("fetch PostgreSQL: %w", ctx.Err())
		case <-tick.C:
			plan.log.Info("fetching PostgreSQL …", "seconds", int(time.Since(begin).Seconds()))
		}
	}
}

func fetchFailure(plan fetchPlan, err error) error {
	if errors.Is(err, ErrDiskFull) {
		return err
	}
	// The library's errors carry the cause as text only.
	if hint, kind := diagnose(err.Error(), plan.cache, 0); errors.Is(kind, ErrDiskFull) {
		return failf(ErrDiskFull, "fetch PostgreSQL: %s", hint)
	}
	what := "PostgreSQL was not found"
	if len(plan.old) > 0 {
		var names []string
		for _, b := range plan.old {
			names = append(names, fmt.Sprintf("%d in %s", b.major, b.dir))
		}
		what = fmt.Sprintf("only PostgreSQL %s was found, older than %d", strings.Join(names, ", "), minMajor)
	}
	hint := installHint()
	return failf(ErrNoBinaries, "%s and could not be fetched (%v): %s", what, err, hint)
}

// fetchCache is where fetched binaries are kept: within reach of the user that runs the server.
func fetchCache(acc account) (string, error) {
	if acc.switches {
		return systemDir, nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no folder for fetched PostgreSQL binaries: %w", err)
	}
	return filepath.Join(dir, "trunkline"), nil
}

// download has the library fetch and unpack the binaries, and moves them to place.
//
// The library fetches as part of starting a server. It is given a data folder that cannot be made, so that it fails
// right after unpacking: whether the programs are there decides, not its error.
func download(cache, place string, version embeddedpostgres.PostgresVersion, mirror string) (err error) {
	work, err := os.MkdirTemp(cache, ".fetch-")
	if err != nil {
		return inFolder(cache, err)
	}
	defer os.RemoveAll(work) //nolint:errcheck // best effort: it holds nothing that is looked for
	obstacle := filepath.Join(work, "obstacle")
	if err := os.WriteFile(obstacle, nil, 0o600); err != nil {
		return inFolder(cache, err)
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	unpacked := filepath.Join(work, "unpacked")
	cfg := embeddedpostgres.DefaultConfig().
		Version(version).
		Port(uint32(port)).
		CachePath(filepath.Join(work, "archive")).
		RuntimePath(filepath.Join(work, "runtime")).
		BinariesPath(unpacked).
		DataPath(filepath.Join(obstacle, "data")).
		Logger(io.Discard)
	if mirror != "" {
		cfg = cfg.BinaryRepositoryURL(strings.TrimRight(mirror, "/"))
	}
	logs := emptyLogs()
	server := embeddedpostgres.NewDatabase(cfg)
	errStart := server.Start()
	if errStart == nil {
		errStart = server.Stop()
	}
	for _, path := range emptyLogs() {
		if !slices.Contains(logs, path) {
			_ = os.Remove(path)
		}
	}
	if !completeDir(filepath.Join(unpacked, "bin")) {
		if errStart == nil {
			errStart = errors.New("the archive lacks initdb, postgres or pg_ctl")
		}
		return inFolder(cache, errStart)
	}
	if err := openToAll(unpacked); err != nil {
		return inFolder(cache, err)
	}
	if err := os.Rename(unpacked, place); err != nil && !completeDir(filepath.Join(place, "bin")) {
		// Left incomplete by hand or by an older version: ours alone to replace.
		if err := os.RemoveAll(place); err != nil {
			return inFolder(cache, err)
		}
		return inFolder(cache, os.Rename(unpacked, place))
	}
	return nil
}

// emptyLogs lists the temporary log files of the library, which it never removes.
func emptyLogs() []string {
	paths, _ := filepath.Glob(filepath.Join(os.TempDir(), "embedded_postgres_log*")) // fails for a malformed pattern only
	return slices.DeleteFunc(paths, func(path string) bool {
		info, err := os.Stat(path)
		return err != nil || info.Size() > 0
	})
}

// openToAll lets every user read and run what was unpacked, whatever our umask took away.
func openToAll(root string) error {
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Type()&fs.ModeSymlink != 0 {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		mode := info.Mode().Perm() | 0o444
		if entry.IsDir() || mode&0o100 != 0 {
			mode |= 0o111
		}
		return os.Chmod(path, mode) //nolint:gosec // a folder that nobody else writes to
	})
}
