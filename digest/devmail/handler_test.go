package devmail_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type anyJSON = map[string]any

func decode(t *testing.T, text string) anyJSON {
	t.Helper()
	var v anyJSON
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return v
}

// newest is the id of the mail that came last.
func (s *site) newest() string {
	s.t.Helper()
	_, _, body := s.do("GET", "/dev/mail.json")
	mails, _ := decode(s.t, body)["mails"].([]any)
	if len(mails) == 0 {
		s.t.Fatal("there is no mail")
	}
	first, _ := mails[0].(anyJSON)
	id, _ := first["id"].(string)
	return id
}

func TestMailAsJSON(t *testing.T) {
	box := open(t, t.TempDir(), 0)
	s := serve(t, box)
	if _, _, body := s.do("GET", "/dev/mail.json"); len(decode(t, body)["mails"].([]any)) != 0 {
		t.Errorf("an empty list is %s", body)
	}
	send(t, box, "berta@example.com", "To: berta@example.com\nSubject: other\n\n")
	send(t, box, "anna@example.com", digest)
	status, header, body := s.do("GET", "/dev/mail.json")
	if status != 200 || header.Get("Content-Type") != "application/json" {
		t.Errorf("%d %v", status, header)
	}
	mails := decode(t, body)["mails"].([]any)
	if len(mails) != 2 {
		t.Fatalf("the list is %s", body)
	}
	first := mails[0].(anyJSON)
	id := first["id"].(string)
	whole := first
	first = anyJSON{}
	for _, name := range []string{"id", "from", "to", "subject", "date"} {
		first[name] = whole[name]
	}
	want := anyJSON{
		"id": id, "from": "Büro <digest@example.com>", "to": `"Anna" <anna@example.com>`, "subject": "3 neue Nachrichten – Büro",
		"date": "2026-11-20T09:15:30Z",
	}
	if d := cmp.Diff(want, first); d != "" {
		t.Error(d)
	}
	if _, _, body := s.do("GET", "/dev/mail.json?to=Berta@Example.com"); len(decode(t, body)["mails"].([]any)) != 1 {
		t.Errorf("Berta's list is %s", body)
	}
	_, _, body = s.do("GET", "/dev/mail/"+id+".json")
	m := decode(t, body)
	if d := cmp.Diff(m, whole); d != "" {
		t.Error("in the list it is another: " + d)
	}
	if source := m["source"].(string); !strings.Contains(source, "=?utf-8?q?B=C3=BCro?=") || !strings.HasPrefix(source, "Return-Path: ") {
		t.Errorf("its source is %q", source)
	}
	if got := len(m["headers"].([]any)); got != 11 {
		t.Errorf("%d headers: %v", got, m["headers"])
	}
	for _, name := range []string{"headers", "html", "kept_at", "size", "source"} {
		delete(m, name)
	}
	want["envelope"] = anyJSON{"from": "bounces@example.com", "to": "anna@example.com"}
	want["text"] = "Grüße: https://example.com/a?x=1."
	want["links"] = []any{
		anyJSON{"url": "https://example.com/a?x=1&y=2", "text": "Read it"}, anyJSON{"url": "https://example.com/b", "text": "B"},
	}
	want["list_unsubscribe"] = []any{"https://example.com/unsubscribe?token=abc&kind=mention", "mailto:unsubscribe@example.com"}
	want["one_click"] = true
	if d := cmp.Diff(want, m); d != "" {
		t.Error(d)
	}
}

func TestListIsLimited(t *testing.T) {
	box := open(t, t.TempDir(), 0)
	s := serve(t, box)
	for i := range 3 {
		send(t, box, "a@example.com", fmt.Sprintf("Subject:\n mail %d\n\nhello\n", i))
	}
	_, _, body := s.do("GET", "/dev/mail.json?limit=2")
	list := decode(t, body)
	mails := list["mails"].([]any)
	if len(mails) != 2 || list["total"] != 3.0 {
		t.Fatalf("%s", body)
	}
	// Folded, as long ones are, it has no blank in front.
	if m := mails[0].(anyJSON); m["subject"] != "mail 2" || m["text"] != "hello\n" {
		t.Errorf("the newest is %v", m)
	}
	for _, limit := range []string{"0", "-1", "1001", "many"} {
		if status, _, body := s.do("GET", "/dev/mail.json?limit="+limit); status != http.StatusBadRequest || !strings.Contains(body, "1 to 1000") {
			t.Errorf("limit=%s: %d %s", limit, status, body)
		}
	}
}

