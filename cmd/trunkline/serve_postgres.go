package main

import "context"

// supervise brings the private PostgreSQL back whenever it dies, until stopAll or the end of ctx.
func (r *running) supervise(ctx context.Context) {
	ctx, r.unwatch = context.WithCancel(ctx)
	r.unwatched = make(chan struct{})
	go func() {
		defer close(r.unwatched)
		if err := r.postgres.Supervise(ctx, r.log); err != nil {
			r.lost <- err
		}
	}()
}
