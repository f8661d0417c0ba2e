package digest

import (
	"math"
	"testing"
	"time"
)

func TestActiveUsersMailIsPostponed(t *testing.T) {
	t.Parallel()
	active := func(clock string) func(*Candidate) { return func(c *Candidate) { c.ActiveAt = berlin(clock) } }
	want(t, ann(active("2026-01-05 12:57")), "2026-01-05 13:00", "postponed until 2026-01-05 13:02")
	want(t, ann(active("2026-01-05 12:57")), "2026-01-05 13:02", "mailed")
	want(t, ann(active("2026-01-05 12:55")), "2026-01-05 13:00", "mailed")
	// A clock that is ahead is as good as now.
	want(t, ann(active("2027-01-01 00:00")), "2026-01-05 13:00", "postponed until 2026-01-05 13:05")
	wantBy(t, ann(active("2026-01-05 12:57")), Rules{ActiveWindow: -1}, "2026-01-05 13:00", "mailed")
	wantBy(t, ann(active("2026-01-05 12:57")), Rules{ActiveWindow: time.Hour}, "2026-01-05 13:00", "postponed until 2026-01-05 13:57")
}

func TestPostponingEndsAnHourAfterItWasDue(t *testing.T) {
	t.Parallel()
	c, now := ann(), berlin("2026-01-05 13:00")
	looks := 0
	for {
		c.ActiveAt = now.Add(-time.Minute) // always
		d := Plan(c, Rules{}, now)
		if d.Kind == Mailed {
			break
		}
		if d.Kind != Postponed || !d.NextAt.After(now) || d.NextAt.After(berlin("2026-01-05 14:00")) {
			t.Fatalf("at %s: %+v", now, d)
		}
		now = d.NextAt
		looks++
	}
	if !now.Equal(berlin("2026-01-05 14:00")) || looks != 15 {
		t.Errorf("mailed at %s after %d looks, want 14:00 and 15", now, looks)
	}
}

func TestPostponingBeginsAnewWhenQuietHoursEnd(t *testing.T) {
	t.Parallel()
	// Due at 23:00, free to go at 07:00, when the user looks at last night's messages.
	c := ann(func(c *Candidate) {
		c.Items[0].CreatedAt = berlin("2026-01-05 19:00")
		c.Quiet = &Quiet{From: clock(22, 0), To: clock(7, 0)}
		c.ActiveAt = berlin("2026-01-06 06:58")
	})
	want(t, c, "2026-01-06 07:00", "postponed until 2026-01-06 07:03")
	c.ActiveAt = berlin("2026-01-06 07:58")
	want(t, c, "2026-01-06 07:59", "postponed until 2026-01-06 08:00")
	want(t, c, "2026-01-06 08:00", "mailed")
	// The same after a vacation, that ends in quiet hours.
	c.VacationUntil, c.ActiveAt = berlin("2026-01-12 00:00"), berlin("2026-01-12 07:10")
	want(t, c, "2026-01-12 07:11", "postponed until 2026-01-12 07:15")
}

func TestQuietHoursMoveMailToTheirEnd(t *testing.T) {
	t.Parallel()
	night := func(c *Candidate) { c.Quiet = &Quiet{From: clock(22, 0), To: clock(7, 0)} }
	late := ann(night, func(c *Candidate) { c.Items[0].CreatedAt = berlin("2026-01-05 18:00") })
	want(t, late, "2026-01-05 22:00", "quiet until 2026-01-06 07:00")
	want(t, late, "2026-01-06 06:59", "quiet until 2026-01-06 07:00")
	want(t, late, "2026-01-06 07:00", "mailed")
	noon := func(c *Candidate) { c.Quiet = &Quiet{From: clock(12, 0), To: clock(13, 30)} }
	want(t, ann(noon), "2026-01-05 13:00", "quiet until 2026-01-05 13:30")
	same := func(c *Candidate) { c.Quiet = &Quiet{From: clock(13, 0), To: clock(13, 0)} }
	want(t, ann(same), "2026-01-05 13:00", "mailed")
}