// Files that came from elsewhere or were cut off are shown as far as that goes.
func TestMailsThatArent(t *testing.T) {
	for name, c := range map[string]struct{ file, text, html, problem string }{
		"empty":       {"", "", "", "isn't a mail"},
		"zeros":       {strings.Repeat("\x00", 1000), "", "", "isn't a mail"},
		"no header":   {"hello\nthere\n", "", "", "isn't a mail"},
		"continued":   {" x: y\n\n", "", "", "isn't a mail"},
		"header only": {"Subject: x", "", "", ""},
		"bare LF":     {"Subject: x\n\nhello\n", "hello\n", "", ""},
		"cut off":     {"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain\n\nhel", "hel", "", "end"},
		"no boundary": {"Content-Type: multipart/mixed\n\n--b\n\nhello\n", "", "", "end"},
		"base64":      {"Content-Transfer-Encoding: base64\n\naGVsbG8=!!!\n", "hello", "", "end"},
		"latin-1":     {"Content-Type: text/plain; charset=iso-8859-1\n\nGr\xfc\xdfe\n", "Grüße\n", "", ""},
		"not UTF-8":   {"Subject: \xff\n\n\xffx\n", "�x\n", "", ""},
		"attachment": {
			"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain\nContent-Disposition: attachment\n\nno\n" +
				"--b\nContent-Type: text/plain\n\nyes\n--b--\n", "yes", "", "",
		},
		"nested": {
			strings.Repeat("Content-Type: multipart/mixed; boundary=b\n\n--b\n", 50) + "Content-Type: text/plain\n\nx\n--b--\n",
			"", "", "end",
		},
		"other charset word": {"Subject: =?x-unknown?q?a?=\n\nx\n", "x\n", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			const id = "20261120T101530.123456-abcdef"
			if err := os.WriteFile(filepath.Join(dir, id+".eml"), []byte(c.file), 0o600); err != nil {
				t.Fatal(err)
			}
			s := serve(t, open(t, dir, 0))
			if status, _, body := s.do("GET", "/dev/mail"); status != 200 || !strings.Contains(body, id) {
				t.Errorf("the list: %d %s", status, body)
			}
			_, _, body := s.do("GET", "/dev/mail/"+id+".json")
			m := decode(t, body)
			problem, _ := m["problem"].(string)
			if m["text"] != c.text || m["html"] != c.html || (problem == "") != (c.problem == "") || !strings.Contains(problem, c.problem) {
				t.Errorf("%s", body)
			}
			for _, show := range []string{"html", "text", "headers", "source", "nonsense"} {
				if status, _, body := s.do("GET", "/dev/mail/"+id+"?show="+show); status != 200 || !strings.Contains(body, "</html>") {
					t.Errorf("%s: %d %s", show, status, body)
				}
			}
			if _, _, body := s.do("GET", "/dev/mail/"+id+".eml"); body != c.file {
				t.Errorf("the file is %q", body)
			}
		})
	}
}

