package api

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/centrifugal/centrifuge-go"

	"github.com/trunkline/trunkline/projects"
	"github.com/trunkline/trunkline/server"
)

// channels is who may do what with which channel: s subscribe, h read the history, p see who is present; nobody publishes. Columns are
// those of the matrix: customer, staff, lead, admin | a colleague who is no member, a customer of another project, staff of another
// organisation.
var channels = []struct{ channel, want string }{
	{"project:{project}", "shp shp shp shp - - -"},
	{"progress:{project}", "sh sh sh sh - - -"},
	{"chat:{conversation}", "shp shp shp shp - - -"},
	{"person:{customer}", "sh - - - - - -"},
	{"person:{lead}", "- - sh - - - -"},
	{"inbox:{customer}", "sh - - - - - -"},
	{"inbox:{lead}", "- - sh - - - -"},
	// What looks like a channel that is there, and isn't.
	{"project:0{project}", "- - - - - - -"},
	{"project:{project}:1", "- - - - - - -"},
	{"project: {project}", "- - - - - - -"},
	{"project:", "- - - - - - -"},
	{"project:99999999999999999999", "- - - - - - -"},
	{"chat:x", "- - - - - - -"},
	{"person:{customer}x", "- - - - - - -"},
	{"Project:{project}", "- - - - - - -"},
	{"attachment:{file}", "- - - - - - -"},
	{"trunkline:namespace", "- - - - - - -"},
	{"news", "- - - - - - -"},
}

// token asks for a connection token.
func (c *caller) token() string {
	c.t.Helper()
	var answer token
	c.do("POST", "/api/token", nil).is(200).into(&answer)
	if left := time.Until(answer.ExpiresAt); left <= 0 || left > tokenTTL {
		c.t.Errorf("a token is good for %v", left)
	}
	return answer.Token
}

// connect connects to a server, and returns why it couldn't.
func connect(t *testing.T, address, token string) (*centrifuge.Client, error) {
	t.Helper()
	client := centrifuge.NewJsonClient("ws"+strings.TrimPrefix(address, "http")+"/connection/websocket", centrifuge.Config{
		Token: token, HandshakeTimeout: patience, ReadTimeout: patience, WriteTimeout: patience, MaxServerPingDelay: 2 * patience,
	})
	t.Cleanup(client.Close)
	outcome := make(chan error, 10)
	tell := func(err error) {
		select {
		case outcome <- err:
		default:
		}
	}
	client.OnConnected(func(centrifuge.ConnectedEvent) { tell(nil) })
	client.OnDisconnected(func(e centrifuge.DisconnectedEvent) { tell(fmt.Errorf("disconnected: %d %s", e.Code, e.Reason)) })
	client.OnError(func(e centrifuge.ErrorEvent) {
		if strings.Contains(e.Error.Error(), "unauthorized") {
			tell(e.Error)
		}
	})
	if err := client.Connect(); err != nil {
		return nil, err
	}
	select {
	case err := <-outcome:
		return client, err
	case <-time.After(patience):
		t.Fatal("neither connected nor refused")
		return nil, nil
	}
}

// may tries all that can be done with a channel, and returns the letters of what was allowed.
func may(t *testing.T, client *centrifuge.Client, channel string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	allowed := ""
	check := func(letter string, err error) {
		t.Helper()
		switch {
		case err == nil:
			allowed += letter
		case !refused(err):
			t.Errorf("%s of %s: %v", letter, channel, err)
		}
	}
	_, err := client.Publish(ctx, channel, []byte(`{"type":"reload"}`))
	check("!", err)
	_, err = client.History(ctx, channel, centrifuge.WithHistoryLimit(10))
	history := err
	_, err = client.Presence(ctx, channel)
	presence := err
	check("s", subscribe(t, client, channel))
	check("h", history)
	check("p", presence)
	if allowed == "" {
		return "-"
	}
	return allowed
}

// refused tells whether a server said no (103), rather than that something went wrong.
func refused(err error) bool {
	return strings.HasPrefix(err.Error(), "103: ") || strings.HasPrefix(err.Error(), "unsubscribed: 103 ")
}

