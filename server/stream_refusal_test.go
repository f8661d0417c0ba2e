package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/trunkline/trunkline/internal/pgtest"
)

func TestStreamsAreLimited(t *testing.T) {
	s := serve(t, pgtest.Database(t), Options{Open: true, Limits: Limits{Connections: 2}})
	s.open(t, channels("a"), "")
	c, _ := s.open(t, channels("b"), "")
	status, p := s.problem(t, http.MethodGet, "/v1/stream?channel=c", nil)
	if status != http.StatusServiceUnavailable || !strings.Contains(p.Detail, "2 connections") {
		t.Errorf("status %d: %+v", status, p)
	}
	c.response.Body.Close()
	if err := <-s.ended; err == nil {
		t.Error("a stream that its client left ended without a reason")
	}
	s.open(t, channels("c"), "")
}

func TestStreamRefusesBadRequests(t *testing.T) {
	s := newService(t)
	many := make([]string, maxChannels+1)
	for i := range many {
		many[i] = fmt.Sprint(i)
	}
	for _, test := range []struct {
		name, query, header string
		says                []string
	}{
		{"no channel", "", "", []string{"no channel", "?channel=project:42&channel=news"}},
		{"an empty channel", "channel=", "", []string{"empty", "255 bytes"}},
		{"a long channel", channels(strings.Repeat("x", 256)), "", []string{"256 bytes", "255"}},
		{"a control character", channels("a\nb"), "", []string{`a\nb`, "control character"}},
		{"bytes that are no UTF-8", "channel=%ff", "", []string{"UTF-8"}},
		{"too many channels", channels(many...), "", []string{"101 channels", "100"}},
		{"a bad escape", "channel=%zz", "", []string{"%XX"}},
		{"an unknown parameter", "channel=a&chanel=b", "", []string{"chanel"}},
		{"a bare position", "channel=a&since=17", "", []string{`"17"`, "EPOCH:POSITION"}},
		{"an empty position", "channel=a&since=", "", []string{`""`, "EPOCH:POSITION"}},
		{"two positions", "channel=a&since=x:1&since=x:2", "", []string{"2 times"}},
		{"since and from", "channel=a&since=x:1&from=beginning", "", []string{"exclude"}},
		{"an unknown from", "channel=a&from=yesterday", "", []string{"yesterday", "beginning"}},
		{"a bad header", "channel=a", "nonsense", []string{"Last-Event-ID", "nonsense"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			status, p := s.problem(t, http.MethodGet, "/v1/stream?"+test.query, map[string]string{"Last-Event-ID": test.header})
			if status != http.StatusBadRequest || p.Status != status || p.Title == "" {
				t.Errorf("status %d: %+v", status, p)
			}
			for _, part := range test.says {
				if !strings.Contains(p.Detail, part) {
					t.Errorf("%q doesn't say %q", p.Detail, part)
				}
			}
		})
	}
}

func TestStreamRefusesOtherMethods(t *testing.T) {
	s := newService(t)
	for _, method := range []string{http.MethodHead, http.MethodPost, http.MethodOptions, http.MethodDelete} {
		request := httptest.NewRequestWithContext(t.Context(), method, "http://localhost/v1/stream?channel=a", http.NoBody)
		request.RemoteAddr = "127.0.0.1:999"
		recorder := httptest.NewRecorder()
		s.handler.ServeHTTP(recorder, request)
		if recorder.Code != http.StatusMethodNotAllowed || recorder.Header().Get("Allow") != "GET" {
			t.Errorf("%s: status %d, Allow %q", method, recorder.Code, recorder.Header().Get("Allow"))
		}
	}
}

func TestStreamsAreForThisMachineOnly(t *testing.T) {
	s := newService(t)
	for _, test := range []struct {
		name, peer, host, origin, forwarded string
		allowed                             bool
	}{
		{"curl", "127.0.0.1:999", "127.0.0.1:8000", "", "", true},
		{"by name", "127.0.0.1:999", "localhost", "", "", true},
		{"IPv6", "[::1]:999", "[::1]:8000", "", "", true},
		{"IPv6 without port", "[::1]:999", "[::1]", "", "", true},
		{"a page of this machine", "127.0.0.1:999", "localhost:8000", "http://localhost:5173", "", true},
		{"another machine", "192.0.2.7:999", "localhost:8000", "", "", false},
		{"mapped", "[::ffff:192.0.2.7]:999", "localhost:8000", "", "", false},
		{"a rebound name", "127.0.0.1:999", "evil.example:8000", "", "", false},
		{"a name that begins like ours", "127.0.0.1:999", "localhost.evil.example", "", "", false},
		{"a number that isn't", "127.0.0.1:999", "127.0.0.1.evil.example", "", "", false},
		{"no host", "127.0.0.1:999", "", "", "", false},
		{"a foreign page", "127.0.0.1:999", "localhost:8000", "https://evil.example", "", false},
		{"a page without origin", "127.0.0.1:999", "localhost:8000", "null", "", false},
		{"through a proxy", "127.0.0.1:999", "127.0.0.1:8000", "", "192.0.2.7", false},
		{"a broken bracket", "127.0.0.1:999", "[::1", "", "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			// A bad parameter behind the check shows that it was passed.
			request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/stream", http.NoBody)
			request.RemoteAddr, request.Host = test.peer, test.host
			if test.origin != "" {
				request.Header.Set("Origin", test.origin)
			}
			if test.forwarded != "" {
				request.Header.Set("X-Forwarded-For", test.forwarded)
			}
			recorder := httptest.NewRecorder()
			s.handler.ServeHTTP(recorder, request)
			want := http.StatusForbidden
			if test.allowed {
				want = http.StatusBadRequest
			}
			if recorder.Code != want {
				t.Errorf("status %d, want %d: %s", recorder.Code, want, recorder.Body)
			}
			if got := recorder.Header().Get("Access-Control-Allow-Origin"); test.allowed && got != test.origin || !test.allowed && got != "" {
				t.Errorf("Access-Control-Allow-Origin: %q", got)
			}
			if got := recorder.Header().Get("Content-Type"); got != "application/problem+json" {
				t.Errorf("Content-Type: %q", got)
			}
		})
	}
}

// problem makes a request that is to fail.
func (s *service) problem(t *testing.T, method, path string, header map[string]string) (int, problem) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, s.server.URL+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range header {
		if value != "" {
			request.Header.Set(name, value)
		}
	}
	response, err := s.server.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var p problem
	if err := json.NewDecoder(response.Body).Decode(&p); err != nil {
		t.Fatalf("status %d: %v", response.StatusCode, err)
	}
	return response.StatusCode, p
}
