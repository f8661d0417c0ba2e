package server

import (
	"fmt"
	"html/template"
	"net/http"
	"strconv"
	"strings"

	"github.com/trunkline/trunkline/inbox"
)

// unsubscribePage is what the page says.
type unsubscribePage struct {
	Lang       string
	Style      template.CSS
	Title      string
	Paragraphs []string
	Choices    []unsubscribeChoice
}

// unsubscribeChoice is a button.
type unsubscribeChoice struct {
	Kind  string // "": all mail
	Label string
	First bool // the one that stands out
}

// wording is the page in a language. What has a %s is about a kind of notification.
type wording struct {
	lang                             string
	question, explanation            string
	stopKind, stopAll                string
	doneTitle, doneKind, doneAll     string
	undo                             string
	missingTitle, missing, elsewhere string
	busyTitle, busy                  string
	failedTitle, failed              string
}

var english = wording{
	lang:        "en",
	question:    "Stop these e-mails?",
	explanation: "You get them about what you haven't read yet. Without them you will still find everything in your inbox.",
	stopKind:    "Stop e-mails about “%s”", stopAll: "Stop all of these e-mails",
	doneTitle: "Done", doneKind: "You will get no more e-mails about “%s”.", doneAll: "You will get no more of these e-mails.",
	undo:         "If you change your mind, switch them on again in your notification settings.",
	missingTitle: "This link doesn't work",
	missing: "It may be incomplete: open it from the e-mail itself, or copy all of it. " +
		"If it is old, use the one in the latest e-mail that you got.",
	elsewhere:   "You can also switch e-mails off in your notification settings.",
	busyTitle:   "Not right now",
	busy:        "This can't be done at the moment. Please try again in a few minutes.",
	failedTitle: "That didn't work",
	failed:      "Nothing was changed. Please open the link from the e-mail again, and press the button on the page.",
}

var german = wording{
	lang:        "de",
	question:    "Diese E-Mails abbestellen?",
	explanation: "Sie erhalten sie zu dem, was Sie noch nicht gelesen haben. Auch ohne sie finden Sie alles in Ihrem Posteingang.",
	stopKind:    "Keine E-Mails mehr zu „%s“", stopAll: "Keine dieser E-Mails mehr",
	doneTitle: "Erledigt", doneKind: "Sie erhalten keine E-Mails mehr zu „%s“.",
	doneAll:      "Sie erhalten diese E-Mails nicht mehr.",
	undo:         "Wenn Sie es sich anders überlegen, schalten Sie sie in Ihren Benachrichtigungseinstellungen wieder ein.",
	missingTitle: "Dieser Link funktioniert nicht",
	missing: "Vielleicht ist er unvollständig: Öffnen Sie ihn direkt aus der E-Mail, oder kopieren Sie ihn ganz. " +
		"Ist er alt, nehmen Sie den aus der neuesten E-Mail, die Sie erhalten haben.",
	elsewhere:   "Sie können E-Mails auch in Ihren Benachrichtigungseinstellungen abschalten.",
	busyTitle:   "Gerade nicht möglich",
	busy:        "Das geht im Moment nicht. Bitte versuchen Sie es in ein paar Minuten noch einmal.",
	failedTitle: "Das hat nicht geklappt",
	failed: "Es wurde nichts geändert. Bitte öffnen Sie den Link aus der E-Mail noch einmal, " +
		"und drücken Sie auf der Seite auf den Knopf.",
}

// offer asks what to stop: the kind that the link is about first, if it is about one, else everything.
func (w *wording) offer(kinds []inbox.OfferedKind, kind string) unsubscribePage {
	page := unsubscribePage{Title: w.question, Paragraphs: []string{w.explanation}}
	all := unsubscribeChoice{Label: w.stopAll}
	for _, k := range kinds {
		choice := unsubscribeChoice{Kind: k.Name, Label: fmt.Sprintf(w.stopKind, k.Title)}
		if k.Name == kind {
			choice.First = true
			page.Choices = []unsubscribeChoice{choice, all}
			return page
		}
		page.Choices = append(page.Choices, choice)
	}
	all.First = true
	page.Choices = append([]unsubscribeChoice{all}, page.Choices...)
	return page
}

// done says what was stopped.
func (w *wording) done(kinds []inbox.OfferedKind, kind string) unsubscribePage {
	page := unsubscribePage{Title: w.doneTitle, Paragraphs: []string{w.doneAll, w.undo}}
	for _, k := range kinds {
		if kind != "" && k.Name == kind {
			page.Paragraphs[0] = fmt.Sprintf(w.doneKind, k.Title)
			page.Choices = []unsubscribeChoice{{Label: w.stopAll}}
		}
	}
	return page
}

// refusal says why not.
func (w *wording) refusal(status int) unsubscribePage {
	switch {
	case status == http.StatusNotFound:
		return unsubscribePage{Title: w.missingTitle, Paragraphs: []string{w.missing, w.elsewhere}}
	case status == http.StatusTooManyRequests || status >= http.StatusInternalServerError:
		return unsubscribePage{Title: w.busyTitle, Paragraphs: []string{w.busy, w.elsewhere}}
	}
	return unsubscribePage{Title: w.failedTitle, Paragraphs: []string{w.failed, w.elsewhere}}
}

// maxLanguages is how many entries of an Accept-Language header are looked at.
const maxLanguages = 32

// wordsFor chooses the language that somebody likes best among those there are: English, if none of them is mentioned.
func wordsFor(header []string) *wording {
	best, liking := &english, 0.0
	entries := strings.SplitN(strings.Join(header, ","), ",", maxLanguages+1)
	for _, entry := range entries[:min(len(entries), maxLanguages)] {
		tag, parameters, _ := strings.Cut(entry, ";")
		language, _, _ := strings.Cut(strings.ToLower(strings.TrimSpace(tag)), "-")
		q := 1.0
		if value, ok := strings.CutPrefix(strings.ReplaceAll(parameters, " ", ""), "q="); ok {
			var err error
			if q, err = strconv.ParseFloat(value, 64); err != nil || !(q >= 0 && q <= 1) {
				continue
			}
		}
		for _, w := range []*wording{&english, &german} {
			if w.lang == language && q > liking {
				best, liking = w, q
			}
		}
	}
	return best
}
