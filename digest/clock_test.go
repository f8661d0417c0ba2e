package digest

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// A clockChange is how clocks of a zone were changed: what they showed in the minute before, and in the one after.
type clockChange struct{ zone, before, after string }

// Whole minutes all of them: the watcher below looks once a minute.
var clockChanges = []clockChange{
	{"Africa/Cairo", "2024-04-25 23:59", "2024-04-26 01:00"},
	{"Africa/Cairo", "2024-10-31 23:59", "2024-10-31 23:00"},
	{"Africa/Casablanca", "2026-02-15 02:59", "2026-02-15 02:00"},
	{"Africa/Casablanca", "2026-03-22 01:59", "2026-03-22 03:00"},
	{"America/Caracas", "2016-05-01 02:29", "2016-05-01 03:00"},
	{"America/Havana", "2026-03-07 23:59", "2026-03-08 01:00"},
	{"America/New_York", "2026-03-08 01:59", "2026-03-08 03:00"},
	{"America/New_York", "2026-11-01 01:59", "2026-11-01 01:00"},
	{"America/Nuuk", "2024-03-30 22:59", "2024-03-31 00:00"},
	{"America/Nuuk", "2024-10-26 23:59", "2024-10-26 23:00"},
	{"America/Sao_Paulo", "2017-10-14 23:59", "2017-10-15 01:00"},
	{"America/Sao_Paulo", "2018-02-17 23:59", "2018-02-17 23:00"},
	{"America/St_Johns", "2010-03-14 00:00", "2010-03-14 01:01"},
	{"America/St_Johns", "2010-11-07 00:00", "2010-11-06 23:01"},
	{"Antarctica/Casey", "2023-03-09 02:59", "2023-03-09 00:00"},
	{"Antarctica/Troll", "2026-03-29 00:59", "2026-03-29 03:00"},
	{"Antarctica/Troll", "2026-10-25 02:59", "2026-10-25 01:00"},
	{"Asia/Beirut", "2026-03-28 23:59", "2026-03-29 01:00"},
	{"Asia/Kathmandu", "1985-12-31 23:59", "1986-01-01 00:15"},
	{"Asia/Pyongyang", "2015-08-14 23:59", "2015-08-14 23:30"},
	{"Asia/Pyongyang", "2018-05-04 23:29", "2018-05-05 00:00"},
	{"Australia/Lord_Howe", "2026-04-05 01:59", "2026-04-05 01:30"},
	{"Australia/Lord_Howe", "2026-10-04 01:59", "2026-10-04 02:30"},
	{"Europe/Berlin", "2026-03-29 01:59", "2026-03-29 03:00"},
	{"Europe/Berlin", "2026-10-25 02:59", "2026-10-25 02:00"},
	{"Pacific/Apia", "2011-12-29 23:59", "2011-12-31 00:00"},
	{"Pacific/Chatham", "2026-09-27 02:44", "2026-09-27 03:45"},
	{"Pacific/Kwajalein", "1993-08-20 23:59", "1993-08-22 00:00"},
	{"Asia/Kolkata", "2026-03-29 01:59", "2026-03-29 02:00"}, // never
}

// days returns the middle of the days around a change.
func (c clockChange) days(t testingT) (zone *time.Location, day time.Time) {
	day, err := time.Parse(minuteFormat, c.before)
	if err != nil {
		t.Fatal(err)
	}
	return loadTestZone(t, c.zone), day
}

func TestClocksWereChangedAsTheseTestsSay(t *testing.T) {
	t.Parallel()
	for _, change := range clockChanges {
		zone, day := change.days(t)
		found := false
		for at := day.AddDate(0, 0, -1); at.Before(day.AddDate(0, 0, 2)); at = at.Add(time.Minute) {
			before, after := at.In(zone).Format(minuteFormat), at.Add(time.Minute).In(zone).Format(minuteFormat)
			found = found || before == change.before && after == change.after
		}
		if !found {
			t.Errorf("clocks of %s never went from %s to %s", change.zone, change.before, change.after)
		}
	}
}

