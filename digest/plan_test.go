package digest

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// want checks what is decided about a user at a moment in Berlin, as "kind" or "kind until 2006-01-02 15:04".
func want(t *testing.T, c Candidate, now, decision string) Decision {
	t.Helper()
	return wantBy(t, c, Rules{}, now, decision)
}

func wantBy(t *testing.T, c Candidate, rules Rules, now, decision string) Decision {
	t.Helper()
	d := Plan(c, rules, berlin(now))
	got := string(d.Kind)
	if !d.NextAt.IsZero() {
		got += " until " + d.NextAt.In(berlin(now).Location()).Format(minuteFormat)
	}
	if got != decision {
		t.Errorf("at %s: %s (%s), want %s", now, got, d.Reason, decision)
	}
	return d
}

func wantItems(t *testing.T, d Decision, ids ...int64) {
	t.Helper()
	if diff := cmp.Diff(ids, d.Items); diff != "" {
		t.Errorf("items (-want +got):\n%s", diff)
	}
}

func wantLeft(t *testing.T, d Decision, left ...Left) {
	t.Helper()
	if diff := cmp.Diff(left, d.Left); diff != "" {
		t.Errorf("left out (-want +got):\n%s", diff)
	}
}

// When an item is due.

func TestItemIsDueAfterFourHoursByDefault(t *testing.T) {
	t.Parallel()
	want(t, ann(), "2026-01-05 12:59", "waiting until 2026-01-05 13:00")
	wantItems(t, want(t, ann(), "2026-01-05 13:00", "mailed"), 1)
}

func TestPreferenceForTheKindComesBeforeTheOneForAllThenTheKindsDelay(t *testing.T) {
	t.Parallel()
	kindDelay := func(c *Candidate) {
		delay := 3 * time.Hour
		c.Items[0].KindDelay = &delay
	}
	want(t, ann(kindDelay), "2026-01-05 09:01", "waiting until 2026-01-05 12:00")
	want(t, ann(kindDelay, prefers("", after(2*time.Hour))), "2026-01-05 09:01", "waiting until 2026-01-05 11:00")
	want(t, ann(kindDelay, prefers("", after(2*time.Hour)), prefers("mention", after(time.Hour))),
		"2026-01-05 09:01", "waiting until 2026-01-05 10:00")
	// What is preferred for another kind is nothing to this one.
	want(t, ann(kindDelay, prefers("news", Preference{Mode: NeverMail})), "2026-01-05 09:01", "waiting until 2026-01-05 12:00")
}

func TestAtOnceIsDueWhenItIsCreated(t *testing.T) {
	t.Parallel()
	wantItems(t, want(t, ann(prefers("", Preference{Mode: AtOnce})), "2026-01-05 09:00", "mailed"), 1)
}

func TestDailyIsDueAtItsHourInTheUsersZone(t *testing.T) {
	t.Parallel()
	want(t, ann(prefers("", daily(18, 0))), "2026-01-05 09:00", "waiting until 2026-01-05 18:00")
	want(t, ann(prefers("", daily(8, 0))), "2026-01-05 09:00", "waiting until 2026-01-06 08:00")
	// 09:00 in Berlin is 03:00 in New York, whose 08:00 is 14:00 in Berlin.
	newYork := func(c *Candidate) { c.Zones = []string{"America/New_York", "Europe/Berlin"} }
	want(t, ann(newYork, prefers("", daily(8, 0))), "2026-01-05 09:00", "waiting until 2026-01-05 14:00")
	// Three weeks a year it is 13:00, as clocks change earlier there.
	want(t, ann(newYork, prefers("", daily(8, 0)), func(c *Candidate) { c.Items[0].CreatedAt = berlin("2026-03-10 06:00") }),
		"2026-03-10 06:00", "waiting until 2026-03-10 13:00")
}

func TestDailyIsDueOnTheDayOfAClockChange(t *testing.T) {
	t.Parallel()
	created := func(clock string) func(*Candidate) {
		return func(c *Candidate) { c.Items[0].CreatedAt = berlin(clock) }
	}
	// 02:30 doesn't exist on 29 March: 03:00 is the first instant after the gap. It exists twice on 25 October.
	want(t, ann(prefers("", daily(2, 30)), created("2026-03-28 12:00")), "2026-03-28 12:00", "waiting until 2026-03-29 03:00")
	d := want(t, ann(prefers("", daily(2, 30)), created("2026-10-24 12:00")), "2026-10-24 12:00", "waiting until 2026-10-25 02:30")
	if !strings.Contains(d.Reason, "Sun 25 Oct 2026 02:30 CEST") {
		t.Errorf("not the first of the two: %s", d.Reason)
	}
	// What comes between the two is for the next day.
	between := func(c *Candidate) { c.Items[0].CreatedAt = berlin("2026-10-25 02:30").Add(30 * time.Minute) }
	want(t, ann(prefers("", daily(2, 30)), between), "2026-10-25 04:00", "waiting until 2026-10-26 02:30")
}

