package server

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/server/internal/auth"
)

var problemType = reflect.TypeFor[problem]()

// historyBytes is about how much payload one page of history holds: what is larger takes several.
const historyBytes = 4 << 20

// messages registers publishing and history.
func (h *rest) messages() {
	register(h, huma.Operation{
		OperationID: "publish", Method: http.MethodPost, Path: "/v1/publish", Tags: []string{"messages"}, Metadata: asks,
		Summary: "Publish a message, or many",
		Description: "The body is one message or {\"messages\": […]}, which are published in one transaction: all or none. Payloads are " +
			"delivered byte for byte. A user's messages carry the user as sender.",
	}, h.publish)
	register(h, huma.Operation{
		OperationID: "history", Method: http.MethodGet, Path: "/v1/history", Tags: []string{"messages"}, Metadata: asks,
		Summary: "Read a channel's messages",
		Description: "With after, or neither, the oldest come first; with before the newest do. next and prev lead on in either direction; " +
			"there is no next after the last page. A page holds about 4 MiB at most, so it may be shorter than limit.",
	}, h.history)

	paths := h.api.OpenAPI().Paths
	paths["/v1/publish"].Post.RequestBody = &huma.RequestBody{
		Required: true,
		Content:  map[string]*huma.MediaType{"application/json": {Schema: publishSchema()}},
	}
	h.describe(paths["/v1/history"].Get, historySchema())
}

type publishInput struct {
	IdempotencyKey string `header:"Idempotency-Key" doc:"Publishes once, however often it is sent: the same key with the same payload returns the first ids. For a batch the key of message n (from 0) is KEY:n."`
	RawBody        []byte
}

type published struct {
	Body struct {
		IDs []int64 `json:"ids" doc:"The messages' ids, in the order given." nullable:"false"`
	}
}

func (h *rest) publish(ctx context.Context, in *publishInput) (*published, error) {
	messages, err := decodePublish(in.RawBody)
	if err != nil {
		return nil, problemOf(http.StatusBadRequest, "%s", err)
	}
	id := caller(ctx)
	batch := make([]trunkline.Publication, len(messages.list))
	for i, m := range messages.list {
		batch[i] = trunkline.Publication{Channel: m.channel, Payload: m.payload, Sender: m.sender, Key: m.key}
		if err := trunkline.CheckChannel(m.channel); err != nil {
			return nil, err
		}
		if !program(id) {
			if m.sender != "" && m.sender != id.User {
				return nil, problemOf(http.StatusForbidden, "the sender is %q, but the token is %q's: leave it out", clip(m.sender), clip(id.User))
			}
			batch[i].Sender = id.User
		}
		if in.IdempotencyKey == "" {
			continue
		}
		if m.key != "" {
			return nil, problemOf(http.StatusBadRequest, "message %d has a key, and there is an Idempotency-Key header: give one of them", i)
		}
		batch[i].Key = in.IdempotencyKey
		if messages.many {
			batch[i].Key += ":" + strconv.Itoa(i)
		}
	}
	if err := h.mayPublish(ctx, id, batch); err != nil {
		return nil, err
	}
	ctx, cancel := h.server.answering(ctx)
	defer cancel()
	out := &published{}
	if messages.many {
		out.Body.IDs, err = h.server.engine.PublishMany(ctx, batch)
	} else {
		var one int64
		one, err = h.server.engine.Publish(ctx, batch[0])
		out.Body.IDs = []int64{one}
	}
	if err != nil && silent(err) {
		p := h.server.unanswered("whether this was published is unknown; " + repeat(batch))
		p.cause = err
		return nil, p
	}
	return out, err
}

// repeat says how to find out what became of messages, by publishing them once more.
func repeat(batch []trunkline.Publication) string {
	for _, m := range batch {
		if m.Key == "" {
			return "look at the history before you repeat it, and give requests an Idempotency-Key, with which repeating them publishes once"
		}
	}
	return "repeat it with the same Idempotency-Key or keys, which publishes it once"
}

