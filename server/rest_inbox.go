package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/inbox"
	"github.com/trunkline/trunkline/server/internal/auth"
)

// maxOwner is how long the id of a user with an inbox may be, in bytes: inbox:<user> is a channel.
const maxOwner = 249

// inbox registers what a user can do with their inbox.
func (h *rest) inbox() {
	register(h, huma.Operation{
		OperationID: "inbox", Method: http.MethodGet, Path: "/v1/inbox", Tags: []string{"inbox"}, Metadata: ofInbox,
		Summary: "Read the inbox",
		Description: "Newest first; next leads on. The counts are the whole inbox's at the same moment: of what comes on the " +
			"channel inbox:USER, whatever has no higher version is contained in it.",
	}, h.listInbox)
	register(h, huma.Operation{
		OperationID: "inbox-counts", Method: http.MethodGet, Path: "/v1/inbox/counts", Tags: []string{"inbox"}, Metadata: ofInbox,
		Summary: "How many are unseen and unread", Description: "Asking for it doesn't count as activity.",
	}, h.inboxCounts)
	register(h, huma.Operation{
		OperationID: "inbox-mark", Method: http.MethodPost, Path: "/v1/inbox/mark", Tags: []string{"inbox"}, Metadata: ofInbox,
		Summary: "Mark items as seen, read, unread, archived or snoozed",
		Description: "Either single ones, by ids, or with up_to_seq all up to the newest that the user was shown: what has arrived " +
			"since stays as it is. Marking again changes nothing.",
	}, h.markInbox)
	register(h, huma.Operation{
		OperationID: "inbox-preferences", Method: http.MethodGet, Path: "/v1/inbox/preferences", Tags: []string{"inbox"},
		Metadata: ofInbox, Summary: "What the user wants mail about, and when",
		Description: "known_kinds lists the kinds that there are to choose from.",
	}, h.inboxPreferences)
	register(h, huma.Operation{
		OperationID: "set-inbox-preferences", Method: http.MethodPut, Path: "/v1/inbox/preferences", Tags: []string{"inbox"},
		Metadata: ofInbox, Summary: "Change what the user wants mail about, and when",
		Description: "All of it: what is left out has its default. known_kinds is ignored.",
	}, h.setInboxPreferences)
	register(h, huma.Operation{
		OperationID: "inbox-touch", Method: http.MethodPost, Path: "/v1/inbox/touch", Tags: []string{"inbox"}, Metadata: ofInbox,
		Summary: "Say that the user is active",
		Description: "Mail waits a few minutes for who is active. Reading and marking the inbox say so as well; an open connection " +
			"doesn't. More often than twice a minute is of no use.",
	}, h.touchInbox)
	h.describeInbox()
}

// describeInbox says what the fields of package inbox's types are, and what the body of preferences is, which is decoded there.
func (h *rest) describeInbox() {
	components := h.api.OpenAPI().Components.Schemas
	for name, docs := range map[string]map[string]string{
		"Item": {
			"seq": "Its place in the inbox: 1, 2, 3 … in the order in which they became visible. " +
				"What comes back from the archive or a snooze gets a new one.",
			"kind": "What kind of thing has happened.", "title": "What the kind is called.", "text": "One line about this item.",
			"group": "What it belongs to.", "cause": "What it is about.", "link": "Where it leads.",
			"data": "As it was given to notify.", "snoozed_until": "When it comes back.",
		},
		"Counts": {
			"unseen": "Neither seen nor archived nor snoozed.", "unread": "Neither read nor archived nor snoozed.",
			"version": "Rises with each change: of two, the higher one is the newer.",
		},
		"Preferences": {
			"time_zone":      "An IANA name, such as Europe/Berlin; null: the recipient's, or the site's.",
			"quiet_hours":    "Nothing is mailed meanwhile.",
			"vacation_until": "Nothing is mailed before.",
			"default":        "For kinds that have no rule of their own; null: each kind's own delay.",
			"kinds":          "Rules by kind, at most 200.", "muted_groups": "Nothing of these is mailed, at most 1,000.",
			"known_kinds": "Only read: the kinds there are, with what holds where nothing is preferred.",
		},
		"MailRule": {
			"mail":  "When, if at all.",
			"delay": "With after: how long it has to stay unread, such as 30m or 4h. 1 minute to 30 days.",
			"at":    "With daily: HH:MM in the user's time zone.",
		},
		"QuietHours": {"from": "HH:MM in the user's time zone.", "to": "The same; it may be on the next day."},
	} {
		for field, doc := range docs {
			components.Map()[name].Properties[field].Description = doc
		}
	}
	preferences := components.Map()["Preferences"]
	preferences.Required = nil
	for _, field := range []string{"default", "quiet_hours"} {
		p := preferences.Properties[field]
		preferences.Properties[field] = &huma.Schema{OneOf: []*huma.Schema{{Ref: p.Ref}, {Type: "null"}}, Description: p.Description}
	}
	components.Map()["MailRule"].Properties["mail"].Enum = []any{inbox.MailAtOnce, inbox.MailAfter, inbox.MailDaily, inbox.MailNever}
	h.api.OpenAPI().Paths["/v1/inbox/preferences"].Put.RequestBody = &huma.RequestBody{
		Required: true,
		Content: map[string]*huma.MediaType{
			"application/json": {Schema: components.Schema(reflect.TypeFor[inbox.Preferences](), true, "Preferences")},
		},
	}
}

