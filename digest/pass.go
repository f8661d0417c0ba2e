package digest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// lookEvery is how often a long pass looks again for what has become due meanwhile.
const lookEvery = 5 * time.Second

// A pass does what there is to do: it looks at users who are due, and sends the mails that are claimed. Both go on at the same time,
// but not far ahead of each other: what is claimed is frozen, and should go out soon. One goroutine decides (run); looks and tries
// have one each, and report to it.
type pass struct {
	worker *Worker
	now    func() time.Time
	report *recorder

	looking  bool // a look is under way
	underWay int  // tries
	mayLook  bool // somebody may be due
	mayTake  bool // a mail may wait to be tried
	few      bool // tries begin even if there is room for few of them
	waiting  int  // mails that looks of this pass have claimed and nobody has been seen to take
	err      error

	tidies  atomic.Bool // it is being tidied up
	tidying sync.WaitGroup
	forget  func(context.Context) error // nil: nothing is forgotten meanwhile

	looks chan lookResult
	ends  chan bool // whether the mail is to be tried again at once
}

type lookResult struct {
	looked, claimed int
	err             error
}

// pass works until nothing is left to do, the breaker opens, or something fails. It returns when all of it has ended. When ctx ends,
// tries have Options.Grace to end by themselves.
func (w *Worker) pass(ctx context.Context, now func() time.Time, report *recorder) error {
	if err := w.admitted(ctx); err != nil {
		return err
	}
	// Also what another worker didn't live to settle, or what somebody had locked.
	w.tidy(ctx, now())
	p := &pass{
		worker: w, now: now, report: report, mayLook: true, mayTake: true,
		looks: make(chan lookResult, 1), ends: make(chan bool, w.opts.Concurrency), forget: w.forget,
	}
	// Tries outlive ctx for a while.
	trying, abort := context.WithCancelCause(context.WithoutCancel(ctx))
	defer abort(nil)
	stop := context.AfterFunc(ctx, func() {
		w.closing.Store(true)
		time.AfterFunc(w.opts.Grace, func() { abort(fmt.Errorf("the worker was told to stop: %w", context.Cause(ctx))) })
	})
	defer stop()
	p.run(ctx, trying)
	p.tidying.Wait()
	w.group.wait()
	if p.err == nil && w.unsettled.Load() {
		w.tidy(context.WithoutCancel(ctx), now())
	}
	return p.err
}

// tidy settles what mails have left to be done. What fails is done later: nothing that is to be mailed waits for it.
func (w *Worker) tidy(ctx context.Context, at time.Time) {
	w.unsettled.Store(false)
	if err := w.settle(ctx, at); err != nil && ctx.Err() == nil {
		w.unsettled.Store(true)
		w.opts.Logger.Warn("what mails that weren't sent have left to be done is done later", "error", err)
	}
}

func (p *pass) run(ctx, trying context.Context) {
	again := time.NewTicker(lookEvery)
	defer again.Stop()
	for {
		p.begin(ctx, trying)
		if !p.looking && p.underWay == 0 {
			return
		}
		select {
		case r := <-p.looks:
			p.looking = false
			p.fail(r.err)
			p.mayLook = r.looked > 0
			if r.claimed > 0 {
				p.waiting += r.claimed
				p.mayTake = true
			}
		case again := <-p.ends:
			p.ended(again)
			p.drain()
		case <-again.C:
			p.mayLook, p.mayTake, p.few = true, true, true
			p.tidy(ctx)
		}
	}
}

// tidy settles, beside tries that may take long.
func (p *pass) tidy(ctx context.Context) {
	if ctx.Err() != nil || !p.tidies.CompareAndSwap(false, true) {
		return
	}
	at := p.now()
	p.tidying.Go(func() {
		defer p.tidies.Store(false)
		p.worker.tidy(ctx, at)
		if p.forget != nil {
			if err := p.forget(ctx); err != nil && ctx.Err() == nil {
				p.worker.opts.Logger.Warn("what is too old is removed later", "error", err)
			}
		}
	})
}

// drain notes what else has ended, so that one query begins many tries.
func (p *pass) drain() {
	for {
		select {
		case again := <-p.ends:
			p.ended(again)
		default:
			return
		}
	}
}

func (p *pass) ended(again bool) {
	p.underWay--
	p.mayTake = p.mayTake || again
}

func (p *pass) fail(err error) {
	if p.err == nil {
		p.err = err
	}
}

// begin begins what can be begun now.
func (p *pass) begin(ctx, trying context.Context) {
	for p.err == nil && ctx.Err() == nil {
		free := p.worker.breaker.free(p.now(), p.worker.opts.Concurrency-p.underWay)
		if free == 0 {
			if open, until, why := p.worker.breaker.state(); open && p.underWay == 0 {
				p.report.stopped(fmt.Sprintf("The mail server doesn't work (%v). Nothing is mailed before %s.", why, until.UTC().Format(time.RFC3339)))
			}
			return
		}
		// With tries under way it waits until half of them could be begun at once.
		took := false
		if p.mayTake && (free >= (p.worker.opts.Concurrency+1)/2 || p.underWay == 0 || p.few) {
			took, p.few = p.take(ctx, trying, free), false
		}
		if p.mayLook && !p.looking && p.waiting < p.worker.opts.Concurrency {
			p.look(ctx, free)
		}
		if !took {
			return
		}
	}
}

// take begins tries, and tells whether there were any that came to nothing, so that more can be begun.
func (p *pass) take(ctx, trying context.Context, free int) (more bool) {
	w := p.worker
	tries, began, err := w.take(ctx, p.now(), free, p.report)
	p.fail(err)
	p.mayTake = began == free
	if p.waiting -= began; p.waiting < 0 || !p.mayTake {
		p.waiting = 0
	}
	if err != nil {
		return false
	}
	for _, t := range tries {
		w.breaker.begin()
		p.underWay++
		go func() {
			again := false
			defer func() { p.ends <- again }()
			again = w.deliver(trying, t, p.now, p.report)
		}()
	}
	return began > len(tries) && p.mayTake
}

// look begins a look. While the breaker waits to see how one mail fares, it looks at one user.
func (p *pass) look(ctx context.Context, free int) {
	p.looking = true
	most := p.worker.opts.Batch
	if open, _, _ := p.worker.breaker.state(); open {
		most = min(1, free)
		if p.mayTake || p.waiting > 0 {
			p.looking = false // there is one to try
			return
		}
	}
	go func() {
		var r lookResult
		r.looked, r.claimed, r.err = p.worker.claim(ctx, p.now(), most, p.report)
		p.looks <- r
	}()
}
