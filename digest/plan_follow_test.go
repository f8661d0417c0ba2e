package digest

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// A follower does what decisions say, for one user, in a world of its own: notifications come, time passes from one look to the
// next, and what is mailed is unsent no more.
type follower struct {
	user  Candidate
	rules Rules
	// Look at the user then; zero: when something happens.
	next  time.Time
	looks int
	mails []time.Time
	when  map[int64]time.Time // each item was mailed
}

// arrive does what the keeper does as it places a notification: it says when to look at the earliest.
func (f *follower) arrive(item Item) {
	f.user.Items = append(f.user.Items, item)
	t := f.user.timingOf(&item, func(string, Preference) {})
	look := item.CreatedAt
	switch t.mode {
	case NeverMail:
		return
	case After:
		look = look.Add(t.delay)
	}
	if f.next.IsZero() || look.Before(f.next) {
		f.next = look
	}
}

// look looks at the user.
func (f *follower) look(t testingT, now time.Time) Decision {
	if f.looks++; f.looks > 10_000 {
		t.Fatalf("no end, at %s", now)
	}
	d := Plan(f.user, f.rules, now)
	if d.Kind == Mailed {
		f.mails = append(f.mails, now)
		for _, id := range d.Items {
			if before, twice := f.when[id]; twice {
				t.Fatalf("item %d was mailed at %s and at %s", id, before, now)
			}
			f.when[id] = now
		}
		d.mailed(&f.user, now)
	}
	f.next = d.NextAt
	return d
}

func TestEachItemIsInOneMailAndInTime(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		user, rules, now := somebody(t)
		// Nothing that could hold up mail but quiet hours.
		user.Email, user.VacationUntil, user.Bounces, user.Sent = "ann@example.org", time.Time{}, 0, nil
		rules.DailyCap, rules.MostItems, rules.MaxAge = -1, 0, 0
		arrivals := user.Items
		user.Items = nil
		for i := range arrivals {
			item := &arrivals[i]
			item.Asks, item.ExpiresAt = false, time.Time{}
			item.CreatedAt = now.Add(time.Duration(rapid.Int64Range(0, 5*86400).Draw(t, "arrives after")) * time.Second)
		}
		slices.SortFunc(arrivals, func(a, b Item) int { return a.CreatedAt.Compare(b.CreatedAt) })
		f := follower{user: user, rules: rules, when: map[int64]time.Time{}}
		// The worker is up to ten minutes late; not where somebody's quiet hours leave no more than that.
		late := rapid.Int64Range(0, 600)
		if user.Quiet != nil {
			late = rapid.Just(int64(0))
		}
		for i := 0; i < len(arrivals) || !f.next.IsZero(); {
			if i < len(arrivals) && (f.next.IsZero() || !arrivals[i].CreatedAt.After(f.next)) {
				f.arrive(arrivals[i])
				i++
				continue
			}
			at := f.next.Add(time.Duration(late.Draw(t, "late")) * time.Second)
			for i < len(arrivals) && !arrivals[i].CreatedAt.After(at) {
				f.arrive(arrivals[i])
				i++
			}
			if rapid.Bool().Draw(t, "is active") {
				f.user.ActiveAt = at
			}
			f.look(t, at)
		}
		zone, _ := zoneOf(user.Zones)
		for _, item := range arrivals {
			timing := user.timingOf(&item, func(string, Preference) {})
			at, mailed := f.when[item.ID]
			if timing.mode == NeverMail || user.Muted[item.Group] {
				if mailed {
					t.Fatalf("mailed %+v, which the user didn't want", item)
				}
				continue
			}
			if !mailed {
				t.Fatalf("never mailed %+v", item)
			}
			due := timing.due(item.CreatedAt, zone)
			if worst := due.Add(rules.withDefaults().MaxPostpone + 20*time.Minute); user.Quiet == nil && at.After(worst) {
				t.Fatalf("%+v was due at %s and mailed at %s, in the worst case it should have been %s", item, due, at, worst)
			}
			// Quiet hours may begin again while it is postponed, but not a third time.
			if at.Sub(due) > 60*time.Hour {
				t.Fatalf("%+v was due at %s and mailed at %s, quiet %v", item, due, at, user.Quiet)
			}
		}
	})
}

