package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/trunkline/trunkline/projects"
)

type memberBody struct {
	PersonID int64         `json:"person_id"`
	Role     projects.Role `json:"role" doc:"lead or staff."`
}

type roleBody struct {
	Role projects.Role `json:"role" doc:"lead or staff."`
}

type atPerson struct {
	ID     int64 `path:"id"`
	Person int64 `path:"person"`
}

type atInvitation struct {
	ID         int64 `path:"id"`
	Invitation int64 `path:"invitation"`
}

func (a *api) registerMembers() {
	s := a.Store
	tags := []string{"people"}
	register(a, huma.Operation{
		OperationID: "people", Method: http.MethodGet, Path: "/api/projects/{id}/people", Tags: tags, Summary: "Read who takes part",
		Description: "Staff see addresses and open invitations as well, leads the colleagues that could be added.",
	}, func(ctx context.Context, in *at) (*out[projects.People], error) {
		return answer(s.People(ctx, me(ctx), in.ID))
	})
	register(a, huma.Operation{
		OperationID: "add-member", Method: http.MethodPost, Path: "/api/projects/{id}/members", Tags: tags, Summary: "Add a colleague",
		Description: "For leads. Customers come by invitation.",
	}, func(ctx context.Context, in *atWith[memberBody]) (*out[projects.Member], error) {
		return answer(s.AddMember(ctx, me(ctx), in.ID, in.Body.PersonID, in.Body.Role))
	})
	register(a, huma.Operation{
		OperationID: "change-role", Method: http.MethodPatch, Path: "/api/projects/{id}/members/{person}", Tags: tags,
		Summary: "Change somebody's role", Description: "For leads. The last lead stays one.",
	}, func(ctx context.Context, in *struct {
		ID     int64 `path:"id"`
		Person int64 `path:"person"`
		Body   roleBody
	},
	) (*out[projects.Member], error) {
		return answer(s.ChangeRole(ctx, me(ctx), in.ID, in.Person, in.Body.Role))
	})
	register(a, huma.Operation{
		OperationID: "remove-member", Method: http.MethodDelete, Path: "/api/projects/{id}/members/{person}", Tags: tags,
		Summary: "Remove somebody, or leave", Description: "Oneself: anybody but the last lead. Customers: staff. Staff: leads.",
		DefaultStatus: http.StatusNoContent,
	}, func(ctx context.Context, in *atPerson) (*nothing, error) {
		return done(s.RemoveMember(ctx, me(ctx), in.ID, in.Person))
	})
}

func (a *api) registerInvitations() {
	s := a.Store
	tags := []string{"people"}
	register(a, huma.Operation{
		OperationID: "invite", Method: http.MethodPost, Path: "/api/projects/{id}/invitations", Tags: tags, Summary: "Invite somebody",
		Description: "By e-mail. For staff; to invite staff is for leads.", DefaultStatus: http.StatusCreated,
	}, func(ctx context.Context, in *atWith[projects.InvitationDraft]) (*out[projects.Invitation], error) {
		return answer(s.Invite(ctx, me(ctx), in.ID, in.Body))
	})
	register(a, huma.Operation{
		OperationID: "revoke-invitation", Method: http.MethodDelete, Path: "/api/projects/{id}/invitations/{invitation}", Tags: tags,
		Summary: "Revoke an invitation", Description: "For staff; that of staff is for leads.", DefaultStatus: http.StatusNoContent,
	}, func(ctx context.Context, in *atInvitation) (*nothing, error) {
		return done(s.Revoke(ctx, me(ctx), in.ID, in.Invitation))
	})
	register(a, huma.Operation{
		OperationID: "resend-invitation", Method: http.MethodPost, Path: "/api/projects/{id}/invitations/{invitation}/resend", Tags: tags,
		Summary: "Send an invitation again", Description: "At most once a minute; it is good for 14 days again. For staff; that of staff is for leads.",
	}, func(ctx context.Context, in *atInvitation) (*out[projects.Invitation], error) {
		return answer(s.Resend(ctx, me(ctx), in.ID, in.Invitation))
	})
}
