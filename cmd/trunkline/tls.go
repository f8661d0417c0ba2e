package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// certificatePoll is how often the files of a certificate are looked at: whoever renews it need not know of this process.
	certificatePoll = 10 * time.Second
	// certificateWarning is how long before its end a certificate is warned of: what renews it did not.
	certificateWarning = 7 * 24 * time.Hour
)

// A certificate is the pair of files that serve shows to its clients. It is read anew when the files change; connections
// that are open keep what they began with.
type certificate struct {
	certFile, keyFile string
	log               *slog.Logger
	current           atomic.Pointer[tls.Certificate]

	mu   sync.Mutex
	seen [2]fileStamp // of the files when they were last read, whether they were any good or not
}

// fileStamp tells one content of a file from the next: its SHA-256. Times don't: two writes may have the same one.
type fileStamp [sha256.Size]byte

// loadCertificate reads the pair for the first time.
func loadCertificate(certFile, keyFile string, log *slog.Logger) (*certificate, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile, log: log}
	if err := c.load(); err != nil {
		return nil, err
	}
	return c, nil
}

// config is what a listener needs: TLS 1.2 at least, and HTTP/2 for those who can.
func (c *certificate) config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return c.current.Load(), nil
		},
	}
}

// watch reads the pair again whenever its files have changed at a tick, and whenever it is told to, until ctx ends.
func (c *certificate) watch(ctx context.Context, ticks <-chan time.Time, told <-chan struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks:
			c.look()
		case <-told:
			c.reload()
		}
	}
}

// look reads the pair again if its files have changed since they were last read.
func (c *certificate) look() {
	if c.changed() {
		c.reload()
	}
}

// reload takes the files as they are now. If they are no good the old pair stays: it serves clients better than none.
func (c *certificate) reload() {
	if err := c.load(); err != nil {
		c.log.Error("the TLS certificate was not reloaded: the old one stays", "error", err)
		return
	}
	c.log.Info("the TLS certificate was reloaded", "cert", c.certFile, "expires", c.current.Load().Leaf.NotAfter.UTC())
}

func (c *certificate) changed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stamps() != c.seen
}

// stamps reads the files; those that can't be read have the zero stamp.
func (c *certificate) stamps() (stamps [2]fileStamp) {
	for i, name := range []string{c.certFile, c.keyFile} {
		if content, err := os.ReadFile(name); err == nil {
			stamps[i] = sha256.Sum256(content)
		}
	}
	return stamps
}

func (c *certificate) load() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	// Before they are read: a change in between is then seen at the next tick.
	c.seen = c.stamps()
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return c.explain(err)
	}
	now := time.Now()
	switch left := pair.Leaf.NotAfter.Sub(now); {
	case left <= 0:
		c.log.Warn("the TLS certificate has expired: clients will refuse it", "cert", c.certFile, "expired", pair.Leaf.NotAfter.UTC())
	case pair.Leaf.NotBefore.After(now):
		c.log.Warn("the TLS certificate is not valid yet: look at this machine's clock", "cert", c.certFile, "from", pair.Leaf.NotBefore.UTC())
	case left < certificateWarning:
		c.log.Warn("the TLS certificate expires soon", "cert", c.certFile, "expires", pair.Leaf.NotAfter.UTC())
	}
	c.current.Store(&pair)
	return nil
}

func (c *certificate) explain(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		flag := "--tls-cert"
		if path.Path == c.keyFile {
			flag = "--tls-key"
		}
		return fmt.Errorf("%s %s can't be read: %w", flag, path.Path, path.Err)
	}
	return fmt.Errorf("--tls-cert %s and --tls-key %s can't be used: %w; give a certificate (with its chain) and its private key, both in PEM",
		c.certFile, c.keyFile, err)
}
