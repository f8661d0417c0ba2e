package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/digest"
	"github.com/trunkline/trunkline/inbox"
)

type digestCmd struct {
	Run    digestRunCmd    `cmd:"" default:"withargs" help:"Mail what stays unread, until told to end or just once."`
	Why    digestWhyCmd    `cmd:"" help:"Say why a user was mailed, or wasn't."`
	Resend digestResendCmd `cmd:"" help:"Send a mail that was parked."`

	Mail mailFlags `embed:"" group:"mail"`
}

func (*digestCmd) Help() string {
	return `serve mails digests by itself; this does it apart from it, on any number of machines.

    trunkline digest --smtp-url-file smtp --mail-from notifications@example.org --public-url https://app.example.org
    trunkline digest --once --at 2030-01-02T15:04:05Z
    trunkline digest why bob`
}

type digestRunCmd struct {
	Once bool   `help:"Look at everybody who is due, mail what there is, and end."`
	At   string `placeholder:"TIME" help:"With --once: as of that moment, such as 2030-01-02T15:04:05Z or 2030-01-02. Default: now."`
	JSON bool   `name:"json" help:"With --once: print a JSON object."`
}

func (*digestRunCmd) Help() string {
	return `It mails everybody who is due. Without a mail server mails are kept in the data folder, where a serve on this machine shows them at
/dev/mail, and nothing is sent; not so on a database whose mails a worker with a mail server sends. A pass as of the future is for
databases that are only tried out: people are mailed before their time.

    trunkline digest --once
    trunkline digest --once --at 2030-01-02T15:04:05Z`
}

func (c *digestRunCmd) Run(ctx context.Context, a *app, parent *digestCmd) error {
	at, err := c.moment()
	if err != nil {
		return err
	}
	if parent.Mail.Digests == "off" {
		return usagef("--digests=off leaves nothing to do here")
	}
	level := slog.LevelInfo
	if c.Once {
		level = slog.LevelWarn
	}
	log := a.logger(level)
	dir, err := a.dataDir()
	if err != nil {
		return err
	}
	site := readSite(dir)
	mailing, err := parent.Mail.open(true, dir, cmp.Or(site, defaultSite), log)
	if err != nil {
		return err
	}
	defer mailing.close()
	if mailing.box != nil && site == "" && parent.Mail.PublicURL == "" {
		log.Warn("links in mails lead to " + defaultSite + ", since no serve of this data folder says where it serves: --public-url URL says where people reach the site")
	}
	if c.Once {
		engine, err := a.engine(level)
		if err != nil {
			return err
		}
		defer stopSoon(ctx, engine)
		if mailing.box != nil {
			a.note("%s", mailing.kept())
		}
		if at.After(time.Now()) {
			a.note("a pass as of the future is for databases that are only tried out: %s", mailing.ahead())
		}
		return c.once(ctx, a, engine, mailing, at)
	}
	engine, stop, err := a.startEngine(ctx, trunkline.Config{Logger: log})
	if err != nil {
		return err
	}
	defer stop()
	if mailing.box != nil {
		log.Warn(mailing.kept())
	}
	return c.run(ctx, engine, mailing, log)
}

// kept says that nothing is sent.
func (m *mailing) kept() string {
	return fmt.Sprintf("mail is kept in %s, not sent: --smtp-url-file sends it", m.box.Dir())
}

// ahead says what a pass as of the future does.
func (m *mailing) ahead() string {
	if m.box != nil {
		return "what isn't due yet counts as mailed afterwards"
	}
	return "people are sent what isn't due yet"
}

// moment is what --at says; zero: now.
func (c *digestRunCmd) moment() (time.Time, error) {
	if c.At == "" {
		return time.Time{}, nil
	}
	if !c.Once {
		return time.Time{}, usagef("--at is given without --once: as of a moment there is one pass")
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", time.DateTime, time.DateOnly} {
		if at, err := time.ParseInLocation(layout, c.At, time.Local); err == nil {
			return at, nil
		}
	}
	return time.Time{}, usagef("--at %q is no time: write it as 2030-01-02T15:04:05Z", c.At)
}

// once does one pass, for what has been notified up to now.
func (c *digestRunCmd) once(ctx context.Context, a *app, engine *trunkline.Engine, mailing *mailing, at time.Time) error {
	boxes, err := inbox.New(engine, inbox.Options{Logger: mailing.options.Logger})
	if err != nil {
		return err
	}
	if err := boxes.Keep(ctx, time.Time{}); err != nil {
		return err
	}
	worker, err := mailing.worker(engine, false)
	if err != nil {
		return err
	}
	if at.IsZero() {
		at = time.Now()
	}
	report, err := worker.Once(ctx, at)
	if errors.Is(err, digest.ErrKept) {
		return errKept
	}
	if report != nil {
		err = errors.Join(err, c.print(a, report, mailing))
	}
	return err
}

