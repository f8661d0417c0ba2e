package server

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/server/internal/auth"
)

// channels registers what can be asked about channels.
func (h *rest) channels() {
	register(h, huma.Operation{
		OperationID: "list-channels", Method: http.MethodGet, Path: "/v1/channels", Tags: []string{"channels"},
		Summary: "List channels", Description: "Channels that have had a message, by name. For API keys with the scope read.",
	}, h.listChannels)
	register(h, huma.Operation{
		OperationID: "channel", Method: http.MethodGet, Path: "/v1/channel", Tags: []string{"channels"}, Metadata: asks,
		Summary:     "Describe a channel",
		Description: "One that never had a message is described as well. Needs what history needs.",
	}, h.channel)
}

type channelsInput struct {
	Prefix string `query:"prefix" maxLength:"255" doc:"Only channels whose names begin with this." example:"project:"`
	After  string `query:"after" maxLength:"255" doc:"Only channels after this one, as next has it."`
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"How many at most."`
}

type listedChannel struct {
	Channel  string `json:"channel"`
	FirstSeq int64  `json:"first_seq" doc:"Of the oldest message kept, or that would be."`
	LastSeq  int64  `json:"last_seq" doc:"Of the newest message."`
}

type channelsOutput struct {
	Link string `header:"Link"`
	Body struct {
		Channels []listedChannel `json:"channels" nullable:"false"`
		Next     string          `json:"next,omitempty" doc:"The URL of the next page, left out after the last."`
	}
}

func (h *rest) listChannels(ctx context.Context, in *channelsInput) (*channelsOutput, error) {
	id := caller(ctx)
	if !mayList(id) {
		return nil, problemOf(http.StatusForbidden, "only an API key with the scope read may list channels")
	}
	for _, given := range []struct{ name, value string }{{"prefix", in.Prefix}, {"after", in.After}} {
		if given.value == "" {
			continue
		}
		if err := trunkline.CheckChannel(given.value); err != nil {
			return nil, problemOf(http.StatusBadRequest, "%s: %s", given.name, err)
		}
	}
	// The greatest character as often as it fits: no name that begins with the prefix comes after that.
	const sql = `SELECT channel, first_seq, coalesce(last_seq, 0) FROM trunkline.channels
		WHERE channel > $1 AND channel >= $2 AND ($2 = '' OR channel <= $2 || repeat(chr(1114111), 64))
		ORDER BY channel LIMIT $3`
	rows, err := h.server.engine.Pool().Query(ctx, sql, in.After, in.Prefix, in.Limit+1)
	if err != nil {
		return nil, fmt.Errorf("list channels: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (c listedChannel, err error) {
		return c, row.Scan(&c.Channel, &c.FirstSeq, &c.LastSeq)
	})
	if err != nil {
		return nil, fmt.Errorf("list channels: %w", err)
	}
	out := &channelsOutput{}
	if len(list) > in.Limit {
		list = list[:in.Limit]
		query := url.Values{"after": {list[len(list)-1].Channel}, "limit": {strconv.Itoa(in.Limit)}}
		if in.Prefix != "" {
			query.Set("prefix", in.Prefix)
		}
		out.Body.Next = link("/v1/channels", query)
		out.Link = fmt.Sprintf("<%s>; rel=\"next\"", out.Body.Next)
	}
	out.Body.Channels = list
	return out, nil
}

// mayList tells whether somebody may read everything, so that the names of all channels are no secret from them.
func mayList(id *auth.Identity) bool {
	for _, scope := range id.Scopes {
		if scope == auth.ScopeRead || scope == auth.ScopeAdmin {
			return true
		}
	}
	return id.Open
}

type channelInput struct {
	Channel string `query:"channel" required:"true" doc:"The channel." example:"project:42"`
}

type channelOutput struct {
	Body struct {
		Channel   string            `json:"channel"`
		Epoch     string            `json:"epoch" doc:"Of the log: seqs of another epoch are others."`
		FirstSeq  int64             `json:"first_seq" doc:"Of the oldest message kept, or that would be: retention removed those before."`
		LastSeq   int64             `json:"last_seq" doc:"Of the newest message, 0 if there never was one."`
		Namespace namespaceSettings `json:"namespace" doc:"The settings in force."`
		Clients   int               `json:"clients" doc:"Connections over the Centrifuge protocol that follow it on this node."`
		Streams   int               `json:"streams" doc:"Event streams that follow it on this node."`
	}
}

func (h *rest) channel(ctx context.Context, in *channelInput) (*channelOutput, error) {
	s := h.server
	if err := trunkline.CheckChannel(in.Channel); err != nil {
		return nil, err
	}
	id := caller(ctx)
	if err := s.gate.Allow(ctx, id, in.Channel, auth.History); err != nil {
		return nil, err
	}
	ctx, cancel := s.answering(ctx)
	defer cancel()
	// Behind every message: the bounds alone, as the database has them.
	page, err := s.engine.History(ctx, in.Channel, math.MaxInt64, 1)
	if err != nil {
		return nil, err
	}
	out := &channelOutput{}
	out.Body.Channel, out.Body.Epoch, out.Body.FirstSeq, out.Body.LastSeq = in.Channel, page.Epoch, page.FirstSeq, page.LastSeq
	out.Body.Namespace = namespaceSettings(s.engine.Namespace(in.Channel).JSON())
	if !mayList(id) {
		out.Body.Namespace.Authorize = "" // the name of a function in the database is none of a user's business
	}
	out.Body.Clients = s.live.Subscribers(in.Channel)
	out.Body.Streams = s.web.streams.following(in.Channel)
	return out, nil
}

// publishSchema describes the body of a request to publish, which is decoded by hand.
func publishSchema() *huma.Schema {
	most := maxBatch
	limit := 255
	message := func() *huma.Schema {
		return &huma.Schema{
			Type: "object", Required: []string{"channel", "payload"}, AdditionalProperties: false,
			Properties: map[string]*huma.Schema{
				"channel": {Type: "string", MaxLength: &limit, Description: "1 to 255 bytes without control characters; what stands before the first ':' is its namespace.", Examples: []any{"project:42"}},
				"payload": {Description: "Any JSON value, delivered byte for byte.", Examples: []any{map[string]any{"done": 7}}},
				"sender":  {Type: "string", MaxLength: &limit, Description: "Who says so. Users can only name themselves."},
				"key":     {Type: "string", MaxLength: &limit, Description: "Publishes once: the same key with the same payload in the same channel returns the first id."},
			},
		}
	}
	return &huma.Schema{OneOf: []*huma.Schema{
		message(),
		{
			Type: "object", Required: []string{"messages"}, AdditionalProperties: false,
			Properties: map[string]*huma.Schema{"messages": {Type: "array", Items: message(), MaxItems: &most}},
		},
	}}
}

// historySchema describes a page of history, which is encoded by hand.
func historySchema() *huma.Schema {
	whole := func(doc string) *huma.Schema { return &huma.Schema{Type: "integer", Format: "int64", Description: doc} }
	words := func(doc string) *huma.Schema { return &huma.Schema{Type: "string", Description: doc} }
	return &huma.Schema{
		Type: "object", Required: strings.Fields("channel epoch position first_seq last_seq messages"),
		Properties: map[string]*huma.Schema{
			"channel":   words("The channel."),
			"epoch":     words("Of the log: seqs of another epoch are others."),
			"position":  words("Where a stream of this channel continues behind the page: ?since="),
			"first_seq": whole("Of the oldest message kept, or that would be."),
			"last_seq":  whole("Of the newest message, 0 if there never was one."),
			"next":      words("The URL of the page that follows, left out after the last."),
			"prev":      words("The URL of the page in the other direction, left out if there is none."),
			"messages": {Type: "array", Items: &huma.Schema{
				Type: "object", Required: strings.Fields("seq id position at sender payload"),
				Properties: map[string]*huma.Schema{
					"seq": whole("1, 2, 3 … within the channel."), "id": whole("Names the message for ever."),
					"position": words("Its place in the log, EPOCH:POSITION."),
					"at":       {Type: "string", Format: "date-time", Description: "When it was published."},
					"sender":   {Type: "string", Nullable: true, Description: "Who published it, null if nobody was named."},
					"payload":  {Description: "As it was published, byte for byte."},
				},
			}},
		},
	}
}
