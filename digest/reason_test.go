package digest

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// ann is a user in Berlin with one unread notification of Monday 5 January 2026, 09:00: by default it is due at 13:00.
func ann(changes ...func(*Candidate)) Candidate {
	c := Candidate{
		UserID: "ann", Email: "ann@example.org", Zones: []string{"", "Europe/Berlin", "UTC"},
		Items: []Item{{ID: 1, Seq: 1, Kind: "mention", CreatedAt: berlin("2026-01-05 09:00")}},
	}
	for _, change := range changes {
		change(&c)
	}
	return c
}

// berlin is when clocks there show a time, for the first time.
func berlin(clock string) time.Time { return moment(clock, "Europe/Berlin") }

func moment(clock, zone string) time.Time {
	wall, err := time.Parse(minuteFormat, clock)
	if err != nil {
		panic(err)
	}
	z, ok := loadZone(zone)
	if !ok {
		panic(zone)
	}
	return firstAt(wall, z)
}

// also gives her another notification.
func also(kind, group, created string) func(*Candidate) {
	return func(c *Candidate) {
		n := int64(len(c.Items) + 1)
		c.Items = append(c.Items, Item{ID: n, Seq: n, Kind: kind, Group: group, CreatedAt: berlin(created)})
	}
}

func prefers(kind string, p Preference) func(*Candidate) {
	return func(c *Candidate) {
		if c.Preferences == nil {
			c.Preferences = map[string]Preference{}
		}
		c.Preferences[kind] = p
	}
}

func after(delay time.Duration) Preference { return Preference{Mode: After, Delay: &delay} }

func daily(hour, minute int) Preference {
	at := Clock(time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute)
	return Preference{Mode: Daily, At: &at}
}

func clock(hour, minute int) Clock { return *daily(hour, minute).At }

func sent(clocks ...string) func(*Candidate) {
	return func(c *Candidate) {
		for _, at := range clocks {
			c.Sent = append(c.Sent, berlin(at))
		}
	}
}

func asks(item int, access Access) func(*Candidate) {
	return func(c *Candidate) { c.Items[item].Asks, c.Items[item].Access = true, access }
}