func TestNeverIsNotMailed(t *testing.T) {
	t.Parallel()
	never := Preference{Mode: NeverMail}
	wantLeft(t, want(t, ann(prefers("", never)), "2026-01-05 13:00", "nothing"), Left{1, Never})
	wantLeft(t, want(t, ann(prefers("mention", never)), "2026-01-05 13:00", "nothing"), Left{1, Never})
	// Not even along with others.
	d := want(t, ann(also("news", "", "2026-01-05 10:00"), prefers("news", never)), "2026-01-05 13:00", "mailed")
	wantItems(t, d, 1)
	wantLeft(t, d, Left{2, Never})
}

func TestPreferenceThatMakesNoSenseCountsAsNone(t *testing.T) {
	t.Parallel()
	for _, p := range []Preference{{}, {Mode: "weekly"}, {Mode: After}, {Mode: Daily}} {
		d := want(t, ann(prefers("mention", p), prefers("", after(2*time.Hour))), "2026-01-05 09:01", "waiting until 2026-01-05 11:00")
		if !strings.Contains(d.Reason, `preference for kind "mention" isn't understood`) {
			t.Errorf("nothing is said of %v: %s", p, d.Reason)
		}
		want(t, ann(prefers("", p)), "2026-01-05 09:01", "waiting until 2026-01-05 13:00")
	}
	want(t, ann(prefers("", after(-time.Hour))), "2026-01-05 09:00", "mailed")
}

func TestZoneThatIsNotKnownIsSkippedAndSaid(t *testing.T) {
	t.Parallel()
	d := want(t, ann(prefers("", daily(18, 0)), func(c *Candidate) { c.Zones = []string{"Mars/Olympus", "Asia/Kolkata"} }),
		"2026-01-05 09:00", "waiting until 2026-01-05 13:30")
	if d.Zone.String() != "Asia/Kolkata" || !strings.Contains(d.Reason, `Time zone "Mars/Olympus" isn't known, so Asia/Kolkata is used.`) {
		t.Errorf("in %s: %s", d.Zone, d.Reason)
	}
}

// What joins.

func TestUserIsDueWhenTheFirstItemIsAndOthersJoin(t *testing.T) {
	t.Parallel()
	c := ann(also("mention", "", "2026-01-05 12:30"), also("news", "", "2026-01-05 12:59"), prefers("news", after(48*time.Hour)))
	want(t, c, "2026-01-05 12:59", "waiting until 2026-01-05 13:00")
	d := want(t, c, "2026-01-05 13:00", "mailed")
	wantItems(t, d, 1, 2, 3)
	if !d.Due.Equal(berlin("2026-01-05 13:00")) {
		t.Errorf("due %s", d.Due)
	}
}

func TestDailyItemsJoinOnlyOnceTheirOwnHourHasCome(t *testing.T) {
	t.Parallel()
	c := ann(also("news", "", "2026-01-05 08:59"), also("news", "", "2026-01-04 17:59"), prefers("news", daily(18, 0)))
	// The third was due yesterday; the second waits for this evening.
	d := want(t, c, "2026-01-05 13:00", "mailed until 2026-01-05 18:00")
	wantItems(t, d, 1, 3)
	wantLeft(t, d, Left{2, OwnHour})
	// Of several hours the next one.
	want(t, ann(also("news", "", "2026-01-05 08:59"), also("report", "", "2026-01-05 08:59"), prefers("news", daily(18, 0)),
		prefers("report", daily(17, 0))), "2026-01-05 13:00", "mailed until 2026-01-05 17:00")
	want(t, ann(also("news", "", "2026-01-05 08:59"), also("report", "", "2026-01-05 08:59"), prefers("news", daily(17, 0)),
		prefers("report", daily(18, 0))), "2026-01-05 13:00", "mailed until 2026-01-05 17:00")
	// At their hour all others join, due or not.
	c.Items[0].CreatedAt = berlin("2026-01-05 17:30")
	c.Items[2].CreatedAt = berlin("2026-01-05 18:00")
	d = want(t, c, "2026-01-05 18:00", "mailed until 2026-01-06 18:00")
	wantItems(t, d, 1, 2)
	wantLeft(t, d, Left{3, OwnHour})
}

