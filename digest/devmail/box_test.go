package devmail_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/digest/devmail"
	"github.com/trunkline/trunkline/digest/mail"
)

func files(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestMailsAreFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "mails")
	box := open(t, dir, 0)
	for _, to := range []string{"anna@example.com", "berta@example.com"} {
		send(t, box, to, "Subject: x\n\nhello\n")
	}
	names := files(t, dir)
	if len(names) != 2 || !strings.HasSuffix(names[0], ".eml") {
		t.Fatalf("the folder has %q", names)
	}
	text, err := os.ReadFile(filepath.Join(dir, names[0]))
	if err != nil {
		t.Fatal(err)
	}
	// In the order they came, with the envelope on top.
	want := "Return-Path: <bounces@example.com>\r\nDelivered-To: anna@example.com\r\nSubject: x\r\n\r\nhello\r\n"
	if string(text) != want {
		t.Errorf("the file is %q, want %q", text, want)
	}
	about, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	if about.Mode().Perm() != 0o700 {
		t.Errorf("others may look into the folder: %s", about.Mode())
	}
	if box.Dir() != dir || box.Close() != nil {
		t.Error("Dir or Close is wrong")
	}
}

func TestTheNewestAreKept(t *testing.T) {
	dir := t.TempDir()
	box := open(t, dir, 3)
	for i := range 10 {
		send(t, box, "a@example.com", fmt.Sprintf("Subject: %d\n\n", i))
	}
	var subjects []string
	for _, name := range files(t, dir) {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		subjects = append(subjects, strings.Fields(string(text))[5])
	}
	if !slices.Equal(subjects, []string{"7", "8", "9"}) {
		t.Errorf("kept are %q", subjects)
	}
}

func TestAnAbandonedMailIsntKept(t *testing.T) {
	dir := t.TempDir()
	box := open(t, dir, 0)
	lost := errors.New("somebody else has it")
	seen := 0
	err := box.Send(t.Context(), mail.Envelope{To: "a@example.com", Data: []byte("x")}, func(context.Context) error {
		seen = len(files(t, dir))
		return lost
	})
	if err != lost { //nolint:errorlint // as it is
		t.Errorf("got %v, want the error of commit itself", err)
	}
	if seen != 1 {
		t.Errorf("at commit there are %d files on disk", seen)
	}
	func() {
		defer func() { _ = recover() }()
		_ = box.Send(t.Context(), mail.Envelope{To: "a@example.com", Data: []byte("x")}, func(context.Context) error { panic("oh") })
	}()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var fault *mail.SendError
	err = box.Send(ctx, mail.Envelope{To: "a@example.com", Data: []byte("x")}, agree)
	if !errors.As(err, &fault) || fault.Blame != mail.BlameServer || fault.Uncertain || !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that ended: %v", err)
	}
	if left := files(t, dir); len(left) != 0 {
		t.Errorf("left are %q", left)
	}
}

func TestMailsSurviveARestart(t *testing.T) {
	dir := t.TempDir()
	send(t, open(t, dir, 0), "a@example.com", "Subject: one\n\n")
	// The clock went back meanwhile.
	future := time.Now().Add(time.Hour).UTC().Format("20060102T150405.000000") + "-abcdef.eml"
	if err := os.Rename(filepath.Join(dir, files(t, dir)[0]), filepath.Join(dir, future)); err != nil {
		t.Fatal(err)
	}
	box := open(t, dir, 0)
	send(t, box, "a@example.com", "Subject: two\n\n")
	names := files(t, dir)
	if len(names) != 2 || names[0] != future {
		t.Errorf("the folder has %q, want %s first", names, future)
	}
}

// Neither is lost nor shown what isn't ours.
func TestForeignFiles(t *testing.T) {
	dir := t.TempDir()
	foreign := []string{
		"notes.txt", "holiday.eml", "20261120T101530.eml", "20261399T101530.123456-abcdef.eml", "20261120T101530.123456-ABCDEF.eml",
		".mail-new.part",
	}
	for _, name := range foreign {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("mine"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "20261120T101531.123456-abcdef.eml"), 0o700); err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("Subject: secret\n\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(secret, filepath.Join(dir, "20261120T101532.123456-abcdef.eml")); err != nil {
		t.Fatal(err)
	}
	stale := filepath.Join(dir, ".mail-old.part")
	if err := os.WriteFile(stale, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-2 * time.Hour)
	if err := os.Chtimes(stale, long, long); err != nil {
		t.Fatal(err)
	}
	box := open(t, dir, 1)
	for range 3 {
		send(t, box, "a@example.com", "Subject: x\n\n")
	}
	if err := box.Clear(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(secret); err != nil {
		t.Error(err)
	}
	left := files(t, dir)
	for _, name := range foreign {
		if !slices.Contains(left, name) {
			t.Errorf("%s is gone", name)
		}
	}
	if len(left) != len(foreign)+2 {
		t.Errorf("left are %q", left)
	}
	for _, id := range []string{"", "..", "../secret", "notes.txt", "20261120T101532.123456-abcdef/../x"} {
		if err := box.Remove(id); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("removing %q: %v", id, err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		dir  string
		keep int
	}{{file, 0}, {filepath.Join(file, "below"), 0}, {t.TempDir(), -1}} {
		_, err := devmail.Open(c.dir, c.keep)
		var wrong *trunkline.ArgumentError
		if !errors.As(err, &wrong) || wrong.Fix == "" {
			t.Errorf("%s, %d: %v", c.dir, c.keep, err)
		}
	}
}

// Somebody tidies up /tmp while the program runs.
func TestTheFolderIsRemoved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "mails")
	box := open(t, dir, 0)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := box.Clear(); err != nil {
		t.Error(err)
	}
	send(t, box, "a@example.com", "Subject: x\n\n")
	if n := len(files(t, dir)); n != 1 {
		t.Errorf("%d files", n)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err := box.Send(t.Context(), mail.Envelope{To: "a@example.com", Data: []byte("x")}, agree)
	var fault *mail.SendError
	if !errors.As(err, &fault) || fault.Blame != mail.BlameServer || fault.Uncertain || !strings.Contains(err.Error(), dir) {
		t.Errorf("a folder that is a file: %v", err)
	}
}

// Several goroutines, and several programs, share a folder.
func TestConcurrentSends(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	for range 3 {
		box := open(t, dir, 50)
		for range 4 {
			wg.Go(func() {
				for range 10 {
					send(t, box, "a@example.com", "Subject: x\n\nhello\n")
				}
			})
		}
	}
	wg.Wait()
	names := files(t, dir)
	if len(names) != 50 || slices.ContainsFunc(names, func(n string) bool { return !strings.HasSuffix(n, ".eml") }) {
		t.Errorf("%d files: %q", len(names), names)
	}
}
