package auth

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/time/rate"

	"github.com/trunkline/trunkline"
)

const (
	maxBatch    = 256  // questions in a query
	maxWaiting  = 8192 // questions that wait for one function
	maxOwn      = 1024 // questions of one user under way, of all functions: a crowd of others still finds room
	maxNobodys  = 4096 // questions of all anonymous users under way
	maxAttempts = 3    // how often a question is asked anew because of what was revoked meanwhile
)

// An authorizer asks the application's functions.
//
// Each function has a line of questions and one query at a time: what is asked while it is under way goes with the next one, so
// a crowd that subscribes costs few queries. When a query fails, because of one of its questions or because together they
// took too long, those in it are asked again each alone, in a second lane, so that one question can't decide over others and
// new ones needn't wait for it.
type authorizer struct {
	pool   *pgxpool.Pool
	logger *slog.Logger
	slots  chan struct{} // bounds the pool's connections that questions use

	ctx    context.Context // ends with close
	cancel context.CancelFunc
	lanes  sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	lines   map[lineKey]*line
	flights map[question]*flight
	own     map[string]int // flights, by user, those that became stale as well
	answers *answers
	names   map[string]string // functions' names as SQL, by their names in namespaces

	logs      *rate.Limiter // strangers can make a function fail: its failures mustn't fill the log
	unlogged  atomic.Int64
	questions atomic.Int64
	queries   atomic.Int64
	failures  atomic.Int64
}

type lineKey struct {
	function string
	timeout  time.Duration
}

// A line holds the questions that wait for a function.
type line struct {
	lineKey
	together, alone   []*flight
	asking, askingOne bool // whether the lanes run
	most              int  // questions in a query: fewer after one took too long
}

// A flight is a question under way; all who ask the same wait for it.
type flight struct {
	question
	done    chan struct{}
	waiters int
	stale   bool // what it asks about was forgotten after it was asked
	allowed bool
	err     error
}

func newAuthorizer(pool *pgxpool.Pool, logger *slog.Logger) *authorizer {
	ctx, cancel := context.WithCancel(context.Background())
	slots := 1
	if pool != nil {
		slots = max(1, int(pool.Config().MaxConns)/2)
	}
	return &authorizer{
		pool: pool, logger: logger, slots: make(chan struct{}, slots), ctx: ctx, cancel: cancel,
		lines: make(map[lineKey]*line), flights: make(map[question]*flight), own: make(map[string]int),
		answers: newAnswers(maxAnswers), names: make(map[string]string), logs: rate.NewLimiter(1, 10),
	}
}

// close ends what is under way, and waits for it.
func (a *authorizer) close() {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.cancel()
	a.lanes.Wait()
}

var errTooMany = errors.New("too many questions wait for the authorise function")

// ask returns a function's answer, which may have been given up to AuthorizeCache ago.
func (a *authorizer) ask(ctx context.Context, ns *trunkline.Namespace, user, channel string, action Action) (bool, error) {
	timeout := ns.AuthorizeTimeout
	if timeout <= 0 {
		timeout = time.Second
	}
	q := question{ns.Authorize, user, channel, action}
	// With others, alone, and behind another one that is slow.
	patience := time.NewTimer(3*timeout + time.Second)
	defer patience.Stop()
	a.questions.Add(1)
	for range maxAttempts {
		a.mu.Lock()
		if allowed, ok := a.answers.get(q, time.Now(), ns.AuthorizeCache); ok {
			a.mu.Unlock()
			return allowed, nil
		}
		f, err := a.join(q, timeout)
		a.mu.Unlock()
		if err != nil {
			return false, err
		}
		select {
		case <-f.done:
			err = nil
		case <-ctx.Done():
			err = ctx.Err()
		case <-patience.C:
			err = errors.New("the authorise function didn't answer in time")
		}
		a.mu.Lock()
		f.waiters--
		stale := f.stale
		a.mu.Unlock()
		if err != nil {
			return false, err
		}
		if !stale {
			return f.allowed, f.err
		}
	}
	return false, errors.New("what was asked was revoked again and again")
}

