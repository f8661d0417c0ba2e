package localpg

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// initPrefix begins the names of clusters that are being made: only a complete one becomes data.
const initPrefix = "data.init-"

// sweepInits removes what interrupted inits left. The caller holds start.lock.
func sweepInits(home string) error {
	left, err := filepath.Glob(filepath.Join(home, initPrefix+"*"))
	if err != nil {
		return fmt.Errorf("cluster folder %s: %w", home, err)
	}
	for _, path := range left {
		if err := os.RemoveAll(path); err != nil {
			return inFolder(home, fmt.Errorf("interrupted init: %w", err))
		}
	}
	return nil
}

// initCluster makes the cluster in a folder beside its own and moves it there when it is complete.
func (s *Server) initCluster(ctx context.Context) error {
	s.log.Info("making a PostgreSQL cluster", "version", s.bin.major, "data", s.data)
	var err error
	if s.password, err = readPassword(s.dir); err != nil {
		return err
	}
	if s.password == "" {
		if s.password, err = newPassword(); err != nil {
			return err
		}
	}
	// Before the cluster, which is of no use without it.
	if err := writeFile(filepath.Join(s.dir, "password"), s.password+"\n"); err != nil {
		return err
	}
	pwfile := filepath.Join(s.home, initPrefix+"password")
	if err := writeFile(pwfile, s.password+"\n"); err != nil {
		return err
	}
	defer os.Remove(pwfile) //nolint:errcheck // the next start sweeps it
	if err := s.give(pwfile); err != nil {
		return err
	}

	fresh := filepath.Join(s.home, initPrefix+"cluster")
	out, err := s.initdb(ctx, fresh, pwfile, "C.UTF-8")
	if err != nil && strings.Contains(out, "invalid locale") {
		if err := os.RemoveAll(fresh); err != nil {
			return inFolder(s.home, err)
		}
		out, err = s.initdb(ctx, fresh, pwfile, "C")
	}
	if err == nil {
		err = s.complete(fresh)
	}
	if err != nil {
		_ = os.RemoveAll(fresh)
		if ctx.Err() != nil {
			return fmt.Errorf("make a PostgreSQL cluster: %w", ctx.Err())
		}
		return serverFailure("make a PostgreSQL cluster in "+s.home, out, s.home, 0, err)
	}
	return nil
}

func (s *Server) initdb(ctx context.Context, data, pwfile, locale string) (output string, err error) {
	args := []string{
		"-D", data, "-U", role, "--pwfile=" + pwfile, "-E", "UTF8", "--locale=" + locale, "--data-checksums",
		"--auth-host=scram-sha-256", "--auth-local=scram-sha-256",
	}
	if s.cfg.Settings["fsync"] == "off" {
		args = append(args, "--no-sync")
	}
	out, err := s.account.command(ctx, s.home, s.bin.path("initdb"), args...).CombinedOutput()
	return string(out), err
}

// complete has the new cluster include our settings and moves it into place.
func (s *Server) complete(fresh string) error {
	f, err := os.OpenFile(filepath.Join(fresh, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString("\ninclude_if_exists = 'trunkline.conf'\n")
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return inFolder(s.home, err)
	}
	// An empty folder may stand there, a mount point for instance not: then rename fails and says so.
	if err := os.Remove(s.data); err != nil && !errors.Is(err, os.ErrNotExist) {
		return inFolder(s.home, err)
	}
	return inFolder(s.home, os.Rename(fresh, s.data))
}

// recallPassword reads the password of an existing cluster, and gives it a new one if that was lost.
func (s *Server) recallPassword(ctx context.Context) error {
	var err error
	if s.password, err = readPassword(s.dir); err != nil || s.password != "" {
		return err
	}
	s.log.Warn("the password file is missing: the cluster gets a new password", "dir", s.dir)
	if s.password, err = newPassword(); err != nil {
		return err
	}
	if err := dropStalePIDFile(s.data, s.log); err != nil {
		return err
	}
	cmd := s.account.command(ctx, s.home, s.bin.path("postgres"), "--single", "-D", s.data, "postgres")
	cmd.Stdin = strings.NewReader("ALTER ROLE " + role + " PASSWORD '" + s.password + "'\n") // base64: nothing to quote
	if out, err := cmd.CombinedOutput(); err != nil || strings.Contains(string(out), "ERROR:") {
		if err == nil {
			err = errors.New("refused")
		}
		return serverFailure("set a new password", string(out), s.data, 0, err)
	}
	return writeFile(filepath.Join(s.dir, "password"), s.password+"\n")
}

// readPassword reads DIR/password; "" if there is none.
func readPassword(dir string) (string, error) {
	text, err := os.ReadFile(filepath.Join(dir, "password"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", inFolder(dir, err)
	}
	return strings.TrimSpace(string(text)), nil
}

func newPassword() (string, error) {
	secret := make([]byte, 24)
	if _, err := rand.Read(secret); err != nil {
		return "", fmt.Errorf("new password: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(secret), nil
}