// mayPublish asks about each channel once, and counts each message.
func (h *rest) mayPublish(ctx context.Context, id *auth.Identity, batch []trunkline.Publication) error {
	var channels []string
	counts := map[string]int{} // by namespace
	seen := map[string]bool{}
	for _, m := range batch {
		counts[trunkline.NamespaceOf(m.Channel)]++
		if !seen[m.Channel] {
			seen[m.Channel] = true
			channels = append(channels, m.Channel)
		}
	}
	if denied, refusal := allowAll(ctx, h.server.gate, id, channels, auth.Publish); refusal != nil {
		p := asProblem(refusal)
		p.Channels = denied
		return p
	}
	if program(id) {
		return nil
	}
	user := id.User
	if user == "" {
		user = "\x00" + ctx.Value(originKey{}).(string) // no user's id contains that
	}
	for _, channel := range channels {
		name := trunkline.NamespaceOf(channel)
		n := counts[name]
		if n == 0 {
			continue // counted with another of its channels
		}
		counts[name] = 0
		rate := h.server.engine.Namespace(channel).PublishRate
		if rate == 0 {
			rate = h.server.options.Limits.PublishRate
		}
		if wait := h.server.web.publishes.takeAt(publisher{user, name}, float64(n), rate, max(1, 10*rate)); wait > 0 {
			return limited(http.StatusTooManyRequests, limitPublishRate, wait,
				"a user may publish %g messages a second to namespace %q: try again later", rate, name)
		}
	}
	return nil
}

type historyInput struct {
	Channel string `query:"channel" required:"true" doc:"The channel." example:"project:42"`
	After   int64  `query:"after" minimum:"0" doc:"Messages with a greater seq, oldest first."`
	Before  int64  `query:"before" minimum:"0" doc:"Messages with a smaller seq, newest first; 0: from the end."`
	Limit   int    `query:"limit" minimum:"1" default:"100" doc:"How many at most; the server may give fewer."`

	backwards bool
}

// Resolve tells before=0 from none.
func (in *historyInput) Resolve(ctx huma.Context) []error {
	u := ctx.URL()
	query := u.Query()
	in.backwards = query.Has("before")
	if in.backwards && query.Has("after") {
		return []error{&huma.ErrorDetail{Location: "query.before", Message: "after and before exclude each other: give one of them"}}
	}
	return nil
}

func (h *rest) history(ctx context.Context, in *historyInput) (*raw, error) {
	s := h.server
	if err := trunkline.CheckChannel(in.Channel); err != nil {
		return nil, err
	}
	if most := s.options.Limits.HistoryMessages; in.Limit > most {
		return nil, problemOf(http.StatusBadRequest, "query.limit: %d is more than %d, the most one page holds", in.Limit, most)
	}
	if err := s.gate.Allow(ctx, caller(ctx), in.Channel, auth.History); err != nil {
		return nil, err
	}
	ctx, cancel := s.answering(ctx)
	defer cancel()
	before := s.engine.State().Log // what is read contains all up to here
	page, err := h.readHistory(ctx, in)
	if err != nil {
		return nil, err
	}
	next, prev := historyLinks(in, &page)
	body := appendHistory(nil, in.Channel, &page, snapshotOf(&page, in.After, before), next, prev)
	out := rawJSON(body)
	if next != "" {
		out.Link = fmt.Sprintf("<%s>; rel=\"next\"", next)
	}
	return out, nil
}

// readHistory reads in pieces, whose sizes follow those of the messages, so that neither many nor large ones take much memory.
func (h *rest) readHistory(ctx context.Context, in *historyInput) (trunkline.HistoryPage, error) {
	read := h.server.engine.History
	from := in.After
	if in.backwards {
		read, from = h.server.engine.HistoryBefore, in.Before
	}
	var all trunkline.HistoryPage
	bytes := 0
	for piece := min(in.Limit, 16); ; {
		page, err := read(ctx, in.Channel, from, piece)
		if err != nil {
			return all, err
		}
		if all.Epoch != "" && page.Epoch != all.Epoch {
			return all, nil // what came before is still true; the next page tells
		}
		for i := range page.Messages {
			bytes += len(page.Messages[i].Payload) + 200
		}
		page.Messages = append(all.Messages, page.Messages...)
		grown := len(page.Messages) - len(all.Messages)
		all = page
		if grown < piece || len(all.Messages) >= in.Limit || bytes >= historyBytes {
			return all, nil
		}
		from = all.Messages[len(all.Messages)-1].Seq
		if in.backwards && from <= 1 {
			return all, nil
		}
		average := bytes / len(all.Messages)
		piece = min(in.Limit-len(all.Messages), max(1, (historyBytes-bytes)/average))
	}
}

