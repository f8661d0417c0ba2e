package smtp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/trunkline/trunkline/digest/mail"
)

// A Sender sends mails to one server. It is safe for concurrent use.
type Sender struct {
	options Options
	tls     *tls.Config
	secrets []string // what must not show in errors
	limiter *rate.Limiter
	slots   chan struct{} // has room for the connections there may be

	mu      sync.Mutex
	idle    []*conn // the one used last is last
	closed  bool
	leaving sync.WaitGroup // connections that take leave
}

var _ mail.Sender = (*Sender)(nil)

// New makes a Sender. It connects when there is something to send; [Sender.Check] connects at once. What options can't be is
// told as a *[trunkline.ArgumentError].
func New(options Options) (*Sender, error) {
	options, err := options.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Sender{
		options: options, secrets: secretsOf(&options), limiter: rate.NewLimiter(rate.Inf, 1),
		slots: make(chan struct{}, options.Connections),
	}
	if s.tls, err = options.tlsConfig(); err != nil {
		return nil, err
	}
	if options.Rate > 0 {
		s.limiter.SetLimit(rate.Limit(options.Rate))
	}
	return s, nil
}

// Format shows where mail goes, without the password, whatever the verb.
func (s *Sender) Format(f fmt.State, verb rune) { s.options.Format(f, verb) }

var errClosed = errors.New("the sender was closed")

// Send delivers one mail, as [mail.Sender] says. It waits until a connection is free and the rate allows it, then for the server,
// for as long as Options.Timeouts allow. What it sends is e.Data byte for byte, with a line end in the end if there is none.
//
// Every error but that of commit is a *[mail.SendError], also when ctx ended: whoever counts the server's failures looks at
// ctx.Err() first.
func (s *Sender) Send(ctx context.Context, e mail.Envelope, commit func(context.Context) error) error {
	l, fault := inspect(e)
	if fault != nil {
		return fault
	}
	if fault := s.admit(ctx); fault != nil {
		return fault
	}
	defer func() { <-s.slots }()
	total := s.options.Timeouts.Total
	ctx, cancel := context.WithTimeoutCause(ctx, total, fmt.Errorf("it takes longer than %s in all", total))
	defer cancel()
	c, reused, fault := s.take(ctx)
	if fault != nil {
		return fault
	}
	err := s.use(ctx, c, l, commit)
	if reused && diedIdle(ctx, err) {
		// Nothing of the mail is out, and that the connection was no longer any good says nothing of the server.
		if c, fault = s.connect(ctx); fault != nil {
			return fault
		}
		err = s.use(ctx, c, l, commit)
	}
	return err
}

// Check connects, with TLS and authentication, to see whether all of that works, and leaves the connection to the next mail. Its
// errors are those of Send.
func (s *Sender) Check(ctx context.Context) error {
	if fault := s.admit(ctx); fault != nil {
		return fault
	}
	defer func() { <-s.slots }()
	c, _, fault := s.take(ctx)
	if fault != nil {
		return fault
	}
	s.give(c)
	return nil
}

// admit waits for a slot, which is to be given back if it returns nil, and for the rate.
func (s *Sender) admit(ctx context.Context) *mail.SendError {
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return s.broken(ctx, stepConnect, ctx.Err())
	}
	// Wait would refuse at once where ctx has a deadline before the turn comes.
	turn := s.limiter.Reserve()
	if delay := turn.Delay(); delay > 0 {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			turn.Cancel()
			<-s.slots
			return s.broken(ctx, stepConnect, ctx.Err())
		}
	}
	return nil
}

// use sends a mail on a connection, and keeps or ends that.
func (s *Sender) use(ctx context.Context, c *conn, l letter, commit func(context.Context) error) error {
	whole := false
	// A panic of commit's leaves the mail without its dot, too.
	defer func() {
		if whole {
			s.give(c)
		} else {
			c.abort()
		}
	}()
	var err error
	whole, err = c.deliver(ctx, l, commit)
	return err
}

// diedIdle tells whether a mail failed only because the server was about to close a connection that had been idle.
func diedIdle(ctx context.Context, err error) bool {
	var fault *mail.SendError
	return ctx.Err() == nil && errors.As(err, &fault) && fault.Step == stepMail && fault.Blame == mail.BlameServer &&
		(fault.Code == 421 || (fault.Code == 0 && !errors.Is(err, os.ErrDeadlineExceeded)))
}

// Close ends idle connections. Sends that are under way end by their contexts, and new ones are refused.
func (s *Sender) Close() error {
	s.mu.Lock()
	s.closed = true
	idle := s.idle
	s.idle = nil
	for _, c := range idle {
		c.idle.Stop()
		s.leave(c)
	}
	s.mu.Unlock()
	s.leaving.Wait()
	return nil
}

// leave takes leave of the server, in the background. s.mu is held, so that none begins after Close has begun to wait.
func (s *Sender) leave(c *conn) { s.leaving.Go(c.quit) }

// isClosed is for those that are about to connect.
func (s *Sender) isClosed() *mail.SendError {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		return nil
	}
	return &mail.SendError{Step: stepConnect, Blame: mail.BlameServer, Err: fmt.Errorf("%w: %w", errClosed, net.ErrClosed)}
}
