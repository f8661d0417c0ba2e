package letter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/digest/mail"
)

const (
	// poll is how often a worker looks for letters that nobody has poked it for: those that other nodes wrote, or left behind.
	poll = 2 * time.Second
	// lease is how long a claimed letter is left to the node that has claimed it. Sending takes less, or is given up.
	lease = 5 * time.Minute
	// sending is how long one mail may take.
	sending = 2 * time.Minute
	// atOnce is how many mails a node sends at a time, so that one recipient's slow server holds up nobody else.
	atOnce = 4
)

// Options of a Worker. Sender, Renderer and PublicURL are required.
type Options struct {
	Sender   mail.Sender
	Renderer *mail.Renderer
	// PublicURL is where people reach the site, such as https://projects.example.org: links of mails lead there.
	PublicURL string
	// Site is what people know it as. Default: Projects.
	Site string
	// Now is the time. Nil: that of the database, which all nodes share.
	Now    func() time.Time
	Logger *slog.Logger // nil: discarded
}

// A Worker sends letters. Any number of them, in any number of nodes, share one database.
type Worker struct {
	pool   *pgxpool.Pool
	opts   Options
	public string
	wake   chan struct{}
}

// New checks the options. The error is a *[trunkline.ArgumentError].
func New(pool *pgxpool.Pool, opts Options) (*Worker, error) {
	if opts.Sender == nil || opts.Renderer == nil {
		return nil, &trunkline.ArgumentError{
			Argument: "sender", Problem: "letters have no sender, or no renderer", Fix: "Give both: they are those of the digests",
		}
	}
	u, err := url.Parse(opts.PublicURL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, &trunkline.ArgumentError{
			Argument: "public-url", Problem: fmt.Sprintf("the public URL %q is not the URL of a site", opts.PublicURL),
			Fix: "Give one such as https://projects.example.org, without a query",
		}
	}
	if opts.Site == "" {
		opts.Site = "Projects"
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return &Worker{pool: pool, opts: opts, public: strings.TrimSuffix(opts.PublicURL, "/"), wake: make(chan struct{}, 1)}, nil
}

// Wake makes the worker look now rather than at its next turn: for whoever has just committed a letter on this node. It never
// blocks.
func (w *Worker) Wake() {
	select {
	case w.wake <- struct{}{}:
	default: // it is about to look anyway
	}
}

// Run sends what is due until ctx ends, and then returns nil once nothing is under way any more. While the database is away it
// waits for it.
func (w *Worker) Run(ctx context.Context) error {
	failures := 0
	for ctx.Err() == nil {
		wait := poll*3/4 + rand.N(poll/2) // so that nodes that were started together don't all look at once
		if _, err := w.Once(ctx); err != nil && ctx.Err() == nil {
			if failures++; failures == 1 {
				w.opts.Logger.Warn("letters can't be sent for now", "error", err)
			}
			wait = min(wait<<min(failures, 4), 30*time.Second)
		} else if failures > 0 && err == nil {
			failures = 0
			w.opts.Logger.Info("letters can be sent again")
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-w.wake:
		}
		timer.Stop()
	}
	return nil
}

// Once sends all that is due now, and returns how many mails were sent. A mail that couldn't be is tried again later, which is no
// error: errors are the database's.
func (w *Worker) Once(ctx context.Context) (int, error) {
	var (
		all  sync.WaitGroup
		mu   sync.Mutex
		sent int
		errs []error
	)
	for range atOnce {
		all.Go(func() {
			for ctx.Err() == nil {
				found, was, err := w.one(ctx)
				mu.Lock()
				if was {
					sent++
				}
				if err != nil {
					errs = append(errs, err)
				}
				mu.Unlock()
				if !found || err != nil {
					return
				}
			}
		})
	}
	all.Wait()
	return sent, errors.Join(errs...)
}

// one claims a letter and sends it.
func (w *Worker) one(ctx context.Context) (found, sent bool, err error) {
	l, err := w.claim(ctx)
	if err != nil || l == nil {
		return false, false, err
	}
	if l.secret == "" { // there was nothing to send any more
		return true, false, nil
	}
	log := w.opts.Logger.With("letter", l.id, "purpose", l.purpose, "attempt", l.attempt)
	envelope, err := w.opts.Renderer.Letter(w.compose(l))
	if err == nil {
		sendCtx, cancel := context.WithTimeout(ctx, sending)
		err = w.opts.Sender.Send(sendCtx, envelope, func(ctx context.Context) error { return w.stillWanted(ctx, l) })
		cancel()
	}
	// Whatever came of it is noted even if the program is about to stop: otherwise the mail would go out twice.
	noteCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err == nil {
		log.Info("sent a letter")
		return true, true, w.done(noteCtx, l)
	}
	var refused *voidError
	if errors.As(err, &refused) {
		return true, false, w.giveUp(noteCtx, l, refused.reason)
	}
	if ctx.Err() != nil { // stopped, not failed: the next node to look need not wait
		return true, false, w.release(noteCtx, l)
	}
	reply := l.redact(err.Error())
	if permanent(err) {
		log.Warn("a letter can't be sent", "error", reply)
		return true, false, w.giveUp(noteCtx, l, reply)
	}
	again := retryWait(l.attempt)
	if l.now.Add(again).Sub(l.createdAt) > giveUpAfter {
		log.Warn("a letter could not be sent for a day", "error", reply)
		return true, false, w.giveUp(noteCtx, l, reply)
	}
	log.Warn("a letter is tried again later", "error", reply, "in", again.Round(time.Second))
	return true, false, w.postpone(noteCtx, l, again, reply)
}

// permanent tells failures that another try won't change.
func permanent(err error) bool {
	var failed *mail.SendError
	if errors.As(err, &failed) {
		// A server that refuses us today may have been configured by tomorrow.
		return failed.Permanent && failed.Blame != mail.BlameServer
	}
	var wrong *trunkline.ArgumentError
	return errors.As(err, &wrong) // no mail can be made of it
}

const (
	retryBase = 20 * time.Second
	retryMost = time.Hour
	// giveUpAfter is how old a letter may become: nobody waits longer for a new password, and who invited sees that it failed.
	giveUpAfter = 24 * time.Hour
)

// retryWait is how long to wait after so many tries: between half of a bound that doubles each time and the whole of it.
func retryWait(attempt int) time.Duration {
	bound := min(retryBase<<min(max(attempt-1, 0), 10), retryMost)
	return bound/2 + rand.N(bound/2)
}
