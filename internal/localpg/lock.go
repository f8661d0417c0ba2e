package localpg

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// fileLock is an flock. It goes with the process however that ends, and the server does not inherit it (O_CLOEXEC).
//
// Lock order: start.lock before lock.
type fileLock struct{ file *os.File }

func openLock(path string) (*fileLock, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	return &fileLock{f}, nil
}

func (l *fileLock) flock(how int) error {
	for {
		err := syscall.Flock(int(l.file.Fd()), how)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// try locks without waiting and reports whether it did.
//
// A program that this process is just starting holds copies of its files for the moment between fork and exec: a lock that was
// given up then counts as held, for as long as the machine takes. Go's fork lock tells when that is over.
func (l *fileLock) try(how int) (bool, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	err := l.flock(how | syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}

// upgrade turns a shared lock into an exclusive one if nobody else holds one. If it reports false, the shared lock may
// be lost: flock drops it first.
//
// A program that another process is just starting may hold a copy of it, see try, so it tries again for a little while.
func (l *fileLock) upgrade() (bool, error) {
	for attempt := 0; ; attempt++ {
		got, err := l.try(syscall.LOCK_EX)
		if got || err != nil || attempt == 10 {
			return got, err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// isAt reports whether path is still the file that is locked, and not another in its place.
func (l *fileLock) isAt(path string) bool {
	there, err := os.Stat(path)
	if err != nil {
		return false
	}
	locked, err := l.file.Stat()
	return err == nil && os.SameFile(there, locked)
}

func (l *fileLock) release() { _ = l.file.Close() }

func lockShared(path string) (*fileLock, error) {
	l, err := openLock(path)
	if err != nil {
		return nil, err
	}
	// It blocks for no longer than Stop and Remove hold it, who take start.lock before.
	if err := l.flock(syscall.LOCK_SH); err != nil {
		l.release()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return l, nil
}

// InUse reports whether a process uses the server in dir, or is about to start it.
func InUse(dir string) bool {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR, 0)
	if err != nil {
		return false
	}
	l := &fileLock{f}
	defer l.release()
	alone, err := l.upgrade()
	return err == nil && !alone
}

// lockStart waits until no other process starts or stops the server in dir.
func lockStart(ctx context.Context, dir string, log *slog.Logger) (*fileLock, error) {
	path := filepath.Join(dir, "start.lock")
	l, err := openLock(path)
	if err != nil {
		return nil, inFolder(dir, err)
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	notice := time.After(2 * time.Second)
	for {
		got, err := l.try(syscall.LOCK_EX)
		if err != nil {
			l.release()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if got {
			return l, nil
		}
		select {
		case <-ctx.Done():
			l.release()
			return nil, fmt.Errorf("waiting for another process that starts or stops PostgreSQL in %s: %w", dir, ctx.Err())
		case <-notice:
			log.Info("waiting: another process starts or stops PostgreSQL in this folder", "dir", dir)
		case <-tick.C:
		}
	}
}
