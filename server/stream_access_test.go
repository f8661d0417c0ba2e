package server

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/internal/pgtest"
)

// sql runs statements of an application.
func (s *service) sql(t *testing.T, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		if _, err := s.engine.Pool().Exec(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// application gives namespace room a function that lets everybody named in a table into the rooms named there.
func (s *service) application(t *testing.T) {
	t.Helper()
	s.sql(t, `CREATE SCHEMA app`, `CREATE TABLE app.member (user_id text, channel text)`,
		`CREATE FUNCTION app.may(user_id text, channel text, action text) RETURNS boolean LANGUAGE sql STABLE AS
			$$ SELECT EXISTS (SELECT FROM app.member m WHERE m.user_id = $1 AND m.channel = $2) $$`,
		`INSERT INTO trunkline.namespace (name, authorize, authorize_cache, authorize_timeout, anonymous)
			VALUES ('room', 'app.may', '1 hour', '30 s', true)`)
	s.until(t, "the node knows the namespace", func() bool { return s.engine.Namespace("room:1").Authorize != "" })
}

// end waits for the event that ends a stream.
func (c *client) end(t *testing.T) ending {
	t.Helper()
	b := c.event(t)
	var e ending
	if err := json.Unmarshal([]byte(b.data), &e); err != nil || b.event != "end" || e.Detail == "" {
		t.Fatalf("%+v: %v", b, err)
	}
	if b.hasID {
		t.Errorf("the end moves the resume point: %+v", b)
	}
	c.ends(t)
	return e
}

func TestStreamsAreForThoseWhoMay(t *testing.T) {
	s := newGuarded(t, Limits{})
	s.application(t)
	s.sql(t, `INSERT INTO app.member VALUES ('ann', 'room:1'), ('', 'room:lobby')`)
	read, publish := s.key(t, "read"), s.key(t, "publish")
	ann, caps, none := token(t, "ann", ""), token(t, "bob", "sub", "room:*"), token(t, "bob", "")
	history := token(t, "eve", "sub,hst", "*")
	expired := tokenUntil(t, "ann", time.Now().Add(-time.Hour), "sub", "*")
	for _, test := range []struct {
		name, token, query string
		status             int
		refused            []string
	}{
		{"allowed by the function", ann, "channel=room:1", 200, nil},
		{"refused by the function", ann, "channel=room:1&channel=room:2&channel=room:3", 403, []string{"room:2", "room:3"}},
		{"allowed by the token", caps, "channel=room:2", 200, nil},
		{"outside the token", caps, "channel=other:1", 403, []string{"other:1"}},
		{"a token without anything", none, "channel=room:1", 403, []string{"room:1"}},
		{"anonymous and allowed", "", "channel=room:lobby", 200, nil},
		{"anonymous and refused", "", "channel=room:1", 403, []string{"room:1"}},
		{"anonymous elsewhere", "", "channel=other:1", 403, []string{"other:1"}},
		{"an expired token", expired, "channel=room:1", 401, nil},
		{"a token of another's making", ann + "x", "channel=room:1", 401, nil},
		{"no token", "nonsense", "channel=room:1", 401, nil},
		{"a key that reads", read, "channel=room:1&channel=other:2", 200, nil},
		{"a key that publishes", publish, "channel=room:1", 403, []string{"room:1"}},
		{"a reserved channel", history, "channel=trunkline:control", 403, []string{"trunkline:control"}},
		{"from the beginning", history, "channel=room:9&from=beginning", 200, nil},
		{"from the beginning without history", caps, "channel=room:2&from=beginning", 403, []string{"room:2"}},
		{"resumed without history", caps, "channel=room:2&since=" + s.engine.State().Log.String(), 200, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.status == http.StatusOK {
				c, _ := s.openAs(t, test.token, test.query, "")
				c.response.Body.Close()
				s.gone(t)
				return
			}
			header := []string{}
			if test.token != "" {
				header = append(header, "Authorization: Bearer "+test.token)
			}
			a := s.ask(t, http.MethodGet, "/v1/stream?"+test.query, "", header...)
			if p := a.problem(t); a.status != test.status || !slices.Equal(p.Channels, test.refused) || p.Detail == "" {
				t.Errorf("status %d: %+v", a.status, p)
			}
			if got := a.header.Get("WWW-Authenticate"); (got != "") != (test.status == http.StatusUnauthorized) {
				t.Errorf("WWW-Authenticate: %q", got)
			}
		})
	}
	if n := s.handler.web.streams.count(); n != 0 {
		t.Errorf("%d streams are still known", n)
	}
}

func TestATokenMayStandInTheURLAndIsNeverLogged(t *testing.T) {
	var log lines
	s := serve(t, pgtest.Database(t), Options{JWTSecret: []byte(testSecret), Logger: log.logger()})
	good := token(t, "ann", "sub", "*")
	c, _ := s.open(t, "channel=a&token="+good, "")
	s.publish(t, "a", "1")
	c.event(t)
	c.response.Body.Close()
	s.gone(t)
	s.ask(t, http.MethodGet, "/v1/stream?channel=a&token="+good+"x", "").problem(t)
	s.ask(t, http.MethodGet, "/v1/stream?channel=&token="+good, "").problem(t)
	if a := s.ask(t, http.MethodGet, "/v1/stream?channel=a&x%zz&token="+good, ""); strings.Contains(string(a.body), good[:20]) {
		t.Errorf("the answer repeats the token: %s", a.body)
	}
	if a := s.ask(t, http.MethodGet, "/v1/history?channel=a&token="+good, ""); a.status == http.StatusOK {
		t.Error("REST takes a token from the URL")
	}
	text := log.text()
	if strings.Contains(text, good[:30]) || strings.Contains(text, good[len(good)-20:]) || strings.Contains(text, "token=") {
		t.Errorf("the log has the token: %s", text)
	}
	if !strings.Contains(text, "request_id") {
		t.Errorf("the log has no request: %s", text)
	}
}

func TestStreamEndsWhenItIsNoLongerAllowed(t *testing.T) {
	s := newGuarded(t, Limits{})
	s.application(t)
	for _, test := range []struct {
		reason, sql string
		again       int // what another attempt meets
	}{
		{"revoked", `SELECT trunkline.revoke('%[1]s', 'room:1')`, 403},
		{"revoked", `SELECT trunkline.revoke('%[1]s')`, 401},
		{"revoked", `SELECT trunkline.revoke_token('id-of-%[1]s')`, 401},
		{"disconnected", `SELECT trunkline.disconnect('%[1]s')`, 200},
		{"disconnected", `SELECT trunkline.disconnect('%[1]s', '%[2]s')`, 200},
		{"unsubscribed", `SELECT trunkline.unsubscribe('%[1]s', 'room:1')`, 200},
	} {
		name := strings.NewReplacer("%[1]s", "U", "%[2]s", "C").Replace(test.sql)
		t.Run(name, func(t *testing.T) {
			user := "user" + fmt.Sprint(len(name))
			own := token(t, user, "sub", "room:*")
			other, _ := s.openAs(t, token(t, "bystander", "sub", "room:*"), "channel=room:1", "")
			c, _ := s.openAs(t, own, "channel=room:1&channel=room:2", "")
			s.sql(t, fmt.Sprintf(strings.ReplaceAll(test.sql, "%[2]s", c.response.Header.Get("X-Request-Id")), user))
			if e := c.end(t); e.Reason != test.reason {
				t.Errorf("%+v", e)
			}
			var why *ending
			if err := <-s.ended; !errors.As(err, &why) {
				t.Errorf("it ended with %v", err)
			}
			if test.again == http.StatusOK {
				again, _ := s.openAs(t, own, "channel=room:1&channel=room:2", c.lastID)
				again.response.Body.Close()
				s.gone(t)
			} else if a := s.ask(t, http.MethodGet, "/v1/stream?channel=room:1", "", "Authorization: Bearer "+own); a.status != test.again {
				t.Errorf("again: status %d, want %d: %s", a.status, test.again, a.body)
			}
			id := s.publish(t, "room:1", "1")
			if e := other.event(t).decode(t); *e.ID != id {
				t.Errorf("the bystander got %+v", e)
			}
			other.response.Body.Close()
			s.gone(t)
		})
	}
}

func TestRevocationReachesAnotherNode(t *testing.T) {
	s := newGuarded(t, Limits{})
	other := serve(t, s.engine.Pool().Config().ConnString(), Options{JWTSecret: []byte(testSecret)})
	c, _ := other.openAs(t, token(t, "ann", "sub", "*"), "channel=a", "")
	if a := s.ask(t, http.MethodPost, "/v1/revoke", `{"user":"ann"}`, "X-API-Key: "+s.key(t, "admin")); a.status != http.StatusNoContent {
		t.Fatalf("status %d: %s", a.status, a.body)
	}
	if e := c.end(t); e.Reason != "revoked" {
		t.Errorf("%+v", e)
	}
}

func TestStreamEndsWithItsToken(t *testing.T) {
	s := serve(t, pgtest.Database(t), Options{JWTSecret: []byte(testSecret), ClockSkew: 10 * time.Millisecond})
	// It has to live until the stream has begun, however long that takes here.
	for life := 4 * time.Second; ; life *= 2 {
		until := time.Now().Add(life)
		c, refused := s.tryToOpen(t, tokenUntil(t, "ann", until, "sub", "*"), "channel=a", "")
		if time.Now().After(until.Add(-2 * time.Second)) {
			continue
		}
		if c == nil {
			t.Fatalf("status %d", refused.StatusCode)
		}
		if e := c.end(t); e.Reason != "expired" {
			t.Errorf("%+v", e)
		}
		return
	}
}

func TestStreamEndsWithItsKey(t *testing.T) {
	s := newGuarded(t, Limits{})
	c, _ := s.openAs(t, s.key(t, "read"), "channel=a", "")
	s.sql(t, "SELECT trunkline.revoke_apikey('read')")
	if e := c.end(t); e.Reason != "revoked" {
		t.Errorf("%+v", e)
	}
}

func TestStreamWithALaterTokenOutlivesARevocation(t *testing.T) {
	s := newGuarded(t, Limits{})
	s.sql(t, "SELECT trunkline.revoke('ann')")
	s.until(t, "the revocation is known", func() bool { return s.handler.gate.Stats().Revocations == 1 })
	c, _ := s.openAs(t, token(t, "ann", "sub", "*"), "channel=a", "")
	s.handler.web.streams.Revoked("ann", "", "") // as by a node that hears of it only now
	id := s.publish(t, "a", "1")
	if e := c.event(t).decode(t); *e.ID != id {
		t.Errorf("got %+v", e)
	}
}

func TestStreamWhoseRightsCannotBeDecided(t *testing.T) {
	s := newGuarded(t, Limits{})
	s.sql(t, `CREATE SCHEMA app`, `CREATE FUNCTION app.slow(user_id text, channel text, action text) RETURNS boolean LANGUAGE plpgsql AS
			$$ BEGIN PERFORM pg_sleep(60); RETURN true; END $$`,
		`INSERT INTO trunkline.namespace (name, authorize, authorize_timeout) VALUES ('slow', 'app.slow', '50 ms')`)
	s.until(t, "the node knows the namespace", func() bool { return s.engine.Namespace("slow:1").Authorize != "" })
	a := s.ask(t, http.MethodGet, "/v1/stream?channel=slow:1", "", "Authorization: Bearer "+token(t, "ann", ""))
	if p := a.problem(t); a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" || p.Detail == "" {
		t.Errorf("status %d: %+v", a.status, p)
	}
}

