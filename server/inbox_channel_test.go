package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	sdk "github.com/centrifugal/centrifuge-go"
	"github.com/coder/websocket"

	"github.com/trunkline/trunkline/inbox"
)

// Users who are easily taken for one another, by people or by programs that fold, trim, split or normalise names.
var lookAlikes = []string{
	"a", "A", "a:b", "b", "a ", "a*", "*", "inbox:a", "é", "e\u0301", "а" /* Cyrillic */, "a/b", strings.Repeat("x", 248), strings.Repeat("x", 249),
}

// push is what comes on the channel of an inbox.
type push struct {
	inbox.Counts
	Added   []inbox.Item
	Changed []struct {
		ID, Seq int64
		ReadAt  *time.Time `json:"read_at"`
	}
	Removed []int64
	More    bool
}

func readPush(t *testing.T, payload []byte) (p push) {
	t.Helper()
	if err := json.Unmarshal(payload, &p); err != nil {
		t.Fatalf("%s: %v", payload, err)
	}
	return p
}

// tab is a user's client of the realtime protocol, as an SDK makes it.
type tab struct {
	*sdk.Client
	t      *testing.T
	server chan sdk.ServerPublicationEvent
}

func (s *service) tab(t *testing.T, token string) *tab {
	t.Helper()
	c := sdk.NewJsonClient("ws"+strings.TrimPrefix(s.server.URL, "http")+"/connection/websocket", sdk.Config{
		Token: token, ReadTimeout: patience, WriteTimeout: patience, HandshakeTimeout: patience, MaxServerPingDelay: patience,
		MinReconnectDelay: 10 * time.Millisecond, MaxReconnectDelay: 100 * time.Millisecond,
	})
	made := &tab{Client: c, t: t, server: make(chan sdk.ServerPublicationEvent, 100)}
	connected := make(chan struct{}, 10)
	c.OnConnected(func(sdk.ConnectedEvent) { connected <- struct{}{} })
	c.OnPublication(func(e sdk.ServerPublicationEvent) { made.server <- e })
	t.Cleanup(c.Close)
	if err := c.Connect(); err != nil {
		t.Fatal(err)
	}
	await(t, connected, "the connection")
	return made
}

func await[T any](t *testing.T, from <-chan T, what string) T {
	t.Helper()
	select {
	case value := <-from:
		return value
	case <-time.After(patience):
		t.Fatalf("waited in vain for %s", what)
		panic("unreachable")
	}
}

// following is a subscription that was asked for.
type following struct {
	*sdk.Subscription
	subscribed   chan sdk.SubscribedEvent
	unsubscribed chan sdk.UnsubscribedEvent
	publications chan sdk.PublicationEvent
}

