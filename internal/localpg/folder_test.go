package localpg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

func TestPlaceHome(t *testing.T) {
	for _, c := range []struct {
		name, dir string
		closed    []string
		want      string
	}{
		{"within reach", "/srv/app/data", nil, "/srv/app/data/postgres"},
		{"ancestor closed", "/root/app/data", []string{"/root"}, "/var/lib/trunkline/data-ba010c3e"},
		{"folder closed", "/srv/data", []string{"/srv/data"}, "/var/lib/trunkline/data-96b53e47"},
	} {
		t.Run(c.name, func(t *testing.T) {
			asked := map[string]bool{}
			got := placeHome(c.dir, "/var/lib/trunkline", func(folder string) bool {
				asked[folder] = true
				for _, closed := range c.closed {
					if folder == closed {
						return false
					}
				}
				return true
			})
			if got != c.want {
				t.Errorf("placeHome(%s) = %s, want %s", c.dir, got, c.want)
			}
			if !asked[c.dir] {
				t.Error("the folder itself was not asked about")
			}
		})
	}
}

func TestEnters(t *testing.T) {
	dir := folder(t)
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	stat := info.Sys().(*syscall.Stat_t)
	owner, group, other := account{uid: int(stat.Uid), gid: -1}, account{uid: -1, gid: int(stat.Gid)}, account{uid: -1, gid: -1}
	for _, c := range []struct {
		mode                os.FileMode
		owner, group, other bool
	}{
		{0o700, true, false, false},
		{0o711, true, true, true},
		{0o701, true, false, true}, // a member of the group does not count among the others
		{0o710, true, true, false},
		{0o644, false, false, false},
	} {
		if err := os.Chmod(dir, c.mode); err != nil {
			t.Fatal(err)
		}
		if owner.enters(dir) != c.owner || group.enters(dir) != c.group || other.enters(dir) != c.other {
			t.Errorf("mode %o: owner %v, group %v, other %v; want %v, %v, %v", c.mode,
				owner.enters(dir), group.enters(dir), other.enters(dir), c.owner, c.group, c.other)
		}
	}
	if owner.enters(filepath.Join(dir, "missing")) {
		t.Error("a missing folder can be entered")
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("root alone runs the server as another user")
	}
}

func TestRootBelowAClosedFolder(t *testing.T) {
	needRoot(t)
	above := folder(t)
	if err := os.Chmod(above, 0o700); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(above, "cluster")
	t.Cleanup(func() {
		if err := Remove(context.Background(), dir); err != nil {
			t.Error(err)
		}
	})
	server := start(t, Config{Dir: dir})
	if !strings.HasPrefix(server.DataDir(), systemDir+"/cluster-") {
		t.Errorf("data in %s, want it in %s", server.DataDir(), systemDir)
	}
	query(t, server.URL(), "CREATE TABLE kept AS SELECT 'still here' AS text")
	stop(t, server)
	server = start(t, Config{Dir: dir})
	if got := query(t, server.URL(), "SELECT text FROM kept"); got != "still here" {
		t.Errorf("row = %q", got)
	}
	if err := server.Release(); err != nil {
		t.Fatal(err)
	}
	if err := Remove(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	if exists(server.home) || exists(dir) {
		t.Error("Remove left the cluster behind")
	}
}

// TestRootTakesTheClusterOfAUser starts, as root, the cluster that a plain user made, and as that user once more.
func TestRootTakesTheClusterOfAUser(t *testing.T) {
	needRoot(t)
	daemon, err := user.Lookup("daemon") // neither postgres nor nobody
	if err != nil {
		t.Fatal(err)
	}
	uid, err := strconv.Atoi(daemon.Uid)
	if err != nil {
		t.Fatal(err)
	}
	above := folder(t)
	if err := os.Chown(above, uid, uid); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(above, "cluster")
	// The test program may lie where only root can go.
	text, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(above, "helper")
	if err := os.WriteFile(program, text, 0o755); err != nil {
		t.Fatal(err)
	}
	asUser := func() {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), program) // its standard input is empty: it ends once it has started the server
		cmd.Dir = above
		cmd.Env = append(os.Environ(), helperDir+"="+dir, "HOME="+above)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
		if out, err := cmd.CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "started") {
			t.Fatalf("as user: %v\n%s", err, out)
		}
	}
	asUser()
	server := start(t, Config{Dir: dir})
	if !server.Adopted() || server.account.uid != uid {
		t.Errorf("adopted %v as user %d, want the server of %d", server.Adopted(), server.account.uid, uid)
	}
	stop(t, server)
	server = start(t, Config{Dir: dir})
	if server.account.uid != uid {
		t.Errorf("runs as user %d, want the owner of the data, %d", server.account.uid, uid)
	}
	stop(t, server)
	asUser()
	if err := Remove(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
}

