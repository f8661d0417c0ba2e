package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/trunkline/trunkline/projects"
)

// registerWork adds what there is to do with projects, their milestones, tasks and people.
func (a *api) registerWork() {
	a.registerProjects()
	a.registerMilestones()
	a.registerTasks()
	a.registerMembers()
	a.registerInvitations()
}

// out is an answer with a body.
type out[T any] struct{ Body T }

func answer[T any](body T, err error) (*out[T], error) {
	if err != nil {
		return nil, err
	}
	return &out[T]{body}, nil
}

// making is an answer with what was made now, or, with status 200, before.
type making[T any] struct {
	Status int
	Body   T
}

func answerMade[T any](body T, made bool, err error) (*making[T], error) {
	if err != nil {
		return nil, err
	}
	return &making[T]{madeStatus(made), body}, nil
}

// sameKey describes what makes things.
const sameKey = " To send it again with the same key makes nothing more: the answer is what was made, with status 200."

// nothing is an answer without one: 204.
type nothing struct{}

func done(err error) (*nothing, error) {
	if err != nil {
		return nil, err
	}
	return &nothing{}, nil
}

// at names what an operation is about.
type at struct {
	ID int64 `path:"id"`
}

// atWith is at with a body.
type atWith[T any] struct {
	ID   int64 `path:"id"`
	Body T
}

// me is the id of who asks.
func me(ctx context.Context) int64 { return identity(ctx).Person.ID }

func (a *api) registerProjects() {
	s := a.Store
	tags := []string{"projects"}
	register(a, huma.Operation{
		OperationID: "overview", Method: http.MethodGet, Path: "/api/overview", Tags: tags, Summary: "All projects at a glance",
		Description: "One's own, each with its progress, its first outstanding tasks and what waits for an answer; and the position to follow " +
			"person:ID from, which says when to ask again.",
	}, func(ctx context.Context, in *overviewInput) (*out[projects.Overview], error) {
		var project *int64
		if in.Project != 0 {
			project = &in.Project
		}
		return answer(s.Overview(ctx, me(ctx), project))
	})
	register(a, huma.Operation{
		OperationID: "create-project", Method: http.MethodPost, Path: "/api/projects", Tags: tags, Summary: "Create a project",
		Description: "For staff, who become its lead." + sameKey, DefaultStatus: http.StatusCreated,
	}, func(ctx context.Context, in *struct{ Body projects.ProjectDraft }) (*making[projects.Project], error) {
		return answerMade(s.CreateProject(ctx, me(ctx), in.Body))
	})
	register(a, huma.Operation{
		OperationID: "project", Method: http.MethodGet, Path: "/api/projects/{id}", Tags: tags, Summary: "Read a project",
		Description: "All that its page shows, at one moment, and the position to follow project:ID from.",
	}, func(ctx context.Context, in *at) (*out[projects.Project], error) {
		return answer(s.Project(ctx, me(ctx), in.ID))
	})
	register(a, huma.Operation{
		OperationID: "edit-project", Method: http.MethodPatch, Path: "/api/projects/{id}", Tags: tags, Summary: "Edit a project",
		Description: "For leads; other staff may change its summary and date, finish it, and make it active again.",
	}, func(ctx context.Context, in *atWith[projects.ProjectChange]) (*out[projects.ProjectHead], error) {
		return answer(s.EditProject(ctx, me(ctx), in.ID, in.Body))
	})
	register(a, huma.Operation{
		OperationID: "delete-project", Method: http.MethodDelete, Path: "/api/projects/{id}", Tags: tags, Summary: "Delete a project",
		Description: "With all that is in it, for ever. For leads.", DefaultStatus: http.StatusNoContent,
	}, func(ctx context.Context, in *at) (*nothing, error) {
		return done(s.DeleteProject(ctx, me(ctx), in.ID))
	})
	register(a, huma.Operation{
		OperationID: "project-audit", Method: http.MethodGet, Path: "/api/projects/{id}/audit", Tags: tags, Summary: "Read who did what",
		Description: "Newest first. For staff.",
	}, func(ctx context.Context, in *auditInput) (*out[projects.AuditPage], error) {
		return answer(s.Audit(ctx, me(ctx), in.ID, in.Before, in.Limit))
	})
}