var clocks = []string{
	"00:00", "00:01", "00:30", "01:00", "01:30", "01:45", "02:00", "02:15", "02:30", "03:00", "03:15", "04:00", "12:00", "22:45",
	"23:00", "23:15", "23:30", "23:59",
}

// testingT is what *testing.T and *rapid.T have in common here.
type testingT interface {
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

func parseClock(t testingT, text string) Clock {
	at, err := time.Parse("15:04", text)
	if err != nil {
		t.Fatal(err)
	}
	return Clock(at.Sub(dayOf(at)))
}

func loadTestZone(t testingT, name string) *time.Location {
	zone, ok := loadZone(name)
	if !ok {
		t.Fatalf("zone %s isn't known", name)
	}
	return zone
}

// A watch is what somebody wrote down who looked at a clock each minute, and calculated nothing. For each minute it is the latest
// that the clock has shown until then, such as 2026-03-29 03:00: so a time has come once it was shown or jumped over, and doesn't
// come a second time.
type watch struct {
	begin  time.Time
	latest []string
	dates  map[string]bool // that were shown
}

const minuteFormat = "2006-01-02 15:04"

func watchClock(begin, end time.Time, zone *time.Location) watch {
	w := watch{begin: begin, dates: map[string]bool{}}
	latest := ""
	for t := begin; t.Before(end); t = t.Add(time.Minute) {
		shown := t.In(zone).Format(minuteFormat)
		latest = max(latest, shown)
		w.latest = append(w.latest, latest)
		w.dates[shown[:10]] = true
	}
	return w
}

func (w watch) minute(i int) time.Time { return w.begin.Add(time.Duration(i) * time.Minute) }

// quiet tells whether a minute is in quiet hours.
func (w watch) quiet(i int, from, to string) bool {
	shown := w.latest[i][11:]
	if from < to {
		return from <= shown && shown < to
	}
	return from != to && (from <= shown || shown < to)
}

// daily lists the minutes after the first at which an hour came, once for each date that was shown.
func (w watch) daily(at string) []time.Time {
	var hours []time.Time
	for i := 1; i < len(w.latest); i++ {
		before, now := w.latest[i-1], w.latest[i]
		came := false
		// Mostly one date to look at; more where some were jumped over.
		for date := before[:10]; date <= now[:10]; date = nextDate(date) {
			came = came || w.dates[date] && before < date+" "+at && date+" "+at <= now
		}
		if came {
			hours = append(hours, w.minute(i))
		}
	}
	return hours
}

func nextDate(date string) string {
	day, err := time.Parse(time.DateOnly, date)
	if err != nil {
		panic(err)
	}
	return day.AddDate(0, 0, 1).Format(time.DateOnly)
}

// dailyUntil lists what nextDaily says of a stretch.
func dailyUntil(t testingT, begin, end time.Time, at Clock, zone *time.Location) []time.Time {
	var hours []time.Time
	for last := begin; ; {
		next := nextDaily(last, at, zone)
		if !next.After(last) {
			t.Fatalf("after %s comes %s", last, next)
		}
		if !next.Before(end) {
			return hours
		}
		hours = append(hours, next.UTC())
		last = next
	}
}

func TestDailyHourIsWhatSomebodySeesWhoWatchesTheClock(t *testing.T) {
	t.Parallel()
	for _, change := range clockChanges {
		zone, day := change.days(t)
		begin, end := day.AddDate(0, 0, -2), day.AddDate(0, 0, 3)
		w := watchClock(begin, end, zone)
		for _, at := range clocks {
			if diff := cmp.Diff(w.daily(at), dailyUntil(t, begin, end, parseClock(t, at), zone)); diff != "" {
				t.Errorf("%s in %s around %s (-watched +calculated):\n%s", at, change.zone, change.before, diff)
			}
		}
	}
}

func TestQuietHoursAreWhatSomebodySeesWhoWatchesTheClock(t *testing.T) {
	t.Parallel()
	stretches := [][2]string{
		{"22:00", "07:00"},
		{"22:00", "02:30"},
		{"02:30", "07:00"},
		{"01:45", "02:15"},
		{"02:00", "03:00"},
		{"00:00", "06:00"},
		{"23:30", "00:30"},
		{"23:00", "00:00"},
		{"00:00", "23:59"},
		{"12:00", "11:59"},
		{"09:00", "17:00"},
		{"03:00", "03:00"},
	}
	for _, change := range clockChanges {
		zone, day := change.days(t)
		w := watchClock(day.AddDate(0, 0, -4), day.AddDate(0, 0, 3), zone)
		for _, s := range stretches {
			quiet := Quiet{From: parseClock(t, s[0]), To: parseClock(t, s[1])}
			// A day or two in, when what the clock showed before makes no difference any more.
			for i := 2 * 24 * 60; i < len(w.latest); i++ {
				watched := w.quiet(i, s[0], s[1])
				if watched == w.quiet(i-1, s[0], s[1]) && i%60 != 7 {
					continue // look where it begins and ends, and now and then
				}
				for j := i - 1; j <= i; j++ {
					end := quiet.end(w.minute(j), zone)
					last := j
					for last < len(w.latest) && w.quiet(last, s[0], s[1]) {
						last++
					}
					if last < len(w.latest) && !end.Equal(w.minute(last)) {
						t.Fatalf("quiet %s in %s, at %s: until %s, watched until %s", quiet, change.zone, w.minute(j).In(zone), end, w.minute(last))
					}
				}
			}
		}
	}
}

func TestDailyComesOnceForEachDate(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "Pacific/Apia", "America/Sao_Paulo",
		"Africa/Casablanca", "America/St_Johns", "America/Nuuk", "Pacific/Kwajalein", "Asia/Pyongyang",
	} {
		zone := loadTestZone(t, name)
		for _, at := range []string{"00:00", "02:30", "08:00", "23:30"} {
			// Noon of each date is there if the date is, everywhere.
			dates := 0
			begin := time.Date(1990, 1, 1, 12, 0, 0, 0, zone)
			for noon := begin; noon.Year() < 2040; noon = time.Date(noon.Year(), noon.Month(), noon.Day()+1, 12, 0, 0, 0, zone) {
				dates++
			}
			end := time.Date(2040, 1, 1, 12, 0, 0, 0, zone)
			hours := dailyUntil(t, begin, end.Add(time.Nanosecond), parseClock(t, at), zone)
			for i := 1; i < len(hours); i++ {
				if gap := hours[i].Sub(hours[i-1]); (gap < 22*time.Hour || gap > 49*time.Hour) && name != "America/Nuuk" {
					t.Errorf("%s in %s came at %s and then at %s", at, name, hours[i-1], hours[i])
				}
			}
			came := len(hours)
			if came != dates {
				t.Errorf("%s came %d times in %s from 1990 to 2040, which had %d dates", at, came, name, dates)
			}
		}
	}
}