func TestDiskFull(t *testing.T) {
	dir := folder(t)
	mounted := filepath.Join(dir, "small")
	if err := os.Mkdir(mounted, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := mountSmall(t, mounted); err != nil {
		t.Skipf("no small disk here, TestFailuresNameTheirCause has to do: %v", err)
	}
	_, err := Start(t.Context(), Config{Dir: filepath.Join(mounted, "data"), Settings: quick()})
	if !errors.Is(err, ErrDiskFull) || !strings.Contains(err.Error(), mounted) || !strings.Contains(err.Error(), "free some space") {
		t.Errorf("start on a full disk: %v, want ErrDiskFull that names the folder", err)
	}
	if rest, _ := filepath.Glob(filepath.Join(mounted, "data", "postgres", initPrefix+"*")); len(rest) != 0 {
		t.Errorf("left of the init: %v", rest)
	}
	if err := os.WriteFile(filepath.Join(mounted, "ballast"), make([]byte, 4<<20), 0o600); err == nil {
		t.Fatal("the disk is not full")
	}
	if err := writeFile(filepath.Join(mounted, "file"), strings.Repeat("x", 1<<16)); !errors.Is(err, ErrDiskFull) {
		t.Errorf("writeFile: %v, want ErrDiskFull", err)
	}
}

func mountSmall(t *testing.T, dir string) error {
	t.Helper()
	if os.Geteuid() != 0 {
		return errors.New("only root may mount")
	}
	out, err := exec.CommandContext(t.Context(), "mount", "-t", "tmpfs", "-o", "size=2m,mode=755", "tmpfs", dir).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	return nil
}

func TestFailuresNameTheirCause(t *testing.T) {
	for _, c := range []struct {
		output string
		kind   error
		hint   string
	}{
		{"initdb: error: could not write file \"/d/PG_VERSION\": No space left on device", ErrDiskFull, "/d is full"},
		{"LOG:  could not bind IPv4 address \"127.0.0.1\": Address already in use", ErrPortTaken, "port 5555"},
		{"FATAL:  database files are incompatible with server", ErrOtherMajor, "another PostgreSQL version"},
		{"FATAL:  data directory \"/d\" has wrong ownership", nil, "chown"},
		{"FATAL:  data directory \"/d\" has invalid permissions", nil, "0700"},
		{"FATAL:  could not map anonymous shared memory: Cannot allocate memory", nil, "shared_buffers"},
		{"initdb: error: cannot be run as root", nil, "another user"},
		{"postgres: could not access directory \"/d\": Permission denied", nil, "may not read or write"},
	} {
		err := serverFailure("start PostgreSQL", "first\n"+c.output, "/d", 5555, errors.New("exit status 1"))
		if c.kind != nil && !errors.Is(err, c.kind) {
			t.Errorf("%s: not %v", c.output, c.kind)
		}
		if !strings.Contains(err.Error(), c.hint) || !strings.Contains(err.Error(), c.output) {
			t.Errorf("%s: told as %q, want the hint %q and the output", c.output, err, c.hint)
		}
	}
	for cause, kind := range map[error]error{
		syscall.ENOSPC: ErrDiskFull, syscall.EDQUOT: ErrDiskFull, syscall.EACCES: os.ErrPermission, syscall.EROFS: syscall.EROFS,
	} {
		err := inFolder("/some/folder", &os.PathError{Op: "open", Path: "/some/folder/url", Err: cause})
		if !errors.Is(err, kind) || !strings.Contains(err.Error(), "/some/folder") {
			t.Errorf("%v: told as %v", cause, err)
		}
	}
}

func TestDefaultDir(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", "/data/home")
	if dir, err := DefaultDir(); err != nil || dir != "/data/home/trunkline" {
		t.Errorf("with XDG_DATA_HOME: %s, %v", dir, err)
	}
	t.Setenv("XDG_DATA_HOME", "not/absolute")
	t.Setenv("HOME", "/home/me")
	if dir, err := DefaultDir(); err != nil || dir != "/home/me/.local/share/trunkline" {
		t.Errorf("without: %s, %v", dir, err)
	}
}
