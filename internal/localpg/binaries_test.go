package localpg

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// fakeBinaries writes a folder whose postgres claims to be of that version.
func fakeBinaries(t *testing.T, dir, version string) string {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"initdb", "pg_ctl", "postgres"} {
		text := fmt.Sprintf("#!/bin/sh\necho '%s (PostgreSQL) %s'\n", name, version)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestSearchBinaries(t *testing.T) {
	dir := folder(t)
	fourteen := fakeBinaries(t, filepath.Join(dir, "14"), "14.23")
	beta := fakeBinaries(t, filepath.Join(dir, "19"), "19beta1 (Debian 19~beta1)")
	old := fakeBinaries(t, filepath.Join(dir, "12"), "12.22")
	partial := fakeBinaries(t, filepath.Join(dir, "partial"), "17.1")
	if err := os.Remove(filepath.Join(partial, "pg_ctl")); err != nil {
		t.Fatal(err)
	}
	linked := filepath.Join(dir, "linked")
	if err := os.Mkdir(linked, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(fourteen, "initdb"), filepath.Join(linked, "initdb")); err != nil {
		t.Fatal(err)
	}
	found := searchBinaries(t.Context(), []string{partial, old, linked, fourteen, beta, filepath.Join(dir, "missing")}, nil)
	if want := "[{" + old + " 12} {" + fourteen + " 14} {" + beta + " 19}]"; fmt.Sprint(found) != want {
		t.Errorf("found %v, want %v", found, want)
	}

	for _, c := range []struct {
		major int
		want  int
		kind  error
		text  string
	}{
		{0, 14, nil, ""},
		{19, 19, nil, ""},
		{17, 0, ErrOtherMajor, "install PostgreSQL 17"},
	} {
		b, err := pickBinaries(found, c.major, "/the/data")
		if b.major != c.want || !errors.Is(err, c.kind) || (err != nil && !strings.Contains(err.Error(), c.text)) {
			t.Errorf("for a cluster of %d: %v, %v", c.major, b, err)
		}
	}
	if _, err := pickBinaries(found[:1], 0, ""); !errors.Is(err, ErrNoBinaries) || !strings.Contains(err.Error(), "12 ("+old+")") {
		t.Errorf("with an old one alone: %v, want it named", err)
	}
	if _, err := pickBinaries(nil, 0, ""); !errors.Is(err, ErrNoBinaries) || !strings.Contains(err.Error(), "install it") {
		t.Errorf("with none: %v", err)
	}
	if refused := searchBinaries(t.Context(), []string{fourteen}, func(string) bool { return false }); len(refused) != 0 {
		t.Errorf("an unreachable folder was taken: %v", refused)
	}
}

func TestFindBinariesResolvesThePath(t *testing.T) {
	dir := folder(t)
	target := fakeBinaries(t, filepath.Join(dir, "real"), "17.10")
	links := filepath.Join(dir, "links")
	if err := os.Mkdir(links, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(target, "initdb"), filepath.Join(links, "initdb")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", "relative"+string(filepath.ListSeparator)+links)
	if got, major, err := FindBinaries(); got != target || major != 17 || err != nil {
		t.Errorf("FindBinaries = %s, %d, %v, want %s, 17", got, major, err, target)
	}
}

func TestBinDirMustHoldPostgreSQL(t *testing.T) {
	t.Setenv("TRUNKLINE_PG_BIN_DIR", folder(t))
	if _, err := Start(t.Context(), Config{Dir: clusterDir(t)}); !errors.Is(err, ErrNoBinaries) || !strings.Contains(err.Error(), os.Getenv("TRUNKLINE_PG_BIN_DIR")) {
		t.Errorf("start with an empty TRUNKLINE_PG_BIN_DIR: %v, want ErrNoBinaries that names it", err)
	}
}

func TestBinariesOf(t *testing.T) {
	dir := folder(t)
	bin := fakeBinaries(t, filepath.Join(dir, "with space"), "17.10")
	if err := os.WriteFile(filepath.Join(dir, "PG_VERSION"), []byte("17\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, opts := range []string{
		`"` + bin + `/postgres" "-D" "/d" "-p" "5432"`,
		bin + `/postgres "-D" "/d" "-p" "5432"`,
		bin + `/postgres`,
	} {
		if err := os.WriteFile(filepath.Join(dir, "postmaster.opts"), []byte(opts+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := binariesOf(dir); got.dir != bin || got.major != 17 {
			t.Errorf("%s: %v, want %s", opts, got, bin)
		}
	}
}

// mirror serves an archive of the given bin folder as Maven Central does, and counts what is asked for.
func mirror(t *testing.T, bin string, spoil bool) (url string, requests *int) {
	t.Helper()
	if _, err := exec.LookPath("xz"); err != nil {
		t.Fatal("this test needs xz: apt-get install xz-utils, or brew install xz")
	}
	work := folder(t)
	archive := filepath.Join(work, "postgres.txz")
	out, err := exec.CommandContext(t.Context(), "tar", "-C", filepath.Dir(bin), "-cJf", archive, filepath.Base(bin)).CombinedOutput()
	if err != nil {
		t.Fatalf("tar: %v: %s", err, out)
	}
	text, err := os.ReadFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	var jar bytes.Buffer
	z := zip.NewWriter(&jar)
	w, err := z.Create("postgres-any.txz")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(jar.Bytes())
	if spoil {
		sum[0]++
	}
	requests = new(int)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*requests++
		if !strings.HasPrefix(r.URL.Path, "/maven/io/zonky/test/postgres/embedded-postgres-binaries-") {
			http.NotFound(w, r)
			return
		}
		if strings.HasSuffix(r.URL.Path, ".sha256") {
			_, _ = w.Write([]byte(hex.EncodeToString(sum[:])))
			return
		}
		_, _ = w.Write(jar.Bytes())
	}))
	t.Cleanup(server.Close)
	t.Cleanup(http.DefaultClient.CloseIdleConnections) // the library's
	return server.URL + "/maven/", requests
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func fetch(t *testing.T, ctx context.Context, mirror, cache string, old ...binaries) (binaries, error) {
	t.Helper()
	acc, err := ownAccount()
	if err != nil {
		t.Fatal(err)
	}
	return fetchBinaries(ctx, fetchPlan{mirror: mirror, cache: cache, old: old, account: acc, log: discard()})
}

func TestFetch(t *testing.T) {
	bin := fakeBinaries(t, filepath.Join(folder(t), "bin"), "18.3")
	url, requests := mirror(t, bin, false)
	cache := filepath.Join(folder(t), "cache")
	t.Setenv("TMPDIR", folder(t))
	got, err := fetch(t, t.Context(), url, cache)
	if err != nil {
		t.Fatal(err)
	}
	if got.major != 18 || got.dir != filepath.Join(cache, "postgresql-18.3.0", "bin") {
		t.Errorf("fetched %v", got)
	}
	once := *requests
	if again, err := fetch(t, t.Context(), url, cache); err != nil || again != got || *requests != once {
		t.Errorf("a second time: %v, %v, %d requests more", again, err, *requests-once)
	}
	entries, err := os.ReadDir(cache)
	if err != nil || len(entries) != 1 {
		t.Errorf("the cache holds %v, %v, want the programs alone", entries, err)
	}
	if rest, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(rest) != 0 {
		t.Errorf("temporary files stay behind: %v, %v", rest, err)
	}
}

// TestFetchedServerRuns fetches, from an archive of the installed PostgreSQL, programs that find their files where they
// were installed, and makes a cluster with them.
func TestFetchedServerRuns(t *testing.T) {
	dir, major, err := FindBinaries()
	if err != nil {
		t.Fatal(err)
	}
	wrappers := filepath.Join(folder(t), "bin")
	if err := os.Mkdir(wrappers, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"initdb", "pg_ctl", "postgres"} {
		text := fmt.Sprintf("#!/bin/sh\nexec '%s/%s' \"$@\"\n", dir, name)
		if err := os.WriteFile(filepath.Join(wrappers, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	url, _ := mirror(t, wrappers, false)
	acc, err := ownAccount()
	if err != nil {
		t.Fatal(err)
	}
	b, err := fetchBinaries(t.Context(), fetchPlan{mirror: url, cache: filepath.Join(folder(t), "cache"), account: acc, log: discard()})
	if err != nil || b.major != major {
		t.Fatalf("fetched %v, %v", b, err)
	}
	server := start(t, Config{Dir: clusterDir(t), BinDir: b.dir})
	query(t, server.URL(), "SELECT 'ok'")
	stop(t, server)
}

func TestFetchFails(t *testing.T) {
	good := fakeBinaries(t, filepath.Join(folder(t), "bin"), "18.3")
	spoilt, _ := mirror(t, good, true)
	partial := fakeBinaries(t, filepath.Join(folder(t), "bin"), "18.3")
	if err := os.Remove(filepath.Join(partial, "initdb")); err != nil {
		t.Fatal(err)
	}
	lacking, _ := mirror(t, partial, false)
	for name, url := range map[string]string{
		"checksum": spoilt, "incomplete archive": lacking, "nothing there": strings.TrimSuffix(spoilt, "/maven/"), "no server": "http://127.0.0.1:1",
	} {
		cache := filepath.Join(folder(t), "cache")
		_, err := fetch(t, t.Context(), url, cache, binaries{"/opt/pg12/bin", 12})
		if !errors.Is(err, ErrNoBinaries) || !strings.Contains(err.Error(), "install it") || !strings.Contains(err.Error(), "12 in /opt/pg12/bin") {
			t.Errorf("%s: %v, want ErrNoBinaries that says what to install", name, err)
		}
		if rest, err := os.ReadDir(cache); err != nil || len(rest) != 0 {
			t.Errorf("%s: left in the cache: %v, %v", name, rest, err)
		}
	}
}

func TestFetchHeedsItsContext(t *testing.T) {
	asked, release, ended := make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked <- struct{}{}
		<-release
		w.WriteHeader(http.StatusNotFound)
		close(ended)
	}))
	t.Cleanup(server.Close)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-asked
		cancel()
	}()
	if _, err := fetch(t, ctx, server.URL, filepath.Join(folder(t), "cache")); !errors.Is(err, context.Canceled) {
		t.Errorf("fetch: %v, want context.Canceled", err)
	}
	close(release)
	<-ended
}