func TestLaterArrivalsDontMakeItLater(t *testing.T) {
	t.Parallel()
	c := ann()
	for minute := range 59 {
		also("mention", "", fmt.Sprintf("2026-01-05 12:%02d", minute))(&c)
		want(t, c, "2026-01-05 12:59", "waiting until 2026-01-05 13:00")
	}
	want(t, c, "2026-01-05 13:00", "mailed")
}

func TestMutedGroupsAreLeftOut(t *testing.T) {
	t.Parallel()
	mute := func(c *Candidate) { c.Muted = map[string]bool{"project:7": true, "project:9": false} }
	c := ann(mute, also("mention", "project:7", "2026-01-05 08:00"), also("mention", "project:8", "2026-01-05 10:00"),
		also("mention", "project:9", "2026-01-05 10:00"))
	// The muted one, although it is older, isn't waited for either.
	want(t, c, "2026-01-05 12:30", "waiting until 2026-01-05 13:00")
	d := want(t, c, "2026-01-05 13:00", "mailed")
	wantItems(t, d, 1, 3, 4)
	wantLeft(t, d, Left{2, Muted})
}

func TestExpiredItemsAreLeftOut(t *testing.T) {
	t.Parallel()
	c := ann(func(c *Candidate) { c.Items[0].ExpiresAt = berlin("2026-01-05 13:00") })
	want(t, c, "2026-01-05 12:59", "waiting until 2026-01-05 13:00")
	wantLeft(t, want(t, c, "2026-01-05 13:00", "nothing"), Left{1, Expired})
}

func TestItemsThatShouldHaveBeenMailedLongAgoAreUnlessRulesSayOtherwise(t *testing.T) {
	t.Parallel()
	month := Rules{MaxAge: 30 * oneDay}
	wantBy(t, ann(), month, "2026-02-04 13:00", "mailed")
	wantLeft(t, wantBy(t, ann(), month, "2026-02-04 13:01", "nothing"), Left{1, TooOld})
	wantBy(t, ann(), Rules{MaxAge: time.Hour}, "2026-01-05 14:01", "nothing")
	want(t, ann(), "2036-01-05 14:01", "mailed")
}

func TestTheLongestDelayIsNotTooOldOnceItIsDue(t *testing.T) {
	t.Parallel()
	want(t, ann(prefers("", after(30*24*time.Hour))), "2026-02-04 09:05", "mailed")
}

func TestItemsFromLaterThanTheMomentAreWaitedFor(t *testing.T) {
	t.Parallel()
	c := ann(also("mention", "", "2026-01-05 13:01"))
	d := want(t, c, "2026-01-05 13:00", "mailed until 2026-01-05 17:01")
	wantItems(t, d, 1)
	wantLeft(t, d, Left{2, NotYet})
	want(t, ann(prefers("", Preference{Mode: AtOnce})), "2026-01-05 08:00", "waiting until 2026-01-05 09:00")
}

func TestWhatHasNoRoomInOneMailFollowsInAnother(t *testing.T) {
	t.Parallel()
	c := ann(also("mention", "", "2026-01-05 09:01"), also("mention", "", "2026-01-05 09:02"))
	slices.Reverse(c.Items) // however they are given
	d := wantBy(t, c, Rules{MostItems: 2}, "2026-01-05 13:00", "mailed until 2026-01-05 13:01")
	wantItems(t, d, 1, 2)
	wantLeft(t, d, Left{3, NextMail})
}