// historyLinks are the URLs of the pages on either side. Forwards there is always more to come, so next is given even where
// nothing is there yet as long as the page has messages.
func historyLinks(in *historyInput, page *trunkline.HistoryPage) (next, prev string) {
	if len(page.Messages) == 0 {
		return "", ""
	}
	at := func(parameter string, seq int64) string {
		return link("/v1/history", url.Values{
			"channel": {in.Channel}, "limit": {strconv.Itoa(in.Limit)}, parameter: {strconv.FormatInt(seq, 10)},
		})
	}
	first, last := page.Messages[0].Seq, page.Messages[len(page.Messages)-1].Seq
	if in.backwards {
		if last > page.FirstSeq {
			next = at("before", last)
		}
		if first < page.LastSeq {
			prev = at("after", first)
		}
		return next, prev
	}
	if last < page.LastSeq {
		next = at("after", last)
	}
	if first > page.FirstSeq {
		prev = at("before", first)
	}
	return next, prev
}

// snapshotOf is the place from where a stream of this channel continues behind the page without a gap or a double, if the page
// reaches the channel's end; otherwise behind its newest message. What the page was asked to begin behind, and what retention has
// removed, is no part of it, and needn't be to reach the end.
func snapshotOf(page *trunkline.HistoryPage, after int64, before trunkline.Position) trunkline.Position {
	position := trunkline.Position{Epoch: page.Epoch}
	newest := max(after, page.FirstSeq-1)
	for i := range page.Messages {
		newest = max(newest, page.Messages[i].Seq)
		position.Position = max(position.Position, page.Messages[i].Position)
	}
	if before.Epoch == page.Epoch && newest >= page.LastSeq {
		position.Position = max(position.Position, before.Position)
	}
	return position
}

func appendHistory(b []byte, channel string, page *trunkline.HistoryPage, at trunkline.Position, next, prev string) []byte {
	b = append(b, `{"channel":`...)
	b = appendString(b, channel)
	b = append(b, `,"epoch":`...)
	b = appendString(b, page.Epoch)
	b = append(b, `,"position":`...)
	b = appendString(b, at.String())
	b = append(b, `,"first_seq":`...)
	b = strconv.AppendInt(b, page.FirstSeq, 10)
	b = append(b, `,"last_seq":`...)
	b = strconv.AppendInt(b, page.LastSeq, 10)
	b = append(b, `,"messages":[`...)
	for i := range page.Messages {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendStored(b, &page.Messages[i])
	}
	b = append(b, ']')
	for _, l := range []struct{ name, url string }{{"next", next}, {"prev", prev}} {
		if l.url != "" {
			b = append(b, `,"`+l.name+`":`...)
			b = appendString(b, l.url)
		}
	}
	return append(b, "}\n"...)
}

// appendStored appends a message of the log as JSON, its payload byte for byte.
func appendStored(b []byte, m *trunkline.Message) []byte {
	b = append(b, `{"seq":`...)
	b = strconv.AppendInt(b, m.Seq, 10)
	b = append(b, `,"id":`...)
	b = strconv.AppendInt(b, m.ID, 10)
	b = append(b, `,"position":"`...)
	b = appendPosition(b, m.LogPosition())
	b = append(b, `","at":"`...)
	b = appendTime(b, m.CreatedAt)
	b = append(b, `","sender":`...)
	b = appendSender(b, m.Sender)
	b = append(b, `,"payload":`...)
	b = append(b, m.Payload...)
	return append(b, '}')
}
