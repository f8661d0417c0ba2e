package devmail

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Handler shows the mails:
//
//	GET  /dev/mail            the list, as a page
//	GET  /dev/mail.json       the mails: {"mails": […], "total": N}, newest first; ?to=ADDRESS, ?limit=N (100)
//	GET  /dev/mail/ID         a mail, as a page; ?show=html, text, headers or source
//	GET  /dev/mail/ID.json    a mail: id, from, to, subject, date, kept_at, size, envelope, headers, text, html, links,
//	                          list_unsubscribe, one_click, source
//	GET  /dev/mail/ID.eml     the file
//	GET  /dev/mail/ID/html    its HTML alone
//	DELETE /dev/mail, /dev/mail.json, /dev/mail/ID   removes all, or one
//	POST /dev/mail/clear      removes all, and leads back to the list
//
// It answers programs on this machine only: the peer and our own address are loopback addresses, the Host header is localhost or
// one of them (a page elsewhere whose name was made to point here has another), and no proxy has left a trace: neither a header nor
// HTTP/1.0, which some proxies speak unless told otherwise. A proxy that leaves none can't be told from a program here: where there
// is one, or the server listens on other addresses as well, don't serve it at all.
func (b *Box) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /dev/mail", b.showList)
	mux.Handle("GET /dev/mail/{$}", http.RedirectHandler("/dev/mail", http.StatusSeeOther))
	mux.HandleFunc("GET /dev/mail.json", b.listJSON)
	mux.HandleFunc("GET /dev/mail/{id}", b.showMail)
	mux.HandleFunc("GET /dev/mail/{id}/html", b.showHTML)
	mux.HandleFunc("DELETE /dev/mail", b.deleteAll)
	mux.HandleFunc("DELETE /dev/mail.json", b.deleteAll)
	mux.HandleFunc("DELETE /dev/mail/{id}", b.deleteOne)
	mux.HandleFunc("POST /dev/mail/clear", b.clear)
	origins := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Cache-Control", "no-store")
		header.Set("Referrer-Policy", "no-referrer") // links of mails have secrets in them
		header.Set("Cross-Origin-Resource-Policy", "same-origin")
		if problem := trespass(r); problem != "" {
			refuse(w, r, http.StatusForbidden, "mails are shown to programs on this machine only: "+problem)
			return
		}
		if err := origins.Check(r); err != nil {
			refuse(w, r, http.StatusForbidden, "a page of another origin may not change anything here")
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// What proxies add to requests, by which those are known that came from elsewhere.
var (
	proxyHeaders = []string{
		"Forwarded", "Via", "X-Real-Ip", "True-Client-Ip", "X-Client-Ip", "X-Cluster-Client-Ip", "Fastly-Client-Ip", "X-Amzn-Trace-Id",
	}
	proxyPrefixes = []string{"X-Forwarded", "Cf-", "X-Original-", "X-Envoy-"}
)

// trespass says why a request isn't from this machine, or may not be.
func trespass(r *http.Request) string {
	if peer, err := netip.ParseAddrPort(r.RemoteAddr); err != nil || !peer.Addr().Unmap().IsLoopback() {
		return "the request comes from another"
	}
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		if to, err := netip.ParseAddrPort(local.String()); err == nil && !to.Addr().Unmap().IsLoopback() {
			return "the request came by a network"
		}
	}
	if !r.ProtoAtLeast(1, 1) {
		return "the request is of HTTP/1.0, as proxies make them that nobody told otherwise"
	}
	for name := range r.Header {
		if slices.Contains(proxyHeaders, name) || slices.ContainsFunc(proxyPrefixes, func(p string) bool { return strings.HasPrefix(name, p) }) {
			return "the request came through a proxy, which says so by the header " + name
		}
	}
	if !localHost(r.Host) {
		return "the request is for another host; use http://localhost or http://127.0.0.1"
	}
	return ""
}

// localHost tells whether a Host header means this machine.
func localHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	address, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
	return err == nil && address.Unmap().IsLoopback()
}

// refuse answers with a sentence: as a problem (RFC 9457) to programs, as text to people.
func refuse(w http.ResponseWriter, r *http.Request, status int, sentence string) {
	if !strings.HasSuffix(r.URL.Path, ".json") {
		http.Error(w, sentence, status)
		return
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{ // to a client that went away there is nothing to say
		"type": "about:blank", "title": http.StatusText(status), "status": status, "detail": sentence,
	})
}

// fail answers a request that can't be, because of err.
func (b *Box) fail(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, fs.ErrNotExist) {
		refuse(w, r, http.StatusNotFound, "there is no such mail: it was removed, or was one of the oldest")
		return
	}
	refuse(w, r, http.StatusInternalServerError, fmt.Sprintf("the mails in %s can't be read: %s", b.dir, err))
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	_ = encoder.Encode(v) // to a client that went away there is nothing to say
}

// Mails in one answer: how many there are unless asked otherwise, and at most.
const (
	defaultLimit = 100
	maxLimit     = 1000
)

func (b *Box) listJSON(w http.ResponseWriter, r *http.Request) {
	limit := defaultLimit
	if text := r.URL.Query().Get("limit"); text != "" {
		var err error
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > maxLimit {
			refuse(w, r, http.StatusBadRequest, fmt.Sprintf("limit can't be %q: give 1 to %d", text, maxLimit))
			return
		}
	}
	entries, err := b.list()
	if err != nil {
		b.fail(w, r, err)
		return
	}
	if to := r.URL.Query().Get("to"); to != "" {
		entries = slices.DeleteFunc(entries, func(e entry) bool { return !strings.Contains(strings.ToLower(e.To), strings.ToLower(to)) })
	}
	mails := make([]*message, 0, min(limit, len(entries)))
	for _, e := range entries[:min(limit, len(entries))] {
		if m, err := b.message(e.ID); err == nil { // else it was removed meanwhile
			mails = append(mails, m)
		}
	}
	writeJSON(w, map[string]any{"mails": mails, "total": len(entries)})
}

// showMail serves a mail, in the form that the end of its name asks for.
func (b *Box) showMail(w http.ResponseWriter, r *http.Request) {
	id, isJSON := strings.CutSuffix(r.PathValue("id"), ".json")
	id, isFile := strings.CutSuffix(id, suffix)
	m, err := b.message(id)
	switch {
	case err != nil:
		b.fail(w, r, err)
	case isJSON:
		writeJSON(w, m)
	case isFile:
		w.Header().Set("Content-Type", "message/rfc822")
		w.Header().Set("Content-Disposition", `attachment; filename="`+id+suffix+`"`)
		_, _ = w.Write(m.source) // to a client that went away there is nothing to say
	default:
		b.showPage(w, r, m)
	}
}

func (b *Box) deleteAll(w http.ResponseWriter, r *http.Request) {
	if err := b.Clear(); err != nil {
		b.fail(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (b *Box) deleteOne(w http.ResponseWriter, r *http.Request) {
	id, _ := strings.CutSuffix(r.PathValue("id"), ".json")
	if err := b.Remove(id); err != nil {
		b.fail(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (b *Box) clear(w http.ResponseWriter, r *http.Request) {
	if err := b.Clear(); err != nil {
		b.fail(w, r, err)
		return
	}
	http.Redirect(w, r, "/dev/mail", http.StatusSeeOther)
}
