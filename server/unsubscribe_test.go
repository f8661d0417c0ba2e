package server

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"html"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/trunkline/trunkline/inbox"
	"github.com/trunkline/trunkline/internal/pgtest"
)

// unsubscribeLink makes a link as a mail to a user would have it, about kinds.
func (s *service) unsubscribeLink(t *testing.T, user string, kinds ...string) string {
	t.Helper()
	token, hash := inbox.NewUnsubscribeToken()
	if _, err := s.engine.Pool().Exec(t.Context(), "SELECT trunkline.new_unsubscribe_token($1, $2, $3)", hash, user, kinds); err != nil {
		t.Fatal(err)
	}
	return "/v1/unsubscribe/" + token
}

// mailOf is what a user wants mail about: "" for all kinds, or one; "" if nothing is said of it.
func (s *service) mailOf(t *testing.T, user, kind string) (mail string) {
	t.Helper()
	const sql = "SELECT coalesce((SELECT mail FROM trunkline.mail_preference WHERE user_id = $1 AND kind = $2), '')"
	if err := s.engine.Pool().QueryRow(t.Context(), sql, user, kind).Scan(&mail); err != nil {
		t.Fatal(err)
	}
	return mail
}

const (
	form     = "Content-Type: application/x-www-form-urlencoded"
	oneClick = "List-Unsubscribe=One-Click"
)

var elements = regexp.MustCompile(`<[^>]*>`)

// pageText is what one reads of the page.
func (a *answer) pageText(t *testing.T) string {
	t.Helper()
	for name, want := range map[string]string{
		"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store", "Referrer-Policy": "no-referrer",
		"X-Robots-Tag": "noindex, nofollow", "X-Content-Type-Options": "nosniff",
	} {
		if got := a.header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if got := a.header.Values("Set-Cookie"); len(got) > 0 {
		t.Errorf("a cookie: %v", got)
	}
	page := string(a.body)
	for _, bad := range []string{"<script", "src=", "http:", "https:", "onclick"} {
		if strings.Contains(page, bad) {
			t.Errorf("the page has %s: %s", bad, page)
		}
	}
	_, style, _ := strings.Cut(page, "<style>")
	style, main, _ := strings.Cut(style, "</style>")
	sum := sha256.Sum256([]byte(style))
	want := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
	if policy := a.header.Get("Content-Security-Policy"); policy != want {
		t.Errorf("policy %q, want %q", policy, want)
	}
	return html.UnescapeString(elements.ReplaceAllString(main, " "))
}

func TestLookingAtTheLinkChangesNothing(t *testing.T) {
	s := newGuarded(t, Limits{})
	s.sql(t, "SELECT trunkline.kind('mention', title => 'Mentions & <more>')")
	link := s.unsubscribeLink(t, "ann", "mention", "note")
	for _, query := range []string{"", "?kind=mention", "?kind=note", "?kind=unknown", "?utm_source=mail", "?confirm=yes&" + oneClick} {
		path := link + query
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPut, http.MethodDelete} {
			a := s.ask(t, method, path, "")
			switch method {
			case http.MethodGet:
				text := a.pageText(t)
				if a.status != http.StatusOK || !strings.Contains(text, "Stop these e-mails?") ||
					!strings.Contains(text, "Stop all of these e-mails") {
					t.Errorf("%s: status %d: %s", path, a.status, text)
				}
				if about := strings.Contains(text, "“Mentions & <more>”"); about != !strings.HasSuffix(path, "kind=note") {
					t.Errorf("%s: %s", path, text)
				}
				if strings.Contains(string(a.body), "ann") || strings.Contains(string(a.body), strings.TrimPrefix(link, "/v1/unsubscribe/")) {
					t.Errorf("%s: the page says whose it is, or repeats the token: %s", path, a.body)
				}
			case http.MethodHead:
				if a.status != http.StatusOK || len(a.body) != 0 {
					t.Errorf("HEAD: status %d: %s", a.status, a.body)
				}
			default:
				if a.status != http.StatusMethodNotAllowed || a.header.Get("Allow") != "GET, HEAD, POST" {
					t.Errorf("%s: status %d, Allow %q", method, a.status, a.header.Get("Allow"))
				}
			}
		}
	}
	// A POST that nobody meant, neither.
	for _, body := range []string{"", "kind=mention", "List-Unsubscribe=yes", "list-unsubscribe=One-Click"} {
		a := s.ask(t, http.MethodPost, link, body, form)
		if text := a.pageText(t); a.status != http.StatusBadRequest || !strings.Contains(text, "Stop these e-mails?") {
			t.Errorf("%q: status %d: %s", body, a.status, text)
		}
	}
	if s.mailOf(t, "ann", "") != "" || s.mailOf(t, "ann", "mention") != "" || s.mailOf(t, "ann", "note") != "" {
		t.Error("something was changed")
	}
}

