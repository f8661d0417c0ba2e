package api

import (
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline/projects"
	"github.com/trunkline/trunkline/projects/account"
)

const password = "correct horse battery"

func TestSignInAndOut(t *testing.T) {
	n := newNode(t)
	id := n.person(0, "cleo@example.com", password)
	c := n.stranger()
	if p := c.do("GET", "/api/me", nil).problem(401); !strings.Contains(p.Detail, "Sign in") {
		t.Errorf("a stranger is told %q", p.Detail)
	}
	in := c.do("POST", "/api/session", map[string]string{"email": " Cleo@Example.com ", "password": password}).is(200)
	var me projects.Me
	in.into(&me)
	if me.ID != id || !me.HasPassword || me.Staff {
		t.Errorf("signed in as %s", in.body)
	}
	cookie, err := http.ParseSetCookie(in.header.Get("Set-Cookie"))
	if err != nil {
		t.Fatal(err)
	}
	if !cookie.HttpOnly || cookie.SameSite != http.SameSiteLaxMode || cookie.Path != "/" || cookie.MaxAge != 30*24*3600 || cookie.Domain != "" {
		t.Errorf("the cookie is %q", cookie.Raw)
	}
	c.cookie = cookie.Value
	c.do("GET", "/api/me", nil).is(200)
	gone := c.do("DELETE", "/api/session", nil).is(204)
	if taken, err := http.ParseSetCookie(gone.header.Get("Set-Cookie")); err != nil || taken.MaxAge >= 0 || taken.Value != "" {
		t.Errorf("signing out sets %q (%v)", gone.header.Get("Set-Cookie"), err)
	}
	c.do("GET", "/api/me", nil).is(401)
	c.do("DELETE", "/api/session", nil).is(204)
}

