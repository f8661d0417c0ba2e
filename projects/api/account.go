package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/trunkline/trunkline/projects"
	"github.com/trunkline/trunkline/projects/account"
	"github.com/trunkline/trunkline/server"
)

// tokenTTL is how long a connection token is good. The page takes a new one by itself.
const tokenTTL = 5 * time.Minute

// registerAccount adds signing in and out, and what people say of themselves.
func (a *api) registerAccount() {
	a.registerSessions()
	a.registerMe()
	a.registerResets()
	a.registerInvited()
	a.registerDemo()
}

// welcome is the answer to whoever is let in.
type welcome struct {
	SetCookie string `header:"Set-Cookie"`
	Body      projects.Me
}

// letIn answers with a session that has begun. The one that the request came with has had its time.
func (a *api) letIn(ctx context.Context, session account.Session, err error) (*welcome, error) {
	if err != nil {
		return nil, err
	}
	if before := identity(ctx); before.SessionID != "" {
		err := a.Accounts.SignOut(ctx, before.Person.ID, before.SessionID)
		if err != nil && !errors.Is(err, projects.ErrNotFound) {
			a.log.Warn("the session before this one couldn't be ended", "request_id", requestID(ctx), "error", err)
		}
	}
	return &welcome{SetCookie: a.Accounts.Cookie(session.Cookie).String(), Body: session.Me}, nil
}

// farewell takes the session's cookie away.
type farewell struct {
	SetCookie string `header:"Set-Cookie"`
}

func (a *api) farewell() *farewell { return &farewell{SetCookie: a.Accounts.Cookie("").String()} }

type credentials struct {
	Email    string `json:"email" example:"ann@example.com"`
	Password string `json:"password" format:"password"`
}

type sessions struct {
	Sessions []account.SessionEntry `json:"sessions" doc:"The one used last first."`
}

type token struct {
	Token     string    `json:"token" doc:"A JSON Web Token for live connections and for /v1."`
	ExpiresAt time.Time `json:"expires_at"`
}

func (a *api) registerSessions() {
	tags := []string{"account"}
	register(a, huma.Operation{
		OperationID: "sign-in", Method: http.MethodPost, Path: "/api/session", Tags: tags, Summary: "Sign in", Metadata: open,
		Description: "Sets the session's cookie. Fails with 401 if address and password don't belong together, and with 429 after too many failures.",
	}, func(ctx context.Context, in *struct{ Body credentials }) (*welcome, error) {
		session, err := a.Accounts.SignIn(ctx, in.Body.Email, in.Body.Password, client(ctx))
		return a.letIn(ctx, session, err)
	})
	register(a, huma.Operation{
		OperationID: "sign-out", Method: http.MethodDelete, Path: "/api/session", Tags: tags, Summary: "Sign out here", Metadata: open,
		Description: "Ends the session and its live connections, if there is one.",
	}, func(ctx context.Context, _ *struct{}) (*farewell, error) {
		if id := identity(ctx); id.SessionID != "" {
			if err := a.Accounts.SignOut(ctx, id.Person.ID, id.SessionID); err != nil {
				return nil, err
			}
		}
		return a.farewell(), nil
	})
	register(a, huma.Operation{
		OperationID: "list-sessions", Method: http.MethodGet, Path: "/api/sessions", Tags: tags, Summary: "Where one is signed in",
	}, func(ctx context.Context, _ *struct{}) (*out[sessions], error) {
		all, err := a.Accounts.Sessions(ctx, identity(ctx))
		return answer(sessions{all}, err)
	})
	register(a, huma.Operation{
		OperationID: "sign-out-everywhere", Method: http.MethodDelete, Path: "/api/sessions", Tags: tags, Summary: "Sign out everywhere",
		Description: "Ends all sessions, this one as well, and all live connections.",
	}, func(ctx context.Context, _ *struct{}) (*farewell, error) {
		if err := a.Accounts.SignOutEverywhere(ctx, identity(ctx).Person.ID); err != nil {
			return nil, err
		}
		return a.farewell(), nil
	})
	register(a, huma.Operation{
		OperationID: "sign-out-session", Method: http.MethodDelete, Path: "/api/sessions/{id}", Tags: tags, Summary: "Sign out somewhere else",
	}, func(ctx context.Context, in *struct {
		ID string `path:"id"`
	},
	) (*nothing, error) {
		return done(a.Accounts.SignOut(ctx, identity(ctx).Person.ID, in.ID))
	})
	register(a, huma.Operation{
		OperationID: "make-token", Method: http.MethodPost, Path: "/api/token", Tags: tags, Summary: "A token for live connections",
		Description: "Good for five minutes, and no longer than the session.", Metadata: background,
	}, func(ctx context.Context, _ *struct{}) (*out[token], error) {
		return answer(a.token(identity(ctx), time.Now()))
	})
}