type overviewInput struct {
	Project int64 `query:"project" minimum:"1" doc:"Only this one."`
}

type auditInput struct {
	ID     int64 `path:"id"`
	Before int64 `query:"before" minimum:"0" doc:"Only lines before the one of this id, as next has it."`
	Limit  int   `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"How many at most."`
}

func (a *api) registerMilestones() {
	s := a.Store
	tags := []string{"projects"}
	register(a, huma.Operation{
		OperationID: "create-milestone", Method: http.MethodPost, Path: "/api/projects/{id}/milestones", Tags: tags,
		Summary: "Create a milestone", Description: "For staff." + sameKey, DefaultStatus: http.StatusCreated,
	}, func(ctx context.Context, in *atWith[projects.MilestoneDraft]) (*making[projects.Milestone], error) {
		return answerMade(s.CreateMilestone(ctx, me(ctx), in.ID, in.Body))
	})
	register(a, huma.Operation{
		OperationID: "edit-milestone", Method: http.MethodPatch, Path: "/api/milestones/{id}", Tags: tags,
		Summary: "Edit a milestone", Description: "For staff.",
	}, func(ctx context.Context, in *atWith[projects.MilestoneChange]) (*out[projects.Milestone], error) {
		return answer(s.EditMilestone(ctx, me(ctx), in.ID, in.Body))
	})
	register(a, huma.Operation{
		OperationID: "delete-milestone", Method: http.MethodDelete, Path: "/api/milestones/{id}", Tags: tags,
		Summary: "Delete a milestone", Description: "Its tasks stay, and are in none. For staff.", DefaultStatus: http.StatusNoContent,
	}, func(ctx context.Context, in *at) (*nothing, error) {
		return done(s.DeleteMilestone(ctx, me(ctx), in.ID))
	})
}

func (a *api) registerTasks() {
	s := a.Store
	tags := []string{"projects"}
	register(a, huma.Operation{
		OperationID: "create-task", Method: http.MethodPost, Path: "/api/projects/{id}/tasks", Tags: tags,
		Summary: "Create a task", Description: "For staff." + sameKey, DefaultStatus: http.StatusCreated, MaxBodyBytes: 256 << 10,
	}, func(ctx context.Context, in *atWith[projects.TaskDraft]) (*making[projects.Task], error) {
		return answerMade(s.CreateTask(ctx, me(ctx), in.ID, in.Body))
	})
	register(a, huma.Operation{
		OperationID: "edit-task", Method: http.MethodPatch, Path: "/api/tasks/{id}", Tags: tags, MaxBodyBytes: 256 << 10,
		Summary:     "Edit a task",
		Description: "Or give it another place, or move it to another project, where one has to be staff as well. For staff.",
	}, func(ctx context.Context, in *atWith[projects.TaskChange]) (*out[projects.Task], error) {
		return answer(s.EditTask(ctx, me(ctx), in.ID, in.Body))
	})
	register(a, huma.Operation{
		OperationID: "delete-task", Method: http.MethodDelete, Path: "/api/tasks/{id}", Tags: tags,
		Summary: "Delete a task", Description: "Its conversation stays. For staff.", DefaultStatus: http.StatusNoContent,
	}, func(ctx context.Context, in *at) (*nothing, error) {
		return done(s.DeleteTask(ctx, me(ctx), in.ID))
	})
	register(a, huma.Operation{
		OperationID: "complete-task", Method: http.MethodPost, Path: "/api/tasks/{id}/complete", Tags: tags,
		Summary: "Complete a task", Description: "To repeat it changes nothing; 409 says that somebody else was first.",
	}, func(ctx context.Context, in *at) (*out[projects.Task], error) {
		return answer(s.CompleteTask(ctx, me(ctx), in.ID))
	})
	register(a, huma.Operation{
		OperationID: "reopen-task", Method: http.MethodPost, Path: "/api/tasks/{id}/reopen", Tags: tags,
		Summary: "Reopen a task", Description: "To repeat it changes nothing; 409 says that somebody else was first, or that it wasn't complete.",
	}, func(ctx context.Context, in *at) (*out[projects.Task], error) {
		return answer(s.ReopenTask(ctx, me(ctx), in.ID))
	})
}