func TestPages(t *testing.T) {
	box := open(t, t.TempDir(), 7)
	s := serve(t, box)
	if _, _, body := s.do("GET", "/dev/mail"); !strings.Contains(body, "There is no mail yet") || strings.Contains(body, "<button") {
		t.Error(body)
	}
	send(t, box, "anna@example.com", digest)
	id := s.newest()
	status, header, body := s.do("GET", "/dev/mail")
	for _, want := range []string{"3 neue Nachrichten – Büro", "/dev/mail/" + id, "newest 7 mails", box.Dir()} {
		if !strings.Contains(body, want) {
			t.Errorf("the list lacks %q", want)
		}
	}
	if policy := header.Get("Content-Security-Policy"); status != 200 || !strings.Contains(policy, "default-src 'none'") ||
		!strings.Contains(policy, "frame-ancestors 'none'") || strings.Contains(policy, "unsafe") {
		t.Errorf("%d %v", status, header)
	}
	if strings.Contains(body, "http-equiv") {
		t.Error("it refreshes unasked")
	}
	if _, _, body := s.do("GET", "/dev/mail?refresh"); !strings.Contains(body, `http-equiv="refresh"`) {
		t.Error("it doesn't refresh when asked")
	}
	for show, wants := range map[string][]string{
		"": {
			"<iframe sandbox=\"allow-popups allow-popups-to-escape-sandbox\" src=\"/dev/mail/" + id + "/html\"", "one click",
			"Büro &lt;digest@",
		},
		"text":    {"<pre>Grüße: https://example.com/a?x=1.</pre>"},
		"headers": {"<th scope=\"row\">Message-ID</th><td>&lt;x@example.com&gt;</td>", "Delivered-To"},
		"source":  {"=?utf-8?q?B=C3=BCro?=", "Content-Transfer-Encoding: base64"},
	} {
		_, _, body := s.do("GET", "/dev/mail/"+id+"?show="+show)
		for _, want := range wants {
			if !strings.Contains(body, want) {
				t.Errorf("%q lacks %s:\n%s", show, want, body)
			}
		}
	}
	if status, header, _ := s.do("GET", "/dev/mail/"); status != http.StatusSeeOther || header.Get("Location") != "/dev/mail" {
		t.Errorf("with a slash: %d %v", status, header)
	}
}

// What a mail says can't get at the page around it.
func TestHostileMail(t *testing.T) {
	box := open(t, t.TempDir(), 0)
	s := serve(t, box)
	const evil = "From: <script>alert(1)</script>\nTo: \"><img src=x onerror=alert(1)>\nX-<b>: <script>alert(1)</script>\n" +
		"Subject: </title><script>alert(1)</script>\nList-Unsubscribe: <javascript:alert(1)>\nContent-Type: text/html\n\n"
	send(t, box, "<script>alert(1)</script>@example.com", evil)
	send(t, box, "a@example.com", evil+
		"<script>alert(1)</script><form action=/dev/mail/clear method=post><a href=\"javascript:alert(1)\">x</a>\n")
	_, _, list := s.do("GET", "/dev/mail")
	pages := []string{list}
	id := s.newest()
	for _, show := range []string{"html", "headers", "source"} {
		_, _, body := s.do("GET", "/dev/mail/"+id+"?show="+show)
		pages = append(pages, body)
	}
	for _, body := range pages {
		if strings.Contains(body, "<script") || strings.Contains(body, "<img") || strings.Contains(body, `href="javascript`) {
			t.Errorf("it breaks out:\n%s", body)
		}
	}
	status, header, body := s.do("GET", "/dev/mail/"+id+"/html")
	policy := header.Get("Content-Security-Policy")
	for _, want := range []string{
		"sandbox allow-popups", "default-src 'none'", "form-action 'none'", "base-uri 'none'", "frame-ancestors 'self'",
	} {
		if !strings.Contains(policy, want) {
			t.Errorf("the policy lacks %q: %s", want, policy)
		}
	}
	if strings.Contains(policy, "allow-scripts") || strings.Contains(policy, "allow-same-origin") || status != 200 ||
		!strings.Contains(body, "<script>alert(1)</script>") || header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%d %s %s", status, policy, body)
	}
}

// The mail's own HTML opens links in windows of their own, and stays in the mode that it asks for.
func TestHTMLAlone(t *testing.T) {
	box := open(t, t.TempDir(), 0)
	s := serve(t, box)
	send(t, box, "a@example.com", digest)
	_, _, body := s.do("GET", "/dev/mail/"+s.newest()+"/html")
	if !strings.HasPrefix(body, `<!doctype html><html><head><base target="_blank"><title>`) {
		t.Error(body)
	}
}