func subscribe(t *testing.T, client *centrifuge.Client, channel string) error {
	t.Helper()
	sub, err := client.NewSubscription(channel)
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }()
	outcome := make(chan error, 10)
	sub.OnSubscribed(func(centrifuge.SubscribedEvent) { outcome <- nil })
	sub.OnUnsubscribed(func(e centrifuge.UnsubscribedEvent) {
		select {
		case outcome <- fmt.Errorf("unsubscribed: %d %s", e.Code, e.Reason):
		default:
		}
	})
	if err := sub.Subscribe(); err != nil {
		return err
	}
	select {
	case err := <-outcome:
		return err
	case <-time.After(patience):
		t.Fatalf("neither subscribed to %s nor refused", channel)
		return nil
	}
}

func TestChannels(t *testing.T) {
	c := newCast(t)
	w := c.newWorld()
	live := c.live()
	tokens := map[string]string{}
	for _, name := range who {
		tokens[name] = c.callers[name].token()
	}
	before := scan[int](t, c.pool, "SELECT count(*) FROM trunkline.message WHERE channel !~ '^trunkline'")
	for i, name := range who {
		client, err := connect(t, live, tokens[name])
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, row := range channels {
			want := strings.Fields(row.want)[i]
			if got := may(t, client, w.fill(row.channel)); got != want {
				t.Errorf("%s may do %q with %s, not %q", name, got, row.channel, want)
			}
		}
		client.Close()
	}
	if after := scan[int](t, c.pool, "SELECT count(*) FROM trunkline.message WHERE channel !~ '^trunkline'"); after != before {
		t.Errorf("%d messages were published by clients", after-before)
	}
}