// run mails until ctx ends, and keeps inboxes, without which nothing would be due.
func (c *digestRunCmd) run(ctx context.Context, engine *trunkline.Engine, mailing *mailing, log *slog.Logger) error {
	boxes, err := inbox.New(engine, inbox.Options{Logger: log})
	if err != nil {
		return err
	}
	worker, err := mailing.worker(engine, true)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	kept := make(chan error, 1)
	go func() { kept <- boxes.Run(ctx) }()
	log.Info("mailing what stays unread")
	err = worker.Run(ctx)
	cancel()
	if errors.Is(err, digest.ErrKept) {
		err = errKept
	}
	if keepErr := <-kept; err == nil {
		err = keepErr
	}
	return err
}

// print says what was mailed, and in --json all that was decided.
func (c *digestRunCmd) print(a *app, report *digest.Report, mailing *mailing) error {
	if c.JSON {
		return errors.Join(a.printJSON(report), unsent(report))
	}
	rows := make([][]string, 0, len(report.Mails))
	sent := 0
	for i := range report.Mails {
		m := &report.Mails[i]
		if m.Phase == digest.Sent {
			sent++
		}
		rows = append(rows, []string{visible(m.User), visible(m.Email), string(m.Phase), strconv.Itoa(m.Items), visible(m.Subject), visible(m.Reply)})
	}
	if len(rows) > 0 {
		if err := a.printTable([]string{"USER", "TO", "PHASE", "ITEMS", "SUBJECT", "ANSWER"}, rows); err != nil {
			return err
		}
	}
	a.note("as of %s: %d looked at, %d mailed", moment(&report.At), len(report.Decisions), sent)
	for i := range report.Decisions {
		if d := &report.Decisions[i]; d.Decision != digest.Mailed {
			a.note("%s: %s", visible(d.User), visible(d.Reason))
		}
		if i == mostReasons {
			a.note("and so on: --json prints all, trunkline digest why USER one's")
			break
		}
	}
	if mailing.box != nil && sent > 0 {
		a.note("nothing was sent: a serve with the same data folder shows these mails at /dev/mail")
	}
	return unsent(report)
}

// unsent says what of a pass is to be sent still, or never will be.
func unsent(report *digest.Report) error {
	var first *digest.Tried
	n := 0
	for i := range report.Mails {
		if m := &report.Mails[i]; m.Phase != digest.Sent && m.Phase != digest.Cancelled {
			if n++; first == nil {
				first = m
			}
		}
	}
	var errs []error
	if first != nil {
		next := "it isn't tried again"
		if first.NextAt != nil {
			next = "it is tried again at " + moment(first.NextAt)
		}
		which := "that"
		if n > 1 {
			which = "the first"
		}
		errs = append(errs, fmt.Errorf("%d of %d mails that were tried weren't sent, %s to %s: %s (%s)", n, len(report.Mails), which, visible(first.Email),
			visible(first.Reply), next))
	}
	if report.Stopped != "" {
		errs = append(errs, fmt.Errorf("not everything was mailed: %s", report.Stopped))
	}
	return errors.Join(errs...)
}

// moment writes a time, the same for whoever reads it; nothing for none.
func moment(at *time.Time) string {
	if at == nil {
		return ""
	}
	return at.UTC().Format(time.DateTime) + " UTC"
}

// mostReasons is how many decisions are printed for people.
const mostReasons = 20

type digestWhyCmd struct {
	User  string `arg:"" help:"Whose mail it is about."`
	Limit int    `placeholder:"N" default:"20" help:"Print the newest N decisions and mails, up to 100. Default: 20."`
	JSON  bool   `name:"json" help:"Print a JSON object."`
}

func (*digestWhyCmd) Help() string {
	return `It says what would be decided now, when the user is looked at next, what was decided before, and what became of each mail. Give it
the flags that digest or serve have, or its answers are those of the defaults.

    trunkline digest why bob
    trunkline digest why bob --json | jq .now.reason`
}