func TestNotFound(t *testing.T) {
	box := open(t, t.TempDir(), 0)
	s := serve(t, box)
	for _, path := range []string{
		"/dev/mail/20261120T101530.123456-abcdef", "/dev/mail/20261120T101530.123456-abcdef.json",
		"/dev/mail/20261120T101530.123456-abcdef.eml", "/dev/mail/20261120T101530.123456-abcdef/html",
		"/dev/mail/..%2f..%2fetc%2fpasswd", "/dev/mail/x.json", "/dev/mail/%00", "/dev/mail/a/b",
	} {
		status, header, body := s.do("GET", path)
		if status != http.StatusNotFound {
			t.Errorf("%s: %d %s", path, status, body)
		}
		isProblem := header.Get("Content-Type") == "application/problem+json"
		if strings.HasSuffix(path, ".json") && (!isProblem || decode(t, body)["detail"] == "") {
			t.Errorf("%s: %v %s", path, header, body)
		}
		if status, _, _ := s.do("DELETE", path); status != http.StatusNotFound && !strings.HasSuffix(path, "html") {
			t.Errorf("DELETE %s: %d", path, status)
		}
	}
}

func TestRemoving(t *testing.T) {
	box := open(t, t.TempDir(), 0)
	s := serve(t, box)
	count := func() int { return len(files(t, box.Dir())) }
	fill := func() {
		for range 3 {
			send(t, box, "a@example.com", "Subject: x\n\n")
		}
	}
	fill()
	if status, _, _ := s.do("DELETE", "/dev/mail/"+s.newest()); status != http.StatusNoContent || count() != 2 {
		t.Errorf("one: %d, %d files", status, count())
	}
	if status, _, _ := s.do("DELETE", "/dev/mail.json"); status != http.StatusNoContent || count() != 0 {
		t.Errorf("all by JSON: %d, %d files", status, count())
	}
	fill()
	if status, _, _ := s.do("DELETE", "/dev/mail"); status != http.StatusNoContent || count() != 0 {
		t.Errorf("all: %d, %d files", status, count())
	}
	fill()
	status, header, _ := s.do("POST", "/dev/mail/clear")
	if status != http.StatusSeeOther || header.Get("Location") != "/dev/mail" || count() != 0 {
		t.Errorf("all by the button: %d %v, %d files", status, header, count())
	}
}

