package localpg

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
)

// Remove kills the server in dir, if one runs, and deletes the folder with all data. Errors: ErrInUse if a process uses
// the server (its own process too, until Stop or Release).
func Remove(ctx context.Context, dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("remove %s: %w", dir, err)
	}
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	starting, err := lockStart(ctx, dir, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer starting.release()
	use, err := openLock(filepath.Join(dir, "lock"))
	if err != nil {
		return inFolder(dir, err)
	}
	defer use.release()
	alone, err := use.upgrade()
	if err != nil {
		return inFolder(dir, err)
	}
	if !alone {
		return failf(ErrInUse, "%s is used by a process: stop that first", dir)
	}
	home, err := filepath.EvalSymlinks(filepath.Join(dir, "postgres"))
	if err == nil {
		data := filepath.Join(home, "data")
		if pid, _ := readPIDFile(data); pid != 0 && isPostmaster(pid, data) {
			if err := killTree(ctx, pid, data); err != nil {
				return err
			}
		}
		// Of what lies outside dir only the places that we choose ourselves are ours to delete.
		if strings.HasPrefix(home, systemDir+"/") {
			if err := os.RemoveAll(home); err != nil {
				return inFolder(home, err)
			}
		}
	}
	return inFolder(dir, os.RemoveAll(dir))
}
