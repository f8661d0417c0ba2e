package smtp

import (
	"context"
	"slices"
	"time"

	"github.com/trunkline/trunkline/digest/mail"
)

// take finds a connection that was idle and is still good, or makes one.
func (s *Sender) take(ctx context.Context) (c *conn, reused bool, fault *mail.SendError) {
	for {
		if fault := s.isClosed(); fault != nil {
			return nil, false, fault
		}
		if c = s.popIdle(); c == nil {
			c, fault = s.connect(ctx)
			return c, false, fault
		}
		if c.awake(ctx) {
			return c, true, nil
		}
		c.abort()
		if ctx.Err() != nil {
			return nil, false, s.broken(ctx, stepConnect, ctx.Err())
		}
	}
}

// popIdle takes the connection that was used last, so that those that aren't needed get old.
func (s *Sender) popIdle() *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := len(s.idle) - 1
	if last < 0 {
		return nil
	}
	c := s.idle[last]
	s.idle = slices.Delete(s.idle, last, last+1)
	c.idle.Stop()
	return c
}

// wakeTime is how long a connection that was idle may take to answer. Another can be had, if the server lives.
const wakeTime = 10 * time.Second

// awake tells whether an idle connection is any good, and ends what a mail that was refused has left there.
func (c *conn) awake(ctx context.Context) bool {
	if c.client.Text.R.Buffered() > 0 || c.wire.pending() {
		return false // the server has closed it, or said that it is about to
	}
	release := interrupt(ctx, c.expire)
	defer release()
	limit := min(wakeTime, c.sender.options.Timeouts.Command)
	return c.phase(ctx, stepConnect, limit, c.client.Reset) == nil
}

// give keeps a connection for the next mail, unless it has carried enough.
func (s *Sender) give(c *conn) {
	_ = c.wire.SetDeadline(time.Time{}) // of a closed connection: the next mail will notice
	c.used++
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		c.abort() // Close may be done waiting for those that take leave
	case c.used >= s.options.MailsPerConnection:
		s.leave(c)
	default:
		s.idle = append(s.idle, c)
		c.idle = time.AfterFunc(s.options.IdleTimeout, func() { s.retire(c) })
	}
}

// retire ends a connection that was idle for too long, unless somebody has taken it meanwhile.
func (s *Sender) retire(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.idle, c); i >= 0 {
		s.idle = slices.Delete(s.idle, i, i+1)
		s.leave(c)
	}
}