// What somebody who supports users reads when they ask why. Times are shown in the user's zone.
func TestReasonsReadWell(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		what string
		user Candidate
		now  string // in Berlin

		kind   Kind
		next   string // in Berlin; empty: when something happens
		reason string
	}{
		{
			"nothing at all", ann(func(c *Candidate) { c.Items = nil }), "2026-01-05 13:00",
			Nothing, "",
			`No unread notification is left to mail.`,
		},
		{
			"nothing but what is left out",
			ann(also("news", "", "2026-01-05 09:00"), also("news", "", "2026-01-05 09:01"), also("mention", "project:7", "2026-01-05 09:02"),
				prefers("news", Preference{Mode: NeverMail}), func(c *Candidate) {
					c.Muted = map[string]bool{"project:7": true}
					c.Items[0].ExpiresAt = berlin("2026-01-05 12:00")
				}),
			"2026-01-05 13:00",
			Nothing, "",
			`No unread notification is left to mail. Left out: 2 of a kind that the user wants no mail of, ` +
				`1 of a group that the user has muted, 1 that expired.`,
		},
		{
			"too old", ann(), "2026-02-04 13:01",
			Nothing, "",
			`No unread notification is left to mail. Left out: 1 that should have been mailed more than 30 days ago.`,
		},
		{
			"due later", ann(), "2026-01-05 12:59",
			Waiting, "2026-01-05 13:00",
			`1 unread notification waits: none is due yet. Kind "mention" is mailed after 4h (the default), ` +
				`so the first is due on Mon 5 Jan 2026 13:00 CET (Europe/Berlin).`,
		},
		{
			"due", ann(), "2026-01-05 13:00",
			Mailed, "",
			`1 unread notification is mailed. Kind "mention" is mailed after 4h (the default), ` +
				`so the first was due on Mon 5 Jan 2026 13:00 CET (Europe/Berlin).`,
		},
		{
			"due by the delay of its kind",
			ann(also("mention", "", "2026-01-05 09:05"), func(c *Candidate) {
				delay := 90 * time.Minute
				c.Items[0].KindDelay = &delay
			}), "2026-01-05 11:00",
			Mailed, "",
			`2 unread notifications are mailed. Kind "mention" is mailed after 1h30m (the delay of this kind), ` +
				`so the first was due on Mon 5 Jan 2026 10:30 CET (Europe/Berlin).`,
		},
		{
			"due at once", ann(prefers("", Preference{Mode: AtOnce})), "2026-01-05 09:00",
			Mailed, "",
			`1 unread notification is mailed. Kind "mention" is mailed at once (the user's preference for all kinds), ` +
				`so the first was due on Mon 5 Jan 2026 09:00 CET (Europe/Berlin).`,
		},
		{
			"due daily, while others wait for their hour",
			ann(also("news", "", "2026-01-05 18:30"), also("mention", "", "2026-01-05 18:00"),
				prefers("mention", daily(18, 0)), prefers("news", after(2*24*time.Hour))),
			"2026-01-05 20:00",
			Mailed, "2026-01-06 18:00",
			`2 unread notifications are mailed. Kind "mention" is mailed daily at 18:00 (the user's preference for this kind), ` +
				`so the first was due on Mon 5 Jan 2026 18:00 CET (Europe/Berlin). Left out: 1 to be mailed at another hour, daily.`,
		},
		{
			"in summer, elsewhere",
			ann(func(c *Candidate) { c.Zones[0], c.Items[0].CreatedAt = "America/New_York", berlin("2026-07-05 09:00") }),
			"2026-07-05 13:00",
			Mailed, "",
			`1 unread notification is mailed. Kind "mention" is mailed after 4h (the default), ` +
				`so the first was due on Sun 5 Jul 2026 07:00 EDT (America/New_York).`,
		},
		{
			"no address", ann(func(c *Candidate) { c.Email = "" }), "2026-01-05 13:00",
			NoAddress, "2026-01-06 13:00",
			`1 unread notification waits: the user has no e-mail address. Kind "mention" is mailed after 4h (the default), ` +
				`so the first was due on Mon 5 Jan 2026 13:00 CET (Europe/Berlin).`,
		},
		{
			"bad address", ann(func(c *Candidate) { c.Email = "Ann <ann@example.org>\r\nBcc: all@example.org" }), "2026-01-05 13:00",
			BadAddress, "2026-01-06 13:00",
			`1 unread notification waits: "Ann <ann@example.org>\r\nBcc: all@example.org" can't be an e-mail address, since it contains ` +
				`a space, a control character or an invisible one. Kind "mention" is mailed after 4h (the default), ` +
				`so the first was due on Mon 5 Jan 2026 13:00 CET (Europe/Berlin).`,
		},
		{
			"bouncing", ann(func(c *Candidate) { c.Bounces, c.BouncedAt = 6, berlin("2026-01-01 00:00") }), "2026-01-05 13:00",
			Bouncing, "2026-01-06 13:00",
			`1 unread notification waits: the e-mail address "ann@example.org" refused mail too often. Nothing is mailed to it ` +
				`until enough of that is forgotten, on Sat 31 Jan 2026 00:00 CET (Europe/Berlin), or the address changes. ` +
				`Kind "mention" is mailed after 4h (the default), so the first was due on Mon 5 Jan 2026 13:00 CET (Europe/Berlin).`,
		},
		{
			"vacation", ann(func(c *Candidate) { c.VacationUntil = berlin("2026-01-12 00:00") }), "2026-01-05 13:00",
			Vacation, "2026-01-12 00:00",
			`1 unread notification waits: the user is on vacation until Mon 12 Jan 2026 00:00 CET (Europe/Berlin). ` +
				`Kind "mention" is mailed after 4h (the default), so the first was due on Mon 5 Jan 2026 13:00 CET (Europe/Berlin).`,
		},
		{
			"quiet hours", ann(func(c *Candidate) { c.Quiet = &Quiet{From: clock(12, 30), To: clock(8, 15)} }), "2026-01-05 13:00",
			QuietHours, "2026-01-06 08:15",
			`1 unread notification waits: the user's quiet hours are from 12:30 to 08:15 (Europe/Berlin). ` +
				`Kind "mention" is mailed after 4h (the default), so the first was due on Mon 5 Jan 2026 13:00 CET (Europe/Berlin).`,
		},
		{
			"capped",
			ann(sent("2026-01-05 09:30", "2026-01-05 09:31", "2026-01-05 09:32", "2026-01-05 09:33", "2026-01-05 09:34", "2026-01-05 09:35",
				"2026-01-05 09:36", "2026-01-05 09:37", "2026-01-05 09:38", "2026-01-05 09:39")),
			"2026-01-05 13:00",
			Capped, "2026-01-06 09:30",
			`1 unread notification waits: the user got 10 mails within 24 hours, and 10 is the most. ` +
				`Kind "mention" is mailed after 4h (the default), so the first was due on Mon 5 Jan 2026 13:00 CET (Europe/Berlin).`,
		},
		{
			"active", ann(func(c *Candidate) { c.ActiveAt = berlin("2026-01-05 12:59") }), "2026-01-05 13:00",
			Postponed, "2026-01-05 13:04",
			`1 unread notification waits: the user is active, and may be reading now. The mail goes out when nothing was heard ` +
				`of the user for 5m, at the latest on Mon 5 Jan 2026 14:00 CET (Europe/Berlin). ` +
				`Kind "mention" is mailed after 4h (the default), so the first was due on Mon 5 Jan 2026 13:00 CET (Europe/Berlin).`,
		},
		{
			"no answer about a group",
			ann(also("comment", "project:7", "2026-01-05 09:00"), asks(1, Unknown)), "2026-01-05 13:00",
			MembershipUnknown, "2026-01-05 13:00",
			`2 unread notifications wait: the authorize function of kind "comment" didn't say whether the user may still see group ` +
				`"project:7", and until it does nothing is mailed to the user. ` +
				`Kind "mention" is mailed after 4h (the default), so the first was due on Mon 5 Jan 2026 13:00 CET (Europe/Berlin).`,
		},
		{
			"no member any more",
			ann(also("comment", "project:7", "2026-01-05 09:00"), asks(1, Denied)), "2026-01-05 13:00",
			Mailed, "",
			`1 unread notification is mailed. Kind "mention" is mailed after 4h (the default), so the first was due on ` +
				`Mon 5 Jan 2026 13:00 CET (Europe/Berlin). Left out: 1 of a group that the user may no longer see.`,
		},
		{
			"an unknown zone and preferences that make no sense",
			ann(prefers("mention", Preference{Mode: "weekly"}), prefers("", Preference{Mode: Daily}), func(c *Candidate) {
				c.Zones = []string{"Mars/Olympus", "", ""}
			}), "2026-01-05 13:00",
			Mailed, "",
			`1 unread notification is mailed. Kind "mention" is mailed after 4h (the default), so the first was due on ` +
				`Mon 5 Jan 2026 12:00 UTC. Time zone "Mars/Olympus" isn't known, so UTC is used. The user's preference for ` +
				`kind "mention" isn't understood and doesn't count: "weekly". The user's preference for all kinds isn't understood and doesn't count: "daily" without a time of day.`,
		},
	} {
		t.Run(row.what, func(t *testing.T) {
			t.Parallel()
			d := Plan(row.user, Rules{MaxAge: 30 * oneDay}, berlin(row.now))
			if d.Kind != row.kind {
				t.Errorf("decided %s, want %s", d.Kind, row.kind)
			}
			if diff := cmp.Diff(row.reason, d.Reason); diff != "" {
				t.Errorf("reason (-want +got):\n%s", diff)
			}
			next := ""
			if !d.NextAt.IsZero() {
				next = d.NextAt.In(berlin(row.now).Location()).Format(minuteFormat)
			}
			if next != row.next {
				t.Errorf("looked at again at %q, want %q", next, row.next)
			}
		})
	}
}