// ownerKey finds whose inbox a request is about.
type ownerKey struct{}

func owner(ctx context.Context) string {
	user, _ := ctx.Value(ownerKey{}).(string)
	return user
}

// inboxInput is what an operation on an inbox takes if it takes nothing else. Every one of them has the parameter user, which
// ownerOf reads before the rest of the request.
type inboxInput struct {
	User string `query:"user" doc:"Whose inbox: for admin keys, and in open mode. Users need not say it."`
}

// ownerOf is the user whose inbox a request is about: who sent it, or whom it names. Whether that is allowed is the gate's to say.
func ownerOf(id *auth.Identity, r *http.Request) (string, error) {
	given := r.URL.Query()["user"]
	user := id.User
	switch {
	case len(given) > 1:
		return "", problemOf(http.StatusBadRequest, "query.user is given %d times: give it once", len(given))
	case len(given) == 1 && given[0] != "":
		user = given[0]
	case id.Open:
		return "", problemOf(http.StatusBadRequest, "in open mode nobody is signed in: name the user, as in %s?user=ann",
			r.URL.Path)
	case id.Key != "" && slices.Contains(id.Scopes, auth.ScopeAdmin):
		return "", problemOf(http.StatusBadRequest, "API key %q is no user: name one, as in %s?user=ann", id.Key, r.URL.Path)
	}
	if len(user) > maxOwner {
		return "", problemOf(http.StatusBadRequest, "user %q has no inbox: the id is %d bytes long, more than %d",
			clip(user), len(user), maxOwner)
	}
	return user, nil
}

