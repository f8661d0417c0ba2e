package server

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"errors"
	"html/template"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/trunkline/trunkline/inbox"
)

// unsubscribePath is where the links in mails lead that unsubscribe.
const unsubscribePath = "/v1/unsubscribe/"

// maxUnsubscribeBody is room for the longest form, and for what mail programs send.
const maxUnsubscribeBody = 64 << 10

//go:embed unsubscribe.css
var unsubscribeStyle string

//go:embed unsubscribe.html
var unsubscribeText string

var unsubscribeTemplate = template.Must(template.New("unsubscribe").Parse(unsubscribeText))

// unsubscribePolicy lets the page load nothing, run nothing, be framed by nobody, and send its form back here alone.
var unsubscribePolicy = func() string {
	sum := sha256.Sum256([]byte(unsubscribeStyle))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
}()

// unsubscribe serves the page that a link in a mail leads to: for people, who press its button, and for mail programs, which send
// what RFC 8058 says without showing it. Whoever has the link may do it, signed in or not, and nothing else: its token is all
// that counts. Looking changes nothing, because scanners of mail follow links.
func (s *Server) unsubscribe(w http.ResponseWriter, r *http.Request) {
	p := &unsubscribing{server: s, w: w, r: r, words: wordsFor(r.Header.Values("Accept-Language"))}
	leave, refusal := p.enter()
	if refusal != nil {
		p.refuse(refusal)
		return
	}
	defer leave()
	ctx, cancel := context.WithTimeout(r.Context(), s.answerTime)
	defer cancel()
	if err := p.serve(ctx); err != nil {
		refusal := asProblem(err)
		if silent(err) {
			refusal = s.unanswered("try again")
			refusal.cause = err
		}
		p.refuse(refusal)
	}
}

// unsubscribing is one request to the page.
type unsubscribing struct {
	server *Server
	w      http.ResponseWriter
	r      *http.Request
	words  *wording
}

// enter takes a place among the requests under way, and counts the request as its address's.
func (p *unsubscribing) enter() (leave func(), refusal *problem) {
	web := p.server.web
	from := network(web.proxies.client(p.r))
	if !p.server.options.Open {
		if wait := web.requests.take(from, 1); wait > 0 {
			return nil, limited(http.StatusTooManyRequests, limitRequestRate, wait,
				"too many requests came from this address: try again later")
		}
	}
	release, ok := web.busy.enter(from)
	if !ok {
		return nil, limited(http.StatusTooManyRequests, limitRequestsAtOnce, time.Second,
			"%d requests from this address are under way, which is the most: wait for some", maxRequestsPerAddress)
	}
	select {
	case web.working <- struct{}{}:
		return func() { <-web.working; release() }, nil
	default:
		release()
		return nil, limited(http.StatusServiceUnavailable, limitRequestsAtOnce, time.Second,
			"%d requests are under way, which is the most: try again", maxRequests)
	}
}

func (p *unsubscribing) serve(ctx context.Context) error {
	switch p.r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost:
	default:
		return problemOf(http.StatusMethodNotAllowed, "%s can't be done here", clip(p.r.Method)).with("Allow", "GET, HEAD, POST")
	}
	order, err := p.order()
	if err != nil {
		return err
	}
	token := p.r.PathValue("token")
	offer, found, err := p.server.inbox.UnsubscribeOffer(ctx, token)
	if err != nil {
		return err
	}
	if !found {
		return problemOf(http.StatusNotFound, "this link is none of ours")
	}
	known := slices.ContainsFunc(offer.Kinds, func(k inbox.OfferedKind) bool { return k.Name == order.kind })
	switch {
	case !order.given:
		status := http.StatusOK
		if p.r.Method == http.MethodPost {
			status = http.StatusBadRequest // nobody pressed the button
		}
		p.show(status, p.words.offer(offer.Kinds, order.kind))
		return nil
	case order.kind != "" && !known:
		p.show(http.StatusBadRequest, p.words.offer(offer.Kinds, ""))
		return nil
	}
	// The client may leave once it has sent this: it is to be done nevertheless.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.server.answerTime)
	defer cancel()
	if found, err = p.server.inbox.Unsubscribe(ctx, token, order.kind); err != nil {
		return err
	}
	if !found {
		return problemOf(http.StatusNotFound, "this link is none of ours")
	}
	p.show(http.StatusOK, p.words.done(offer.Kinds, order.kind))
	return nil
}