// Whoever has no session has no live connection either.
func TestTokensThatDontCount(t *testing.T) {
	c := newCast(t)
	live := c.live()
	good := server.TokenClaims{Subject: fmt.Sprint(c.people["lead"]), ID: "00000000-0000-0000-0000-000000000000", IssuedAt: time.Now(), ExpiresAt: time.Now().Add(time.Minute)}
	sign := func(claims server.TokenClaims, secret []byte) string {
		t.Helper()
		signed, err := server.SignToken(claims, server.TokenSecret(secret))
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	if _, err := connect(t, live, sign(good, c.secret)); err != nil {
		t.Fatalf("a sound token: %v", err)
	}
	old := good
	old.IssuedAt, old.ExpiresAt = time.Now().Add(-time.Hour), time.Now().Add(-time.Minute)
	leaving := c.as(c.people["staff"])
	signedOut, thrownOut := leaving.token(), c.callers["colleague"].token()
	// A node hears of what ends: it has once it ends connections that were made before.
	gone := make(chan struct{}, 10)
	for _, token := range []string{signedOut, thrownOut} {
		client, err := connect(t, live, token)
		if err != nil {
			t.Fatalf("a token of a session: %v", err)
		}
		var once sync.Once
		end := func() { once.Do(func() { gone <- struct{}{} }) }
		client.OnDisconnected(func(centrifuge.DisconnectedEvent) { end() })
		client.OnConnecting(func(centrifuge.ConnectingEvent) { end() })
	}
	leaving.do("DELETE", "/api/session", nil).is(204)
	c.exec("UPDATE projects.person SET deactivated_at = now() WHERE id = $1", c.people["colleague"])
	for range 2 {
		select {
		case <-gone:
		case <-time.After(patience):
			t.Fatal("a connection stays open")
		}
	}
	theirs := c.callers["customer"].token()
	header, rest, _ := strings.Cut(theirs, ".")
	_, signature, _ := strings.Cut(rest, ".")
	_, body, _ := strings.Cut(sign(good, c.secret), ".")
	payload, _, _ := strings.Cut(body, ".")
	for name, token := range map[string]string{
		"none":                           "",
		"signed with another secret":     sign(good, []byte(strings.Repeat("x", 32))),
		"expired":                        sign(old, c.secret),
		"of a session that has ended":    signedOut,
		"of somebody deactivated":        thrownOut,
		"another's claims put into one":  header + "." + payload + "." + signature,
		"without a signature":            header + "." + payload + ".",
		"cut off":                        theirs[:len(theirs)-3],
		"a session's cookie":             c.callers["customer"].cookie,
		"one that says it needs no hash": "eyJhbGciOiJub25lIn0." + payload + ".",
	} {
		client, err := connect(t, live, token)
		if err == nil {
			// A connection without a name may be; it reaches nothing.
			for _, channel := range []string{"project:1", "progress:1", "chat:1", "person:1", "inbox:1"} {
				if got := may(t, client, channel); got != "-" {
					t.Errorf("a token %s may do %q with %s", name, got, channel)
				}
			}
			if name != "none" {
				t.Errorf("a token %s connects", name)
			}
		}
	}
}

// Signing out closes what is open, on whichever node; and whoever is removed from a project hears no more of it.
func TestLiveConnectionsEnd(t *testing.T) {
	for name, end := range map[string]func(c *cast, other *caller){
		"signing out here": func(c *cast, _ *caller) { c.callers["customer"].do("DELETE", "/api/session", nil).is(204) },
		"signing out from elsewhere": func(c *cast, other *caller) {
			var all sessions
			other.do("GET", "/api/sessions", nil).is(200).into(&all)
			if len(all.Sessions) != 2 {
				t.Fatalf("sessions: %+v", all)
			}
			for _, s := range all.Sessions {
				if !s.Current {
					other.do("DELETE", "/api/sessions/"+s.ID, nil).is(204)
				}
			}
		},
		"signing out everywhere": func(_ *cast, other *caller) { other.do("DELETE", "/api/sessions", nil).is(204) },
		"another password": func(_ *cast, other *caller) {
			other.do("POST", "/api/me/password", map[string]string{"current": "", "new": "another password"}).is(204)
		},
		"deactivation": func(c *cast, _ *caller) {
			c.exec("UPDATE projects.person SET deactivated_at = now() WHERE id = $1", c.people["customer"])
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCast(t)
			live := c.live()
			other := c.as(c.people["customer"])
			client, err := connect(t, live, c.callers["customer"].token())
			if err != nil {
				t.Fatal(err)
			}
			gone := make(chan string, 10)
			client.OnDisconnected(func(e centrifuge.DisconnectedEvent) { gone <- e.Reason })
			client.OnConnecting(func(e centrifuge.ConnectingEvent) { gone <- e.Reason })
			end(c, other)
			select {
			case <-gone:
			case <-time.After(patience):
				t.Error("the connection stays open")
			}
			c.callers["customer"].do("POST", "/api/token", nil).is(401)
		})
	}
}

func TestRemovalEndsSubscriptions(t *testing.T) {
	c := newCast(t)
	w := c.newWorld()
	live := c.live()
	client, err := connect(t, live, c.callers["customer"].token())
	if err != nil {
		t.Fatal(err)
	}
	gone := make(chan string, 10)
	for _, channel := range []string{"project:{project}", "progress:{project}", "chat:{conversation}"} {
		sub, err := client.NewSubscription(w.fill(channel))
		if err != nil {
			t.Fatal(err)
		}
		subscribed := make(chan struct{})
		sub.OnSubscribed(func(centrifuge.SubscribedEvent) { close(subscribed) })
		sub.OnUnsubscribed(func(centrifuge.UnsubscribedEvent) { gone <- channel })
		if err := sub.Subscribe(); err != nil {
			t.Fatal(err)
		}
		select {
		case <-subscribed:
		case <-time.After(patience):
			t.Fatalf("not subscribed to %s", channel)
		}
	}
	c.callers["staff"].do("DELETE", w.fill("/api/projects/{project}/members/{customer}"), nil).is(204)
	for range 3 {
		select {
		case <-gone:
		case <-time.After(patience):
			t.Fatal("a subscription stays")
		}
	}
	if got := may(t, client, w.fill("person:{customer}")); got != "sh" {
		t.Errorf("after the removal they may do %q with their own channel", got)
	}
	if role := scan[*projects.Role](t, c.pool, "SELECT projects.role($1, $2::bigint)", c.people["customer"], w["project"]); role != nil {
		t.Errorf("they still are %v", *role)
	}
}