func TestStreamsPerUserAreLimited(t *testing.T) {
	s := newGuarded(t, Limits{ConnectionsPerUser: 1, ConnectionsPerAddress: 2})
	c, _ := s.openAs(t, token(t, "ann", "sub", "*"), "channel=a", "")
	for _, test := range []struct{ user, limit string }{{"ann", limitConnectionsPerUser}, {"bob", ""}, {"eve", limitConnectionsPerAddress}} {
		own := token(t, test.user, "sub", "*")
		if test.limit == "" {
			s.openAs(t, own, "channel=a", "")
			continue
		}
		a := s.ask(t, http.MethodGet, "/v1/stream?channel=a", "", "Authorization: Bearer "+own)
		if p := a.problem(t); a.status != http.StatusTooManyRequests || p.Limit != test.limit || a.header.Get("Retry-After") == "" {
			t.Errorf("%s: status %d: %+v", test.user, a.status, p)
		}
	}
	c.response.Body.Close()
	s.gone(t)
	s.openAs(t, token(t, "ann", "sub", "*"), "channel=a", "")
}

func TestBadTokensAreTurnedAwayUnread(t *testing.T) {
	s := newGuarded(t, Limits{FailureRate: 0.1}) // one at once, and another after ten seconds
	s.stopClocks()
	var refusals []string
	var mu sync.Mutex
	s.handler.web.onRefusal = func(limit string) {
		mu.Lock()
		defer mu.Unlock()
		refusals = append(refusals, limit)
	}
	path := "/v1/history?channel=a"
	if a := s.ask(t, http.MethodGet, path, "", "Authorization: Bearer nonsense"); a.status != http.StatusUnauthorized {
		t.Fatalf("status %d: %s", a.status, a.body)
	}
	for _, shown := range []string{"nonsense", token(t, "ann", "hst", "*")} {
		a := s.ask(t, http.MethodGet, path, "", "Authorization: Bearer "+shown)
		if p := a.problem(t); a.status != http.StatusTooManyRequests || p.Limit != limitFailureRate || a.header.Get("Retry-After") == "" {
			t.Errorf("status %d: %+v", a.status, p)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if !slices.Equal(refusals, []string{limitFailureRate, limitFailureRate}) {
		t.Errorf("counted are %q", refusals)
	}
}

func TestStreamOverHTTP2(t *testing.T) {
	s := newService(t)
	secure := httptest.NewUnstartedServer(s.handler)
	secure.EnableHTTP2 = true
	secure.StartTLS()
	t.Cleanup(secure.Close)
	t.Cleanup(secure.CloseClientConnections)
	for _, version := range []int{1, 2} {
		transport := secure.Client().Transport.(*http.Transport).Clone()
		if transport.ForceAttemptHTTP2 = version == 2; version == 1 {
			transport.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
			transport.TLSClientConfig.NextProtos = nil
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		// Several over one connection, where there is but one.
		for i := range 3 {
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, secure.URL+"/v1/stream?channel=news", http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			response, err := (&http.Client{Transport: transport}).Do(request)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			if response.ProtoMajor != version || response.StatusCode != http.StatusOK {
				t.Fatalf("%s, status %d", response.Proto, response.StatusCode)
			}
			c := &client{response: response, reader: bufio.NewReader(response.Body)}
			c.block(t)
			id := s.publish(t, "news", fmt.Sprint(i))
			if e := c.event(t).decode(t); *e.ID != id {
				t.Errorf("%s: message %d, want %d", response.Proto, *e.ID, id)
			}
		}
		cancel()
		transport.CloseIdleConnections()
	}
}

func TestConflatedChannelsSayWhatTheySkip(t *testing.T) {
	s := newService(t)
	s.sql(t, `INSERT INTO trunkline.namespace (name, conflate) VALUES ('tick', '200 ms')`)
	s.until(t, "the node knows the namespace", func() bool { return s.engine.Namespace("tick:1").Conflate != 0 })
	c, _ := s.open(t, channels("tick:1"), "")
	many := make([]trunkline.Publication, 50)
	for i := range many {
		many[i] = trunkline.Publication{Channel: "tick:1", Payload: fmt.Append(nil, i)}
	}
	if _, err := s.engine.PublishMany(t.Context(), many); err != nil {
		t.Fatal(err)
	}
	last, events := int64(0), 0
	for last < 50 {
		b := c.event(t)
		var data struct {
			Seq     int64
			Skipped int64
		}
		if err := json.Unmarshal([]byte(b.data), &data); err != nil {
			t.Fatal(err)
		}
		if last > 0 && data.Seq != last+data.Skipped+1 {
			t.Fatalf("after seq %d: %s", last, b.data)
		}
		last = data.Seq
		events++
	}
	if events > 10 {
		t.Errorf("%d of 50 messages came", events)
	}
}