func TestDailyMailsOnceADateWhateverClocksDo(t *testing.T) {
	t.Parallel()
	for _, change := range clockChanges {
		zone, day := change.days(t)
		begin, end := day.AddDate(0, 0, -2), day.AddDate(0, 0, 3)
		w := watchClock(begin, end, zone)
		for _, at := range []string{"00:00", "01:45", "02:30", "09:00", "23:30"} {
			hour := parseClock(t, at)
			f := follower{when: map[int64]time.Time{}, user: Candidate{
				UserID: "ann", Email: "ann@example.org", Zones: []string{change.zone},
				Preferences: map[string]Preference{"": {Mode: Daily, At: &hour}},
			}}
			// A notification every 20 minutes, looked at by the minute that was said.
			var got []time.Time
			id := int64(0)
			for created := begin; created.Before(end); created = created.Add(20 * time.Minute) {
				id++
				f.arrive(Item{ID: id, Seq: id, CreatedAt: created})
				for !f.next.IsZero() && f.next.Before(created.Add(20*time.Minute)) && f.next.Before(end) {
					now := f.next
					if f.look(t, now).Kind == Mailed {
						got = append(got, now.UTC())
					}
				}
			}
			if diff := cmp.Diff(w.daily(at), got); diff != "" {
				t.Errorf("daily at %s in %s (-want +mailed):\n%s", at, change.zone, diff)
			}
		}
	}
}

func TestWhoReadsInTimeGetsNothing(t *testing.T) {
	t.Parallel()
	f := follower{user: ann(func(c *Candidate) { c.Items = nil }), when: map[int64]time.Time{}}
	for hour := range 48 {
		created := berlin("2026-01-05 09:00").Add(time.Duration(hour) * time.Hour)
		// The user opens the inbox every three hours.
		if hour%3 == 0 {
			f.user.Items = nil
		}
		for !f.next.IsZero() && !f.next.After(created) {
			f.look(t, f.next)
		}
		f.arrive(Item{ID: int64(hour), Seq: int64(hour), Kind: "mention", CreatedAt: created})
	}
	if len(f.mails) > 0 {
		t.Errorf("mailed at %s", f.mails)
	}
}

func TestWhoClosesTheLaptopWithoutGoodbyeIsMailed(t *testing.T) {
	t.Parallel()
	f := follower{user: ann(func(c *Candidate) {
		c.Items, c.ActiveAt = nil, berlin("2026-01-05 08:59")
		c.Preferences = map[string]Preference{"": {Mode: AtOnce}}
	}), when: map[int64]time.Time{}}
	f.arrive(Item{ID: 1, Seq: 1, CreatedAt: berlin("2026-01-05 09:00")})
	for !f.next.IsZero() {
		f.look(t, f.next)
	}
	if diff := cmp.Diff([]time.Time{berlin("2026-01-05 09:04")}, f.mails); diff != "" {
		t.Errorf("mails (-want +got):\n%s", diff)
	}
}

func TestABusyDayIsNoMoreThanTheCap(t *testing.T) {
	t.Parallel()
	f := follower{
		user: ann(func(c *Candidate) { c.Items = nil }, prefers("", Preference{Mode: AtOnce})), when: map[int64]time.Time{},
	}
	begin := berlin("2026-01-05 00:00")
	for n := range 3 * 24 * 12 {
		now := begin.Add(time.Duration(n) * 5 * time.Minute)
		f.arrive(Item{ID: int64(n), Seq: int64(n), CreatedAt: now})
		for !f.next.IsZero() && !f.next.After(now) {
			f.look(t, f.next)
		}
	}
	for i, mail := range f.mails {
		if i >= 10 && mail.Sub(f.mails[i-10]) < 24*time.Hour {
			t.Errorf("mails %d and %d within %s", i-10, i, mail.Sub(f.mails[i-10]))
		}
	}
	if len(f.mails) != 30 {
		t.Errorf("%d mails in three days, want 30", len(f.mails))
	}
}

// The table in docs/digests.md.
func TestAMondayOfAnns(t *testing.T) {
	t.Parallel()
	f := follower{user: ann(func(c *Candidate) { c.Items = nil }, prefers("news", daily(18, 0))), when: map[int64]time.Time{}}
	for i, item := range []struct{ kind, created string }{
		{"comment", "2026-01-05 09:00"}, {"news", "2026-01-05 10:00"}, {"comment", "2026-01-05 12:50"}, {"comment", "2026-01-05 17:00"},
	} {
		for !f.next.IsZero() && f.next.Before(berlin(item.created)) {
			f.look(t, f.next)
		}
		f.arrive(Item{ID: int64(i + 1), Seq: int64(i + 1), Kind: item.kind, CreatedAt: berlin(item.created)})
	}
	for !f.next.IsZero() {
		f.look(t, f.next)
	}
	want := map[int64]time.Time{
		1: berlin("2026-01-05 13:00"), 2: berlin("2026-01-05 18:00"), 3: berlin("2026-01-05 13:00"), 4: berlin("2026-01-05 18:00"),
	}
	if diff := cmp.Diff(want, f.when); diff != "" {
		t.Errorf("mailed (-want +got):\n%s", diff)
	}
}