func TestUnsubscribing(t *testing.T) {
	s := newGuarded(t, Limits{})
	s.sql(t, "SELECT trunkline.kind('mention', title => 'Mentions')")
	for i, test := range []struct {
		query, body string
		kind        string // what is stopped, "" for all
	}{
		{"", "confirm=yes&kind=", ""},
		{"", "confirm=yes&kind=mention", "mention"},
		{"?kind=mention", "confirm=yes&kind=mention", "mention"},
		{"?kind=mention", "confirm=yes&kind=", ""},
		{"?kind=mention", "confirm=yes", "mention"},
		{"?kind=mention", oneClick, "mention"},
		{"", oneClick, ""},
	} {
		user := fmt.Sprintf("user %d", i)
		link := s.unsubscribeLink(t, user, "mention", "note") + test.query
		for range 2 { // the second time it is done already
			a := s.ask(t, http.MethodPost, link, test.body, form)
			text := a.pageText(t)
			says := "You will get no more of these e-mails."
			if test.kind != "" {
				says = "You will get no more e-mails about “Mentions”."
			}
			if a.status != http.StatusOK || !strings.Contains(text, says) || !strings.Contains(text, "notification settings") {
				t.Errorf("%s %s: status %d: %s", test.query, test.body, a.status, text)
			}
			if got := s.mailOf(t, user, test.kind); got != "never" {
				t.Errorf("%s %s: mail about %q is %q", test.query, test.body, test.kind, got)
			}
			if other := s.mailOf(t, user, "note"); other != "" {
				t.Errorf("%s %s: mail about notes is %q", test.query, test.body, other)
			}
			if all := s.mailOf(t, user, ""); (test.kind == "") != (all == "never") {
				t.Errorf("%s %s: all mail is %q", test.query, test.body, all)
			}
		}
	}
}

// Mail programs send either form, from anywhere, with no cookie and no origin or with one of theirs.
func TestMailProgramsUnsubscribe(t *testing.T) {
	s := newGuarded(t, Limits{})
	var parts bytes.Buffer
	w := multipart.NewWriter(&parts)
	_ = w.WriteField("List-Unsubscribe", "One-Click")
	_ = w.Close()
	for i, header := range [][]string{
		{form},
		{form + "; charset=utf-8"},
		{"Content-Type: " + w.FormDataContentType()},
		{form, "Origin: null"},
		{form, "Origin: https://mail.example"},
		{form, "Origin: nonsense"},
		{form, "Cookie: session=1"},
		{form, "Authorization: Basic eDp5"},
		{form, "Authorization: Bearer nonsense"},
	} {
		user := fmt.Sprintf("user %d", i)
		body := oneClick
		if strings.Contains(header[0], "multipart") {
			body = parts.String()
		}
		a := s.ask(t, http.MethodPost, s.unsubscribeLink(t, user, "note"), body, header...)
		if a.status != http.StatusOK || s.mailOf(t, user, "") != "never" {
			t.Errorf("%v: status %d: %s", header, a.status, a.pageText(t))
		}
		if got := a.header.Get("Access-Control-Allow-Origin"); got != "" {
			t.Errorf("%v: pages of %s may read the answer", header, got)
		}
	}
}

func TestLinksThatAreNone(t *testing.T) {
	s := newGuarded(t, Limits{})
	good := s.unsubscribeLink(t, "ann", "note")
	for _, path := range []string{
		good + "x", good[:len(good)-1], good[:len(good)-1] + "!", good + "%20", good + "=", good + "/", good + "/more",
		"/v1/unsubscribe/" + strings.ToUpper(strings.TrimPrefix(good, "/v1/unsubscribe/")), "/v1/unsubscribe/", "/v1/unsubscribe/x", "/v1/unsubscribe/" + strings.Repeat("x", 32), "/v1/unsubscribe/" + strings.Repeat("x", 5000),
		"/v1/unsubscribe/%00", "/v1/unsubscribe/%ff%fe", "/v1/unsubscribe/'%20OR%20true--", "/v1/unsubscribe/%2e%2e%2fdocs",
	} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			body := ""
			if method == http.MethodPost {
				body = oneClick
			}
			a := s.ask(t, method, path, body, form)
			text := a.pageText(t)
			if a.status != http.StatusNotFound || !strings.Contains(text, "This link doesn't work") || !strings.Contains(text, "latest e-mail") {
				t.Errorf("%s %s: status %d: %s", method, path, a.status, text)
			}
		}
	}
	if s.mailOf(t, "ann", "") != "" {
		t.Error("something was changed")
	}
	// A kind that the link isn't about.
	a := s.ask(t, http.MethodPost, good, "confirm=yes&kind=other", form)
	if text := a.pageText(t); a.status != http.StatusBadRequest || !strings.Contains(text, "Stop these e-mails?") {
		t.Errorf("status %d: %s", a.status, text)
	}
	if s.mailOf(t, "ann", "other") != "" {
		t.Error("something was changed")
	}
}

