package demo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/trunkline/trunkline/projects"
	"github.com/trunkline/trunkline/projects/account"
	"github.com/trunkline/trunkline/projects/markdown"
)

// lockKey is the advisory lock under which demo people are made: 'proj' in ASCII, 2.
const lockKey = "1886547818, 2"

// Seed makes the demo people and their projects, unless they are there, whole: it is one transaction, but for the questions that wait
// in the end and are asked if they weren't. Any number of processes may call it at once.
func Seed(ctx context.Context, pool *pgxpool.Pool, store *projects.Store) error {
	hash, err := account.HashPassword(Password)
	if err != nil {
		return err
	}
	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock("+lockKey+")"); err != nil {
			return err
		}
		var there bool
		if err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM projects.person WHERE demo)").Scan(&there); err != nil || there {
			return err
		}
		s := &seeder{tx: tx, people: map[string]int64{}, now: time.Now()}
		if err := s.makePeople(ctx, hash); err != nil {
			return err
		}
		for _, p := range plots {
			if err := s.makeProject(ctx, p); err != nil {
				return fmt.Errorf("project %s: %w", p.name, err)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("make the demo people: %w", err)
	}
	for _, p := range plots {
		for _, t := range p.talks {
			if err := ask(ctx, pool, store, p, t); err != nil {
				return fmt.Errorf("ask a question in the demo: %w", err)
			}
		}
	}
	return nil
}

// ask asks the question that is to wait in a conversation, unless it was asked before.
func ask(ctx context.Context, pool *pgxpool.Pool, store *projects.Store, p plot, t talk) error {
	if t.question == nil {
		return nil
	}
	var person, conversation int64
	err := pool.QueryRow(ctx, `SELECT h.id, c.id
		FROM projects.conversation c
		JOIN projects.project p ON p.id = c.project_id AND p.name = $1 AND p.status = 'active'
		JOIN projects.person h ON h.demo AND h.email = $3
		JOIN projects.membership m ON m.project_id = p.id AND m.person_id = h.id
		WHERE c.subject = $2
		AND NOT EXISTS (SELECT FROM projects.message x WHERE x.conversation_id = c.id AND x.author_id = h.id AND x.client_key = $4)
		LIMIT 1`, p.name, t.subject, t.question.by, questionKey).Scan(&person, &conversation)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	_, _, err = store.Send(ctx, person, conversation, projects.Draft{Key: questionKey, Body: t.question.text})
	return err
}

// questionKey is the client key of questions.
const questionKey = "demo-question"

type seeder struct {
	tx      pgx.Tx
	now     time.Time
	company int64
	people  map[string]int64 // by address
}

func (s *seeder) makePeople(ctx context.Context, hash string) error {
	if err := s.id(ctx, &s.company, "INSERT INTO projects.organisation (name) VALUES ($1) RETURNING id", organisation); err != nil {
		return err
	}
	for _, c := range cast {
		var id int64
		var company *int64
		if c.staff {
			company = &s.company
		}
		err := s.id(ctx, &id, `INSERT INTO projects.person (organisation_id, admin, email, name, company, time_zone, password_hash, demo, created_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, true, $8) RETURNING id`, company, c.admin, c.email, c.name, c.company, c.zone, hash, s.ago(120))
		if err != nil {
			return err
		}
		s.people[c.email] = id
	}
	return nil
}

