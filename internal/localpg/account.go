package localpg

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// account is the user that runs the server: we ourselves, or, since PostgreSQL refuses root, an unprivileged one.
type account struct {
	name     string
	uid, gid int
	switches bool // we are root and become uid
}

func ownAccount() (account, error) {
	if uid := os.Geteuid(); uid != 0 {
		return account{name: "uid " + strconv.Itoa(uid), uid: uid, gid: os.Getegid()}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, errUID := strconv.Atoi(u.Uid)
		gid, errGID := strconv.Atoi(u.Gid)
		if errUID == nil && errGID == nil && uid > 0 {
			return account{name: name, uid: uid, gid: gid, switches: true}, nil
		}
	}
	return account{}, failf(nil, "PostgreSQL does not run as root, and this system has neither a user postgres nor nobody: run as another user")
}

// own gives the cluster folder to the account, or, where a cluster exists, makes the account its owner.
func (a *account) own(home string) error {
	folder := filepath.Join(home, "data")
	info, err := os.Stat(folder)
	if err != nil {
		folder = home
		if info, err = os.Stat(home); err != nil {
			return fmt.Errorf("cluster folder: %w", err)
		}
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	owner := int(stat.Uid)
	switch {
	case !a.switches && owner != a.uid:
		return failf(os.ErrPermission, "%s belongs to user id %d: run as that user, or use another --data-dir", folder, owner)
	case !a.switches:
		return nil
	case folder != home && owner != 0:
		a.uid, a.gid = owner, int(stat.Gid)
		if u, err := user.LookupId(strconv.Itoa(owner)); err == nil {
			a.name = u.Username
			// The group of a folder says nothing (it may be inherited from above); that of the user does.
			if gid, err := strconv.Atoi(u.Gid); err == nil {
				a.gid = gid
			}
		}
		return a.take(home)
	case folder != home:
		return failf(os.ErrPermission, "%s belongs to root, as whom PostgreSQL does not run: chown -R %s %s", folder, a.name, home)
	}
	return a.take(home)
}

// take gives the account the cluster folder itself, closed to others.
func (a *account) take(home string) error {
	if err := os.Chown(home, a.uid, a.gid); err != nil {
		return inFolder(home, fmt.Errorf("give the cluster folder to %s: %w", a.name, err))
	}
	if err := os.Chmod(home, 0o700); err != nil {
		return inFolder(home, err)
	}
	return nil
}

// enters reports whether the account may search folder, going by owner, group and others.
func (a account) enters(folder string) bool {
	info, err := os.Stat(folder)
	if err != nil || !info.IsDir() {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return true
	}
	switch mode := info.Mode().Perm(); {
	case int(stat.Uid) == a.uid:
		return mode&0o100 != 0
	case int(stat.Gid) == a.gid:
		return mode&0o010 != 0
	default:
		return mode&0o001 != 0
	}
}

// reaches reports whether the account may get through folder and all above it.
func (a account) reaches(folder string) bool {
	if !a.switches {
		return true
	}
	for ; ; folder = filepath.Dir(folder) {
		if !a.enters(folder) {
			return false
		}
		if folder == filepath.Dir(folder) {
			return true
		}
	}
}

// command runs a PostgreSQL program as the account, in its own session, so that neither a Ctrl-C in our terminal nor
// our end reaches the server it starts. dir becomes its working folder: ours may be closed to the account.
func (a account) command(ctx context.Context, dir, path string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = dir
	cmd.Env = environment(a.switches)
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if a.switches {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}
	}
	return cmd
}

// environment is ours without what would change how PostgreSQL behaves: its own variables, the locale (messages are
// read), systemd's notification socket (the server would report itself in our place), and, for another user, our home.
func environment(switches bool) []string {
	var env []string
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		if strings.HasPrefix(name, "PG") || strings.HasPrefix(name, "LC_") || name == "LANG" || name == "LANGUAGE" ||
			name == "NOTIFY_SOCKET" || (switches && (name == "HOME" || name == "TMPDIR")) {
			continue
		}
		env = append(env, kv)
	}
	return append(env, "LC_ALL=C")
}
