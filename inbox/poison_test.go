package inbox_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/inbox"
	"github.com/trunkline/trunkline/internal/pgtest"
)

// Data that not every reader of JSON takes is refused before it gets anywhere; brackets in texts don't count.
func TestNotifyRefusesDeepData(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	conn := pgtest.Connect(t, url)
	ctx := testContext(t)
	deep := func(levels int) string { return strings.Repeat("[", levels) + strings.Repeat("]", levels) }
	for data, refused := range map[string]bool{
		deep(100):                               false,
		deep(101):                               true,
		deep(14530):                             true,
		`["` + strings.Repeat("[", 1000) + `"]`: false,
		`[` + strings.Repeat(`{"\\\"[{": "]}\\"},`, 300) + `7]`:                        false,
		`{"\\":` + strings.Repeat(`[{"a":`, 50) + "1" + strings.Repeat("}]", 50) + "}": true,
	} {
		tx := begin(t, conn)
		_, err := inbox.NotifyTx(ctx, tx, inbox.Notification{Users: []string{"ann"}, Kind: "k", Data: json.RawMessage(data)})
		var argument *trunkline.ArgumentError
		if refused != (errors.As(err, &argument) && argument.Argument == "data" && strings.Contains(argument.Problem, "deeper than 100 levels")) ||
			!refused && err != nil {
			t.Errorf("%.40s: %v", data, err)
		}
		if _, err := tx.Exec(ctx, "SELECT 1"); err != nil {
			t.Errorf("%.40s: the database had to refuse it: %v", data, err)
		}
		_ = tx.Rollback(ctx)
	}
}

// A notification that nothing can be made of doesn't keep others from their places, nor itself.
func TestPoisonStopsNobody(t *testing.T) {
	t.Parallel()
	in, engine, conn := startNode(t)
	sub := pushesTo(t, engine, "bob")
	ctx := testContext(t)
	// Stands for whatever nobody has thought of.
	if _, err := conn.Exec(ctx, `CREATE OR REPLACE FUNCTION trunkline.item_text(template text, title text, data json) RETURNS text
		LANGUAGE plpgsql AS 'BEGIN IF title = ''poison'' THEN RAISE statement_too_complex; END IF; RETURN title; END'`); err != nil {
		t.Fatal(err)
	}
	notify(t, conn, "poison", "ann", "bob")
	if p := next(t, sub); p.Unread != 1 || len(p.Added) != 0 || !p.More {
		t.Errorf("%+v", p)
	}
	notify(t, conn, "k", "bob")
	if p := next(t, sub); p.Unread != 2 || len(p.Added) != 1 {
		t.Errorf("%+v", p)
	}
	if c := counts(t, in, "ann"); c.Unread != 1 {
		t.Errorf("ann's: %+v", c)
	}
	wantCounted(t, in)
}