func TestUnsubscribeFormsThatAreNone(t *testing.T) {
	s := newGuarded(t, Limits{})
	link := s.unsubscribeLink(t, "ann", "note")
	for _, test := range []struct {
		header, body string
		status       int
	}{
		{"Content-Type: application/json", `{"confirm":"yes"}`, http.StatusUnsupportedMediaType},
		{"Content-Type: text/plain", oneClick, http.StatusUnsupportedMediaType},
		{"Content-Type: nonsense/;", oneClick, http.StatusUnsupportedMediaType},
		{"Content-Type: multipart/form-data", oneClick, http.StatusBadRequest},
		{"Content-Type: multipart/form-data; boundary=x", "--x\r\nnonsense", http.StatusBadRequest},
		{form, "confirm=%zz", http.StatusBadRequest},
		{form, "confirm=yes&x=" + strings.Repeat("x", 70_000), http.StatusRequestEntityTooLarge},
	} {
		a := s.ask(t, http.MethodPost, link, test.body, test.header)
		if text := a.pageText(t); a.status != test.status || !strings.Contains(text, "That didn't work") {
			t.Errorf("%s: status %d, want %d: %s", test.header, a.status, test.status, text)
		}
	}
	if s.mailOf(t, "ann", "") != "" {
		t.Error("something was changed")
	}
	// Some send no type at all.
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.server.URL+link, strings.NewReader(oneClick))
	if err != nil {
		t.Fatal(err)
	}
	response, err := s.server.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, response.Body)
	response.Body.Close()
	if response.StatusCode != http.StatusOK || s.mailOf(t, "ann", "") != "never" {
		t.Errorf("no type: status %d", response.StatusCode)
	}
}

func TestTheLinkOutlivesTheUser(t *testing.T) {
	s := newGuarded(t, Limits{})
	link := s.unsubscribeLink(t, "ann", "note")
	s.sql(t, "SELECT trunkline.set_recipient('ann', 'ann@example.org')", "SELECT trunkline.forget_recipient('ann')",
		"SELECT trunkline.revoke('ann')")
	for range 2 {
		if a := s.ask(t, http.MethodPost, link, oneClick, form); a.status != http.StatusOK {
			t.Errorf("status %d: %s", a.status, a.pageText(t))
		}
	}
}

func TestThePageSpeaksGerman(t *testing.T) {
	s := newGuarded(t, Limits{})
	link := s.unsubscribeLink(t, "ann", "note")
	for language, want := range map[string]string{
		"": "en", "de": "de", "de-AT,de;q=0.9,en;q=0.5": "de", "en-GB,en;q=0.9,de;q=0.8": "en", "fr,de;q=0.3,en;q=0.2": "de",
		"fr": "en", "*": "en", "DE": "de", "de;q=0": "en", "de;q=nonsense": "en", "de;q=NaN": "en", "de; q=0.4, en; q=0.5": "en", "den": "en", ",,;;q=,de": "de",
		strings.Repeat("fr,", 1000) + "de": "en",
	} {
		a := s.ask(t, http.MethodGet, link, "", "Accept-Language: "+language)
		text := a.pageText(t)
		if got := a.header.Get("Content-Language"); got != want || !strings.Contains(string(a.body), `<html lang="`+want+`">`) {
			t.Errorf("%s: %q", clip(language), got)
		}
		if german := strings.Contains(text, "abbestellen"); german != (want == "de") {
			t.Errorf("%s: %s", clip(language), text)
		}
		if !strings.Contains(strings.Join(a.header.Values("Vary"), ","), "Accept-Language") {
			t.Errorf("Vary: %v", a.header.Values("Vary"))
		}
	}
	a := s.ask(t, http.MethodPost, link, "confirm=yes&kind=note", form, "Accept-Language: de")
	if text := a.pageText(t); !strings.Contains(text, "Erledigt") || !strings.Contains(text, "keine E-Mails mehr zu „note“") {
		t.Errorf("%s", text)
	}
	if a := s.ask(t, http.MethodGet, link+"x", "", "Accept-Language: de"); !strings.Contains(a.pageText(t), "Dieser Link funktioniert nicht") {
		t.Errorf("%s", a.body)
	}
}