func TestClockFacts(t *testing.T) {
	t.Parallel()
	for _, fact := range []struct{ what, zone, after, at, next string }{
		{"an hour that is skipped comes as the gap ends", "Europe/Berlin", "2026-03-29 00:00 +01:00", "02:30", "2026-03-29 03:00 +02:00"},
		{"the next day it is itself again", "Europe/Berlin", "2026-03-29 03:00 +02:00", "02:30", "2026-03-30 02:30 +02:00"},
		{"of an hour shown twice the first counts", "Europe/Berlin", "2026-10-25 00:00 +02:00", "02:30", "2026-10-25 02:30 +02:00"},
		{"and the second doesn't", "Europe/Berlin", "2026-10-25 02:30 +02:00", "02:30", "2026-10-26 02:30 +01:00"},
		{"the same in New York", "America/New_York", "2026-03-08 00:00 -05:00", "02:15", "2026-03-08 03:00 -04:00"},
		{"with half an hour", "Australia/Lord_Howe", "2026-10-04 00:00 +10:30", "02:15", "2026-10-04 02:30 +11:00"},
		{"no summer time", "Asia/Kolkata", "2026-03-29 09:00 +05:30", "09:00", "2026-03-30 09:00 +05:30"},
		{"midnight may be what is skipped", "America/Sao_Paulo", "2017-10-14 12:00 -03:00", "00:00", "2017-10-15 01:00 -02:00"},
		{"a date that isn't there has no hour", "Pacific/Apia", "2011-12-29 18:00 -10:00", "18:00", "2011-12-31 18:00 +14:00"},
		{"what comes exactly at its hour is for the next day", "UTC", "2026-01-01 18:00 +00:00", "18:00", "2026-01-02 18:00 +00:00"},
		{"Ramadan", "Africa/Casablanca", "2026-03-22 00:00 +00:00", "02:30", "2026-03-22 03:00 +01:00"},
		{"the last hour of a day may be skipped", "America/Nuuk", "2024-03-30 12:00 -02:00", "23:30", "2024-03-31 00:00 -01:00"},
	} {
		zone := loadTestZone(t, fact.zone)
		after, err := time.ParseInLocation("2006-01-02 15:04 -07:00", fact.after, zone)
		if err != nil {
			t.Fatal(err)
		}
		if got := nextDaily(after, parseClock(t, fact.at), zone).Format("2006-01-02 15:04 -07:00"); got != fact.next {
			t.Errorf("%s: after %s %s comes %s, want %s", fact.what, fact.after, fact.at, got, fact.next)
		}
	}
}

