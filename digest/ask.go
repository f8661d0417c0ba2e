package digest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A question to an authorize function: may the user still see the group? Kinds that share a function share the answer.
type question struct{ function, user, group string }

// answers are what was asked in one look, by question.
type answers map[question]Access

// give writes what was answered into a person's items.
func (a answers) give(p *person, kinds map[string]kindRow) {
	for i := range p.Items {
		if item := &p.Items[i]; item.Asks {
			item.Access = a[question{kinds[item.Kind].authorize, p.UserID, item.Group}]
		}
	}
}

// questions turns what Plan wants to know about a user into questions to functions.
func questions(user string, ask []Question, kinds map[string]kindRow) []question {
	list := make([]question, 0, len(ask))
	for _, q := range ask {
		list = append(list, question{kinds[q.Kind].authorize, user, q.Group})
	}
	return list
}

// askBudget is how many times AskTimeout all questions of one look may take together. What isn't answered by then is unknown.
const askBudget = 4

// ask asks the functions, many questions at once, each in a transaction of its own, in which nothing else is locked: they are the
// application's, and may take their time or fail. What fails is asked by halves, so that one bad question doesn't spoil the
// others, as far as the time goes. No error, NULL or silence ever becomes a yes.
func (w *Worker) ask(ctx context.Context, list []question, known answers) {
	byFunction := map[string][]question{}
	for _, q := range list {
		if _, asked := known[q]; !asked {
			known[q] = Unknown
			byFunction[q.function] = append(byFunction[q.function], q)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, askBudget*w.opts.AskTimeout)
	defer cancel()
	for function, questions := range byFunction {
		name, err := w.resolve(ctx, function)
		if err == nil {
			err = w.askSome(ctx, name, questions, known)
		}
		if err != nil && context.Cause(ctx) != context.Canceled { //nolint:errorlint // of this very context
			w.opts.Logger.Error("an authorize function failed, so mail waits that it was asked about", "function", function, "error", reason(err),
				"questions", len(questions))
		}
	}
}

// askSome asks one function, and by halves if that fails. The error is the last one.
func (w *Worker) askSome(ctx context.Context, function string, list []question, known answers) error {
	err := w.call(ctx, function, list, known)
	w.counters.questions.Add(int64(len(list)))
	if err == nil {
		return nil
	}
	w.counters.askFailures.Add(1)
	if len(list) == 1 || ctx.Err() != nil || !mayBeOne(err) {
		return err
	}
	middle := len(list) / 2
	return errors.Join(w.askSome(ctx, function, list[:middle], known), w.askSome(ctx, function, list[middle:], known))
}

func (w *Worker) call(ctx context.Context, function string, list []question, known answers) error {
	// The database ends it in time; this is for a database that doesn't answer at all.
	ctx, cancel := context.WithTimeout(ctx, w.opts.AskTimeout+time.Second)
	defer cancel()
	users, groups := make([]string, len(list)), make([]string, len(list))
	for i, q := range list {
		users[i], groups[i] = q.user, q.group
	}
	got := make([]*bool, len(list))
	// All in one transaction and round trip: the setting ends with it.
	var b pgx.Batch
	b.Queue("SELECT pg_catalog.set_config('statement_timeout', $1, true)", w.askMilliseconds())
	b.Queue("SELECT q.n, "+function+"(q.u, q.g, 'mail') FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]), "+
		"pg_catalog.unnest($2::pg_catalog.text[])) WITH ORDINALITY AS q(u, g, n)", users, groups).Query(func(rows pgx.Rows) error {
		var n int64
		var yes *bool
		tag, err := pgx.ForEachRow(rows, []any{&n, &yes}, func() error {
			if n >= 1 && n <= int64(len(list)) && yes != nil {
				answer := *yes
				got[n-1] = &answer
			}
			return nil
		})
		if err == nil && tag.RowsAffected() != int64(len(list)) {
			return fmt.Errorf("it gave %d answers to %d questions: it must return one boolean", tag.RowsAffected(), len(list))
		}
		return err
	})
	// What the transaction still has to do may fail it: a deferred trigger of what the function wrote.
	if err := w.pool.SendBatch(ctx, &b).Close(); err != nil {
		return err
	}
	for i, q := range list {
		switch {
		case got[i] == nil:
			known[q] = Unknown
		case *got[i]:
			known[q] = Allowed
		default:
			known[q] = Denied
		}
	}
	return nil
}

func (w *Worker) askMilliseconds() string {
	return strconv.FormatInt(max(1, w.opts.AskTimeout.Milliseconds()), 10)
}

// resolve returns a function's name as the database quotes it, schema included: what stands in the kind never becomes part of a
// query, and no search_path decides what is called.
func (w *Worker) resolve(ctx context.Context, function string) (string, error) {
	var name string
	err := w.pool.QueryRow(ctx, `
		SELECT pg_catalog.format('%I.%I', n.nspname, p.proname)
		FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace
		WHERE p.oid OPERATOR(pg_catalog.=) pg_catalog.to_regprocedure($1)::pg_catalog.oid
		  AND p.prorettype OPERATOR(pg_catalog.=) 'pg_catalog.bool'::pg_catalog.regtype::pg_catalog.oid AND NOT p.proretset`,
		function+"(pg_catalog.text,pg_catalog.text,pg_catalog.text)").Scan(&name)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", fmt.Errorf("there is no function %s(text, text, text) that returns boolean", clip(function, 140))
	}
	return name, err
}

// mayBeOne tells whether something may have failed because of one of those it was about, rather than of the application's code
// or the database.
func mayBeOne(err error) bool {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return errors.Is(err, context.DeadlineExceeded)
	}
	switch pg.Code[:2] {
	case "08", "25", "42", "53", "58", "XX": // connection, a session that hung, something missing or forbidden, resources, system
		return false
	case "57": // of operators' interventions only the timeout
		return pg.Code == "57014"
	}
	return true
}