// What stands in the way.

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
	for _, address := range []string{"ann", "ann@", "Ann <ann@example.org>", "ann@example.org\nBcc: x@example.org", " ann@example.org"} {
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

// Who may see it.

func TestNothingIsMailedUnaskedWhereAKindAsks(t *testing.T) {
	t.Parallel()
	c := ann(also("comment", "project:7", "2026-01-05 09:00"), also("comment", "project:7", "2026-01-05 09:10"),
		also("answer", "project:7", "2026-01-05 09:20"), also("comment", "project:8", "2026-01-05 09:30"),
		also("comment", "project:9", "2026-01-05 09:30"), also("comment", "project:10", "2026-01-05 09:30"),
		asks(1, NotAsked), asks(2, NotAsked), asks(3, NotAsked), asks(4, NotAsked), asks(5, Allowed), asks(6, NotAsked),
		func(c *Candidate) { c.Muted = map[string]bool{"project:10": true} })
	// Only if it were mailed now, and only what might be.
	want(t, c, "2026-01-05 12:00", "waiting until 2026-01-05 13:00")
	d := want(t, c, "2026-01-05 13:00", "ask")
	if diff := cmp.Diff([]Question{{"answer", "project:7"}, {"comment", "project:7"}, {"comment", "project:8"}}, d.Ask); diff != "" {
		t.Errorf("questions (-want +got):\n%s", diff)
	}
	asks(1, Allowed)(&c)
	asks(2, Allowed)(&c)
	asks(3, Denied)(&c)
	asks(4, Allowed)(&c)
	d = want(t, c, "2026-01-05 13:00", "mailed")
	wantItems(t, d, 1, 2, 3, 5, 6)
	wantLeft(t, d, Left{4, NoMember}, Left{7, Muted})
}

func TestWhoMayNoLongerSeeTheOnlyItemGetsNoMail(t *testing.T) {
	t.Parallel()
	d := want(t, ann(also("comment", "project:7", "2026-01-05 08:00"), asks(1, Denied)), "2026-01-05 12:00", "waiting until 2026-01-05 13:00")
	wantLeft(t, d, Left{2, NoMember})
	want(t, ann(asks(0, Denied)), "2026-01-05 13:00", "nothing")
}

func TestAnswerThatCantBeHadHoldsEverythingBackLongerEachTime(t *testing.T) {
	t.Parallel()
	for _, access := range []Access{Unknown, "perhaps"} {
		c := ann(also("comment", "project:7", "2026-01-05 09:00"), also("comment", "project:8", "2026-01-05 09:00"),
			asks(1, access), asks(2, NotAsked))
		now := berlin("2026-01-05 13:00")
		most := time.Minute
		for c.Unknowns = range 40 {
			d := Plan(c, Rules{}, now)
			wait := d.NextAt.Sub(now)
			if d.Kind != MembershipUnknown || len(d.Items) > 0 || wait <= most/2-time.Millisecond || wait > most {
				t.Fatalf("look %d: %s for %s with items %v, want a wait of %s to %s", c.Unknowns, d.Kind, wait, d.Items, most/2, most)
			}
			now, most = d.NextAt, min(2*most, time.Hour)
		}
	}
	// Users don't all ask in the same second.
	waits := map[time.Time]bool{}
	for user := range 100 {
		c := ann(asks(0, Unknown))
		c.UserID = fmt.Sprint(user)
		waits[Plan(c, Rules{}, berlin("2026-01-05 13:00")).NextAt] = true
	}
	if len(waits) < 95 {
		t.Errorf("100 users look again at %d moments", len(waits))
	}
}

func TestAnItemThatWaitsForItsOwnHourIsNotAskedFor(t *testing.T) {
	t.Parallel()
	c := ann(also("news", "project:7", "2026-01-05 09:00"), prefers("news", daily(18, 0)), asks(1, Unknown))
	wantItems(t, want(t, c, "2026-01-05 13:00", "mailed until 2026-01-05 18:00"), 1)
}

// Rules of a site.

func TestRulesThatMakeNoSenseAreRefused(t *testing.T) {
	t.Parallel()
	if err := (Rules{}).Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	if err := (Rules{ActiveWindow: -1, DailyCap: -1}).Validate(); err != nil {
		t.Errorf("switched off: %v", err)
	}
	for _, c := range []struct {
		rules Rules
		text  string
	}{
		{Rules{ActiveWindow: 2 * time.Hour}, "Rules.ActiveWindow is 2h. Choose between 1s and 1h, or 0 for the default, or a negative one for no such rule"},
		{Rules{ActiveWindow: time.Millisecond}, "Rules.ActiveWindow is 1ms. Choose between 1s and 1h, or 0 for the default, or a negative one for no such rule"},
		{Rules{MaxPostpone: -1}, "Rules.MaxPostpone is -1ns. Choose between 1s and 24h, or 0 for the default"},
		{Rules{MaxAge: time.Minute}, "Rules.MaxAge is 1m. Choose between 1h and 400 days, or 0 for the default"},
		{Rules{DailyCap: 1001}, "Rules.DailyCap is 1001. Choose between 1 and 1000, or 0 for the default, or a negative one for no such rule"},
		{Rules{BounceLimit: math.NaN()}, "Rules.BounceLimit is NaN. Choose between 0.5 and 100, or 0 for the default"},
		{Rules{BounceLimit: -1}, "Rules.BounceLimit is -1. Choose between 0.5 and 100, or 0 for the default"},
		{Rules{MostItems: 100_001}, "Rules.MostItems is 100001. Choose between 1 and 100000, or 0 for the default"},
		{Rules{MostItems: -1}, "Rules.MostItems is -1. Choose between 1 and 100000, or 0 for the default"},
	} {
		if err := c.rules.Validate(); err == nil || err.Error() != c.text {
			t.Errorf("%+v: %v, want %s", c.rules, err, c.text)
		}
	}
}