func TestQuietHoursHoldInTheUsersZone(t *testing.T) {
	t.Parallel()
	// 13:00 in Berlin is 23:00 on Lord Howe in January, where 07:00 is 21:00 of Berlin's day before; in July it is half an hour's
	// difference to standard time: 21:30, 22:00 being 13:30 in Berlin.
	lordHowe := func(created string) Candidate {
		return ann(func(c *Candidate) {
			c.Zones = []string{"Australia/Lord_Howe"}
			c.Quiet = &Quiet{From: clock(22, 0), To: clock(7, 0)}
			c.Items[0].CreatedAt = berlin(created)
		})
	}
	want(t, lordHowe("2026-01-05 09:00"), "2026-01-05 13:00", "quiet until 2026-01-05 21:00")
	want(t, lordHowe("2026-07-05 09:00"), "2026-07-05 13:29", "mailed")
	want(t, lordHowe("2026-07-05 09:00"), "2026-07-05 13:30", "quiet until 2026-07-05 22:30")
}

func TestQuietHoursOnTheNightOfAClockChange(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ from, to, now, end string }{
		{"22:00", "07:00", "2026-03-28 23:00", "2026-03-29 07:00"}, // eight hours, not nine
		{"22:00", "07:00", "2026-10-24 23:00", "2026-10-25 07:00"}, // ten
		{"22:00", "02:30", "2026-03-28 23:00", "2026-03-29 03:00"}, // as the gap ends
		{"22:00", "02:30", "2026-10-24 23:00", "2026-10-25 02:30"}, // the first of the two
		{"02:30", "07:00", "2026-03-29 03:00", "2026-03-29 07:00"}, // begins as the gap ends
	} {
		user := ann(func(u *Candidate) {
			u.Items[0].CreatedAt = berlin(c.now).Add(-5 * time.Hour)
			u.Quiet = &Quiet{From: parseClock(t, c.from), To: parseClock(t, c.to)}
		})
		d := want(t, user, c.now, "quiet until "+c.end)
		if !d.NextAt.Equal(berlin(c.end)) {
			t.Errorf("from %s to %s: not the first %s", c.from, c.to, c.end)
		}
	}
}

func TestVacationMovesMailToItsEnd(t *testing.T) {
	t.Parallel()
	away := func(c *Candidate) { c.VacationUntil = berlin("2026-01-12 00:00") }
	want(t, ann(away), "2026-01-05 13:00", "vacation until 2026-01-12 00:00")
	want(t, ann(away), "2026-01-11 23:59", "vacation until 2026-01-12 00:00")
	want(t, ann(away), "2026-01-12 00:00", "mailed")
	// Before quiet hours, which are looked at when it is over.
	night := func(c *Candidate) { c.Quiet = &Quiet{From: clock(22, 0), To: clock(7, 0)} }
	want(t, ann(away, night), "2026-01-11 23:00", "vacation until 2026-01-12 00:00")
	want(t, ann(away, night), "2026-01-12 00:00", "quiet until 2026-01-12 07:00")
}

func TestQuietHoursAndVacationHoldForAtOnceToo(t *testing.T) {
	t.Parallel()
	atOnce := prefers("", Preference{Mode: AtOnce})
	want(t, ann(atOnce, func(c *Candidate) { c.Quiet = &Quiet{From: clock(8, 0), To: clock(10, 0)} }),
		"2026-01-05 09:00", "quiet until 2026-01-05 10:00")
	want(t, ann(atOnce, func(c *Candidate) { c.VacationUntil = berlin("2026-01-12 00:00") }),
		"2026-01-05 09:00", "vacation until 2026-01-12 00:00")
}