// Every language says everything.
func TestWordingsAreWhole(t *testing.T) {
	kinds := []inbox.OfferedKind{{Name: "note", Title: "Notes"}}
	for _, w := range []*wording{&english, &german} {
		pages := []unsubscribePage{
			w.offer(kinds, ""), w.offer(kinds, "note"), w.offer(nil, ""), w.done(kinds, ""), w.done(kinds, "note"),
			w.refusal(404), w.refusal(400), w.refusal(429), w.refusal(503),
		}
		for i, p := range pages {
			said := append([]string{p.Title}, p.Paragraphs...)
			for _, c := range p.Choices {
				said = append(said, c.Label)
			}
			for _, text := range said {
				if text == "" || strings.Contains(text, "%") {
					t.Errorf("%s, page %d says %q", w.lang, i, text)
				}
			}
		}
	}
}

func TestUnsubscribingIsMetered(t *testing.T) {
	s := newGuarded(t, Limits{RequestRate: 0.1}) // one at once
	s.stopClocks()
	link := s.unsubscribeLink(t, "ann", "note")
	if a := s.ask(t, http.MethodGet, link, ""); a.status != http.StatusOK {
		t.Fatalf("status %d", a.status)
	}
	a := s.ask(t, http.MethodPost, link, oneClick, form)
	if text := a.pageText(t); a.status != http.StatusTooManyRequests || a.header.Get("Retry-After") == "" ||
		!strings.Contains(text, "Not right now") {
		t.Errorf("status %d: %s", a.status, text)
	}
	open := newService(t)
	for range maxRequests {
		open.handler.web.working <- struct{}{}
	}
	a = open.ask(t, http.MethodGet, link, "")
	if text := a.pageText(t); a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" ||
		!strings.Contains(text, "Not right now") {
		t.Errorf("status %d: %s", a.status, text)
	}
}

func TestUnsubscribingInOpenMode(t *testing.T) {
	s := newService(t)
	link := s.unsubscribeLink(t, "ann", "note")
	for header, want := range map[string]int{
		"": http.StatusOK, "Origin: null": http.StatusOK,
		"X-Forwarded-For: 192.0.2.1": http.StatusForbidden, "Via: 1.1 proxy": http.StatusForbidden,
	} {
		headers := []string{form}
		if header != "" {
			headers = append(headers, header)
		}
		if a := s.ask(t, http.MethodPost, link, oneClick, headers...); a.status != want {
			t.Errorf("%s: status %d, want %d: %s", header, a.status, want, a.body)
		}
	}
	if code, body := ask(t, s.handler, there, link); code != http.StatusForbidden {
		t.Errorf("from elsewhere: status %d: %s", code, body)
	}
}

func TestTheTokenIsNeverLogged(t *testing.T) {
	var log lines
	s := serve(t, pgtest.Database(t), Options{JWTSecret: []byte(testSecret), Logger: log.logger()})
	link := s.unsubscribeLink(t, "ann", "note")
	s.ask(t, http.MethodPost, link, oneClick, form)
	s.ask(t, http.MethodGet, link+"/more", "")
	s.sql(t, "ALTER TABLE trunkline.unsubscribe_token RENAME TO elsewhere")
	a := s.ask(t, http.MethodPost, link, oneClick, form)
	if text := a.pageText(t); a.status != http.StatusInternalServerError || !strings.Contains(text, "Not right now") {
		t.Errorf("status %d: %s", a.status, text)
	}
	token := strings.TrimPrefix(link, "/v1/unsubscribe/")
	if text := log.text(); strings.Contains(text, token[:12]) || !strings.Contains(text, "unsubscribing from mail failed") {
		t.Errorf("the log: %s", text)
	}
}

// Whoever sends it and goes has done it.
func TestUnsubscribingIsDoneThoughTheClientLeaves(t *testing.T) {
	s := newGuarded(t, Limits{})
	link := s.unsubscribeLink(t, "ann", "note")
	tx, err := s.engine.Pool().Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.Background()) }()
	if _, err := tx.Exec(t.Context(), "LOCK TABLE trunkline.mail_preference IN SHARE MODE"); err != nil {
		t.Fatal(err)
	}
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	request := httptest.NewRequestWithContext(ctx, http.MethodPost, link, strings.NewReader(oneClick))
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	recorder := httptest.NewRecorder()
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		s.handler.ServeHTTP(recorder, request)
	}()
	s.until(t, "it waits for the lock", func() bool {
		const sql = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'trunkline.mail_preference'::regclass)"
		var waiting bool
		err := tx.QueryRow(t.Context(), sql).Scan(&waiting)
		return err == nil && waiting
	})
	leave()
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-answered
	if got := s.mailOf(t, "ann", ""); recorder.Code != http.StatusOK || got != "never" {
		t.Errorf("status %d, all mail is %q", recorder.Code, got)
	}
}
