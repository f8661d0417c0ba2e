package server

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/trunkline/trunkline/internal/pgtest"
)

// route is one of those that the inbox and notifying have.
type route struct {
	method, path, body string
	ok                 int
}

var inboxRoutes = []route{
	{"GET", "/v1/inbox", "", 200},
	{"GET", "/v1/inbox?state=all&limit=10", "", 200},
	{"GET", "/v1/inbox/counts", "", 200},
	{"POST", "/v1/inbox/mark", `{"state":"read","ids":[1,2,3]}`, 200},
	{"POST", "/v1/inbox/mark", `{"state":"seen","up_to_seq":100}`, 200},
	{"GET", "/v1/inbox/preferences", "", 200},
	{"PUT", "/v1/inbox/preferences", `{"muted_groups":["project:7"]}`, 200},
	{"POST", "/v1/inbox/touch", "", 204},
}

var notifyRoutes = []route{
	{"POST", "/v1/notify", `{"users":["ann"],"kind":"another"}`, 200},
	{"POST", "/v1/retract", `{"cause":"nothing"}`, 200},
}

// as adds whose inbox is meant.
func (r route) as(user string) string {
	if user == "" {
		return r.path
	}
	separator := "?"
	if strings.Contains(r.path, "?") {
		separator = "&"
	}
	return r.path + separator + "user=" + url.QueryEscape(user)
}

// caller is somebody who may or may not.
type inboxCaller struct {
	name, credential, user string
	inbox, notify          int // the status; 0: that of success
}

// refusedFirst asks whoever is refused, looks whether that changed anything of ann's, and then asks the others.
func (s *service) refusedFirst(t *testing.T, callers []inboxCaller) {
	t.Helper()
	before := s.annsState(t)
	for _, refused := range []bool{true, false} {
		for _, c := range callers {
			s.askAll(t, c, inboxRoutes, c.inbox, refused)
			s.askAll(t, c, notifyRoutes, c.notify, refused)
		}
		if after := s.annsState(t); refused && after != before {
			t.Errorf("who was refused changed %s to %s", before, after)
		} else if !refused && after == before {
			t.Error("nobody has changed anything")
		}
	}
}

func (s *service) askAll(t *testing.T, c inboxCaller, routes []route, want int, refused bool) {
	t.Helper()
	if refused != (want >= 400) {
		return
	}
	header := []string{}
	if c.credential != "" {
		header = append(header, "Authorization: Bearer "+c.credential)
	}
	for _, r := range routes {
		status := want
		if status == 0 {
			status = r.ok
		}
		bodies := []string{r.body}
		if refused && r.method != http.MethodGet {
			bodies = append(bodies, `{"nonsense":`) // it isn't looked at
		}
		for _, body := range bodies {
			a := s.ask(t, r.method, r.as(c.user), body, header...)
			if a.status != status {
				t.Errorf("%s: %s %s %s: status %d, want %d: %s", c.name, r.method, r.as(c.user), body, a.status, status, a.body)
			}
			if a.status >= 400 {
				a.problem(t)
			}
			if challenge := a.header.Get("WWW-Authenticate"); (a.status == http.StatusUnauthorized) != (challenge != "") {
				t.Errorf("%s: %s %s: WWW-Authenticate: %q", c.name, r.method, r.path, challenge)
			}
			if got := a.header.Get("Cache-Control"); got != "no-store" {
				t.Errorf("%s: %s %s: Cache-Control: %q", c.name, r.method, r.path, got)
			}
		}
	}
}

// annsState is all that others could change.
func (s *service) annsState(t *testing.T) (state string) {
	t.Helper()
	const sql = `SELECT jsonb_build_array(
		(SELECT jsonb_agg(to_jsonb(n) ORDER BY id) FROM trunkline.notification n),
		(SELECT jsonb_agg(to_jsonb(m) ORDER BY to_jsonb(m)) FROM trunkline.mute m),
		(SELECT jsonb_agg(to_jsonb(r) ORDER BY to_jsonb(r)) FROM trunkline.recipient r))::text`
	if err := s.engine.Pool().QueryRow(t.Context(), sql).Scan(&state); err != nil {
		t.Fatal(err)
	}
	return state
}

