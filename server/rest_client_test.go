package server

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/internal/pgtest"
)

const testSecret = "a secret of thirty-two bytes, and more"

// newGuarded is a service that lets in who has a token or key.
func newGuarded(t *testing.T, limits Limits) *service {
	t.Helper()
	return serve(t, pgtest.Database(t), Options{JWTSecret: []byte(testSecret), Limits: limits})
}

// stopClocks makes the meters' clocks stand still, so that what is used up stays so however long a test takes.
func (s *service) stopClocks() {
	now := time.Now()
	still := func() time.Time { return now }
	s.handler.web.requests.now, s.handler.web.failures.now, s.handler.web.publishes.now = still, still, still
}

// token lets a user do things on channels.
func token(t *testing.T, user, allow string, channels ...string) string {
	t.Helper()
	return tokenUntil(t, user, time.Now().Add(time.Hour), allow, channels...)
}

func tokenUntil(t *testing.T, user string, until time.Time, allow string, channels ...string) string {
	t.Helper()
	claims := TokenClaims{Subject: user, ID: "id-of-" + user[:min(len(user), 200)], IssuedAt: time.Now(), ExpiresAt: until}
	if allow != "" {
		claims.Caps = []TokenCapability{{Channels: channels, Match: "wildcard", Allow: strings.Split(allow, ",")}}
	}
	signed, err := SignToken(claims, TokenSecret([]byte(testSecret)))
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// key makes an API key, and waits until the server knows it.
func (s *service) key(t *testing.T, scopes ...string) string {
	t.Helper()
	secret, key := trunkline.NewAPIKey()
	key.Name, key.Scopes = strings.Join(scopes, "-"), scopes
	if err := trunkline.CreateAPIKey(t.Context(), s.engine.Pool(), key); err != nil {
		t.Fatal(err)
	}
	s.until(t, "the key is known", func() bool {
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, s.server.URL+"/v1/channel?channel=x", http.NoBody)
		r.Header.Set("X-API-Key", secret)
		id, err := s.handler.gate.Bearer(t.Context(), r)
		return err == nil && id.Key != ""
	})
	return secret
}

// until waits for something that the server does by itself.
func (s *service) until(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v in vain until %s", patience, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a *answer) problem(t *testing.T) problem {
	t.Helper()
	var p problem
	if err := json.Unmarshal(a.body, &p); err != nil || a.header.Get("Content-Type") != "application/problem+json" {
		t.Fatalf("status %d, %s: no problem: %s", a.status, a.header.Get("Content-Type"), a.body)
	}
	if p.Status != a.status || p.Title == "" || p.Type != "about:blank" || p.RequestID == "" || p.RequestID != a.header.Get("X-Request-Id") {
		t.Errorf("a problem with status %d: %s", a.status, a.body)
	}
	return p
}

// ask makes a request, of whose header lines each is "Name: value".
func (s *service) ask(t *testing.T, method, path, body string, header ...string) *answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, s.server.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		request.Header.Set(name, value)
	}
	response, err := s.server.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	got, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return &answer{response.StatusCode, response.Header, got}
}

func (s *service) get(t *testing.T, path string, into any, header ...string) {
	t.Helper()
	a := s.ask(t, http.MethodGet, path, "", header...)
	if a.status != http.StatusOK || a.header.Get("Content-Type") != "application/json" {
		t.Fatalf("%s: status %d: %s", path, a.status, a.body)
	}
	if err := json.Unmarshal(a.body, into); err != nil {
		t.Fatalf("%s: %v: %s", path, err, a.body)
	}
}

type historyAnswer struct {
	Channel  string  `json:"channel"`
	Epoch    string  `json:"epoch"`
	Position string  `json:"position"`
	FirstSeq int64   `json:"first_seq"`
	LastSeq  int64   `json:"last_seq"`
	Messages []event `json:"messages"`
	Next     string  `json:"next"`
	Prev     string  `json:"prev"`
}

func (s *service) sequenced(t *testing.T, channel string, last int64) {
	t.Helper()
	s.until(t, fmt.Sprintf("%s has %d messages", channel, last), func() bool {
		page, err := s.engine.History(t.Context(), channel, max(0, last-1), 1)
		return err == nil && page.LastSeq >= last
	})
}
