package demo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/trunkline/trunkline/projects"
)

const (
	// mostSaid is how many messages of the simulation a conversation gets, so that a night of it floods nothing.
	mostSaid = 200
	// away is how long nobody has been signed in as somebody whom the simulation may act for.
	away = 10 * time.Minute
)

// A Simulation lets demo people work.
type Simulation struct {
	Pool   *pgxpool.Pool
	Store  *projects.Store
	Logger *slog.Logger // nil: discarded
	// Wait pauses for a time between the two, and tells whether to go on: not if ctx ends first. Nil: it really waits.
	Wait func(ctx context.Context, least, most time.Duration) bool
	// Rand chooses who does what. Nil: chance.
	Rand *rand.Rand
}

// Run lets those demo people work whom nobody has been signed in as lately, until ctx ends, and then returns nil. Every few seconds one
// of them completes a task, asks, answers or, when all is done, finds something to do again. What goes wrong with one of these is
// logged, and the next one tried.
func (s Simulation) Run(ctx context.Context) error {
	if s.Logger == nil {
		s.Logger = slog.New(slog.DiscardHandler)
	}
	if s.Rand == nil {
		s.Rand = rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	}
	if s.Wait == nil {
		s.Wait = s.pause
	}
	for {
		if !s.Wait(ctx, 2*time.Second, 6*time.Second) {
			return nil
		}
		did, err := s.step(ctx)
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // it failed because it is to end
		case err != nil:
			s.Logger.Warn("the simulation could not do what it wanted: it does something else", "error", err)
		default:
			s.Logger.Debug("simulated", "did", did)
		}
	}
}

func (s Simulation) pause(ctx context.Context, least, most time.Duration) bool {
	timer := time.NewTimer(least + time.Duration(s.Rand.Int64N(int64(most-least))))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// An actor is somebody who may do something now.
type actor struct {
	ID      int64
	Name    string
	Project int64
	Role    projects.Role
}

// step has somebody do one thing, and says what. Nobody there to do anything is nothing, and no error.
func (s Simulation) step(ctx context.Context) (string, error) {
	rows, err := s.Pool.Query(ctx, `SELECT h.id, h.name, m.project_id, m.role
		FROM projects.person h
		JOIN projects.membership m ON m.person_id = h.id
		JOIN projects.project p ON p.id = m.project_id AND p.status = 'active'
		WHERE h.demo AND h.deactivated_at IS NULL
		AND NOT EXISTS (SELECT FROM projects.session x WHERE x.person_id = h.id AND x.used_at > now() - $1::interval)
		ORDER BY m.project_id, h.id`, away)
	if err != nil {
		return "", fmt.Errorf("look who is there: %w", err)
	}
	actors, err := pgx.CollectRows(rows, pgx.RowToStructByPos[actor])
	if err != nil || len(actors) == 0 {
		return "", err
	}
	who := actors[s.Rand.IntN(len(actors))]
	project, err := s.Store.Project(ctx, who.ID, who.Project)
	if err != nil {
		return "", err
	}
	if len(project.Tasks) > 0 && s.Rand.IntN(100) < 55 {
		return s.work(ctx, who, project)
	}
	return s.talk(ctx, who, project)
}

// work completes a task, preferably one's own, or takes two up again where all are done.
func (s Simulation) work(ctx context.Context, who actor, project projects.Project) (string, error) {
	open := slices.DeleteFunc(slices.Clone(project.Tasks), func(t projects.Task) bool { return t.CompletedAt != nil })
	if len(open) <= 1 && who.Role != projects.Customer {
		for range 2 {
			task := project.Tasks[s.Rand.IntN(len(project.Tasks))]
			if _, err := s.Store.ReopenTask(ctx, who.ID, task.ID); err != nil && !errors.As(err, new(*projects.ConflictError)) {
				return "", err
			}
		}
		return who.Name + " reopened tasks", nil
	}
	if len(open) == 0 {
		return "", nil
	}
	task := open[0]
	for _, t := range open {
		if t.AssigneeID != nil && *t.AssigneeID == who.ID {
			task = t
			break
		}
	}
	_, err := s.Store.CompleteTask(ctx, who.ID, task.ID)
	if errors.As(err, new(*projects.ConflictError)) {
		return "", nil // somebody was faster
	}
	return who.Name + " completed “" + task.Title + "”", err
}

// talk says something in a conversation: staff answer what waits, customers ask.
func (s Simulation) talk(ctx context.Context, who actor, project projects.Project) (string, error) {
	if len(project.Conversations) == 0 {
		return "", nil
	}
	where := project.Conversations[s.Rand.IntN(len(project.Conversations))]
	said := remarks
	if who.Role == projects.Customer {
		said = slices.Concat(questions, remarks)
	}
	for _, c := range project.Conversations {
		if c.AwaitingSince != nil && who.Role != projects.Customer {
			where, said = c, answers
			break
		}
	}
	var number int
	err := s.Pool.QueryRow(ctx, "SELECT count(*) FROM projects.message WHERE conversation_id = $1 AND client_key LIKE 'sim-%'", where.ID).Scan(&number)
	if err != nil || number >= mostSaid {
		return "", err
	}
	if err := s.Store.Typing(ctx, who.ID, where.ID); err != nil && !errors.As(err, new(*projects.LimitError)) {
		return "", err
	}
	if !s.Wait(ctx, time.Second, 3*time.Second) {
		return "", nil
	}
	if _, err := s.Store.Read(ctx, who.ID, where.ID, where.LastSeq); err != nil {
		return "", err
	}
	text := said[s.Rand.IntN(len(said))]
	_, _, err = s.Store.Send(ctx, who.ID, where.ID, projects.Draft{Key: fmt.Sprintf("sim-%d-%x", number, s.Rand.Uint64()), Body: text})
	return who.Name + " said “" + text + "”", err
}
