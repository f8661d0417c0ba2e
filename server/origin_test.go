package server

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestOrigins(t *testing.T) {
	allowed := []string{"https://app.example.org", "https://*.example.net", "http://dev.example.org:3000"}
	for _, test := range []struct {
		name, origin, host string
		secure             bool
		header             map[string]string // from a trusted proxy
		allowed            bool
	}{
		{"a program", "", "api.example.org", false, nil, true},
		{"its own page", "http://api.example.org", "api.example.org", false, nil, true},
		{"its own page in capitals", "http://API.example.org", "api.Example.org", false, nil, true},
		{"its own page on a port", "http://api.example.org:8000", "api.example.org:8000", false, nil, true},
		{"its own host on another port", "http://api.example.org:8001", "api.example.org:8000", false, nil, false},
		{"its own page over TLS", "https://api.example.org", "api.example.org:443", true, nil, true},
		{"its own page, but not over TLS", "http://api.example.org", "api.example.org", true, nil, false},
		{"its own page behind a proxy", "https://www.example.com", "backend:8000", false, map[string]string{
			"X-Forwarded-Host": "www.example.com", "X-Forwarded-Proto": "https",
		}, true},
		{"another scheme behind a proxy", "http://www.example.com", "www.example.com", false, map[string]string{"X-Forwarded-Proto": "https"}, false},
		{"one that is listed", "https://app.example.org", "api.example.org", true, nil, true},
		{"with the scheme's own port", "https://app.example.org:443", "api.example.org", true, nil, true},
		{"listed with another scheme", "http://app.example.org", "api.example.org", false, nil, false},
		{"listed with another port", "https://app.example.org:8443", "api.example.org", false, nil, false},
		{"listed with its port", "http://dev.example.org:3000", "api.example.org", false, nil, true},
		{"below a wildcard", "https://a.b.example.net", "api.example.org", false, nil, true},
		{"the wildcard's own domain", "https://example.net", "api.example.org", false, nil, false},
		{"one that ends like it", "https://evilexample.net", "api.example.org", false, nil, false},
		{"one that begins like one", "https://app.example.org.evil.example", "api.example.org", false, nil, false},
		{"with a user", "https://app.example.org@evil.example", "api.example.org", false, nil, false},
		{"a stranger", "https://evil.example", "api.example.org", false, nil, false},
		{"null", "null", "api.example.org", false, nil, false},
		{"a file", "file://", "api.example.org", false, nil, false},
		{"nonsense", "https://a b", "api.example.org", false, nil, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			o, err := newOrigins(allowed, false, trusted)
			if err != nil {
				t.Fatal(err)
			}
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/stream", http.NoBody)
			r.RemoteAddr, r.Host = "192.0.2.1:99", test.host
			if test.origin != "" {
				r.Header.Set("Origin", test.origin)
			}
			if test.secure {
				r.TLS = &tls.ConnectionState{}
			}
			for name, value := range test.header {
				r.RemoteAddr = "10.0.0.1:99"
				r.Header.Set(name, value)
			}
			if err := o.check(r); (err == nil) != test.allowed {
				t.Errorf("%v", err)
			}
			w := httptest.NewRecorder()
			if o.guard(w, r) != test.allowed {
				t.Errorf("guard and check differ: %d", w.Code)
			}
			if got := w.Header().Get("Access-Control-Allow-Origin"); test.allowed && got != test.origin || !test.allowed && got != "" {
				t.Errorf("Access-Control-Allow-Origin: %q", got)
			}
		})
	}
}

func TestForwardedHostOfAStrangerIsNotBelieved(t *testing.T) {
	o, _ := newOrigins(nil, false, trusted)
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody)
	r.RemoteAddr, r.Host = "192.0.2.1:99", "api.example.org"
	r.Header.Set("Origin", "https://evil.example")
	r.Header.Set("X-Forwarded-Host", "evil.example")
	if o.check(r) == nil {
		t.Error("it is")
	}
}

func TestAnyOriginHasToBeAskedFor(t *testing.T) {
	o, err := newOrigins([]string{"*"}, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	for origin, allowed := range map[string]bool{"https://anyone.example": true, "null": false} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody)
		r.Header.Set("Origin", origin)
		if err := o.check(r); (err == nil) != allowed {
			t.Errorf("%s: %v", origin, err)
		}
	}
}

func TestOriginsThatCannotBe(t *testing.T) {
	for _, origin := range []string{"", "app.example.org", "https://app.example.org/", "https://app.example.org/x", "ws://a.example", "https://*", "https://*.org", "https://a.*.org", "https://x*.example.org", "null"} {
		if _, err := newOrigins([]string{origin}, false, nil); err == nil || !strings.Contains(err.Error(), "https://*.example.org") {
			t.Errorf("%q: %v", origin, err)
		}
	}
}

func TestPreflight(t *testing.T) {
	o, err := newOrigins([]string{"https://app.example.org"}, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	for origin, status := range map[string]int{"https://app.example.org": http.StatusNoContent, "https://evil.example": http.StatusForbidden} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodOptions, "/v1/publish", http.NoBody)
		r.Header.Set("Origin", origin)
		r.Header.Set("Access-Control-Request-Method", "POST")
		r.Header.Set("Access-Control-Request-Headers", "authorization,content-type,idempotency-key")
		w := httptest.NewRecorder()
		if o.guard(w, r) || w.Code != status {
			t.Errorf("%s: status %d", origin, w.Code)
		}
		header := w.Header()
		if w.Code != http.StatusNoContent {
			continue
		}
		for name, part := range map[string]string{
			"Access-Control-Allow-Origin": origin, "Access-Control-Allow-Methods": "POST",
			"Access-Control-Allow-Headers": "Authorization", "Vary": "Origin",
		} {
			if !strings.Contains(header.Get(name), part) {
				t.Errorf("%s: %q", name, header.Get(name))
			}
		}
		if header.Get("Access-Control-Allow-Credentials") != "" {
			t.Error("cookies are asked for")
		}
	}
}

func TestAProxyOnThisMachineIsNoExcuse(t *testing.T) {
	open, _ := newOrigins(nil, true, nil)
	for _, test := range []struct {
		name, value string
		allowed     bool
	}{
		{"X-Trunkline", "1", true},
		{"X-Forwarded-For", "203.0.113.9", false},
		{"X-Forwarded-For", "", false}, // a client's, meant to hide what a proxy adds behind it
		{"Forwarded", "for=203.0.113.9", false},
		{"X-Forwarded-Host", "example.org", false},
		{"X-Forwarded-Proto", "https", false},
		{"X-Real-IP", "203.0.113.9", false},
		{"Via", "1.1 proxy", false},
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody)
		r.RemoteAddr, r.Host = "127.0.0.1:99", "localhost:8000"
		r.Header.Add(test.name, test.value)
		if err := open.check(r); (err == nil) != test.allowed {
			t.Errorf("%s: %q: %v", test.name, test.value, err)
		}
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody)
	r.RemoteAddr, r.Host = "127.0.0.1:99", "localhost:8000"
	r.Header["X-Forwarded-For"] = []string{"", "203.0.113.9"}
	if err := open.check(r); err == nil || !strings.Contains(err.Error(), "203.0.113.9") {
		t.Errorf("behind an empty header: %v", err)
	}
}