func (c *digestWhyCmd) Run(ctx context.Context, a *app, parent *digestCmd) error {
	if c.Limit < 1 || c.Limit > 100 {
		return usagef("--limit %d is out of range: give 1 to 100", c.Limit)
	}
	mailing, err := parent.Mail.rules(a.logger(slog.LevelWarn))
	if err != nil {
		return err
	}
	engine, err := a.engine(slog.LevelWarn)
	if err != nil {
		return err
	}
	defer stopSoon(ctx, engine)
	worker, err := mailing.worker(engine, false)
	if err != nil {
		return err
	}
	history, err := worker.Why(ctx, c.User)
	if err != nil {
		return err
	}
	history.Decisions, history.Mails = first(history.Decisions, c.Limit), first(history.Mails, c.Limit)
	if c.JSON {
		return a.printJSON(history)
	}
	if err := c.print(a, history); err != nil {
		return err
	}
	if len(history.Decisions)+len(history.Mails) > 0 || history.LookAt != nil {
		return nil
	}
	var known bool
	if err := engine.Pool().QueryRow(ctx, "SELECT EXISTS (SELECT FROM trunkline.recipients_of(ARRAY[$1]))", c.User).Scan(&known); err != nil {
		return err
	}
	if !known {
		a.note("there is no such recipient: nothing was ever to be mailed to %s, and no address is known", visible(c.User))
	}
	return nil
}

func first[T any](list []T, n int) []T { return list[:min(n, len(list))] }

func (c *digestWhyCmd) print(a *app, h *digest.History) error {
	var lines strings.Builder
	var underWay []string
	for i := range h.Mails {
		if m := &h.Mails[i]; m.Phase == digest.Claimed || m.Phase == digest.DataSent {
			text := fmt.Sprintf("mail %d", m.ID)
			if m.NextAt != nil {
				text += ", tried again at " + moment(m.NextAt)
			}
			underWay = append(underWay, text)
		}
	}
	switch len(underWay) {
	case 0:
	case 1:
		fmt.Fprintf(&lines, "1 mail is under way: %s\n", underWay[0])
	default:
		fmt.Fprintf(&lines, "%d mails are under way: %s\n", len(underWay), strings.Join(underWay, "; "))
	}
	next := "when something happens"
	if h.LookAt != nil {
		next = moment(h.LookAt)
	}
	fmt.Fprintf(&lines, "now: %s\nlooked at next: %s\n", visible(h.Now.Reason), next)
	if _, err := fmt.Fprint(a.stdout, lines.String()); err != nil {
		return err
	}
	decisions := make([][]string, 0, len(h.Decisions))
	for i := range h.Decisions {
		d := &h.Decisions[i]
		decisions = append(decisions, []string{moment(&d.At), string(d.Decision), visible(d.Reason)})
	}
	mails := make([][]string, 0, len(h.Mails))
	for i := range h.Mails {
		m := &h.Mails[i]
		mails = append(mails, []string{
			strconv.FormatInt(m.ID, 10), moment(&m.ClaimedAt), string(m.Phase), visible(m.Email), strconv.Itoa(len(m.Items)), strconv.Itoa(m.Attempts),
			moment(m.NextAt), visible(m.Reply),
		})
	}
	for _, table := range []struct {
		header []string
		rows   [][]string
	}{
		{[]string{"DECIDED", "WHAT", "WHY"}, decisions},
		{[]string{"MAIL", "CLAIMED", "PHASE", "TO", "ITEMS", "TRIES", "NEXT TRY", "ANSWER"}, mails},
	} {
		if len(table.rows) == 0 {
			continue
		}
		if _, err := fmt.Fprintln(a.stdout); err != nil {
			return err
		}
		if err := a.printTable(table.header, table.rows); err != nil {
			return err
		}
	}
	return nil
}

type digestResendCmd struct {
	ID int64 `arg:"" help:"The mail's number, as why prints it."`
}

func (*digestResendCmd) Help() string {
	return `A mail is parked with --uncertain park, when the connection broke just as it was handed over: nobody knows whether the server
has it. Resending it uses the same Message-ID.

    trunkline digest why bob
    trunkline digest resend 17`
}

func (c *digestResendCmd) Run(ctx context.Context, a *app) error {
	return a.withConnection(ctx, func(conn *pgx.Conn) error {
		var parked bool
		if err := conn.QueryRow(ctx, "SELECT trunkline.resend_digest($1)", c.ID).Scan(&parked); err != nil {
			return err
		}
		if !parked {
			return fmt.Errorf("there is no parked mail %d: trunkline digest why USER lists a user's mails", c.ID)
		}
		_, err := fmt.Fprintf(a.stdout, "mail %d is sent again soon\n", c.ID)
		return err
	})
}
