package mail

import (
	"strconv"
	"time"
)

// Words are what a mail says besides what it is about, in its language.
type Words struct {
	Greeting    string // Hello Ann,
	Heading     string // 13 unread notifications at Projects
	Other       string // heading of what belongs to no group, where there are groups
	Open        string // label of the link to the inbox: Open Projects
	Why         string // why the mail was sent
	TimeZone    string // which zone its times are in
	Preferences string // label of the link to the preferences
	StopAll     string // label of the link that unsubscribes from all mails
}

// A language is what is said in one. Functions put numbers and names into sentences, since languages differ in where they stand
// and in how they change what stands around them.
type language struct {
	greeting    func(name string) string
	heading     func(n int, site string) string
	summary     func(text string, more int) string
	more        func(n int) string
	stop        func(kind string) string
	when        func(t time.Time, locale string, sameYear bool) string
	other       string
	open        func(site string) string
	why         func(site string) string
	timeZone    string
	preferences string
	stopAll     string
}

// languages are those that are built in.
var languages = map[string]*language{"en": &english, "de": &german}

var english = language{
	greeting: func(name string) string {
		if name == "" {
			return "Hello,"
		}
		return "Hello " + name + ","
	},
	heading: func(n int, site string) string {
		if n == 1 {
			return "1 unread notification at " + site
		}
		return grouped(n, ',') + " unread notifications at " + site
	},
	summary: func(text string, more int) string { return text + " and " + grouped(more, ',') + " more" },
	more:    func(n int) string { return "and " + grouped(n, ',') + " more" },
	stop:    func(kind string) string { return "Stop mails about “" + kind + "”" },
	when: func(t time.Time, locale string, sameYear bool) string {
		switch locale {
		case "en", "en-US", "en-CA", "en-PH":
			if sameYear {
				return t.Format("Mon, Jan 2, 3:04 PM")
			}
			return t.Format("Mon, Jan 2, 2006, 3:04 PM")
		}
		if sameYear {
			return t.Format("Mon, 2 Jan, 15:04")
		}
		return t.Format("Mon, 2 Jan 2006, 15:04")
	},
	other: "Other",
	open:  func(site string) string { return "Open " + site },
	why: func(site string) string {
		return "This mail was sent because notifications at " + site + " stayed unread."
	},
	timeZone:    "Time zone: ",
	preferences: "Mail preferences",
	stopAll:     "Stop all of these mails",
}

var german = language{
	greeting: func(name string) string {
		if name == "" {
			return "Hallo,"
		}
		return "Hallo " + name + ","
	},
	heading: func(n int, site string) string {
		if n == 1 {
			return "1 ungelesene Benachrichtigung bei " + site
		}
		return grouped(n, '.') + " ungelesene Benachrichtigungen bei " + site
	},
	summary: func(text string, more int) string {
		if more == 1 {
			return text + " und eine weitere"
		}
		return text + " und " + grouped(more, '.') + " weitere"
	},
	more: func(n int) string {
		if n == 1 {
			return "und eine weitere"
		}
		return "und " + grouped(n, '.') + " weitere"
	},
	stop: func(kind string) string { return "Keine Mails mehr zu „" + kind + "“" },
	when: func(t time.Time, _ string, sameYear bool) string {
		date := germanDays[t.Weekday()] + t.Format(", 2. ") + germanMonths[t.Month()-1]
		if !sameYear {
			date += t.Format(" 2006")
		}
		return date + t.Format(", 15:04")
	},
	other: "Weitere",
	open:  func(site string) string { return site + " öffnen" },
	why: func(site string) string {
		return "Diese Mail kam, weil Benachrichtigungen bei " + site + " ungelesen geblieben sind."
	},
	timeZone:    "Zeitzone: ",
	preferences: "Mail-Einstellungen",
	stopAll:     "Alle diese Mails abbestellen",
}

var (
	germanDays   = [...]string{"So.", "Mo.", "Di.", "Mi.", "Do.", "Fr.", "Sa."}
	germanMonths = [...]string{"Jan.", "Feb.", "März", "Apr.", "Mai", "Juni", "Juli", "Aug.", "Sept.", "Okt.", "Nov.", "Dez."}
)

// grouped writes a number with a mark between each three digits.
func grouped(n int, mark byte) string {
	digits := strconv.Itoa(n)
	if len(digits) <= 3 {
		return digits
	}
	head := (len(digits)-1)%3 + 1
	b := []byte(digits[:head])
	for i := head; i < len(digits); i += 3 {
		b = append(append(b, mark), digits[i:i+3]...)
	}
	return string(b)
}

// whenAnywhere writes a time so that nobody mistakes it.
func whenAnywhere(t time.Time, _ string, _ bool) string { return t.Format("2006-01-02 15:04") }
