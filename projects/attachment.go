package projects

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5"
)

// mostUnsent is how many bytes of files somebody may have uploaded and not sent.
const mostUnsent = 50 << 20

// Upload keeps a file for a message that its uploader will send to a conversation. It reads no more of it than a file may have. A
// [LimitError] says that it is too large, or that too much waits to be sent; an [InvalidError], that it isn't what its name says.
func (s *Store) Upload(ctx context.Context, person, conversation int64, name string, body io.Reader) (a Attachment, err error) {
	// Before anything of it is read.
	err = s.read(ctx, func(tx pgx.Tx) error {
		r, err := lookInto(ctx, tx, person, conversation)
		if err != nil {
			return err
		}
		return r.open()
	})
	if err != nil {
		return a, err
	}
	most := s.limits.AttachmentBytes
	bytes, err := io.ReadAll(io.LimitReader(body, most+1))
	if err != nil {
		return a, fmt.Errorf("read a file: %w", err)
	}
	name = CleanFileName(name)
	switch {
	case len(bytes) == 0:
		return a, &InvalidError{Field: "content", Problem: fmt.Sprintf("“%s” is empty: choose another file.", name)}
	case int64(len(bytes)) > most:
		return a, &LimitError{Sentence: fmt.Sprintf("“%s” is larger than %s, which is the most: send a smaller one.", name, size(most))}
	}
	a.MediaType = mediaType(bytes)
	if err := isWhatItSays(name, a.MediaType); err != nil {
		return a, err
	}
	err = s.write(ctx, func(tx pgx.Tx) error {
		// The person's own row: of two uploads at once, the other sees what this one adds.
		if _, err := tx.Exec(ctx, "SELECT FROM projects.person WHERE id = $1 FOR NO KEY UPDATE", person); err != nil {
			return fmt.Errorf("keep a file: %w", err)
		}
		r, err := lookInto(ctx, tx, person, conversation)
		if err != nil {
			return err
		}
		if err := r.open(); err != nil {
			return err
		}
		var unsent int64
		err = tx.QueryRow(ctx, "SELECT coalesce(sum(size), 0) FROM projects.attachment WHERE uploaded_by = $1 AND message_id IS NULL", person).Scan(&unsent)
		if err != nil {
			return fmt.Errorf("keep a file: %w", err)
		}
		if unsent+int64(len(bytes)) > mostUnsent {
			return &LimitError{Sentence: fmt.Sprintf("Files of yours that aren't sent yet take %s of %s: send or remove some first.", size(unsent), size(mostUnsent))}
		}
		a, err = one[Attachment](ctx, tx, `INSERT INTO projects.attachment (conversation_id, uploaded_by, name, media_type, size, content)
			VALUES ($1, $2, $3, $4, $5, $6) RETURNING projects.attachment_json(id, name, media_type, size)`,
			conversation, person, name, a.MediaType, len(bytes), bytes)
		return err
	})
	return a, err
}

// A File is an attachment that may be read.
type File struct {
	Attachment
	CreatedAt time.Time
	store     *Store
}

// Attachment returns a file for somebody who takes part in its conversation; one that isn't sent, for who has uploaded it.
func (s *Store) Attachment(ctx context.Context, person, id int64) (*File, error) {
	f := &File{store: s}
	err := s.pool.QueryRow(ctx, `SELECT a.id, a.name, a.media_type, a.size, projects.shown_image(a.media_type), a.created_at
		FROM projects.attachment a JOIN projects.conversation c ON c.id = a.conversation_id
		WHERE a.id = $1 AND projects.role($2, c.project_id) IS NOT NULL AND (a.message_id IS NOT NULL OR a.uploaded_by = $2)`, id, person).
		Scan(&f.ID, &f.Name, &f.MediaType, &f.Size, &f.Image, &f.CreatedAt)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("find a file: %w", err)
	}
	return f, nil
}

// Content reads the file from the database as it is asked for, while ctx lasts. It is for one goroutine.
func (f *File) Content(ctx context.Context) io.ReadSeeker { return &content{ctx: ctx, file: f} }

// DeleteAttachment removes a file of the person's own that isn't sent.
func (s *Store) DeleteAttachment(ctx context.Context, person, id int64) error {
	return s.write(ctx, func(tx pgx.Tx) error {
		var own, sent bool
		err := tx.QueryRow(ctx, `SELECT coalesce(a.uploaded_by = $2, false), a.message_id IS NOT NULL
			FROM projects.attachment a JOIN projects.conversation c ON c.id = a.conversation_id
			WHERE a.id = $1 AND projects.role($2, c.project_id) IS NOT NULL AND (a.message_id IS NOT NULL OR a.uploaded_by = $2)
			FOR UPDATE OF a`, id, person).Scan(&own, &sent)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			return ErrNotFound
		case err != nil:
			return fmt.Errorf("find a file: %w", err)
		case !own:
			return &ForbiddenError{Sentence: "Only who has uploaded a file can remove it."}
		case sent:
			return &ConflictError{Sentence: "This file was sent already: delete the message that it belongs to."}
		}
		if _, err := tx.Exec(ctx, "DELETE FROM projects.attachment WHERE id = $1", id); err != nil {
			return fmt.Errorf("remove a file: %w", err)
		}
		return nil
	})
}

// pieceBytes is how much of a file is read from the database at once.
const pieceBytes = 256 << 10

// A content reads a file piece by piece, so that what somebody downloads slowly isn't all in memory.
type content struct {
	ctx     context.Context
	file    *File
	at      int64
	piece   []byte // what was read from pieceAt on
	pieceAt int64
}

func (c *content) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += c.at
	case io.SeekEnd:
		offset += c.file.Size
	}
	if offset < 0 {
		return c.at, fmt.Errorf("seek to %d", offset)
	}
	c.at = offset
	return offset, nil
}

func (c *content) Read(p []byte) (int, error) {
	if c.at >= c.file.Size {
		return 0, io.EOF
	}
	if c.at < c.pieceAt || c.at >= c.pieceAt+int64(len(c.piece)) {
		var piece []byte
		err := c.file.store.pool.QueryRow(c.ctx, "SELECT substring(content FROM $2 FOR $3) FROM projects.attachment WHERE id = $1",
			c.file.ID, c.at+1, pieceBytes).Scan(&piece)
		if errors.Is(err, pgx.ErrNoRows) || err == nil && len(piece) == 0 {
			return 0, io.ErrUnexpectedEOF // removed meanwhile
		}
		if err != nil {
			return 0, fmt.Errorf("read a file: %w", err)
		}
		c.piece, c.pieceAt = piece, c.at
	}
	n := copy(p, c.piece[c.at-c.pieceAt:])
	c.at += int64(n)
	return n, nil
}

// size writes a number of bytes for people.
func size(n int64) string {
	switch {
	case n >= 1<<20:
		return fmt.Sprintf("%.4g MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.4g KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d bytes", n)
}