func TestFirstAtNeverFallsWhileTheClockRises(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		change := rapid.SampledFrom(clockChanges).Draw(t, "change")
		zone, day := change.days(t)
		seconds := rapid.Int64Range(-3*86400, 3*86400)
		a := day.Add(time.Duration(seconds.Draw(t, "a")) * time.Second)
		b := a.Add(time.Duration(rapid.Int64Range(0, 2*86400).Draw(t, "later")) * time.Second)
		first, second := firstAt(a, zone), firstAt(b, zone)
		if second.Before(first) {
			t.Fatalf("%s comes at %s, but the later %s at %s", a, first, b, second)
		}
		if wall := wallOf(first, zone); wall.Before(a) {
			t.Fatalf("as %s should have come, clocks show %s", a, wall)
		}
		// A moment before, clocks show less.
		if wall := wallOf(first.Add(-1), zone); !wall.Before(a) {
			t.Fatalf("%s comes at %s, but a nanosecond before clocks show %s", a, first, wall)
		}
	})
}

func TestZoneIsTheFirstThatIsKnown(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		names, unknown []string
		zone           string
	}{
		{nil, nil, "UTC"},
		{[]string{"", "", "Asia/Kolkata"}, nil, "Asia/Kolkata"},
		{[]string{"Europe/Berlin", "Mars/Olympus"}, nil, "Europe/Berlin"},
		{[]string{"Mars/Olympus", "Europe/Berlin"}, []string{"Mars/Olympus"}, "Europe/Berlin"},
		{[]string{"Mars/Olympus", "../../etc/passwd"}, []string{"Mars/Olympus", "../../etc/passwd"}, "UTC"},
		{
			[]string{"Local", "localtime", "right/Europe/Berlin", "Europe/London"},
			[]string{"Local", "localtime", "right/Europe/Berlin"},
			"Europe/London",
		},
	} {
		for range 2 { // loaded, and remembered
			zone, unknown := zoneOf(c.names)
			if zone.String() != c.zone || cmp.Diff(c.unknown, unknown) != "" {
				t.Errorf("of %q %s is used and %q isn't known, want %s and %q", c.names, zone, unknown, c.zone, c.unknown)
			}
		}
	}
}

func TestClockOfTwentyFourHoursIsMidnight(t *testing.T) {
	t.Parallel()
	if at := Clock(24 * time.Hour); at.String() != "00:00" {
		t.Errorf("24 h is %s", at)
	}
	noon := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	if next := nextDaily(noon, Clock(24*time.Hour), time.UTC); !next.Equal(noon.Add(12 * time.Hour)) {
		t.Errorf("24:00 comes at %s", next)
	}
	quiet := Quiet{From: Clock(11 * time.Hour), To: Clock(24 * time.Hour)}
	if end := quiet.end(noon, time.UTC); !end.Equal(noon.Add(12 * time.Hour)) {
		t.Errorf("quiet until 24:00 ends at %s", end)
	}
}