func TestDailyCapHoldsForAnyTwentyFourHours(t *testing.T) {
	t.Parallel()
	c := ann(sent("2026-01-05 12:00", "2026-01-04 13:30", "2026-01-05 11:00"))
	three := Rules{DailyCap: 3}
	wantBy(t, c, three, "2026-01-05 13:00", "capped until 2026-01-05 13:30")
	wantBy(t, c, three, "2026-01-05 13:30", "mailed")
	wantBy(t, c, Rules{DailyCap: 4}, "2026-01-05 13:00", "mailed")
	// A cap that was lowered: more than one has to leave.
	wantBy(t, c, Rules{DailyCap: 1}, "2026-01-05 13:00", "capped until 2026-01-06 12:00")
	wantBy(t, c, Rules{DailyCap: -1}, "2026-01-05 13:00", "mailed")
	// A day of a clock change has 23 or 25 hours, the cap's day 24.
	spring := ann(sent("2026-03-28 12:00"), func(c *Candidate) { c.Items[0].CreatedAt = berlin("2026-03-28 20:00") })
	wantBy(t, spring, Rules{DailyCap: 1}, "2026-03-29 12:30", "capped until 2026-03-29 13:00")
	// Ten by default.
	for range 7 {
		sent("2026-01-05 12:30")(&c)
	}
	want(t, c, "2026-01-05 13:00", "capped until 2026-01-05 13:30")
	c.Sent = c.Sent[1:]
	want(t, c, "2026-01-05 13:00", "mailed")
}

func TestUserWithoutAnAddressIsLookedAtAgainInADay(t *testing.T) {
	t.Parallel()
	c := ann(func(c *Candidate) { c.Email = "" })
	want(t, c, "2026-01-05 12:00", "waiting until 2026-01-05 13:00")
	want(t, c, "2026-01-05 13:00", "no_address until 2026-01-06 13:00")
	// Until nothing is left to mail.
	want(t, c, "2036-02-04 13:01", "no_address until 2036-02-05 13:01")
	wantBy(t, c, Rules{MaxAge: 30 * oneDay}, "2026-02-04 13:01", "nothing")
}

func TestMalformedAddressIsLookedAtAgainInADay(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"ann", "ann@", "Ann <ann@example.org>", "ann@example.org\nBcc: x@y.org", " ann@example.org"} {
		want(t, ann(func(c *Candidate) { c.Email = address }), "2026-01-05 13:00", "bad_address until 2026-01-06 13:00")
	}
}

func TestAddressThatRefusedThreeMailsGetsNoneUntilEnoughIsForgotten(t *testing.T) {
	t.Parallel()
	refused := func(bounces float64, at string) func(*Candidate) {
		return func(c *Candidate) { c.Bounces, c.BouncedAt = bounces, berlin(at) }
	}
	want(t, ann(refused(2.99, "2026-01-05 12:00")), "2026-01-05 13:00", "mailed")
	want(t, ann(refused(3, "2026-01-05 13:00")), "2026-01-05 13:00", "bouncing until 2026-01-05 13:00") // and a second
	want(t, ann(refused(6, "2025-12-01 13:00")), "2026-01-05 13:00", "mailed")
	// Half is forgotten in 30 days, so 6 are 3 on the 10th: looked at daily until then, and then.
	six := ann(refused(6, "2025-12-11 18:00"))
	want(t, six, "2026-01-05 13:00", "bouncing until 2026-01-06 13:00")
	want(t, six, "2026-01-10 13:00", "bouncing until 2026-01-10 18:00")
	want(t, six, "2026-01-10 18:01", "mailed")
	wantBy(t, six, Rules{BounceLimit: 5}, "2026-01-05 13:00", "mailed")
	// What a table of doubles can hold.
	want(t, ann(refused(math.Inf(1), "2026-01-01 00:00")), "2026-01-05 13:00", "bouncing until 2026-01-06 13:00")
	want(t, ann(refused(math.NaN(), "2026-01-01 00:00")), "2026-01-05 13:00", "mailed")
	want(t, ann(refused(4, "2027-01-01 00:00")), "2026-01-05 13:00", "bouncing until 2026-01-06 13:00")
	want(t, ann(func(c *Candidate) { c.Bounces = 4 }), "2026-01-05 13:00", "bouncing until 2026-01-06 13:00")
}
