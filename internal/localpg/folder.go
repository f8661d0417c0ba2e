package localpg

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// systemDir takes the clusters of root whose data folder the server's user cannot reach, and what root fetches.
const systemDir = "/var/lib/trunkline"

// DefaultDir is where a private cluster lives unless told otherwise: $XDG_DATA_HOME/trunkline, else
// ~/.local/share/trunkline.
func DefaultDir() (string, error) {
	if base := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(base) {
		return filepath.Join(base, "trunkline"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("no data folder by default (use --data-dir): %w", err)
	}
	return filepath.Join(home, ".local", "share", "trunkline"), nil
}

// ReadURL reads how to connect to the server in dir. Errors: ErrNotRunning if none is known to run there.
func ReadURL(dir string) (string, error) {
	path := filepath.Join(dir, "url")
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return "", failf(ErrNotRunning, "no Trunkline runs with the data folder %s: start `trunkline serve` first, or name a database with --database-url", dir)
	case errors.Is(err, os.ErrPermission):
		return "", failf(err, "%s can only be read by the user that runs `trunkline serve`: run as that user, or name a database with --database-url", path)
	case err != nil:
		return "", fmt.Errorf("how to connect: %w", err)
	}
	url := strings.TrimSpace(string(text))
	if url == "" {
		return "", failf(ErrNotRunning, "%s is empty: start `trunkline serve` to write it anew", path)
	}
	return url, nil
}

// makeDir makes the data folder. Root's can be searched by others, since the server's user must get through it; all
// files in it are closed to them.
func makeDir(dir string) error {
	mode := os.FileMode(0o700)
	if os.Geteuid() == 0 {
		mode = 0o711
	}
	if err := os.MkdirAll(dir, mode); err != nil {
		return inFolder(dir, fmt.Errorf("data folder: %w", err))
	}
	return nil
}

// makeHome makes the folder of the cluster below dir, gives it to the server's user, and returns it with symlinks
// resolved. If it holds a cluster already, acc becomes the owner of that.
func makeHome(dir string, acc *account, log *slog.Logger) (string, error) {
	link := filepath.Join(dir, "postgres")
	home := link
	if target, err := os.Readlink(link); err == nil {
		if home = target; !filepath.IsAbs(home) {
			home = filepath.Join(dir, home)
		}
	} else if acc.switches {
		if err := openDir(dir, *acc); err != nil {
			return "", err
		}
		if !exists(link) {
			home = placeHome(dir, systemDir, acc.enters)
		}
	}
	if home != link && !exists(link) {
		if err := os.MkdirAll(filepath.Dir(home), 0o755); err != nil {
			return "", inFolder(filepath.Dir(home), err)
		}
		if _, err := os.Lstat(link); errors.Is(err, os.ErrNotExist) {
			log.Info("the cluster lives elsewhere, since the user that runs PostgreSQL cannot reach the data folder",
				"dir", dir, "cluster", home, "user", acc.name)
			if err := os.Symlink(home, link); err != nil {
				return "", inFolder(dir, err)
			}
		}
	}
	if err := os.MkdirAll(home, 0o700); err != nil {
		return "", inFolder(filepath.Dir(home), fmt.Errorf("cluster folder: %w", err))
	}
	home, err := filepath.EvalSymlinks(home)
	if err != nil {
		return "", fmt.Errorf("cluster folder: %w", err)
	}
	if err := acc.own(home); err != nil {
		return "", err
	}
	if !acc.reaches(home) {
		return "", failf(os.ErrPermission, "user %s, as whom PostgreSQL runs, cannot reach %s: open the folders above it (chmod o+x), or use another --data-dir", acc.name, home)
	}
	return home, nil
}

// placeHome decides where the cluster of dir lives: below dir if the server's user can enter dir and all above it, else
// in system under a name of its own. It asks enter about each folder and touches nothing.
func placeHome(dir, system string, enter func(folder string) bool) string {
	for folder := dir; ; folder = filepath.Dir(folder) {
		if !enter(folder) {
			sum := sha256.Sum256([]byte(dir))
			return filepath.Join(system, filepath.Base(dir)+"-"+hex.EncodeToString(sum[:4]))
		}
		if folder == filepath.Dir(folder) {
			return filepath.Join(dir, "postgres")
		}
	}
}

// openDir lets the server's user through dir if dir is ours to open.
func openDir(dir string, acc account) error {
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if acc.enters(dir) || !ok || int(stat.Uid) != os.Geteuid() {
		return nil
	}
	if err := os.Chmod(dir, info.Mode().Perm()|0o011); err != nil {
		return inFolder(dir, err)
	}
	return nil
}

// writeFile replaces path in one step, mode 0600: a reader sees the old text or the new one.
func writeFile(path, text string) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return inFolder(filepath.Dir(path), err)
	}
	_, err = f.WriteString(text)
	if e := f.Sync(); err == nil {
		err = e
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return inFolder(filepath.Dir(path), fmt.Errorf("write %s: %w", path, err))
	}
	return nil
}
