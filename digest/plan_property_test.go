package digest

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// somebody draws a user as odd as they come, and a moment around which clocks are changed where the user lives.
func somebody(t *rapid.T) (Candidate, Rules, time.Time) {
	change := rapid.SampledFrom(clockChanges).Draw(t, "change")
	_, day := change.days(t)
	now := day.Add(time.Duration(rapid.Int64Range(-3*86400, 3*86400).Draw(t, "now"))*time.Second +
		time.Duration(rapid.Int64Range(0, 999_999_999).Draw(t, "nanoseconds of now")))
	// Times from the database have microseconds.
	ago := func(low, high time.Duration) *rapid.Generator[time.Time] {
		return rapid.Map(rapid.Int64Range(int64(low/time.Second), int64(high/time.Second)), func(seconds int64) time.Time {
			return now.Add(-time.Duration(seconds) * time.Second).Truncate(time.Microsecond)
		})
	}
	clocks := rapid.Map(rapid.IntRange(0, 24*60), func(minute int) Clock { return Clock(time.Duration(minute) * time.Minute) })
	delays := rapid.Map(rapid.IntRange(0, 10*24*60), func(minutes int) time.Duration { return time.Duration(minutes) * time.Minute })
	maybe := func(what string) bool { return rapid.IntRange(0, 3).Draw(t, what) == 0 }
	kinds := rapid.SampledFrom([]string{"mention", "comment", "news"})
	groups := rapid.SampledFrom([]string{"", "project:1", "project:2"})

	c := Candidate{
		UserID:      rapid.SampledFrom([]string{"ann", "bob"}).Draw(t, "user"),
		Email:       rapid.SampledFrom([]string{"ann@example.org", "ann@example.org", "ann@example.org", "", "ann"}).Draw(t, "email"),
		Zones:       []string{change.zone, "UTC"},
		Preferences: map[string]Preference{},
		Muted:       map[string]bool{},
	}
	if maybe("unknown zone") {
		c.Zones = slices.Insert(c.Zones, 0, "Mars/Olympus")
	}
	for _, kind := range []string{"", "mention", "comment", "news"} {
		if rapid.Bool().Draw(t, "prefers something") {
			delay, at := delays.Draw(t, "delay"), clocks.Draw(t, "at")
			mode := rapid.SampledFrom([]Mode{AtOnce, After, Daily, Daily, NeverMail, "weekly"}).Draw(t, "mode")
			c.Preferences[kind] = Preference{Mode: mode, Delay: &delay, At: &at}
		}
	}
	if maybe("has quiet hours") {
		c.Quiet = &Quiet{From: clocks.Draw(t, "from"), To: clocks.Draw(t, "to")}
	}
	if maybe("has a vacation") {
		c.VacationUntil = ago(-40*24*time.Hour, 24*time.Hour).Draw(t, "vacation until")
	}
	if maybe("was active") {
		c.ActiveAt = ago(-10*time.Minute, 10*time.Minute).Draw(t, "active at")
	}
	if maybe("bounced") {
		c.Bounces, c.BouncedAt = rapid.Float64Range(0, 10).Draw(t, "bounces"), ago(-time.Hour, 90*24*time.Hour).Draw(t, "bounced at")
	}
	if maybe("muted") {
		c.Muted["project:1"] = true
	}
	if maybe("got mails") {
		c.Sent = rapid.SliceOfN(ago(0, 24*time.Hour), 0, 15).Draw(t, "sent")
	}
	for i := range rapid.IntRange(0, 8).Draw(t, "items") {
		item := Item{
			ID: int64(100 - i), Seq: int64(i + 1), Kind: kinds.Draw(t, "kind"), Group: groups.Draw(t, "group"),
			CreatedAt: ago(-time.Hour, 12*24*time.Hour).Draw(t, "created"),
		}
		if maybe("expires") {
			item.ExpiresAt = ago(-5*24*time.Hour, time.Hour).Draw(t, "expires at")
		}
		if rapid.Bool().Draw(t, "kind has a delay") {
			delay := delays.Draw(t, "kind's delay")
			item.KindDelay = &delay
		}
		item.Asks = item.Kind == "comment" && item.Group != ""
		c.Items = append(c.Items, item)
	}
	// Without a most age, somebody who has no address is looked at daily for ever.
	rules := Rules{
		MaxAge:       30 * oneDay,
		DailyCap:     rapid.SampledFrom([]int{0, 1, 3, -1}).Draw(t, "cap"),
		ActiveWindow: rapid.SampledFrom([]time.Duration{0, -1, 20 * time.Minute}).Draw(t, "active window"),
		MaxPostpone:  rapid.SampledFrom([]time.Duration{0, time.Minute, 5 * time.Hour}).Draw(t, "most that is postponed"),
		MostItems:    rapid.SampledFrom([]int{0, 1, 3}).Draw(t, "most items"),
	}
	return c, rules, now
}

