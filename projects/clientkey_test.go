package projects

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trunkline/trunkline/internal/pgtest"
)

// What most tests make has no key, so that it is always made.

func (s *Store) createTask(ctx context.Context, person, project int64, draft TaskDraft) (Task, error) {
	t, _, err := s.CreateTask(ctx, person, project, draft)
	return t, err
}

func (s *Store) createMilestone(ctx context.Context, person, project int64, draft MilestoneDraft) (Milestone, error) {
	m, _, err := s.CreateMilestone(ctx, person, project, draft)
	return m, err
}

func (s *Store) createProject(ctx context.Context, person int64, draft ProjectDraft) (Project, error) {
	p, _, err := s.CreateProject(ctx, person, draft)
	return p, err
}

// A making makes something with a key, and returns its id.
type making func(s *Store, person, project int64, key *string) (id int64, made bool, err error)

// makings are all that takes a key. assignee is somebody who is told of a new task.
func makings(ctx context.Context, assignee *int64) map[string]making {
	return map[string]making{
		"task": func(s *Store, person, project int64, key *string) (int64, bool, error) {
			t, made, err := s.CreateTask(ctx, person, project, TaskDraft{Title: "Paint", AssigneeID: assignee, Key: key})
			return t.ID, made, err
		},
		"milestone": func(s *Store, person, project int64, key *string) (int64, bool, error) {
			m, made, err := s.CreateMilestone(ctx, person, project, MilestoneDraft{Name: "Walls", Key: key})
			return m.ID, made, err
		},
		"conversation": func(s *Store, person, project int64, key *string) (int64, bool, error) {
			c, made, err := s.StartConversation(ctx, person, project, ConversationDraft{Subject: "Colours", Key: key})
			return c.ID, made, err
		},
		"project": func(s *Store, person, _ int64, key *string) (int64, bool, error) {
			p, made, err := s.CreateProject(ctx, person, ProjectDraft{Name: "Kitchen", Key: key})
			return p.ID, made, err
		},
	}
}

func TestSameKeyMakesNothingMore(t *testing.T) {
	s := newStore(t)
	m := newTeam(t, s.pool)
	other := newProject(t, s.pool, m.Organisation, "Other")
	exec(t, s.pool, "INSERT INTO projects.membership (project_id, person_id, role) VALUES ($1, $2, 'lead')", other, m.Lead)
	key := ptr("the same key")
	for what, do := range makings(testContext(t), &m.Staff) {
		t.Run(what, func(t *testing.T) {
			count := func() []int64 {
				return collect[int64](t, s.pool, `SELECT count(*) FROM projects.`+what+` UNION ALL SELECT count(*) FROM projects.audit
					UNION ALL SELECT count(*) FROM trunkline.notification UNION ALL SELECT count(*) FROM trunkline.message`)
			}
			first, made, err := do(s, m.Lead, m.Project, key)
			if err != nil || !made {
				t.Fatalf("made %v, %v", made, err)
			}
			before := count()
			again, made, err := do(s, m.Lead, m.Project, key)
			if err != nil || made || again != first {
				t.Errorf("again: %d, made %v, %v; want %d", again, made, err, first)
			}
			if diff := cmp.Diff(before, count()); diff != "" {
				t.Errorf("rows of %s, trail, notifications and messages (-before +after):\n%s", what, diff)
			}
			// Somebody else's key is another one, and so is none.
			for _, making := range []struct {
				person int64
				key    *string
			}{{m.Staff, key}, {m.Lead, nil}, {m.Lead, nil}} {
				id, made, err := do(s, making.person, m.Project, making.key)
				if err != nil || !made || id == first {
					t.Errorf("person %d: %d, made %v, %v", making.person, id, made, err)
				}
			}
			if what != "project" {
				_, _, err = do(s, m.Lead, other, key)
				want(t, err, "invalid key", "the same key", "in another project")
			}
			for _, bad := range []string{"", strings.Repeat("x", 65), "a\x00b", "a\xffb"} {
				_, _, err := do(s, m.Lead, m.Project, &bad)
				want(t, err, "invalid key", "can't be the key of a "+what)
			}
		})
	}
}

func TestRepeatingTakesNothingButAccess(t *testing.T) {
	s := newStore(t)
	m := newTeam(t, s.pool)
	key := ptr("key")
	all := makings(testContext(t), &m.Staff)
	first := map[string]int64{}
	for what, do := range all {
		var err error
		if first[what], _, err = do(s, m.Lead, m.Project, key); err != nil {
			t.Fatal(err)
		}
	}
	// It was made while one could.
	exec(t, s.pool, "UPDATE projects.project SET status = 'archived'")
	exec(t, s.pool, "DELETE FROM projects.membership WHERE person_id = $1", m.Staff)
	for what, do := range all {
		if again, made, err := do(s, m.Lead, m.Project, key); err != nil || made || again != first[what] {
			t.Errorf("%s: %d, made %v, %v; want %d", what, again, made, err, first[what])
		}
	}
	exec(t, s.pool, "DELETE FROM projects.membership WHERE person_id = $1", m.Lead)
	for what, do := range all {
		if _, _, err := do(s, m.Lead, m.Project, key); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v; want not found", what, err)
		}
	}
}

func TestSameKeyOnTwoNodesAtOnce(t *testing.T) {
	url := newDatabase(t)
	nodes := []*Store{storeAt(t, url, false), storeAt(t, url, false)}
	conn := pgtest.Connect(t, url)
	m := newTeam(t, conn)
	for what, do := range makings(testContext(t), &m.Staff) {
		before := scan[int64](t, conn, "SELECT count(*) FROM projects."+what)
		const tries = 12
		ids := make([]int64, tries)
		made := make([]bool, tries)
		var wg sync.WaitGroup
		for i := range tries {
			wg.Go(func() {
				var err error
				if ids[i], made[i], err = do(nodes[i%2], m.Lead, m.Project, ptr("key")); err != nil {
					t.Errorf("%s: %v", what, err)
				}
			})
		}
		wg.Wait()
		makers := 0
		for i := range tries {
			if ids[i] != ids[0] {
				t.Errorf("%s: %d and %d were made", what, ids[0], ids[i])
			}
			if made[i] {
				makers++
			}
		}
		if rows := scan[int64](t, conn, "SELECT count(*) FROM projects."+what) - before; makers != 1 || rows != 1 {
			t.Errorf("%s: %d say they made it, and there are %d", what, makers, rows)
		}
	}
	if told := scan[int64](t, conn, "SELECT count(*) FROM trunkline.notification"); told != 1 {
		t.Errorf("%d notifications of one task", told)
	}
}