// join returns the question's flight, or puts it in line. The caller holds mu.
func (a *authorizer) join(q question, timeout time.Duration) (*flight, error) {
	if a.closed {
		return nil, trunkline.ErrClosed
	}
	if f, ok := a.flights[q]; ok {
		f.waiters++
		return f, nil
	}
	key := lineKey{q.function, timeout}
	l := a.lines[key]
	if l == nil {
		l = &line{lineKey: key, most: maxBatch}
		a.lines[key] = l
	}
	most := maxOwn
	if q.user == "" {
		most = maxNobodys
	}
	if len(l.together)+len(l.alone) >= maxWaiting || a.own[q.user] >= most {
		a.leave(l)
		return nil, errTooMany
	}
	f := &flight{question: q, done: make(chan struct{}), waiters: 1}
	a.flights[q] = f
	a.own[q.user]++
	l.together = append(l.together, f)
	if !l.asking {
		l.asking = true
		a.lanes.Go(func() { a.askTogether(l) })
	}
	return f, nil
}

// forget drops answers, also those that are on their way. Channel "" means all of the user's.
func (a *authorizer) forget(user, channel string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answers.forget(user, channel)
	for q, f := range a.flights {
		if q.user == user && (channel == "" || q.channel == channel) {
			f.stale = true
			delete(a.flights, q)
		}
	}
}

func (a *authorizer) forgetAll() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answers.clear()
	clear(a.names)
	for _, f := range a.flights {
		f.stale = true
	}
	clear(a.flights)
}

// askTogether is the lane of a line in which questions go together.
func (a *authorizer) askTogether(l *line) {
	for {
		a.mu.Lock()
		batch := a.take(&l.together, l.most)
		if len(batch) == 0 {
			l.asking = false
			a.leave(l)
			a.mu.Unlock()
			return
		}
		a.mu.Unlock()

		asked := time.Now()
		allowed, err := a.query(l, batch)

		a.mu.Lock()
		switch {
		case err == nil:
			l.most = min(maxBatch, l.most*2)
			a.settle(batch, allowed, nil, asked)
		case len(batch) == 1 || !mayBeOneQuestion(err):
			a.settle(batch, nil, err, asked)
		default:
			if timedOut(err) {
				l.most = max(1, len(batch)/2)
			}
			l.alone = append(l.alone, batch...)
			if !l.askingOne {
				l.askingOne = true
				a.lanes.Go(func() { a.askAlone(l) })
			}
		}
		a.mu.Unlock()
	}
}

// askAlone is the lane in which each question goes by itself.
func (a *authorizer) askAlone(l *line) {
	for {
		a.mu.Lock()
		one := a.take(&l.alone, 1)
		if len(one) == 0 {
			l.askingOne = false
			a.leave(l)
			a.mu.Unlock()
			return
		}
		a.mu.Unlock()

		asked := time.Now()
		allowed, err := a.query(l, one)

		a.mu.Lock()
		a.settle(one, allowed, err, asked)
		a.mu.Unlock()
	}
}

// take removes up to n questions from a queue, without those for which nobody waits any more. The caller holds mu.
func (a *authorizer) take(queue *[]*flight, n int) []*flight {
	var batch []*flight
	for len(*queue) > 0 && len(batch) < n {
		f := (*queue)[0]
		(*queue)[0] = nil
		*queue = (*queue)[1:]
		if f.waiters > 0 {
			batch = append(batch, f)
			continue
		}
		f.err = context.Canceled
		a.land(f)
	}
	return batch
}

// leave forgets a line that is empty. The caller holds mu.
func (a *authorizer) leave(l *line) {
	if !l.asking && !l.askingOne && a.lines[l.lineKey] == l {
		delete(a.lines, l.lineKey)
	}
}

// settle gives questions their answers. The caller holds mu.
func (a *authorizer) settle(batch []*flight, allowed []bool, err error, asked time.Time) {
	if err != nil {
		a.failures.Add(int64(len(batch)))
		a.report(batch[0], len(batch), err)
	}
	for i, f := range batch {
		if f.err = err; err == nil {
			f.allowed = allowed[i]
			if !f.stale {
				a.answers.put(f.question, f.allowed, asked)
			}
		}
		a.land(f)
	}
}

func (a *authorizer) land(f *flight) {
	if a.flights[f.question] == f {
		delete(a.flights, f.question)
	}
	if a.own[f.user]--; a.own[f.user] <= 0 {
		delete(a.own, f.user)
	}
	close(f.done)
}

// report logs a failure: what a function raises is for its author, not for clients.
func (a *authorizer) report(f *flight, n int, err error) {
	if a.ctx.Err() != nil {
		return
	}
	if !a.logs.Allow() {
		a.unlogged.Add(1)
		return
	}
	a.logger.Error("an authorise function failed, so what it was asked is denied", "function", f.function, "error", err,
		"user", f.user, "channel", f.channel, "action", string(f.action), "questions", n, "not_logged_before", a.unlogged.Swap(0))
}