func TestInboxesAreTheirUsersAlone(t *testing.T) {
	for _, anonymous := range []bool{false, true} {
		s := newGuarded(t, Limits{FailureRate: 10_000, RequestRate: 10_000})
		if anonymous {
			s.application(t) // whose namespace room is open to anybody
		}
		s.notify(t, "ann", "note", 3)
		revoked := token(t, "mallory", "sub,pub,hst,prs", "*")
		revokedID := token(t, "bob", "")
		s.sql(t, "SELECT trunkline.revoke('mallory')", "SELECT trunkline.revoke_token('id-of-bob')")
		s.until(t, "the revocations are known", func() bool { return s.handler.gate.Stats().Revocations == 2 })
		all := "sub,pub,hst,prs"
		anew := func(user, allow string, channels ...string) string {
			signed, err := SignToken(TokenClaims{
				Subject: user, IssuedAt: time.Now(), ExpiresAt: time.Now().Add(time.Hour),
				Caps: []TokenCapability{{Channels: channels, Match: "wildcard", Allow: strings.Split(allow, ",")}},
			}, TokenSecret([]byte(testSecret)))
			if err != nil {
				t.Fatal(err)
			}
			return signed
		}
		publish, read, admin := s.key(t, "publish"), s.key(t, "read"), s.key(t, "admin")
		callers := []inboxCaller{
			{"nobody", "", "", 401, 401},
			{"nobody who says to be ann", "", "ann", 401, 401},
			{"nonsense", "nonsense", "", 401, 401},
			{"nonsense that says to be ann", "nonsense", "ann", 401, 401},
			{"a key that nobody has", "tk_12345678_nothing", "ann", 401, 401},
			{"a token without a user", anew("", all, "*"), "", 401, 403},
			{"a token without a user that says to be ann", anew("", all, "*"), "ann", 401, 403},
			{"ann's expired token", tokenUntil(t, "ann", time.Now().Add(-time.Hour), all, "*"), "", 401, 401},
			{"a user whose tokens were revoked", revoked, "", 401, 401},
			{"a token that was revoked", revokedID, "", 401, 401},
			{"another user", anew("eve", all, "*"), "ann", 403, 403},
			{"another user with leave for ann's channel", anew("eve", all, "inbox:ann"), "ann", 403, 403},
			{"a user with a similar name", anew("Ann", all, "*"), "ann", 403, 403},
			{"a user with a longer name", anew("ann:b", all, "*"), "ann", 403, 403},
			{"the key publish", publish, "", 403, 0},
			{"the key publish, for ann", publish, "ann", 403, 400},
			{"the key read", read, "", 403, 403},
			{"the key read, for ann", read, "ann", 403, 403},
			{"the key admin, for nobody", admin, "", 400, 0},
			{"ann", anew("ann", all, "nothing"), "", 0, 403},
			{"ann, who says so", anew("ann", all, "nothing"), "ann", 0, 403},
			{"the key admin, for ann", admin, "ann", 0, 400},
		}
		s.refusedFirst(t, callers)
	}
}

func TestInOpenModeTheUserIsNamed(t *testing.T) {
	s := newService(t)
	s.notify(t, "ann", "note", 3)
	s.refusedFirst(t, []inboxCaller{
		{"nobody in particular", "", "", 400, 0},
		{"somebody who says to be ann", "", "ann", 0, 400},
		{"a user with a control character", "", "a\nb", 400, 400},
		{"a user with a long name", "", strings.Repeat("u", 250), 400, 400},
	})
	// It is this machine's alone.
	if a := s.ask(t, http.MethodGet, "/v1/inbox?user=ann", "", "Origin: https://evil.example"); a.status != http.StatusForbidden {
		t.Errorf("a foreign page: status %d: %s", a.status, a.body)
	}
}

func TestAUserMayBeNamedOnce(t *testing.T) {
	s := newService(t)
	a := s.ask(t, http.MethodGet, "/v1/inbox?user=ann&user=bob", "")
	if p := a.problem(t); a.status != http.StatusBadRequest || !strings.Contains(p.Detail, "2 times") {
		t.Errorf("status %d: %+v", a.status, p)
	}
}

func TestALeaveForTheInboxCanBeRevoked(t *testing.T) {
	s := newGuarded(t, Limits{RequestRate: 10_000}) // it is asked again and again until the revocation is known
	s.notify(t, "ann", "note", 1)
	ann := token(t, "ann", "")
	get := func(token string) int {
		return s.ask(t, http.MethodGet, "/v1/inbox", "", "Authorization: Bearer "+token).status
	}
	if status := get(ann); status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	s.sql(t, "SELECT trunkline.revoke('ann', 'inbox:ann')")
	s.until(t, "it is revoked", func() bool { return get(ann) == http.StatusForbidden })
	if status := get(token(t, "ann", "")); status != http.StatusOK {
		t.Errorf("a later token: status %d", status)
	}
}

func TestAnInboxNeedsAShortName(t *testing.T) {
	s := newGuarded(t, Limits{})
	for length, want := range map[int]int{249: http.StatusOK, 250: http.StatusBadRequest, 255: http.StatusBadRequest} {
		user := strings.Repeat("u", length)
		a := s.ask(t, http.MethodGet, "/v1/inbox", "", "Authorization: Bearer "+token(t, user, ""))
		if a.status != want {
			t.Errorf("%d bytes: status %d: %s", length, a.status, a.body)
		}
		if want == http.StatusBadRequest && !strings.Contains(a.problem(t).Detail, "249") {
			t.Errorf("%d bytes: %s", length, a.body)
		}
	}
}

func TestInboxRequestsAreMetered(t *testing.T) {
	s := serve(t, pgtest.Database(t), Options{JWTSecret: []byte(testSecret), Limits: Limits{RequestRate: 0.1, RequestBytes: 4096}})
	s.stopClocks()
	ann, key := token(t, "ann", ""), s.key(t, "publish")
	if a := s.ask(t, http.MethodGet, "/v1/inbox", "", "Authorization: Bearer "+ann); a.status != http.StatusOK {
		t.Fatalf("status %d: %s", a.status, a.body)
	}
	a := s.ask(t, http.MethodGet, "/v1/inbox/counts", "", "Authorization: Bearer "+ann)
	if p := a.problem(t); a.status != http.StatusTooManyRequests || p.Limit != limitRequestRate || a.header.Get("Retry-After") == "" {
		t.Errorf("status %d: %+v", a.status, p)
	}
	for range 5 {
		if a := s.ask(t, http.MethodPost, "/v1/notify", `{"users":["ann"],"kind":"note"}`, "X-API-Key: "+key); a.status != http.StatusOK {
			t.Errorf("a key: status %d: %s", a.status, a.body)
		}
	}
	large := `{"users":["ann"],"kind":"note","data":"` + strings.Repeat("x", 5000) + `"}`
	a = s.ask(t, http.MethodPost, "/v1/notify", large, "X-API-Key: "+key)
	if p := a.problem(t); a.status != http.StatusRequestEntityTooLarge || p.Limit != limitRequestBytes {
		t.Errorf("status %d: %+v", a.status, p)
	}
}