// answer has the authorize function say the same of a group each time.
func answer(c *Candidate, d Decision, answers map[string]Access) {
	for _, q := range d.Ask {
		for i := range c.Items {
			if item := &c.Items[i]; item.Asks && item.Kind == q.Kind && item.Group == q.Group {
				item.Access = answers[q.Group]
			}
		}
	}
}

func drawAnswers(t *rapid.T, of ...Access) map[string]Access {
	answers := map[string]Access{}
	for _, group := range []string{"project:1", "project:2"} {
		answers[group] = rapid.SampledFrom(of).Draw(t, "answer about "+group)
	}
	return answers
}

// decide answers what is asked, as the worker does, and checks what holds for every decision.
func decide(t *rapid.T, c *Candidate, rules Rules, now time.Time, answers map[string]Access) Decision {
	for i := range c.Items {
		c.Items[i].Access = NotAsked
	}
	d := Plan(*c, rules, now)
	for rounds := 0; d.Kind == Ask; rounds++ {
		if rounds > 2*len(answers)*len(c.Items) || len(d.Ask) == 0 {
			t.Fatalf("asks again and again: %+v", d)
		}
		answer(c, d, answers)
		d = Plan(*c, rules, now)
	}
	switch d.Kind {
	case Mailed:
		if len(d.Items) == 0 || !d.NextAt.IsZero() && !d.NextAt.After(now) {
			t.Fatalf("a mail of %v, then again at %s, now being %s", d.Items, d.NextAt, now)
		}
	case Nothing:
		if !d.NextAt.IsZero() || len(d.Items) > 0 {
			t.Fatalf("nothing, but %+v", d)
		}
	default:
		if !d.NextAt.After(now) || len(d.Items) > 0 {
			t.Fatalf("at %s %s with items %v, again at %s", now, d.Kind, d.Items, d.NextAt)
		}
	}
	if d.NextAt.Nanosecond()%1000 != 0 {
		t.Fatalf("PostgreSQL can't keep %s", d.NextAt)
	}
	if d.Zone == nil || d.Reason == "" {
		t.Fatalf("no zone or reason: %+v", d)
	}
	return d
}

// mailed does with a candidate what the database does when a mail is claimed.
func (d Decision) mailed(c *Candidate, now time.Time) {
	c.Items = slices.DeleteFunc(c.Items, func(item Item) bool { return slices.Contains(d.Items, item.ID) })
	c.Sent = append(slices.DeleteFunc(c.Sent, func(t time.Time) bool { return now.Sub(t) >= 24*time.Hour }), now)
}

func TestWhoFollowsTheDecisionsGetsToAnEnd(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c, rules, begin := somebody(t)
		answers := drawAnswers(t, Allowed, Denied, Unknown)
		always := rapid.Bool().Draw(t, "is always active")
		now := begin
		looks, mails := 0, 0
		for {
			if always {
				c.ActiveAt = now
			}
			d := decide(t, &c, rules, now, answers)
			if d.Kind == Mailed {
				d.mailed(&c, now)
				mails++
			}
			if d.NextAt.IsZero() {
				break
			}
			c.Unknowns++
			if d.Kind != MembershipUnknown {
				c.Unknowns = 0
			}
			now = d.NextAt
			// The most there can be: an answer that is never had, once or twice an hour until the items are too old.
			if looks++; looks > 3000 {
				t.Fatalf("no end after %d looks, %d mails; at %s: %s", looks, mails, now, d.Reason)
			}
		}
		if now.Sub(begin) > 85*24*time.Hour {
			t.Fatalf("it took until %s", now)
		}
	})
}

