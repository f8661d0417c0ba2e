package server

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/trunkline/trunkline/inbox"
)

// notifications registers what programs of the application's tell its users.
func (h *rest) notifications() {
	register(h, huma.Operation{
		OperationID: "notify", Method: http.MethodPost, Path: "/v1/notify", Tags: []string{"notifications"}, Metadata: notifies,
		Summary: "Notify users",
		Description: "All of them in one transaction, each in their own inbox. A program that is connected to the database does " +
			"better to call trunkline.notify there, in the transaction that causes it.",
	}, h.notify)
	register(h, huma.Operation{
		OperationID: "retract", Method: http.MethodPost, Path: "/v1/retract", Tags: []string{"notifications"}, Metadata: notifies,
		Summary: "Remove notifications",
		Description: "Those that fit all that is given, read or not: they disappear on every device, and no mail goes out about " +
			"them any more. Give a cause, a group, or a user and a dedupe_key.",
	}, h.retract)
	h.api.OpenAPI().Paths["/v1/notify"].Post.RequestBody = &huma.RequestBody{
		Required: true,
		Content:  map[string]*huma.MediaType{"application/json": {Schema: notifySchema()}},
	}
}

type notifyInput struct {
	IdempotencyKey string `header:"Idempotency-Key" doc:"Is the dedupe_key: notifies once, however often it is sent."`
	RawBody        []byte
}

type notified struct {
	Body struct {
		IDs []int64 `json:"ids" doc:"The items' ids, in the order of the users." nullable:"false"`
	}
}

func (h *rest) notify(ctx context.Context, in *notifyInput) (*notified, error) {
	n, err := decodeNotification(in.RawBody)
	if err != nil {
		return nil, problemOf(http.StatusBadRequest, "%s", err)
	}
	if in.IdempotencyKey != "" {
		if n.DedupeKey != "" && n.DedupeKey != in.IdempotencyKey {
			return nil, problemOf(http.StatusBadRequest,
				"there is a dedupe_key, and another one in the Idempotency-Key header: give one of them")
		}
		n.DedupeKey = in.IdempotencyKey
	}
	out := &notified{}
	out.Body.IDs, err = h.server.inbox.Notify(ctx, n)
	if err != nil && silent(err) {
		fix := "repeat it with the same key, which notifies them once"
		if n.DedupeKey == "" {
			fix = "give requests an Idempotency-Key, with which repeating them notifies once"
		}
		p := h.server.unanswered("whether the users were notified is unknown; " + fix)
		p.cause = err
		return nil, p
	}
	return out, err
}

type retractInput struct {
	Body struct {
		Cause     string `json:"cause,omitempty" maxLength:"255" doc:"What they are about." example:"task:12"`
		Group     string `json:"group,omitempty" maxLength:"255" doc:"What they belong to." example:"project:7"`
		User      string `json:"user,omitempty" maxLength:"249" doc:"Only this user's." example:"ann"`
		Kind      string `json:"kind,omitempty" maxLength:"64" doc:"Only those of this kind." example:"task.completed"`
		DedupeKey string `json:"dedupe_key,omitempty" maxLength:"255" doc:"With user: only the one with this key."`
	}
}

type retractedOutput struct {
	Body struct {
		Removed int `json:"removed" doc:"How many there were."`
	}
}

func (h *rest) retract(ctx context.Context, in *retractInput) (*retractedOutput, error) {
	b := &in.Body
	out := &retractedOutput{}
	var err error
	out.Body.Removed, err = h.server.inbox.Retract(ctx, inbox.Retraction{
		Cause: b.Cause, Group: b.Group, User: b.User, Kind: b.Kind, DedupeKey: b.DedupeKey,
	})
	return out, err
}

// notifySchema describes the body of a request to notify, which is decoded by hand.
func notifySchema() *huma.Schema {
	least, most := 1, maxNotified
	words := func(limit int, doc string, example ...any) *huma.Schema {
		return &huma.Schema{Type: "string", MaxLength: &limit, Description: doc, Examples: example}
	}
	return &huma.Schema{
		Type: "object", Required: []string{"users", "kind"}, AdditionalProperties: false,
		Properties: map[string]*huma.Schema{
			"users": {
				Type: "array", Items: words(maxOwner, "A user's id."), MinItems: &least, MaxItems: &most,
				Description: "Whom: 1 to 10,000 ids of 1 to 249 bytes without control characters. Who is named twice is notified once.",
				Examples:    []any{[]string{"ann", "bob"}},
			},
			"kind": words(64, "What has happened. Its title, template and delay are those registered for it.", "task.completed"),
			"data": {
				Description: "Any JSON value up to 64 KiB, {} if left out: for the kind's template and the application's pages.",
				Examples:    []any{map[string]any{"actor": "Bob", "task": map[string]any{"title": "Order tiles"}}},
			},
			"group":      words(255, "What it belongs to, such as a project or a conversation.", "project:7"),
			"cause":      words(255, "What it is about: with that gone, retract removes it.", "task:12"),
			"link":       words(2048, "Where it leads: begins with /, http:// or https://.", "/projects/7#task-12"),
			"dedupe_key": words(255, "Notifies once: who has a notification with this key gets no other."),
			"expires_at": {Type: "string", Format: "date-time", Description: "When it disappears by itself, read or not."},
		},
	}
}