type listInboxInput struct {
	User   string `query:"user" doc:"Whose inbox: for admin keys, and in open mode. Users need not say it."`
	Before int64  `query:"before" minimum:"1" doc:"Items with a lower seq, as next has it. Left out: from the newest on."`
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"How many at most."`
	State  string `query:"state" enum:"inbox,unseen,unread,read,archived,snoozed,all" default:"inbox" doc:"inbox: neither archived nor snoozed; the next three: of these."`
	Kind   string `query:"kind" maxLength:"64" doc:"Only items of this kind." example:"task.completed"`
	Group  string `query:"group" maxLength:"255" doc:"Only items of this group." example:"project:7"`
}

type inboxPage struct {
	Items  []inbox.Item `json:"items" nullable:"false" doc:"Newest first, that is by seq."`
	Counts inbox.Counts `json:"counts" doc:"Of the whole inbox, as of the same moment."`
	Next   string       `json:"next,omitempty" doc:"The URL of the next page, left out after the last."`
}

type inboxPageOutput struct {
	Link string `header:"Link"`
	Body inboxPage
}

func (h *rest) listInbox(ctx context.Context, in *listInboxInput) (*inboxPageOutput, error) {
	user := owner(ctx)
	page, err := h.server.inbox.List(ctx, user, inbox.ListOptions{
		Before: in.Before, Limit: in.Limit, State: inbox.State(in.State), Kind: in.Kind, Group: in.Group,
	})
	if err != nil {
		return nil, err
	}
	h.active(ctx, user)
	out := &inboxPageOutput{Body: inboxPage{Items: page.Items, Counts: page.Counts}}
	if page.Next != 0 {
		query := url.Values{
			"before": {strconv.FormatInt(page.Next, 10)}, "limit": {strconv.Itoa(in.Limit)}, "state": {in.State},
		}
		for name, value := range map[string]string{"kind": in.Kind, "group": in.Group, "user": in.User} {
			if value != "" {
				query.Set(name, value)
			}
		}
		out.Body.Next = link("/v1/inbox", query)
		out.Link = fmt.Sprintf("<%s>; rel=\"next\"", out.Body.Next)
	}
	return out, nil
}

type inboxCountsOutput struct{ Body inbox.Counts }

func (h *rest) inboxCounts(ctx context.Context, _ *inboxInput) (*inboxCountsOutput, error) {
	counts, err := h.server.inbox.Counts(ctx, owner(ctx))
	return &inboxCountsOutput{counts}, err
}

type markInboxInput struct {
	User string `query:"user" doc:"Whose inbox: for admin keys, and in open mode. Users need not say it."`
	Body struct {
		State   string     `json:"state" enum:"seen,read,unread,archived,inbox,snoozed" doc:"read implies seen, unread takes it back; inbox brings back."`
		UpToSeq *int64     `json:"up_to_seq,omitempty" minimum:"0" doc:"The highest seq shown. With seen, read and archived."`
		Group   string     `json:"group,omitempty" maxLength:"255" doc:"With up_to_seq: only items of it." example:"project:7"`
		IDs     []int64    `json:"ids,omitempty" maxItems:"1000" doc:"Single items. Foreign ones and gone ones are left out." nullable:"false"`
		Until   *time.Time `json:"until,omitempty" doc:"With snoozed, and only then: when it comes back. Within 400 days."`
	}
}

type markedOutput struct {
	Body struct {
		Changed int `json:"changed" doc:"How many items were not so before."`
		inbox.Counts
	}
}

func (h *rest) markInbox(ctx context.Context, in *markInboxInput) (*markedOutput, error) {
	b := &in.Body
	mark := inbox.Mark{State: inbox.State(b.State), Group: b.Group}
	switch {
	case (b.UpToSeq == nil) == (len(b.IDs) == 0):
		return nil, problemOf(http.StatusBadRequest,
			"give either up_to_seq, for all that the user was shown, or ids, for single items")
	case b.UpToSeq != nil:
		mark.UpToSeq = *b.UpToSeq
	default:
		mark.IDs = b.IDs
	}
	if b.Until != nil {
		mark.Until = *b.Until
	}
	user := owner(ctx)
	out := &markedOutput{}
	var err error
	if out.Body.Changed, out.Body.Counts, err = h.server.inbox.Mark(ctx, user, mark); err != nil {
		return nil, err
	}
	h.active(ctx, user)
	return out, nil
}

type preferencesOutput struct{ Body inbox.Preferences }

func (h *rest) inboxPreferences(ctx context.Context, _ *inboxInput) (*preferencesOutput, error) {
	user := owner(ctx)
	preferences, err := h.server.inbox.Preferences(ctx, user)
	if err != nil {
		return nil, err
	}
	h.active(ctx, user)
	return &preferencesOutput{preferences}, nil
}

type setPreferencesInput struct {
	User    string `query:"user" doc:"Whose inbox: for admin keys, and in open mode. Users need not say it."`
	RawBody []byte
}

func (h *rest) setInboxPreferences(ctx context.Context, in *setPreferencesInput) (*preferencesOutput, error) {
	preferences, err := inbox.ParsePreferences(in.RawBody)
	if err == nil {
		err = h.server.inbox.SetPreferences(ctx, owner(ctx), preferences)
	}
	if err != nil {
		return nil, located(err)
	}
	return h.inboxPreferences(ctx, nil)
}

// located says of an error of preferences which field it is about, so that a page can show it there.
func located(err error) error {
	p := asProblem(err)
	var argument *trunkline.ArgumentError
	if p.Status == http.StatusBadRequest && errors.As(err, &argument) && argument.Argument != "preferences" {
		p.Errors = []fault{{Message: p.Detail, Location: "body." + argument.Argument}}
	}
	return p
}

func (h *rest) touchInbox(ctx context.Context, _ *inboxInput) (*struct{}, error) {
	return nil, h.server.inbox.Touch(ctx, owner(ctx))
}

// active notes that a user did something, unless it was a program that did it for them. What they did is done, whether that can
// be noted or not.
func (h *rest) active(ctx context.Context, user string) {
	if caller(ctx).Key != "" {
		return
	}
	if err := h.server.inbox.Touch(ctx, user); err != nil && ctx.Err() == nil {
		h.server.log.Warn("that a user is active can't be noted", "request_id", requestID(ctx), "error", err)
	}
}