func TestNoMailGoesOutAgainstTheUsersWill(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c, rules, now := somebody(t)
		answers := drawAnswers(t, Allowed, Allowed, Denied)
		items := slices.Clone(c.Items)
		d := decide(t, &c, rules, now, answers)
		for looks := 0; d.Kind != Mailed; looks++ {
			if d.NextAt.IsZero() {
				return
			}
			if looks == 1000 {
				t.Fatalf("no end, at %s", now)
			}
			now = d.NextAt
			d = decide(t, &c, rules, now, answers)
		}
		if c.Email != "ann@example.org" || BounceScore(c.Bounces, c.BouncedAt, now) >= 3 {
			t.Fatalf("mailed to %q with %f bounces of %s", c.Email, c.Bounces, c.BouncedAt)
		}
		if now.Before(c.VacationUntil) {
			t.Fatalf("mailed at %s, on vacation until %s", now, c.VacationUntil)
		}
		if c.Quiet != nil {
			w := watchClock(now.Truncate(time.Minute).Add(-49*time.Hour), now.Add(time.Nanosecond), d.Zone)
			if w.quiet(len(w.latest)-1, c.Quiet.From.String(), c.Quiet.To.String()) {
				t.Fatalf("mailed at %s, quiet %s", now.In(d.Zone), c.Quiet)
			}
		}
		recent := 0
		for _, sent := range c.Sent {
			if now.Sub(sent) < 24*time.Hour {
				recent++
			}
		}
		if most := rules.withDefaults().DailyCap; most > 0 && recent >= most {
			t.Fatalf("mailed at %s after %v, %d allowed", now, c.Sent, most)
		}
		for _, item := range items {
			if !slices.Contains(d.Items, item.ID) {
				continue
			}
			p, ok := c.Preferences[item.Kind]
			if !ok || p.Mode == "weekly" {
				p = c.Preferences[""]
			}
			switch {
			case p.Mode == NeverMail:
				t.Fatalf("mailed %+v, never wanted", item)
			case c.Muted[item.Group]:
				t.Fatalf("mailed %+v, muted", item)
			case !item.ExpiresAt.IsZero() && !item.ExpiresAt.After(now):
				t.Fatalf("mailed %+v at %s, expired", item, now)
			case item.Asks && answers[item.Group] != Allowed:
				t.Fatalf("mailed %+v, which the user may not see", item)
			case item.CreatedAt.After(now):
				t.Fatalf("mailed %+v at %s, before it was there", item, now)
			case p.Mode == Daily && nextDaily(item.CreatedAt, *p.At, d.Zone).After(now):
				t.Fatalf("mailed %+v at %s, before its hour", item, now)
			}
		}
	})
}

func TestMoreItemsNeverMakeItLater(t *testing.T) {
	t.Parallel()
	// firstMail follows the decisions to the first mail.
	firstMail := func(t *rapid.T, c Candidate, rules Rules, now time.Time, answers map[string]Access) (time.Time, bool) {
		for range 1000 {
			d := decide(t, &c, rules, now, answers)
			if d.Kind == Mailed || d.NextAt.IsZero() {
				return now, d.Kind == Mailed
			}
			now = d.NextAt
		}
		t.Fatalf("no end, at %s", now)
		return now, false
	}
	rapid.Check(t, func(t *rapid.T) {
		c, rules, now := somebody(t)
		answers := drawAnswers(t, Allowed, Allowed, Denied)
		if len(c.Items) == 0 {
			return
		}
		fewer := c
		fewer.Items = slices.Clone(c.Items[:rapid.IntRange(0, len(c.Items)-1).Draw(t, "fewer")])
		less, some := Plan(fewer, rules, now), Plan(c, rules, now)
		if less.Kind != Nothing && some.Due.After(less.Due) {
			t.Fatalf("due %s, and with more items %s", less.Due, some.Due)
		}
		at, ever := firstMail(t, fewer, rules, now, answers)
		if !ever {
			return
		}
		if with, ever := firstMail(t, c, rules, now, answers); !ever || with.After(at) {
			t.Fatalf("mailed at %s, and with more items at %s (%v)", at, with, ever)
		}
	})
}

func TestTheSameIsDecidedInWhateverOrderThingsAreGiven(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c, rules, now := somebody(t)
		access := rapid.SampledFrom([]Access{Allowed, Denied, NotAsked, Unknown})
		for i := range c.Items {
			c.Items[i].Access = access.Draw(t, "access")
		}
		given := c
		given.Items, given.Sent = slices.Clone(c.Items), slices.Clone(c.Sent)
		ignoreZone := cmpopts.IgnoreFields(Decision{}, "Zone")
		first, second := Plan(c, rules, now), Plan(c, rules, now)
		if diff := cmp.Diff(first, second, ignoreZone); diff != "" {
			t.Fatalf("decided differently the second time (-first +second):\n%s", diff)
		}
		if diff := cmp.Diff(given, c); diff != "" {
			t.Fatalf("changed its argument (-before +after):\n%s", diff)
		}
		if len(c.Items) > 0 {
			c.Items = rapid.Permutation(c.Items).Draw(t, "items in another order")
		}
		if len(c.Sent) > 0 {
			c.Sent = rapid.Permutation(c.Sent).Draw(t, "sent in another order")
		}
		if diff := cmp.Diff(first, Plan(c, rules, now), ignoreZone); diff != "" {
			t.Fatalf("another order is decided differently (-one +other):\n%s", diff)
		}
	})
}