// The failures that count are all nodes' together, and those of whom a trusted proxy speaks for.
func TestThrottledSignIn(t *testing.T) {
	n := newNode(t)
	n.person(0, "cleo@example.com", password)
	proxied := n.another()
	proxied.handle(Options{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	body := func(email string) map[string]string { return map[string]string{"email": email, "password": "wrong"} }
	nodes := []*caller{n.stranger(), proxied.stranger()}
	for i := range 10 {
		c := nodes[i%2]
		c.header.Set("X-Forwarded-For", fmt.Sprintf("198.51.100.%d", i))
		c.do("POST", "/api/session", body("cleo@example.com")).problem(401)
	}
	for i, c := range nodes {
		got := c.do("POST", "/api/session", map[string]string{"email": "cleo@example.com", "password": password})
		got.problem(429)
		if wait, err := strconv.Atoi(got.header.Get("Retry-After")); err != nil || wait < 1 || wait > 900 {
			t.Errorf("node %d: Retry-After is %q", i, got.header.Get("Retry-After"))
		}
	}
	counted := map[string]int{}
	rows, err := n.pool.Query(testContext(t), "SELECT subject, count(*) FROM projects.attempt WHERE subject LIKE 'address:%' GROUP BY 1")
	if err != nil {
		t.Fatal(err)
	}
	var subject string
	var count int
	if _, err := pgx.ForEachRow(rows, []any{&subject, &count}, func() error { counted[subject] = count; return nil }); err != nil {
		t.Fatal(err)
	}
	// Whom the one node believes is five; the other one takes all for the one who connects.
	if counted["address:127.0.0.1"] != 5 || counted["address:198.51.100.1"] != 1 || len(counted) != 6 {
		t.Errorf("failures by address: %v", counted)
	}
}

func TestSessionIsRotatedOnTheWay(t *testing.T) {
	c := newCast(t)
	w := c.newWorld()
	lead := c.callers["lead"]
	if got := lead.do("GET", "/api/me", nil).is(200); got.secret() != "" {
		t.Errorf("a cookie is set: %v", got.header)
	}
	c.clock.forward(13 * time.Hour)
	// Not while a file is on its way: the answer may take long.
	if got := lead.do("POST", w.fill("/api/conversations/{conversation}/attachments?name=a.txt"), []byte("hello")).is(201); got.secret() != "" {
		t.Error("an upload changes the cookie")
	}
	// Whatever is answered carries it, a refusal as well.
	fresh := lead.do("GET", "/api/projects/99999", nil).is(404).secret()
	if fresh == "" || fresh == lead.cookie {
		t.Fatalf("the new cookie is %q", fresh)
	}
	lead.do("GET", "/api/me", nil).is(200)
	lead.cookie = fresh
	if got := lead.do("GET", "/api/me", nil).is(200); got.secret() != "" {
		t.Error("it changes again")
	}
}

// One browser has one session: signing in anew ends the former one.
func TestSignInReplacesTheSession(t *testing.T) {
	n := newNode(t)
	cleo := n.person(0, "cleo@example.com", password)
	demo := n.person(0, "demo@example.com", "")
	n.exec("UPDATE projects.person SET demo = true WHERE id = $1", demo)
	c := n.as(cleo)
	former := *c
	answer := c.do("POST", "/api/demo/session", map[string]int64{"person_id": demo}).is(200)
	c.cookie = answer.secret()
	var me projects.Me
	c.do("GET", "/api/me", nil).is(200).into(&me)
	if me.ID != demo {
		t.Errorf("now one is %+v", me)
	}
	former.do("GET", "/api/me", nil).is(401)
}

func TestDemoRoutes(t *testing.T) {
	n := newNode(t)
	n.person(0, "cleo@example.com", password)
	demoPerson := n.person(0, "demo@example.com", "")
	n.exec("UPDATE projects.person SET demo = true WHERE id = $1", demoPerson)
	got := n.stranger().do("GET", "/api/demo", nil).is(200)
	want := fmt.Sprintf(`{"people":[{"id":%d,"name":"demo","title":"Customer","staff":false}],"simulate":false,"strip":["Open a second window."]}`, demoPerson)
	if strings.TrimSpace(string(got.body)) != want {
		t.Errorf("the demo is %s", got.body)
	}
	n.handle(Options{})
	n.stranger().do("GET", "/api/demo", nil).problem(404)
	n.stranger().do("POST", "/api/demo/session", map[string]int64{"person_id": demoPerson}).problem(404)
}

func TestPasswordResetRoutes(t *testing.T) {
	n := newNode(t)
	cleo := n.person(0, "cleo@example.com", password)
	c := n.as(cleo)
	known := n.stranger().do("POST", "/api/password-reset", map[string]string{"email": "cleo@example.com"}).is(202)
	unknown := n.stranger().do("POST", "/api/password-reset", map[string]string{"email": "nobody@example.com"}).is(202)
	for _, r := range []*reply{known, unknown} {
		r.header.Del("X-Request-Id")
		r.header.Del("Date")
	}
	if string(known.body) != string(unknown.body) || fmt.Sprint(known.header) != fmt.Sprint(unknown.header) {
		t.Errorf("one can tell who has an account: %v %s, %v %s", known.header, known.body, unknown.header, unknown.body)
	}
	var link string
	err := pgx.BeginFunc(testContext(t), n.pool, func(tx pgx.Tx) (err error) {
		link, err = account.NewResetToken(testContext(t), tx, cleo)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	s := n.stranger()
	if got := s.do("GET", "/api/password-reset/"+link, nil).is(200); !strings.Contains(string(got.body), "cleo@example.com") {
		t.Errorf("the link is of %s", got.body)
	}
	if p := s.do("POST", "/api/password-reset/"+link, map[string]string{"password": "short"}).problem(422); p.Errors[0].Location != "body.password" {
		t.Errorf("errors %+v", p.Errors)
	}
	s.cookie = s.do("POST", "/api/password-reset/"+link, map[string]string{"password": "another password"}).is(200).secret()
	s.do("GET", "/api/me", nil).is(200)
	c.do("GET", "/api/me", nil).is(401)
	n.stranger().do("POST", "/api/password-reset/"+link, map[string]string{"password": "a third password"}).problem(410)
	n.stranger().do("POST", "/api/session", map[string]string{"email": "cleo@example.com", "password": "another password"}).is(200)
}

func TestInvitedRoutes(t *testing.T) {
	n := newNode(t)
	acme := n.organisation("Acme")
	stan := n.person(acme, "stan@example.com", "")
	project := n.project(acme, "Website")
	n.member(project, stan, projects.Lead)
	_, link := n.invitation(project, stan, "nina@example.com", projects.Customer)
	c := n.stranger()
	got := c.do("GET", "/api/invited/"+link, nil).is(200)
	want := fmt.Sprintf(`{"project_id":%d,"project_name":"Website","inviter":"stan","email":"nina@example.com","name":"New","role":"customer","has_account":false}`, project)
	if strings.TrimSpace(string(got.body)) != want {
		t.Errorf("the link shows %s", got.body)
	}
	c.do("GET", "/api/projects/"+fmt.Sprint(project), nil).is(401)
	c.cookie = c.do("POST", "/api/invited/"+link, map[string]string{"name": "Nina", "password": password, "time_zone": "Europe/Oslo"}).is(200).secret()
	c.do("GET", "/api/projects/"+fmt.Sprint(project), nil).is(200)
	n.stranger().do("GET", "/api/invited/"+link, nil).problem(410)

	other := n.project(acme, "Garden")
	id, link := n.invitation(other, stan, "NINA@example.com", projects.Customer)
	n.stranger().do("POST", "/api/invited/"+link, map[string]string{}).problem(401)
	n.as(stan).do("POST", "/api/invited/"+link, map[string]string{}).problem(403)
	var mine invitations
	c.do("GET", "/api/invitations", nil).is(200).into(&mine)
	if len(mine.Invitations) != 1 || mine.Invitations[0].ID != id {
		t.Errorf("invitations %+v", mine)
	}
	if got := c.do("POST", "/api/invited/"+link, map[string]string{}).is(200); got.secret() != "" {
		t.Error("whoever is signed in gets another session")
	}
	c.do("GET", "/api/projects/"+fmt.Sprint(other), nil).is(200)
	c.do("POST", fmt.Sprintf("/api/invitations/%d/accept", id), nil).problem(410)
}

// Doing something postpones mail; reading, and what the page does by itself, doesn't.
func TestDoingSomethingIsNoted(t *testing.T) {
	n := newNode(t)
	h, ok := n.handler.(*api)
	if !ok {
		t.Fatal("another handler")
	}
	h.touchTime = patience // noting it isn't given up here
	cleo := n.person(0, "cleo@example.com", "")
	c := n.as(cleo)
	active := func() bool {
		return scan[bool](t, n.pool, "SELECT EXISTS (SELECT FROM trunkline.recipient WHERE user_id = $1 AND active_at IS NOT NULL)", strconv.FormatInt(cleo, 10))
	}
	c.do("GET", "/api/me", nil).is(200)
	c.do("POST", "/api/token", nil).is(200)
	if active() {
		t.Error("reading counts")
	}
	c.do("PATCH", "/api/me", map[string]string{"locale": "de"}).is(200)
	if !active() {
		t.Error("writing doesn't count")
	}
}