// An order is what somebody wants.
type order struct {
	given bool   // or only looked at
	kind  string // "": all mail
}

// order reads the request. A form's kind counts for more than the link's: it is the button that was pressed.
func (p *unsubscribing) order() (order, error) {
	wanted := order{kind: p.r.URL.Query().Get("kind")}
	if p.r.Method != http.MethodPost {
		return wanted, nil
	}
	form, err := p.form()
	if err != nil {
		return wanted, err
	}
	wanted.given = form.has("confirm") || form.get("List-Unsubscribe") == "One-Click"
	if form.has("kind") {
		wanted.kind = form.get("kind")
	}
	return wanted, nil
}

type formValues map[string][]string

func (f formValues) has(name string) bool { return len(f[name]) > 0 }

func (f formValues) get(name string) string {
	if !f.has(name) {
		return ""
	}
	return f[name][0]
}

// form reads the body as a form, in either of the ways that there are to send one.
func (p *unsubscribing) form() (formValues, error) {
	p.r.Body = http.MaxBytesReader(p.w, p.r.Body, maxUnsubscribeBody)
	kind, _, err := mime.ParseMediaType(p.r.Header.Get("Content-Type"))
	switch {
	case p.r.Header.Get("Content-Type") == "" || (err == nil && kind == "application/x-www-form-urlencoded"):
		p.r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		err = p.r.ParseForm()
	case err == nil && kind == "multipart/form-data":
		if err = p.r.ParseMultipartForm(maxUnsubscribeBody); err == nil {
			defer func() { _ = p.r.MultipartForm.RemoveAll() }() // all of it fits into memory
			return p.r.MultipartForm.Value, nil
		}
	default:
		return nil, problemOf(http.StatusUnsupportedMediaType, "the body is no form")
	}
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, tooLarge(maxUnsubscribeBody)
	case err != nil:
		return nil, problemOf(http.StatusBadRequest, "the form can't be read")
	}
	return formValues(p.r.PostForm), nil
}

// refuse says in the page why not. The path isn't logged: who has it can unsubscribe.
func (p *unsubscribing) refuse(refusal *problem) {
	p.server.countRefusal(refusal)
	if refusal.Status >= http.StatusInternalServerError && refusal.cause != nil && !errors.Is(refusal.cause, context.Canceled) {
		p.server.log.Warn("unsubscribing from mail failed", "request_id", requestID(p.r.Context()), "status", refusal.Status,
			"error", refusal.cause)
	}
	header := p.w.Header()
	for name, values := range refusal.header {
		header[name] = values
	}
	p.show(refusal.Status, p.words.refusal(refusal.Status))
}

// show writes the page.
func (p *unsubscribing) show(status int, contents unsubscribePage) {
	contents.Lang, contents.Style = p.words.lang, template.CSS(unsubscribeStyle) //nolint:gosec // ours
	var page bytes.Buffer
	if err := unsubscribeTemplate.Execute(&page, contents); err != nil {
		problemf(p.w, http.StatusInternalServerError, "the page can't be made: %s", err)
		return
	}
	header := p.w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Content-Language", p.words.lang)
	header.Add("Vary", "Accept-Language")
	header.Set("Content-Security-Policy", unsubscribePolicy)
	header.Set("Cache-Control", "no-store")
	header.Set("Referrer-Policy", "no-referrer") // the address is a secret
	header.Set("X-Robots-Tag", "noindex, nofollow")
	p.w.WriteHeader(status)
	_, _ = p.w.Write(page.Bytes()) // to a client that went away there is nothing to say
}

// pathIsUnsubscribe tells whether a request is for the page. It is exempt from the check of origins: mail programs send none, and
// the page's own form sends "null", since it tells nobody where it comes from. What a page of somebody else's sends is no danger:
// it hasn't got the token.
func pathIsUnsubscribe(path string) bool {
	return strings.HasPrefix(path, unsubscribePath)
}
