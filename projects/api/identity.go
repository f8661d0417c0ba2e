package api

import (
	"context"
	"errors"
	"mime"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/trunkline/trunkline/projects/account"
)

type identityKey struct{}

type clientKey struct{}

// identity is who asks. In an operation that is [open] it is the zero one if nobody is signed in: its Person.ID is 0.
func identity(ctx context.Context) account.Identity {
	id, _ := ctx.Value(identityKey{}).(account.Identity)
	return id
}

// client is where a request comes from.
func client(ctx context.Context) account.Client {
	c, _ := ctx.Value(clientKey{}).(account.Client)
	return c
}

// identify finds out who sends a request before its body is read, refuses strangers where a session is needed, and refuses bodies
// that aren't worth reading.
func (a *api) identify(ctx huma.Context, next func(huma.Context)) {
	op := ctx.Operation()
	r, w := humago.Unwrap(ctx)
	id, err := a.caller(ctx.Context(), op, r)
	if err != nil && (!isOpen(op) || !errors.Is(err, account.ErrNoSession)) {
		a.report(ctx.Context(), op.OperationID, err).write(w, r)
		return
	}
	if p := checkBody(op, r); p != nil {
		w.Header().Set("Connection", "close") // rather than read what isn't wanted
		p.write(w, r)
		return
	}
	changes := id.Person.ID != 0 && r.Method != http.MethodGet && r.Method != http.MethodHead && op.Metadata["background"] != true
	if changes {
		if wait, ok := a.paces.take(id.Person.ID); !ok {
			problemOf(http.StatusTooManyRequests, "You are changing more than %d things a second. Wait a moment, then go on.", a.ChangesPerSecond).
				retryAfter(wait).write(w, r)
			return
		}
	}
	if isUpload(op) {
		leave, ok := a.files.take(id.Person.ID)
		if !ok {
			w.Header().Set("Connection", "close")
			problemOf(http.StatusTooManyRequests, "Too many files are on their way at this moment. Wait until some have arrived, and send this one again.").
				retryAfter(5).write(w, r)
			return
		}
		defer leave()
	}
	if id.NewCookie != "" {
		ctx.AppendHeader("Set-Cookie", a.Accounts.Cookie(id.NewCookie).String())
	}
	ctx = huma.WithValue(ctx, identityKey{}, id)
	ctx = huma.WithValue(ctx, clientKey{}, account.Client{UserAgent: r.UserAgent(), Address: clientAddress(r, a.TrustedProxies)})
	next(&settled{humaContext: ctx})
	if changes {
		a.touch(ctx.Context(), id.Person.ID)
	}
}

// settled is a context that keeps the first status it is given: that of a problem, where huma goes on to set that of its own error,
// which the problem stands for.
type settled struct {
	humaContext
	set bool
}

// humaContext gives the field another name than its method has.
type humaContext = huma.Context

func (c *settled) SetStatus(status int) {
	if !c.set {
		c.set = true
		c.humaContext.SetStatus(status)
	}
}

// Unwrap is how the adapter finds the request.
func (c *settled) Unwrap() huma.Context { return c.humaContext }

// caller is who has the session that a request's cookie names.
func (a *api) caller(ctx context.Context, op *huma.Operation, r *http.Request) (account.Identity, error) {
	cookie, err := r.Cookie(a.Accounts.CookieName())
	if err != nil {
		return account.Identity{}, account.ErrNoSession
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	if isUpload(op) {
		return a.Accounts.Recognize(ctx, cookie.Value)
	}
	return a.Accounts.Authenticate(ctx, cookie.Value)
}

// touch notes that somebody did something, which postpones mail about what they have surely seen. It is no reason to fail.
func (a *api) touch(ctx context.Context, person int64) {
	if a.Inbox == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.touchTime)
	defer cancel()
	if err := a.Inbox.Touch(ctx, strconv.FormatInt(person, 10)); err != nil {
		a.log.Warn("that somebody is active can't be noted", "request_id", requestID(ctx), "person", person, "error", err)
	}
}

// checkBody refuses what isn't worth reading. Pages of other sites can send forms and plain text without asking first, JSON they
// can't: that is one of the two reasons why a body has to say that it is.
func checkBody(op *huma.Operation, r *http.Request) *problem {
	if r.ContentLength > op.MaxBodyBytes {
		return tooLarge(op.MaxBodyBytes)
	}
	given := r.Header.Get("Content-Type")
	if given == "" && r.ContentLength == 0 {
		return nil
	}
	want := "application/json"
	if isUpload(op) {
		want = "application/octet-stream"
	}
	if kind, _, err := mime.ParseMediaType(given); err != nil || kind != want {
		return problemOf(http.StatusUnsupportedMediaType, "The body is said to be %q. Send it as %s.", clip(given), want)
	}
	return nil
}
