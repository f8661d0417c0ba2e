package server

import (
	"context"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/server/internal/auth"
	"github.com/trunkline/trunkline/server/internal/realtime"
)

// presence registers who is there.
func (h *rest) presence() {
	register(h, huma.Operation{
		OperationID: "presence", Method: http.MethodGet, Path: "/v1/presence", Tags: []string{"channels"}, Metadata: asks,
		Summary: "Who follows a channel", Description: "On any node, over the Centrifuge protocol, in no order. Event streams take no part.",
	}, h.present)
	register(h, huma.Operation{
		OperationID: "presence-stats", Method: http.MethodGet, Path: "/v1/presence/stats", Tags: []string{"channels"}, Metadata: asks,
		Summary: "How many follow a channel",
	}, h.countPresent)
}

type presentOutput struct {
	Body struct {
		Clients []realtime.Present `json:"clients" nullable:"false"`
	}
}

func (h *rest) present(ctx context.Context, in *channelInput) (*presentOutput, error) {
	if err := h.maySee(ctx, in.Channel); err != nil {
		return nil, err
	}
	ctx, cancel := h.server.answering(ctx)
	defer cancel()
	clients, err := h.server.live.Presence(ctx, in.Channel)
	var many *realtime.TooManyPresentError
	if errors.As(err, &many) {
		return nil, problemOf(http.StatusBadRequest, "%s", err)
	}
	out := &presentOutput{}
	out.Body.Clients = clients
	return out, err
}

type countPresentOutput struct {
	Body struct {
		Clients int `json:"clients" doc:"Connections."`
		Users   int `json:"users" doc:"Users; all anonymous ones count as one."`
	}
}

func (h *rest) countPresent(ctx context.Context, in *channelInput) (*countPresentOutput, error) {
	if err := h.maySee(ctx, in.Channel); err != nil {
		return nil, err
	}
	ctx, cancel := h.server.answering(ctx)
	defer cancel()
	out := &countPresentOutput{}
	var err error
	out.Body.Clients, out.Body.Users, err = h.server.live.PresenceStats(ctx, in.Channel)
	return out, err
}

// maySee asks whether the caller may see who is in a channel.
func (h *rest) maySee(ctx context.Context, channel string) error {
	if err := trunkline.CheckChannel(channel); err != nil {
		return err
	}
	return h.server.gate.Allow(ctx, caller(ctx), channel, auth.Presence)
}