// Only programs on this machine get an answer, and no page but ours removes anything.
func TestTrespassers(t *testing.T) {
	box := open(t, t.TempDir(), 0)
	send(t, box, "a@example.com", "Subject: secret\n\n")
	s := serve(t, box)
	port := s.URL[strings.LastIndexByte(s.URL, ':'):]
	set := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	host := func(h string) func(*http.Request) { return func(r *http.Request) { r.Host = h } }
	for _, c := range []struct {
		name, method string
		change       func(*http.Request)
		want         int
	}{
		{"as it is", "GET", func(*http.Request) {}, 200},
		{"localhost", "GET", host("localhost" + port), 200},
		{"LOCALHOST", "GET", host("LOCALHOST"), 200},
		{"another loopback address", "GET", host("127.0.0.2:80"), 200},
		{"IPv6", "GET", host("[::1]:80"), 200},
		{"IPv6 without a port", "GET", host("[::1]"), 200},
		{"rebinding", "GET", host("evil.example" + port), 403},
		{"rebinding that looks right", "GET", host("localhost.evil.example"), 403},
		{"another's address", "GET", host("192.0.2.1"), 403},
		{"X-Forwarded-For", "GET", set("X-Forwarded-For", "192.0.2.1"), 403},
		{"X-Forwarded-Host", "GET", set("x-forwarded-host", "a"), 403},
		{"Forwarded", "GET", set("Forwarded", "for=192.0.2.1"), 403},
		{"Forwarded without a value", "GET", set("Forwarded", ""), 403},
		{"Via", "GET", set("Via", "1.1 proxy"), 403},
		{"X-Real-IP", "GET", set("X-Real-IP", "127.0.0.1"), 403},
		{"Cloudflare", "GET", set("CF-Ray", "1"), 403},
		{"True-Client-IP", "GET", set("True-Client-IP", "192.0.2.1"), 403},
		{"X-Client-IP", "GET", set("X-Client-IP", "192.0.2.1"), 403},
		{"X-Original-URL", "GET", set("X-Original-URL", "/"), 403},
		{"Envoy", "GET", set("X-Envoy-Internal", "true"), 403},
		{"another page", "POST", set("Origin", "https://evil.example"), 403},
		{"another page of this machine", "POST", set("Origin", "http://localhost:1"), 403},
		{"a mail in the frame", "POST", set("Origin", "null"), 403},
		{"a browser that says so", "POST", set("Sec-Fetch-Site", "cross-site"), 403},
		{"another port", "POST", set("Sec-Fetch-Site", "same-site"), 403},
		{"another page", "DELETE", set("Origin", "https://evil.example"), 403},
		{"our page", "POST", set("Sec-Fetch-Site", "same-origin"), 303},
	} {
		path := "/dev/mail"
		if c.method == "POST" {
			path += "/clear"
		}
		status, _, body := s.do(c.method, path, c.change)
		if status != c.want {
			t.Errorf("%s: %d %s, want %d", c.name, status, body, c.want)
		}
		if status == 403 && (strings.Contains(body, "secret") || len(body) < 20) {
			t.Errorf("%s: %s", c.name, body)
		}
		if kept := len(files(t, box.Dir())); kept != 1 && c.want != 303 {
			t.Fatalf("%s removed the mail", c.name)
		}
	}
	for peer, local := range map[string]string{
		"192.0.2.1:1000": "127.0.0.1:80", "[2001:db8::1]:1000": "[::1]:80", "127.0.0.1:1000": "192.0.2.7:80",
		"": "127.0.0.1:80", "@": "127.0.0.1:80",
	} {
		at, err := net.ResolveTCPAddr("tcp", local)
		if err != nil {
			t.Fatal(err)
		}
		ctx := context.WithValue(t.Context(), http.LocalAddrContextKey, net.Addr(at))
		r := httptest.NewRequestWithContext(ctx, "GET", "/dev/mail.json", nil)
		r.Host, r.RemoteAddr = "localhost", peer
		w := httptest.NewRecorder()
		box.Handler().ServeHTTP(w, r)
		if w.Code != 403 || decode(t, w.Body.String())["status"] != float64(403) {
			t.Errorf("%s to %s: %d %s", peer, local, w.Code, w.Body)
		}
	}
}

// nginx with nothing but proxy_pass speaks HTTP/1.0, and names the host as we do.
func TestHTTP10IsAProxys(t *testing.T) {
	box := open(t, t.TempDir(), 0)
	send(t, box, "a@example.com", "Subject: secret\n\n")
	s := serve(t, box)
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := fmt.Fprintf(conn, "GET /dev/mail HTTP/1.0\r\nHost: %s\r\nConnection: close\r\n\r\n", s.Listener.Addr()); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil || !strings.Contains(string(answer), " 403 ") || strings.Contains(string(answer), "secret") {
		t.Errorf("%s (%v)", answer, err)
	}
}

// The list reads each mail once, and still notices what came and went by other hands.
func TestListFollowsTheFolder(t *testing.T) {
	box := open(t, t.TempDir(), 0)
	s := serve(t, box)
	for i := range 3 {
		send(t, box, "a@example.com", fmt.Sprintf("Subject: mail %d\n\n", i))
	}
	s.newest()
	if err := os.Remove(filepath.Join(box.Dir(), files(t, box.Dir())[0])); err != nil {
		t.Fatal(err)
	}
	send(t, open(t, box.Dir(), 0), "a@example.com", "Subject: from elsewhere\n\n")
	_, _, body := s.do("GET", "/dev/mail.json")
	var subjects []string
	for _, m := range decode(t, body)["mails"].([]any) {
		subjects = append(subjects, m.(anyJSON)["subject"].(string))
	}
	if d := cmp.Diff([]string{"from elsewhere", "mail 2", "mail 1"}, subjects); d != "" {
		t.Error(d)
	}
}
