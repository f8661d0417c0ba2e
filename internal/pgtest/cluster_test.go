package pgtest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/trunkline/trunkline/internal/localpg"
)

func TestSweepRemovesWhatTheDeadLeft(t *testing.T) {
	temp, err := os.MkdirTemp("", "pgtest-sweep-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(temp) })
	folder := func(name string) string {
		dir := filepath.Join(temp, prefix+name)
		if err := os.Mkdir(dir, 0o711); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	if err := os.Chmod(temp, 0o711); err != nil {
		t.Fatal(err)
	}

	// A dead program: its server runs, its lock is gone.
	dead := folder("dead")
	owner, err := claim(dead)
	if err != nil {
		t.Fatal(err)
	}
	server, err := localpg.Start(t.Context(), localpg.Config{
		Dir: filepath.Join(dead, "shared"), BinDir: os.Getenv("TRUNKLINE_TEST_PG_BIN"), Settings: settings,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = localpg.Remove(context.Background(), filepath.Join(dead, "shared")) })
	if err := server.Release(); err != nil {
		t.Fatal(err)
	}
	sweep(temp)
	if _, err := os.Stat(dead); err != nil {
		t.Fatalf("the folder of a living program was swept: %v", err)
	}
	if err := owner.Close(); err != nil {
		t.Fatal(err)
	}

	sweep(temp)
	if _, err := os.Stat(dead); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder of a dead program stays: %v", err)
	}
	// After that, since ending a server may take so long that nothing is young any more.
	young, old, kept := folder("young"), folder("old"), folder("kept")
	if err := os.WriteFile(filepath.Join(kept, "keep"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	past := time.Now().Add(-time.Hour)
	for _, dir := range []string{old, kept} {
		if err := os.Chtimes(dir, past, past); err != nil {
			t.Fatal(err)
		}
	}
	sweep(temp)
	for dir, stays := range map[string]bool{young: true, old: false, kept: true} {
		if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) == stays {
			t.Errorf("%s: stays = %v, want %v", filepath.Base(dir), !stays, stays)
		}
	}
	if again, err := localpg.ReadURL(filepath.Join(dead, "shared")); err == nil {
		t.Errorf("the dead program's server still has a URL: %s", again)
	}
}