// token makes a connection token. It allows nothing by itself: the database is asked what the person may.
func (a *api) token(id account.Identity, now time.Time) (token, error) {
	shown, err := json.Marshal(map[string]string{"name": id.Person.Name})
	if err != nil {
		return token{}, err
	}
	expires := now.Add(tokenTTL).Truncate(time.Second)
	signed, err := server.SignToken(server.TokenClaims{
		Subject: strconv.FormatInt(id.Person.ID, 10), ID: id.SessionID, IssuedAt: now, ExpiresAt: expires, Info: shown,
	}, server.TokenSecret(a.TokenSecret))
	if err != nil {
		return token{}, fmt.Errorf("sign a connection token: %w", err)
	}
	return token{Token: signed, ExpiresAt: expires.UTC()}, nil
}

type meChanges struct {
	Name     projects.Optional[string] `json:"name,omitzero" required:"false"`
	Company  projects.Optional[string] `json:"company,omitzero" required:"false" doc:"Of customers alone."`
	TimeZone projects.Optional[string] `json:"time_zone,omitzero" required:"false" doc:"IANA, such as Europe/Berlin. Empty: the site's."`
	Locale   projects.Optional[string] `json:"locale,omitzero" required:"false" doc:"BCP 47, such as de or pt-BR. Empty: the site's."`
}

type passwordChange struct {
	Current string `json:"current" format:"password"`
	New     string `json:"new" format:"password" doc:"10 to 200 characters."`
}

func (a *api) registerMe() {
	tags := []string{"account"}
	register(a, huma.Operation{
		OperationID: "me", Method: http.MethodGet, Path: "/api/me", Tags: tags, Summary: "Who one is",
	}, func(ctx context.Context, _ *struct{}) (*out[projects.Me], error) {
		return answer(identity(ctx).Person, nil)
	})
	register(a, huma.Operation{
		OperationID: "edit-me", Method: http.MethodPatch, Path: "/api/me", Tags: tags, Summary: "Change what one says of oneself",
	}, func(ctx context.Context, in *struct{ Body meChanges }) (*out[projects.Me], error) {
		return answer(a.Accounts.Edit(ctx, me(ctx), account.Changes(in.Body)))
	})
	register(a, huma.Operation{
		OperationID: "change-password", Method: http.MethodPost, Path: "/api/me/password", Tags: tags, Summary: "Choose another password",
		Description: "Ends all other sessions.", DefaultStatus: http.StatusNoContent,
	}, func(ctx context.Context, in *struct{ Body passwordChange }) (*farewell, error) {
		secret, err := a.Accounts.ChangePassword(ctx, identity(ctx), in.Body.Current, in.Body.New)
		if err != nil {
			return nil, err
		}
		return &farewell{SetCookie: a.Accounts.Cookie(secret).String()}, nil
	})
}

type address struct {
	Email string `json:"email" example:"ann@example.com"`
}

type newPassword struct {
	Password string `json:"password" format:"password" doc:"10 to 200 characters."`
}

// byToken names what a link in a mail leads to.
type byToken struct {
	Token string `path:"token"`
}

func (a *api) registerResets() {
	tags := []string{"account"}
	register(a, huma.Operation{
		OperationID: "ask-password-reset", Method: http.MethodPost, Path: "/api/password-reset", Tags: tags, Summary: "Ask for a new password",
		Description: "A link goes to the address, if somebody has it; the answer is the same if nobody has.",
		Metadata:    open, DefaultStatus: http.StatusAccepted,
	}, func(ctx context.Context, in *struct{ Body address }) (*nothing, error) {
		return done(a.Accounts.AskReset(ctx, in.Body.Email, client(ctx)))
	})
	register(a, huma.Operation{
		OperationID: "password-reset", Method: http.MethodGet, Path: "/api/password-reset/{token}", Tags: tags, Metadata: open,
		Summary: "Whose password a link changes",
	}, func(ctx context.Context, in *byToken) (*out[address], error) {
		email, err := a.Accounts.ResetFor(ctx, in.Token, client(ctx))
		return answer(address{email}, err)
	})
	register(a, huma.Operation{
		OperationID: "reset-password", Method: http.MethodPost, Path: "/api/password-reset/{token}", Tags: tags, Metadata: open,
		Summary: "Choose a new password", Description: "Ends all sessions, and begins one.",
	}, func(ctx context.Context, in *struct {
		Token string `path:"token"`
		Body  newPassword
	},
	) (*welcome, error) {
		session, err := a.Accounts.Reset(ctx, in.Token, in.Body.Password, client(ctx))
		return a.letIn(ctx, session, err)
	})
}

