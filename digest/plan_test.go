package digest

import (
	"fmt"
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
	// Not a moment earlier.
	if d := Plan(ann(), Rules{}, berlin("2026-01-05 13:00").Add(-time.Nanosecond)); d.Kind != Waiting {
		t.Errorf("a nanosecond early: %s", d.Kind)
	}
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
}

func TestDelayBelowNothingIsNone(t *testing.T) {
	t.Parallel()
	negative := -time.Hour
	for _, c := range []Candidate{ann(prefers("", after(negative))), ann(func(c *Candidate) { c.Items[0].KindDelay = &negative })} {
		want(t, c, "2026-01-05 08:30", "waiting until 2026-01-05 09:00")
		want(t, c, "2026-01-05 09:00", "mailed")
	}
}

func TestZoneThatIsNotKnownIsSkippedAndSaid(t *testing.T) {
	t.Parallel()
	d := want(t, ann(prefers("", daily(18, 0)), func(c *Candidate) { c.Zones = []string{"Mars/Olympus", "Asia/Kolkata"} }),
		"2026-01-05 09:00", "waiting until 2026-01-05 13:30")
	if d.Zone.String() != "Asia/Kolkata" ||
		!strings.Contains(d.Reason, `Time zone "Mars/Olympus" isn't known, so Asia/Kolkata is used.`) {
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
	c := ann(also("comment", "project:7", "2026-01-05 08:00"), asks(1, Denied))
	d := want(t, c, "2026-01-05 12:00", "waiting until 2026-01-05 13:00")
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
