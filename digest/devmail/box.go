package devmail

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/digest/mail"
)

// defaultKeep is how many mails are kept.
const defaultKeep = 500

// A Box keeps mails in a folder, each in a file of its own that mail programs can open. It is safe for concurrent use, and several
// programs may share a folder. What else lies there is left alone.
type Box struct {
	dir  string
	keep int

	mu      sync.Mutex
	last    time.Time // of the newest mail that was given a name
	entries map[string]entry
}

var _ mail.Sender = (*Box)(nil)

// Open opens a folder, and makes it if it isn't there. The newest keep mails are kept, 500 if keep is 0. A folder that can't be
// written to is told as a *[trunkline.ArgumentError].
func Open(dir string, keep int) (*Box, error) {
	if keep < 0 {
		return nil, &trunkline.ArgumentError{
			Argument: "keep", Problem: fmt.Sprintf("%d mails are to be kept", keep), Fix: "Keep 1 or more, or 0 for 500",
		}
	}
	if keep == 0 {
		keep = defaultKeep
	}
	refuse := func(err error) error {
		return &trunkline.ArgumentError{
			Argument: "dir", Problem: fmt.Sprintf("mails can't be kept in %q: %s", dir, err),
			Fix: "Name a folder that this user may write to",
		}
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, refuse(err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, refuse(err)
	}
	// Better now than when the first mail comes.
	file, err := os.CreateTemp(dir, partPrefix+"*"+partSuffix)
	if err != nil {
		return nil, refuse(err)
	}
	_ = file.Close()
	if err := os.Remove(file.Name()); err != nil {
		return nil, refuse(err)
	}
	b := &Box{dir: dir, keep: keep, entries: map[string]entry{}}
	ids, err := b.ids()
	if err != nil {
		return nil, refuse(err)
	}
	if len(ids) > 0 {
		b.last = keptAt(ids[0])
	}
	b.sweep()
	return b, nil
}

// Dir is the folder.
func (b *Box) Dir() string { return b.dir }

// Close does nothing: there is nothing open.
func (b *Box) Close() error { return nil }

// Files of mails are called by when they came, so that their names have their order, with something random behind it, since
// several programs may share the folder. Those that are being written have other names.
const (
	idLayout   = "20060102T150405.000000"
	suffix     = ".eml"
	partPrefix = ".mail-"
	partSuffix = ".part"
)

var idForm = regexp.MustCompile(`^\d{8}T\d{6}\.\d{6}-[a-z2-7]{6}$`)

// Send keeps a mail. Commit is called when it is on disk, but not yet under its name.
func (b *Box) Send(ctx context.Context, e mail.Envelope, commit func(context.Context) error) error {
	fail := func(step string, err error) error {
		if errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("the mail can't be kept in %s: %w", b.dir, err)
		} else {
			err = fmt.Errorf("the mail can't be kept in %s: %w (make room, or name another folder)", b.dir, err)
		}
		return &mail.SendError{Step: step, Blame: mail.BlameServer, Err: err}
	}
	if err := ctx.Err(); err != nil {
		return &mail.SendError{Step: "connect", Blame: mail.BlameServer, Err: fmt.Errorf("given up: %w", context.Cause(ctx))}
	}
	part, err := b.write(e)
	if err != nil {
		return fail("body", err)
	}
	// Once it has its name this removes nothing; and be it that commit panics.
	defer func() { _ = os.Remove(part) }()
	if err := commit(ctx); err != nil {
		return err
	}
	if err := b.name(part); err != nil {
		return fail("dot", err)
	}
	b.trim()
	return nil
}

// write puts a mail on disk under a name that isn't a mail's.
func (b *Box) write(e mail.Envelope) (part string, err error) {
	file, err := os.CreateTemp(b.dir, partPrefix+"*"+partSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		// Somebody has tidied up while we run.
		if err = os.MkdirAll(b.dir, 0o700); err == nil {
			file, err = os.CreateTemp(b.dir, partPrefix+"*"+partSuffix)
		}
	}
	if err != nil {
		return "", err
	}
	// The envelope goes where a mail server that delivers to a mailbox puts it.
	var text bytes.Buffer
	fmt.Fprintf(&text, "Return-Path: <%s>\r\nDelivered-To: %s\r\n", oneLine(e.From), oneLine(e.To))
	text.Write(e.Data)
	_, err = file.Write(text.Bytes())
	if err == nil {
		err = file.Sync()
	}
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err != nil {
		_ = os.Remove(file.Name())
		return "", err
	}
	return file.Name(), nil
}

func oneLine(address string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, address)
}

// name makes a file a mail, after all that were before it whatever the clock does.
func (b *Box) name(part string) error {
	b.mu.Lock()
	now := time.Now().UTC().Truncate(time.Microsecond)
	if !now.After(b.last) {
		now = b.last.Add(time.Microsecond)
	}
	b.last = now
	b.mu.Unlock()
	return os.Rename(part, b.path(now.Format(idLayout)+"-"+strings.ToLower(rand.Text()[:6])))
}

func (b *Box) path(id string) string { return filepath.Join(b.dir, id+suffix) }

func keptAt(id string) time.Time {
	moment, _, _ := strings.Cut(id, "-")
	at, err := time.Parse(idLayout, moment)
	if err != nil {
		return time.Time{}
	}
	return at
}

// ids are those of the mails in the folder, newest first.
func (b *Box) ids() ([]string, error) {
	files, err := os.ReadDir(b.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, f := range files {
		if id, ok := strings.CutSuffix(f.Name(), suffix); ok && isID(id) && f.Type().IsRegular() {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	slices.Reverse(ids)
	return ids, nil
}

// isID tells whether a name is one that we gave. No other is ever opened or removed.
func isID(id string) bool { return idForm.MatchString(id) && !keptAt(id).IsZero() }

// trim removes the oldest mails if there are too many. What goes wrong goes wrong again, and then may be told: the mail is kept.
func (b *Box) trim() {
	ids, err := b.ids()
	if err != nil || len(ids) <= b.keep {
		return
	}
	for _, id := range ids[b.keep:] {
		_ = b.remove(id)
	}
}

// Remove removes a mail; [fs.ErrNotExist] if there is none of that id.
func (b *Box) Remove(id string) error {
	if !isID(id) {
		return fmt.Errorf("mail %q: %w", id, fs.ErrNotExist)
	}
	return b.remove(id)
}

func (b *Box) remove(id string) error {
	b.mu.Lock()
	delete(b.entries, id)
	b.mu.Unlock()
	return os.Remove(b.path(id))
}

// Clear removes all mails.
func (b *Box) Clear() error {
	ids, err := b.ids()
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := b.remove(id); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// sweep removes what programs that were killed have left half written.
func (b *Box) sweep() {
	files, err := os.ReadDir(b.dir)
	if err != nil {
		return
	}
	for _, f := range files {
		if !strings.HasPrefix(f.Name(), partPrefix) || !strings.HasSuffix(f.Name(), partSuffix) || !f.Type().IsRegular() {
			continue
		}
		// A younger one may be another program's that is just being written.
		if about, err := f.Info(); err == nil && time.Since(about.ModTime()) > time.Hour {
			_ = os.Remove(filepath.Join(b.dir, f.Name()))
		}
	}
}