type invitations struct {
	Invitations []account.MyInvitation `json:"invitations"`
}

type accepted struct {
	ProjectID int64 `json:"project_id"`
}

type newcomer struct {
	Name     string `json:"name,omitempty"`
	Password string `json:"password,omitempty" format:"password" doc:"10 to 200 characters."`
	TimeZone string `json:"time_zone,omitempty" doc:"IANA, such as Europe/Berlin. Empty: the site's."`
}

func (a *api) registerInvited() {
	tags := []string{"account"}
	register(a, huma.Operation{
		OperationID: "my-invitations", Method: http.MethodGet, Path: "/api/invitations", Tags: tags, Summary: "Invitations to one's address",
	}, func(ctx context.Context, _ *struct{}) (*out[invitations], error) {
		all, err := a.Accounts.Invitations(ctx, me(ctx))
		return answer(invitations{all}, err)
	})
	register(a, huma.Operation{
		OperationID: "accept-invitation", Method: http.MethodPost, Path: "/api/invitations/{id}/accept", Tags: tags, Summary: "Accept an invitation",
	}, func(ctx context.Context, in *at) (*out[accepted], error) {
		project, err := a.Accounts.Accept(ctx, me(ctx), in.ID)
		return answer(accepted{project}, err)
	})
	register(a, huma.Operation{
		OperationID: "invited", Method: http.MethodGet, Path: "/api/invited/{token}", Tags: tags, Metadata: open, Summary: "What a link is an invitation to",
	}, func(ctx context.Context, in *byToken) (*out[account.Invited], error) {
		return answer(a.Accounts.InvitedBy(ctx, in.Token, client(ctx)))
	})
	register(a, huma.Operation{
		OperationID: "accept-invited", Method: http.MethodPost, Path: "/api/invited/{token}", Tags: tags, Metadata: open, Summary: "Accept what a link invites to",
		Description: "Where nobody has the address, name and password make an account, and the session's cookie is set. Where somebody has, it takes " +
			"being signed in as them.",
	}, func(ctx context.Context, in *struct {
		Token string `path:"token"`
		Body  newcomer
	},
	) (*welcome, error) {
		caller := identity(ctx).Person
		session, err := a.Accounts.AcceptBy(ctx, in.Token, caller, account.Newcomer(in.Body), client(ctx))
		if err == nil && session.ID == "" {
			return &welcome{Body: caller}, nil
		}
		return a.letIn(ctx, session, err)
	})
}

type demoPerson struct {
	ID    int64  `json:"id"`
	Name  string `json:"name"`
	Title string `json:"title"`
	Staff bool   `json:"staff"`
}

type demo struct {
	People   []demoPerson `json:"people"`
	Simulate bool         `json:"simulate" doc:"Others work as well."`
	Strip    []string     `json:"strip" doc:"What to try."`
}

type demoChoice struct {
	PersonID int64 `json:"person_id"`
}

func (a *api) registerDemo() {
	tags := []string{"account"}
	register(a, huma.Operation{
		OperationID: "demo", Method: http.MethodGet, Path: "/api/demo", Tags: tags, Metadata: open, Summary: "People whom anybody may be",
		Description: "404 where there is no demo.",
	}, func(ctx context.Context, _ *struct{}) (*out[demo], error) { return answer(a.demo(ctx)) })
	register(a, huma.Operation{
		OperationID: "sign-in-demo", Method: http.MethodPost, Path: "/api/demo/session", Tags: tags, Metadata: open, Summary: "Be one of them",
	}, func(ctx context.Context, in *struct{ Body demoChoice }) (*welcome, error) {
		if a.Demo == nil {
			return nil, projects.ErrNotFound
		}
		session, err := a.Accounts.SignInDemo(ctx, in.Body.PersonID, client(ctx))
		return a.letIn(ctx, session, err)
	})
}

func (a *api) demo(ctx context.Context) (demo, error) {
	if a.Demo == nil {
		return demo{}, projects.ErrNotFound
	}
	people, err := a.Accounts.DemoPeople(ctx)
	if err != nil {
		return demo{}, err
	}
	d := demo{People: make([]demoPerson, 0, len(people)), Simulate: a.Demo.Simulate, Strip: append([]string{}, a.Demo.Strip...)}
	for _, p := range people {
		title := a.Demo.Titles[p.Email]
		if title == "" {
			title = p.Company
		}
		d.People = append(d.People, demoPerson{ID: p.ID, Name: p.Name, Title: title, Staff: p.Staff})
	}
	return d, nil
}
