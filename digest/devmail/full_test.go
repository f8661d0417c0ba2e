package devmail_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"github.com/trunkline/trunkline/digest/devmail"
	"github.com/trunkline/trunkline/digest/mail"
)

// fullVariable makes this test program one whose files can't grow, and says where it is to keep mails.
const fullVariable = "TRUNKLINE_TEST_FULL_DISK"

// A disk without room: the mail isn't kept, nothing of it stays, and the error says where room is needed.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	program := exec.CommandContext(t.Context(), os.Args[0])
	program.Env = append(os.Environ(), fullVariable+"="+dir)
	if out, err := program.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if left := files(t, dir); len(left) != 1 {
		t.Errorf("left are %q, want the small mail alone", left)
	}
}

// sendToFullDisk has one mail that fits and one that doesn't.
func sendToFullDisk(dir string) int {
	signal.Ignore(syscall.SIGXFSZ)
	limit := syscall.Rlimit{Cur: 4096, Max: 4096}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	box, err := devmail.Open(dir, 0)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ctx := context.Background()
	if err := box.Send(ctx, mail.Envelope{To: "a@example.com", Data: []byte("Subject: x\r\n\r\n")}, agree); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	err = box.Send(ctx, mail.Envelope{To: "a@example.com", Data: []byte(strings.Repeat("x", 8192))}, func(context.Context) error {
		fmt.Fprintln(os.Stderr, "commit was called")
		os.Exit(1)
		return nil
	})
	var fault *mail.SendError
	if !errors.As(err, &fault) || fault.Step != "body" || fault.Blame != mail.BlameServer || fault.Permanent || fault.Uncertain ||
		!strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "make room") {
		fmt.Fprintf(os.Stderr, "the error is %v\n", err)
		return 1
	}
	return 0
}
