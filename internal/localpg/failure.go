package localpg

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
)

var (
	// ErrNoBinaries means that no PostgreSQL of a supported version was found, and none could be fetched.
	ErrNoBinaries = errors.New("no PostgreSQL")
	// ErrOtherMajor means that the data folder belongs to another major version than the binaries.
	ErrOtherMajor = errors.New("data folder of another PostgreSQL version")
	// ErrPortTaken means that another program listens on the wanted port.
	ErrPortTaken = errors.New("port taken")
	// ErrDiskFull means that the disk of the data folder has no space left.
	ErrDiskFull = errors.New("disk full")
	// ErrNotRunning means that no server is known to run in the folder.
	ErrNotRunning = errors.New("no server in this folder")
	// ErrInUse means that a process uses the server.
	ErrInUse = errors.New("server in use")
)

// failure is an error that says what to do next. Its kind, one of the Err values or nil, is found by errors.Is.
type failure struct {
	kind error
	text string
}

func (f *failure) Error() string { return f.text }
func (f *failure) Unwrap() error { return f.kind }

func failf(kind error, format string, args ...any) error {
	return &failure{kind: kind, text: fmt.Sprintf(format, args...)}
}

// inFolder says what is to be done about err, which came from writing in folder.
func inFolder(folder string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return failf(ErrDiskFull, "the disk that holds %s is full: free some space on it and start again (%v)", folder, err)
	case errors.Is(err, syscall.EROFS):
		return failf(err, "the disk that holds %s can only be read: use another --data-dir (%v)", folder, err)
	case errors.Is(err, os.ErrPermission):
		return failf(err, "this user may not write in %s: run as its owner, or use another --data-dir (%v)", folder, err)
	}
	return err
}

// diagnose turns what initdb, pg_ctl or the server wrote into a sentence for a person, and the kind of failure; an
// unknown cause gives "", nil.
func diagnose(output, data string, port int) (hint string, kind error) {
	has := func(parts ...string) bool {
		for _, p := range parts {
			if strings.Contains(output, p) {
				return true
			}
		}
		return false
	}
	switch {
	case has("No space left on device", "Disk quota exceeded"):
		return fmt.Sprintf("the disk that holds %s is full: free some space on it and start again", data), ErrDiskFull
	case has("Address already in use", "could not bind IPv4 address"):
		return fmt.Sprintf("port %d of 127.0.0.1 is taken by another program: stop it (`lsof -i :%d` names it) or choose another port", port, port), ErrPortTaken
	case has("database files are incompatible with server", "is not compatible with this version"):
		return fmt.Sprintf("%s is of another PostgreSQL version: use the binaries of that version, or another --data-dir", data), ErrOtherMajor
	case has("has wrong ownership", "has invalid permissions", "has group or world access"):
		return fmt.Sprintf("%s must belong to the user that runs PostgreSQL and be closed to others: chown it to that user and chmod it to 0700", data), nil
	case has("pre-existing shared memory block"):
		return fmt.Sprintf("processes of an earlier server on %s are still ending: wait a moment and start again", data), nil
	case has("could not create shared memory segment", "could not map anonymous shared memory", "could not create semaphores", "could not resize shared memory segment"):
		return "the system grants PostgreSQL too little shared memory: lower shared_buffers or max_connections, or raise the limit (in a container: --shm-size)", nil
	case has("cannot be run as root", "must not be run as root", "execution of the PostgreSQL server is not permitted"):
		return "PostgreSQL does not run as root: run as another user", nil
	case has("could not look up effective user ID"):
		return "PostgreSQL needs a user that the system knows: give this user id a line in /etc/passwd, or run as another user", nil
	case has("Permission denied"):
		return fmt.Sprintf("the user that runs PostgreSQL may not read or write below %s: give it the folder, or use another --data-dir", data), nil
	case has("error while loading shared libraries", "Library not loaded", "version `GLIBC"):
		return "these PostgreSQL binaries do not fit this system: " + installHint(), nil
	}
	return "", nil
}

// serverFailure is the error of a server or tool that failed with that output.
func serverFailure(what, output, data string, port int, cause error) error {
	hint, kind := diagnose(output, data, port)
	if kind == nil {
		kind = cause
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %v", what, cause)
	if hint != "" {
		fmt.Fprintf(&b, "\n%s", hint)
	}
	if output = lastLines(output, 12); output != "" {
		fmt.Fprintf(&b, "\nlast lines of its output:\n  %s", strings.ReplaceAll(output, "\n", "\n  "))
	}
	return &failure{kind: kind, text: b.String()}
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return strings.Join(lines, "\n")
}
