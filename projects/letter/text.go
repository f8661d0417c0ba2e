package letter

import (
	"crypto/rand"
	"fmt"
	"strings"
	"time"

	"github.com/trunkline/trunkline/digest/mail"
)

// words are what letters say in one language.
type words struct {
	invitedTo, invited, byName, byNobody, follow, good, join, inviteWhy string
	reset, resetAsked, hour, choose, resetWhy                           string
	date                                                                func(time.Time) string
}

var english = words{
	invitedTo: "%s invites you to “%s”", invited: "You are invited to “%s”", byName: "%s of %s invites you to “%s” at %s.",
	byNobody:  "You are invited to “%s” of %s at %s.",
	follow:    "There you see how far it is and what is left to do, live, and ask the people who do it.",
	good:      "The invitation is good until %s.",
	join:      "Join the project",
	inviteWhy: "This mail was sent because your address was entered at %s. If you don’t know what it is about, do nothing.",
	reset:     "A new password for %s", resetAsked: "Somebody, we hope you, asked for a new password for this address.",
	hour:     "Choose one within the next hour. You are then signed out everywhere else.",
	choose:   "Choose a new password",
	resetWhy: "If it wasn’t you, do nothing: your password stays as it is.",
	date:     func(t time.Time) string { return t.Format("Monday, January 2") },
}

var german = words{
	invitedTo: "%s lädt Sie zu „%s“ ein", invited: "Einladung zu „%s“", byName: "%s von %s lädt Sie zu „%s“ auf %s ein.",
	byNobody:  "Sie sind zu „%s“ von %s auf %s eingeladen.",
	follow:    "Dort sehen Sie laufend, wie weit es ist und was noch zu tun bleibt, und können fragen, wer daran arbeitet.",
	good:      "Die Einladung gilt bis %s.",
	join:      "Zum Projekt",
	inviteWhy: "Diese Mail kam, weil Ihre Adresse bei %s eingegeben wurde. Wenn sie Ihnen nichts sagt, tun Sie nichts.",
	reset:     "Ein neues Passwort für %s", resetAsked: "Jemand, hoffentlich Sie, möchte ein neues Passwort für diese Adresse.",
	hour:     "Wählen Sie es in der nächsten Stunde. Sie werden dann überall sonst abgemeldet.",
	choose:   "Neues Passwort wählen",
	resetWhy: "Wenn Sie es nicht waren, tun Sie nichts: Ihr Passwort bleibt, wie es ist.",
	date: func(t time.Time) string {
		return fmt.Sprintf("%s, %d. %s", germanDays[t.Weekday()], t.Day(), germanMonths[t.Month()-1])
	},
}

var (
	germanDays   = [...]string{"Sonntag", "Montag", "Dienstag", "Mittwoch", "Donnerstag", "Freitag", "Samstag"}
	germanMonths = [...]string{
		"Januar", "Februar", "März", "April", "Mai", "Juni", "Juli", "August", "September", "Oktober", "November", "Dezember",
	}
)

// compose writes a letter.
func (w *Worker) compose(c *claimed) mail.Letter {
	say, locale := &english, "en"
	if language, _, _ := strings.Cut(strings.ToLower(c.locale), "-"); language == "de" {
		say, locale = &german, c.locale
	} else if language == "en" {
		locale = c.locale
	}
	l := mail.Letter{
		Recipient: mail.Recipient{Email: c.email, Name: c.name, Locale: locale}, At: c.now,
		// Each try has a link of its own, so it is a mail of its own: a server that has seen the former isn't to drop it as a double.
		MessageID: fmt.Sprintf("letter.%d.%s@%s", c.id, strings.ToLower(rand.Text()[:12]), w.opts.Renderer.Domain()),
	}
	if c.purpose == "reset" {
		l.Subject = fmt.Sprintf(say.reset, w.opts.Site)
		l.Paragraphs = []string{say.resetAsked, say.hour}
		l.Button = &mail.Button{Text: say.choose, URL: w.public + "/reset/" + c.secret}
		l.Note = say.resetWhy
		return l
	}
	l.Subject, l.Heading = fmt.Sprintf(say.invited, c.project), fmt.Sprintf(say.invited, c.project)
	first := fmt.Sprintf(say.byNobody, c.project, c.company, w.opts.Site)
	if c.inviter != "" {
		l.Subject = fmt.Sprintf(say.invitedTo, c.inviter, c.project)
		first = fmt.Sprintf(say.byName, c.inviter, c.company, c.project, w.opts.Site)
	}
	zone, err := time.LoadLocation(c.zone)
	if err != nil {
		zone = time.UTC
	}
	l.Paragraphs = []string{first, say.follow, fmt.Sprintf(say.good, say.date(c.expires.In(zone)))}
	l.Button = &mail.Button{Text: say.join, URL: w.public + "/invited/" + c.secret}
	l.Note = fmt.Sprintf(say.inviteWhy, w.opts.Site)
	return l
}
