package server

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/trunkline/trunkline"
)

// users registers what an application says about its users. All of it takes effect on every node.
func (h *rest) users() {
	register(h, huma.Operation{
		OperationID: "disconnect", Method: http.MethodPost, Path: "/v1/disconnect", Tags: []string{"users"}, Metadata: admin,
		Summary: "Close a user's connections", Description: "Whose token is still good can connect again.",
	}, func(ctx context.Context, in *disconnectInput) (*struct{}, error) {
		return nil, trunkline.DisconnectUser(ctx, h.server.engine.Pool(), in.Body.User, in.Body.Client)
	})
	register(h, huma.Operation{
		OperationID: "unsubscribe", Method: http.MethodPost, Path: "/v1/unsubscribe", Tags: []string{"users"}, Metadata: admin,
		Summary: "End a user's subscriptions to a channel", Description: "Who is still allowed can subscribe again.",
	}, func(ctx context.Context, in *unsubscribeInput) (*struct{}, error) {
		return nil, trunkline.UnsubscribeUser(ctx, h.server.engine.Pool(), in.Body.User, in.Body.Channel)
	})
	register(h, huma.Operation{
		OperationID: "revoke", Method: http.MethodPost, Path: "/v1/revoke", Tags: []string{"users"}, Metadata: admin,
		Summary: "Take away what a user was allowed",
		Description: "Tokens issued up to now no longer count, for a channel or for anything, and the namespace's function is asked anew. " +
			"Connected clients are unsubscribed, or disconnected where no channel is given.",
	}, func(ctx context.Context, in *revokeInput) (*struct{}, error) {
		return nil, trunkline.Revoke(ctx, h.server.engine.Pool(), in.Body.User, in.Body.Channel)
	})
	register(h, huma.Operation{
		OperationID: "revoke-tokens", Method: http.MethodPost, Path: "/v1/tokens/revoke", Tags: []string{"users"}, Metadata: admin,
		Summary: "Make tokens worthless", Description: "One token, by its jti, or all of a user's that were issued up to now.",
	}, func(ctx context.Context, in *revokeTokensInput) (*struct{}, error) {
		db := h.server.engine.Pool()
		switch {
		case (in.Body.User == "") == (in.Body.TokenID == ""):
			return nil, problemOf(http.StatusBadRequest, "give either jti, for one token, or user, for all of a user's")
		case in.Body.TokenID != "":
			return nil, trunkline.RevokeToken(ctx, db, in.Body.TokenID)
		}
		return nil, trunkline.Revoke(ctx, db, in.Body.User, "")
	})
}

type disconnectInput struct {
	Body struct {
		User   string `json:"user" minLength:"1" maxLength:"255" doc:"Whose connections." example:"ann"`
		Client string `json:"client,omitempty" maxLength:"255" doc:"Only the connection with this client id; an event stream's is its X-Request-Id."`
	}
}

type unsubscribeInput struct {
	Body struct {
		User    string `json:"user" minLength:"1" maxLength:"255" example:"ann"`
		Channel string `json:"channel" minLength:"1" maxLength:"255" example:"project:42"`
	}
}

type revokeInput struct {
	Body struct {
		User    string `json:"user" minLength:"1" maxLength:"255" example:"ann"`
		Channel string `json:"channel,omitempty" maxLength:"255" doc:"Left out: all." example:"project:42"`
	}
}

type revokeTokensInput struct {
	Body struct {
		TokenID string `json:"jti,omitempty" maxLength:"255" doc:"The token's jti."`
		User    string `json:"user,omitempty" maxLength:"255" doc:"The user whose tokens."`
	}
}
