package projects

import (
	"context"
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// tasksInOrder are the ids of a milestone's tasks as the page shows them.
func tasksInOrder(t testing.TB, s *Store, project int64, milestone *int64) []int64 {
	t.Helper()
	return collect[int64](t, s.pool, `SELECT id FROM projects.task WHERE project_id = $1 AND milestone_id IS NOT DISTINCT FROM $2 ORDER BY rank, id`, project, milestone)
}

// Whatever is put wherever, all stand as was asked for.
func TestOrderIsAsAskedFor(t *testing.T) {
	s := newStore(t)
	m := newTeam(t, s.pool)
	rapid.Check(t, func(r *rapid.T) {
		ctx := testContext(t)
		project := newProject(t, s.pool, m.Organisation, "Order")
		milestones := []*int64{nil}
		for range 2 {
			made := must[Milestone](t)(s.createMilestone(ctx, m.Admin, project, MilestoneDraft{Name: "M"}))
			milestones = append(milestones, &made.ID)
		}
		model := make([][]int64, len(milestones)) // ids, by milestone
		// Some begin where ranks are used up after one or two insertions.
		if rapid.Bool().Draw(r, "cramped") {
			for i := range 3 {
				id := newTask(t, s.pool, project, "T")
				exec(t, s.pool, `UPDATE projects.task SET rank = 1 + $2 * 2.220446049250313e-16::float8 WHERE id = $1`, id, i/2)
				model[0] = append(model[0], id)
			}
		}
		put := func(where int, id int64, after *int64) {
			list := model[where]
			if after == nil {
				list = append(list, id)
			} else {
				list = slices.Insert(list, slices.Index(list, *after)+1, id) // 0 is at -1: first
			}
			model[where] = list
		}
		place := func(where int, self int64) *int64 {
			choices := []*int64{nil, ptr[int64](0)}
			for _, id := range model[where] {
				if id != self {
					choices = append(choices, &id)
				}
			}
			return rapid.SampledFrom(choices).Draw(r, "after")
		}
		for range rapid.IntRange(1, 15).Draw(r, "steps") {
			where := rapid.IntRange(0, len(milestones)-1).Draw(r, "milestone")
			all := slices.Concat(model...)
			if len(all) == 0 || rapid.Bool().Draw(r, "insert") {
				after := place(where, 0)
				made := must[Task](t)(s.createTask(ctx, m.Admin, project, TaskDraft{Title: "T", MilestoneID: milestones[where], After: after}))
				put(where, made.ID, after)
				continue
			}
			id := rapid.SampledFrom(all).Draw(r, "task")
			from := slices.IndexFunc(model, func(list []int64) bool { return slices.Contains(list, id) })
			change := TaskChange{MilestoneID: Some(milestones[where])}
			after := place(where, id)
			if after != nil {
				change.After = Some(*after)
			}
			must[Task](t)(s.EditTask(ctx, m.Admin, id, change))
			if after != nil || from != where {
				model[from] = slices.DeleteFunc(model[from], func(other int64) bool { return other == id })
				put(where, id, after)
			}
		}
		for i, milestone := range milestones {
			if got := tasksInOrder(t, s, project, milestone); !slices.Equal(got, model[i]) {
				r.Fatalf("milestone %d: %v, not %v", i, got, model[i])
			}
		}
	})
}

// Always into the same gap: it is used up every fifty times or so, and then all get new ranks.
func TestGapIsRenumberedWhenItIsUsedUp(t *testing.T) {
	s := newStore(t)
	ctx := testContext(t)
	m := newTeam(t, s.pool)
	first := must[Task](t)(s.createTask(ctx, m.Lead, m.Project, TaskDraft{Title: "First"})).ID
	last := must[Task](t)(s.createTask(ctx, m.Lead, m.Project, TaskDraft{Title: "Last"})).ID
	expected := []int64{last}
	renumbered := false
	for range 80 {
		made := must[Task](t)(s.createTask(ctx, m.Lead, m.Project, TaskDraft{Title: "T", After: &first}))
		expected = slices.Insert(expected, 0, made.ID)
		renumbered = renumbered || scan[int64](t, s.pool, `SELECT version FROM projects.task WHERE id = $1`, last) > 1
	}
	if got := tasksInOrder(t, s, m.Project, nil); !slices.Equal(got, append([]int64{first}, expected...)) {
		t.Errorf("the order is %v", got)
	}
	if !renumbered {
		t.Error("the gap was never used up, so this test shows nothing")
	}
}

// Several people who insert behind the same task at once: none fails, and it stays the first.
func TestInsertingAtOnce(t *testing.T) {
	url := newDatabase(t)
	stores := []*Store{storeAt(t, url, false), storeAt(t, url, false)}
	ctx := testContext(t)
	m := newTeam(t, stores[0].pool)
	first := must[Task](t)(stores[0].createTask(ctx, m.Lead, m.Project, TaskDraft{Title: "First"})).ID
	var do []func() error
	for i := range 6 {
		do = append(do, func() error {
			for range 15 {
				if _, err := stores[i%2].createTask(ctx, m.Lead, m.Project, TaskDraft{Title: "T", After: &first}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if outcomes := atOnce(do...); outcomes["done"] != len(do) {
		t.Fatalf("the outcomes are %v", outcomes)
	}
	if got := tasksInOrder(t, stores[0], m.Project, nil); got[0] != first || len(got) != 91 {
		t.Errorf("%d tasks, first %d", len(got), got[0])
	}
	if doubles := scan[int](t, stores[0].pool, `SELECT count(*) - count(DISTINCT rank) FROM projects.task`); doubles != 0 {
		t.Errorf("%d tasks have the rank of another one", doubles)
	}
}

func TestMilestonesInOrder(t *testing.T) {
	s := newStore(t)
	ctx := testContext(t)
	m := newTeam(t, s.pool)
	add := func(after *int64) int64 {
		return must[Milestone](t)(s.createMilestone(ctx, m.Lead, m.Project, MilestoneDraft{Name: "M", After: after})).ID
	}
	a := add(nil)
	b := add(nil)
	c := add(ptr[int64](0))
	d := add(&a)
	inOrder := func(expected ...int64) {
		t.Helper()
		var got []int64
		for _, milestone := range must[Project](t)(s.Project(ctx, m.Customer, m.Project)).Milestones {
			got = append(got, milestone.ID)
		}
		if !slices.Equal(got, expected) {
			t.Errorf("the order is %v, not %v", got, expected)
		}
	}
	inOrder(c, a, d, b)
	move := func(id, after int64) {
		t.Helper()
		must[Milestone](t)(s.EditMilestone(ctx, m.Lead, id, MilestoneChange{After: Some(after)}))
	}
	move(c, b)
	inOrder(a, d, b, c)
	move(b, 0)
	inOrder(b, a, d, c)
	move(c, a)
	inOrder(b, a, c, d)
	_, err := s.EditMilestone(ctx, m.Lead, a, MilestoneChange{After: Some(a)})
	want(t, err, "invalid after", "behind itself")
	for range 60 {
		add(&b)
	}
	if got := must[Project](t)(s.Project(ctx, m.Customer, m.Project)).Milestones; got[0].ID != b || got[len(got)-1].ID != d {
		t.Error("the ends have moved")
	}
}

func TestMilestones(t *testing.T) {
	s := newStore(t)
	ctx := testContext(t)
	m := newTeam(t, s.pool)
	loose := must[Task](t)(s.createTask(ctx, m.Lead, m.Project, TaskDraft{Title: "Loose"})).ID
	made := must[Milestone](t)(s.createMilestone(ctx, m.Lead, m.Project, MilestoneDraft{Name: "Design", DueOn: ptr(Date("2027-02-03"))}))
	var inside []int64
	for range 3 { // each before the others
		task := must[Task](t)(s.createTask(ctx, m.Lead, m.Project, TaskDraft{Title: "In it", MilestoneID: &made.ID, After: ptr[int64](0)}))
		inside = slices.Insert(inside, 0, task.ID)
	}
	_, err := s.createMilestone(ctx, m.Lead, m.Project, MilestoneDraft{Name: ""})
	want(t, err, "invalid name")
	_, err = s.createMilestone(ctx, m.Lead, m.Project, MilestoneDraft{Name: "M", After: ptr[int64](99_999)})
	want(t, err, "invalid after")
	edited := must[Milestone](t)(s.EditMilestone(ctx, m.Lead, made.ID, MilestoneChange{Name: Some("Plan"), DueOn: Some[*Date](nil), Version: Some[int64](1)}))
	if edited.Name != "Plan" || edited.DueOn != nil || edited.Version != 2 || edited.Rank != made.Rank {
		t.Errorf("it became %+v", edited)
	}
	if again := must[Milestone](t)(s.EditMilestone(ctx, m.Lead, made.ID, MilestoneChange{Name: Some("Plan")})); again.Version != 2 {
		t.Errorf("no change counted as one: %+v", again)
	}
	_, err = s.EditMilestone(ctx, m.Staff, made.ID, MilestoneChange{Name: Some("Old"), Version: Some[int64](1)})
	want(t, err, "conflict", "“Plan” has changed")
	if err := s.DeleteMilestone(ctx, m.Staff, made.ID); err != nil {
		t.Fatal(err)
	}
	if got := tasksInOrder(t, s, m.Project, nil); !slices.Equal(got, append([]int64{loose}, inside...)) {
		t.Errorf("the tasks stand as %v", got)
	}
	want(t, s.DeleteMilestone(ctx, m.Staff, made.ID), "not found")
	subject := topic("milestone", made.ID)
	lines := trail(t, s, &m, m.Project)
	if got := slices.DeleteFunc(lines, func(line string) bool { return line[len(line)-len(subject):] != subject }); !slices.Equal(got, []string{
		"lead milestone.created " + subject, "lead milestone.edited " + subject, "staff milestone.deleted " + subject,
	}) {
		t.Errorf("the audit trail is %v", got)
	}
	exec(t, s.pool, `INSERT INTO projects.milestone (project_id, name, rank) SELECT $1, 'M', n FROM generate_series(1, 200) n`, m.Project)
	_, err = s.createMilestone(ctx, m.Lead, m.Project, MilestoneDraft{Name: "M"})
	want(t, err, "limit", "200 milestones")
}

// What place says of a rank is the domain's business alone: an error of it is one of the database's, or names the field.
func TestPlaceBehindWhatIsElsewhere(t *testing.T) {
	s := newStore(t)
	m := newTeam(t, s.pool)
	elsewhere := newTask(t, s.pool, newProject(t, s.pool, m.Organisation, "Elsewhere"), "T")
	tx, err := s.pool.Begin(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }()
	_, err = taskOrder.place(testContext(t), tx, m.Project, nil, 0, &elsewhere)
	var invalid *InvalidError
	if !errors.As(err, &invalid) || invalid.Field != "after" {
		t.Errorf("the error is %v", err)
	}
}