func (s *seeder) makeProject(ctx context.Context, p plot) error {
	var project int64
	err := s.id(ctx, &project, `INSERT INTO projects.project (organisation_id, name, summary, status, due_on, created_by, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id`,
		s.company, p.name, p.summary, p.status, s.day(p.due), s.people[p.lead], s.ago(float64(p.begun)))
	if err != nil {
		return err
	}
	join := func(role projects.Role, emails ...string) error {
		for _, email := range emails {
			_, err := s.tx.Exec(ctx, "INSERT INTO projects.membership (project_id, person_id, role, joined_at) VALUES ($1, $2, $3, $4)",
				project, s.people[email], role, s.ago(float64(p.begun)))
			if err != nil {
				return err
			}
		}
		return nil
	}
	if err := join(projects.Lead, p.lead); err != nil {
		return err
	}
	if err := join(projects.Staff, p.staff...); err != nil {
		return err
	}
	if err := join(projects.Customer, p.customers...); err != nil {
		return err
	}
	tasks := map[string]int64{}
	rank := 0.0
	for number, st := range p.stages {
		var milestone int64
		err := s.id(ctx, &milestone, "INSERT INTO projects.milestone (project_id, name, due_on, rank) VALUES ($1, $2, $3, $4) RETURNING id",
			project, st.name, s.day(st.due), float64(number+1)*1024)
		if err != nil {
			return err
		}
		for _, j := range st.tasks {
			rank += 1024
			id, err := s.makeTask(ctx, project, milestone, rank, p, j)
			if err != nil {
				return fmt.Errorf("task %s: %w", j.title, err)
			}
			tasks[j.title] = id
		}
	}
	for _, t := range p.talks {
		if err := s.makeTalk(ctx, project, tasks, p, t); err != nil {
			return fmt.Errorf("conversation %s: %w", t.subject, err)
		}
	}
	return nil
}

func (s *seeder) makeTask(ctx context.Context, project, milestone int64, rank float64, p plot, j job) (id int64, err error) {
	var due *string
	if j.due != 0 {
		due = s.day(j.due)
	}
	var doneAt *time.Time
	if j.doneBy != "" {
		at := s.ago(j.doneAgo)
		doneAt = &at
	}
	err = s.id(ctx, &id, `INSERT INTO projects.task
			(project_id, milestone_id, title, description, rank, assignee_id, due_on, completed_at, completed_by, created_by, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) RETURNING id`,
		project, milestone, j.title, j.description, rank, s.person(j.assignee), due, doneAt, s.person(j.doneBy), s.people[p.lead], s.ago(float64(p.begun)))
	if err == nil && doneAt != nil {
		_, err = s.tx.Exec(ctx, `INSERT INTO projects.audit (at, person_id, project_id, action, subject, detail)
			VALUES ($1, $2, $3, 'task.completed', $4, jsonb_build_object('title', $5::text))`,
			*doneAt, s.people[j.doneBy], project, fmt.Sprintf("task:%d", id), j.title)
	}
	return id, err
}

func (s *seeder) makeTalk(ctx context.Context, project int64, tasks map[string]int64, p plot, t talk) error {
	var conversation int64
	var task *int64
	if id, ok := tasks[t.task]; ok {
		task = &id
	}
	last := t.lines[len(t.lines)-1]
	err := s.id(ctx, &conversation, `INSERT INTO projects.conversation (project_id, task_id, subject, created_by, created_at, last_seq, last_message_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id`,
		project, task, t.subject, s.people[p.lead], s.ago(float64(p.begun)), len(t.lines), s.ago(last.ago))
	if err != nil {
		return err
	}
	for i, line := range t.lines {
		_, err := s.tx.Exec(ctx, `INSERT INTO projects.message (conversation_id, seq, author_id, client_key, body, html, created_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7)`,
			conversation, i+1, s.people[line.by], fmt.Sprintf("demo-%d", i+1), line.text, markdown.Render(line.text), s.ago(line.ago))
		if err != nil {
			return err
		}
	}
	// Everybody has read everything so far.
	for _, email := range append(append([]string{p.lead}, p.staff...), p.customers...) {
		_, err := s.tx.Exec(ctx, "INSERT INTO projects.reader (conversation_id, person_id, read_seq, read_at) VALUES ($1, $2, $3, $4)",
			conversation, s.people[email], len(t.lines), s.ago(last.ago/2))
		if err != nil {
			return err
		}
	}
	return nil
}

// id runs an INSERT that returns an id.
func (s *seeder) id(ctx context.Context, id *int64, sql string, args ...any) error {
	return s.tx.QueryRow(ctx, sql, args...).Scan(id)
}

// person is the id that belongs to an address; nil: nobody.
func (s *seeder) person(email string) *int64 {
	if id, ok := s.people[email]; ok {
		return &id
	}
	return nil
}

// ago is a moment so many days before now.
func (s *seeder) ago(days float64) time.Time {
	return s.now.Add(-time.Duration(days * 24 * float64(time.Hour)))
}

// day is a date so many days from now.
func (s *seeder) day(days int) *string {
	date := s.now.AddDate(0, 0, days).Format(time.DateOnly)
	return &date
}