func (c *tab) follow(channel string, cfg sdk.SubscriptionConfig) *following {
	c.t.Helper()
	cfg.MinResubscribeDelay, cfg.MaxResubscribeDelay = 10*time.Millisecond, 100*time.Millisecond
	sub, err := c.NewSubscription(channel, cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	f := &following{
		sub, make(chan sdk.SubscribedEvent, 10), make(chan sdk.UnsubscribedEvent, 10), make(chan sdk.PublicationEvent, 100),
	}
	sub.OnSubscribed(func(e sdk.SubscribedEvent) { f.subscribed <- e })
	sub.OnUnsubscribed(func(e sdk.UnsubscribedEvent) { f.unsubscribed <- e })
	sub.OnPublication(func(e sdk.PublicationEvent) { f.publications <- e })
	if err := sub.Subscribe(); err != nil {
		c.t.Fatal(err)
	}
	return f
}

// code is the protocol's, of a refusal.
func code(err error) uint32 {
	var refusal *sdk.Error
	if errors.As(err, &refusal) {
		return refusal.Code
	}
	return 0
}

func TestAUserFollowsTheirOwnInboxAndNoOther(t *testing.T) {
	s := newGuarded(t, Limits{})
	tabs := map[string]*tab{}
	inboxes := map[string]*following{}
	for _, user := range lookAlikes {
		tabs[user] = s.tab(t, token(t, user, ""))
		inboxes[user] = tabs[user].follow("inbox:"+user, sdk.SubscriptionConfig{})
		e := await(t, inboxes[user].subscribed, "the inbox of "+user)
		if !e.Recoverable || !e.Positioned || e.StreamPosition == nil || e.StreamPosition.Epoch == "" {
			t.Errorf("%q: subscribed with %+v", user, e)
		}
	}
	for user, c := range tabs {
		for _, other := range append([]string{""}, lookAlikes...) {
			if other == user {
				continue
			}
			channel := "inbox:" + other
			if e := await(t, c.follow(channel, sdk.SubscriptionConfig{}).unsubscribed, "the refusal"); e.Code != 103 {
				t.Errorf("%q follows %q: %+v", user, channel, e)
			}
			if _, err := c.History(t.Context(), channel, sdk.WithHistoryLimit(10)); code(err) != 103 {
				t.Errorf("%q reads the history of %q: %v", user, channel, err)
			}
		}
		own := "inbox:" + user
		if _, err := c.Publish(t.Context(), own, []byte(`{"unread":0}`)); code(err) != 103 {
			t.Errorf("%q publishes to their own inbox: %v", user, err)
		}
		if _, err := c.Presence(t.Context(), own); code(err) != 103 {
			t.Errorf("%q sees who is present in their own inbox: %v", user, err)
		}
	}
	for i, user := range lookAlikes {
		s.notify(t, user, "note", i+1)
	}
	for i, user := range lookAlikes {
		for seen := 0; seen <= i; {
			p := readPush(t, await(t, inboxes[user].publications, "a push").Data)
			seen += len(p.Added)
			if p.Unread != seen {
				t.Fatalf("%q: %d items were announced, and the count is %d", user, seen, p.Unread)
			}
		}
		h, err := tabs[user].History(t.Context(), "inbox:"+user, sdk.WithHistoryLimit(100))
		if err != nil || len(h.Publications) == 0 || readPush(t, h.Publications[len(h.Publications)-1].Data).Unread != i+1 {
			t.Errorf("%q: history %+v, %v", user, h, err)
		}
	}
	for user, f := range inboxes {
		if len(f.publications) > 0 {
			t.Errorf("%q got more: %s", user, (<-f.publications).Data)
		}
	}
}

func TestAnInboxIsRecovered(t *testing.T) {
	s := newGuarded(t, Limits{})
	s.notify(t, "ann", "note", 1)
	s.notify(t, "ann", "note", 1)
	s.sequenced(t, "inbox:ann", 2) // they are told in one push each
	conn := s.connect(t, `{"id":1,"connect":{"token":"`+token(t, "ann", "")+`"}}`)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	command := fmt.Sprintf(`{"id":2,"subscribe":{"channel":"inbox:ann","recover":true,"offset":0,"epoch":%q}}`, s.engine.State().Log.Epoch)
	if err := conn.Write(ctx, websocket.MessageText, []byte(command)); err != nil {
		t.Fatal(err)
	}
	_, text, err := conn.Read(ctx)
	var answer struct {
		Subscribe struct {
			Recoverable, Recovered bool
			Publications           []struct{ Data json.RawMessage }
		}
	}
	if err != nil || json.Unmarshal(text, &answer) != nil || !answer.Subscribe.Recoverable || !answer.Subscribe.Recovered {
		t.Fatalf("subscribed with %s, %v", text, err)
	}
	var last push
	for _, publication := range answer.Subscribe.Publications {
		p := readPush(t, publication.Data)
		if p.Version <= last.Version || p.Unread <= last.Unread {
			t.Errorf("%+v follows %+v", p, last)
		}
		last = p
	}
	if last.Unread != 2 {
		t.Errorf("recovered: %s", text)
	}
}

func TestServerSideInboxes(t *testing.T) {
	s := newGuarded(t, Limits{})
	sign := func(user string, channels ...string) string {
		signed, err := SignToken(TokenClaims{Subject: user, IssuedAt: time.Now(), ExpiresAt: time.Now().Add(time.Hour), Channels: channels},
			TokenSecret([]byte(testSecret)))
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	ann, é := s.tab(t, sign("ann", "inbox:ann")), s.tab(t, sign("é", "inbox:é"))
	boss := s.tab(t, sign("boss", "inbox:ann")) // who signs tokens says so
	s.notify(t, "ann", "note", 1)
	s.notify(t, "e\u0301", "note", 1)
	s.notify(t, "é", "reminder", 1)
	for _, c := range []*tab{ann, boss} {
		if e := await(t, c.server, "a push"); e.Channel != "inbox:ann" || readPush(t, e.Data).Unread != 1 {
			t.Errorf("%+v", e)
		}
	}
	if e := await(t, é.server, "a push"); e.Channel != "inbox:é" || readPush(t, e.Data).Added[0].Kind != "reminder" {
		t.Errorf("%+v", e)
	}
	// And none of it by what the client says.
	if e := await(t, ann.follow("inbox:boss", sdk.SubscriptionConfig{}).unsubscribed, "the refusal"); e.Code != 103 {
		t.Errorf("%+v", e)
	}
}

func TestCapsAndFunctionsOpenInboxChannels(t *testing.T) {
	s := newGuarded(t, Limits{})
	byCaps := s.tab(t, token(t, "boss", "sub", "inbox:team-*"))
	await(t, byCaps.follow("inbox:team-a", sdk.SubscriptionConfig{}).subscribed, "what caps allow")
	if e := await(t, byCaps.follow("inbox:ann", sdk.SubscriptionConfig{}).unsubscribed, "the refusal"); e.Code != 103 {
		t.Errorf("%+v", e)
	}
	s.sql(t, `CREATE SCHEMA app`, `CREATE FUNCTION app.assists(user_id text, channel text, action text) RETURNS boolean LANGUAGE sql IMMUTABLE AS
			$$ SELECT $1 = 'assistant' AND $2 = 'inbox:boss' AND $3 = 'subscribe' $$`,
		`INSERT INTO trunkline.namespace (name, authorize, publish) VALUES ('inbox', 'app.assists', true)
			ON CONFLICT (name) DO UPDATE SET authorize = excluded.authorize, publish = excluded.publish`)
	s.until(t, "the node knows the namespace", func() bool { return s.engine.Namespace("inbox:x").Authorize != "" })
	assistant := s.tab(t, token(t, "assistant", ""))
	await(t, assistant.follow("inbox:boss", sdk.SubscriptionConfig{}).subscribed, "what the function allows")
	await(t, assistant.follow("inbox:assistant", sdk.SubscriptionConfig{}).subscribed, "their own")
	if e := await(t, assistant.follow("inbox:ann", sdk.SubscriptionConfig{}).unsubscribed, "the refusal"); e.Code != 103 {
		t.Errorf("%+v", e)
	}
	if _, err := assistant.Publish(t.Context(), "inbox:assistant", []byte(`1`)); code(err) != 103 {
		t.Errorf("publishing to their own: %v", err)
	}
	// Over REST it is the user's alone.
	a := s.ask(t, http.MethodGet, "/v1/inbox?user=boss", "", "Authorization: Bearer "+token(t, "assistant", ""))
	if a.status != http.StatusForbidden {
		t.Errorf("status %d: %s", a.status, a.body)
	}
}

func TestRevokingAnInboxEndsFollowingIt(t *testing.T) {
	s := newGuarded(t, Limits{})
	ann := token(t, "ann", "")
	f := s.tab(t, ann).follow("inbox:ann", sdk.SubscriptionConfig{})
	await(t, f.subscribed, "the inbox")
	stream, _ := s.openAs(t, ann, "channel=inbox:ann", "")
	s.sql(t, "SELECT trunkline.revoke('ann', 'inbox:ann')")
	if e := await(t, f.unsubscribed, "the end"); e.Code != 103 {
		t.Errorf("unsubscribed with %+v", e)
	}
	if e := stream.end(t); e.Reason != "revoked" {
		t.Errorf("the stream ended with %+v", e)
	}
	await(t, s.tab(t, token(t, "ann", "")).follow("inbox:ann", sdk.SubscriptionConfig{}).subscribed, "the inbox, with a later token")
}

func TestAStreamOfAnInbox(t *testing.T) {
	s := newGuarded(t, Limits{})
	s.application(t) // whose namespace room is open to anybody
	for _, user := range lookAlikes {
		c, opened := s.openAs(t, token(t, user, ""), channels("inbox:"+user), "")
		s.notify(t, user, "note", 1)
		if e := c.event(t).decode(t); e.Channel != "inbox:"+user || readPush(t, e.Payload).Unread != 1 {
			t.Errorf("%q: %+v", user, e)
		}
		c.response.Body.Close()
		for _, again := range []*client{
			s.reopen(t, token(t, user, ""), channels("inbox:"+user), opened.id),
			s.reopen(t, token(t, user, ""), channels("inbox:"+user)+"&from=beginning", ""),
		} {
			if e := again.event(t).decode(t); readPush(t, e.Payload).Unread != 1 {
				t.Errorf("%q, resumed: %+v", user, e)
			}
			again.response.Body.Close()
		}
		var page historyAnswer
		s.get(t, "/v1/history?"+channels("inbox:"+user), &page, "Authorization: Bearer "+token(t, user, ""))
		if len(page.Messages) != 1 {
			t.Errorf("%q: history %+v", user, page)
		}
		for _, other := range append([]string{"", strings.Repeat("y", 249)}, lookAlikes...) {
			if other == user {
				continue
			}
			for _, path := range []string{"/v1/stream?channel=", "/v1/history?channel="} {
				a := s.ask(t, http.MethodGet, path+url.QueryEscape("inbox:"+other), "", "Authorization: Bearer "+token(t, user, ""))
				if a.status != http.StatusForbidden {
					t.Fatalf("%q, %s%q: status %d: %s", user, path, other, a.status, a.body)
				}
			}
		}
	}
	for name, credential := range map[string]string{"anonymous": "", "without a user": token(t, "", "")} {
		header := []string{}
		if credential != "" {
			header = append(header, "Authorization: Bearer "+credential)
		}
		for _, channel := range []string{"inbox:", "inbox:a"} {
			if a := s.ask(t, http.MethodGet, "/v1/stream?"+channels(channel), "", header...); a.status != http.StatusForbidden {
				t.Errorf("%s, %q: status %d: %s", name, channel, a.status, a.body)
			}
		}
	}
}

func (s *service) reopen(t *testing.T, token, query, lastID string) *client {
	t.Helper()
	c, _ := s.openAs(t, token, query, lastID)
	return c
}

// A name that leaves no room for a channel's is no inbox's, wherever it is used.
func TestALongNameHasNoInbox(t *testing.T) {
	s := newGuarded(t, Limits{})
	user := strings.Repeat("u", 250)
	c := s.tab(t, token(t, user, ""))
	if e := await(t, c.follow("inbox:"+user, sdk.SubscriptionConfig{}).unsubscribed, "the refusal"); e.Code != 107 && e.Code != 106 {
		t.Errorf("%+v", e)
	}
	a := s.ask(t, http.MethodGet, "/v1/stream?"+channels("inbox:"+user), "", "Authorization: Bearer "+token(t, user, ""))
	if a.status != http.StatusBadRequest {
		t.Errorf("status %d: %s", a.status, a.body)
	}
	a = s.ask(t, http.MethodPost, "/v1/notify", `{"users":["`+user+`"],"kind":"note"}`, "X-API-Key: "+s.key(t, "publish"))
	if a.status != http.StatusBadRequest {
		t.Errorf("status %d: %s", a.status, a.body)
	}
}
