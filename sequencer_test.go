package trunkline_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/internal/pgtest"
)

// A transaction that stays open delays nobody else's messages; its own come when it commits, after theirs.
func TestOpenTransactionDelaysNobody(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	sub := subscribe(t, startEngine(t, url), trunkline.FromNow(), "c")
	held := begin(t, url)
	publish(t, held, "c", `"held 1"`)
	conn := pgtest.Connect(t, url)
	const others = 3000
	var got []trunkline.Message
	for i := range others / 10 {
		exec(t, conn, "SELECT trunkline.publish('c', to_json(i)) FROM generate_series($1::int, $1 + 9) i", i*10)
		if i == others/20 {
			publish(t, held, "c", `"held 2"`)
		}
		got = append(got, next(t, sub, 10)...)
	}
	wantSeqs(t, got, 1)
	for i, m := range got {
		if string(m.Payload) != fmt.Sprint(i) {
			t.Fatalf("message %d is %s", i, m.Payload)
		}
	}
	if err := held.Commit(testContext(t)); err != nil {
		t.Fatal(err)
	}
	late := next(t, sub, 2)
	wantSeqs(t, late, others+1)
	if string(late[0].Payload) != `"held 1"` || string(late[1].Payload) != `"held 2"` {
		t.Errorf("then came %s and %s", late[0].Payload, late[1].Payload)
	}
}

// A backlog is sequenced in pages, in the order of ids whatever transactions they belong to, and what is published
// meanwhile comes after it.
func TestLargeBacklogIsSequencedInOrder(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	one, two := begin(t, url), begin(t, url)
	const backlog = 50_000
	for range 10 {
		for _, tx := range []pgx.Tx{one, two} {
			exec(t, tx, "INSERT INTO trunkline.message (channel, payload) SELECT 'c' || i % 3, to_json(i) FROM generate_series(1, $1::int) i", backlog/20)
		}
	}
	for _, tx := range []pgx.Tx{one, two} {
		if err := tx.Commit(testContext(t)); err != nil {
			t.Fatal(err)
		}
	}
	engine := startEngine(t, url)
	conn := pgtest.Connect(t, url)
	publish(t, conn, "c0", `"after"`)
	sub := subscribe(t, engine, trunkline.FromBeginning(), "c0", "c1", "c2")
	got := next(t, sub, backlog+1)
	for i, m := range got {
		if i > 0 && (m.ID <= got[i-1].ID || m.Position != got[i-1].Position+1) {
			t.Fatalf("message %d has id %d at %d, after %d at %d", i, m.ID, m.Position, got[i-1].ID, got[i-1].Position)
		}
	}
	if n := scan[int](t, conn, "SELECT count(*) FROM trunkline.log"); n != backlog+1 {
		t.Errorf("%d messages were sequenced", n)
	}
	wantReadByIndex(t, conn) // before anybody has analyzed the tables
}

// More than a step holds, in one transaction, while the engine runs.
func TestOneTransactionOfManySteps(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	engine := startEngine(t, url)
	sub := subscribe(t, engine, trunkline.FromNow(), "c")
	n := 3*trunkline.StepMessages + 7
	tx := begin(t, url)
	exec(t, tx, "SELECT trunkline.publish_many(array_agg('c'::text), array_agg(to_json(i))) FROM generate_series(1, $1::int) i", n)
	other := pgtest.Connect(t, url)
	publish(t, other, "c", `"first"`)
	got := next(t, sub, 1)
	if err := tx.Commit(testContext(t)); err != nil {
		t.Fatal(err)
	}
	publish(t, other, "c", `"last"`)
	got = append(got, next(t, sub, n+1)...)
	wantSeqs(t, got, 1)
	if string(got[0].Payload) != `"first"` || string(got[n+1].Payload) != `"last"` {
		t.Errorf("first came %s, last %s", got[0].Payload, got[n+1].Payload)
	}
	for i, m := range got[1 : n+1] {
		if string(m.Payload) != fmt.Sprint(i+1) {
			t.Fatalf("message %d of the transaction is %s", i, m.Payload)
		}
	}
}

// A step reads what is new and nothing else, however much is stored and however much is not committed yet.
func TestStepReadsOnlyWhatIsNew(t *testing.T) {
	t.Parallel()
	const rows = 200_000
	for _, stored := range []struct{ name, transactions string }{
		// To the planner's statistics these are opposites.
		{"stored in one transaction", "1"},
		{"stored in many transactions", "(i % 500)"},
	} {
		t.Run(stored.name, func(t *testing.T) {
			t.Parallel()
			url := pgtest.Database(t)
			conn := pgtest.Connect(t, url)
			exec(t, conn, "SET synchronous_commit = off")
			// Sequenced long ago: xids below the present ones.
			exec(t, conn, `WITH m AS (
					INSERT INTO trunkline.message (channel, payload, xid)
					SELECT 'c' || i % 100, to_json(i), (100 + `+stored.transactions+`)::text::xid8 FROM generate_series(1, $1::int) i RETURNING id, channel, size
				), c AS (INSERT INTO trunkline.channel (name) SELECT DISTINCT channel FROM m RETURNING id, name)
				INSERT INTO trunkline.log SELECT m.id, m.id, c.id, row_number() OVER (PARTITION BY c.id ORDER BY m.id), m.size FROM m JOIN c ON c.name = m.channel`, rows)
			exec(t, conn, "ANALYZE trunkline.message")
			exec(t, conn, "ANALYZE trunkline.log")
			exec(t, conn, "ANALYZE trunkline.channel")
			session, err := trunkline.ConnectLog(testContext(t), url)
			if err != nil {
				t.Fatal(err)
			}
			defer session.Close(testContext(t))
			exec(t, session, "SET idle_session_timeout = 0")
			era := scan[int](t, session, "SELECT trunkline.default_era()")
			step := func(prev string) (cost, string) {
				exec(t, conn, "SELECT pg_current_xact_id()") // something has ended since prev, so that the step has to look
				c := explain(t, session, "SELECT * FROM trunkline.step($1::pg_snapshot, $2, 2000, 4000000)", prev, era)
				return c, scan[string](t, session, "SELECT snapshot::text FROM trunkline.step($1::pg_snapshot, $2, 2000, 4000000) LIMIT 1", prev, era)
			}
			prev := scan[string](t, session, "SELECT pg_current_snapshot()::text")
			c, prev := step(prev)
			c.within(t, "an empty step", 50)

			bulk := begin(t, url)
			exec(t, bulk, "INSERT INTO trunkline.message (channel, payload) SELECT 'bulk', to_json(i) FROM generate_series(1, $1::int) i", rows)
			c, prev = step(prev)
			c.within(t, "an empty step below an open bulk transaction", 50)
			if c.WAL > 0 {
				t.Errorf("an empty step writes %d WAL records", c.WAL)
			}
			for range 3 {
				for range 10 {
					publish(t, conn, "c1", "1")
				}
				c, prev = step(prev)
				c.within(t, "a step with 10 messages beside an open bulk transaction", 1000)
				c, prev = step(prev)
				c.within(t, "an empty step above an open bulk transaction", 50)
			}
			if err := bulk.Commit(testContext(t)); err != nil {
				t.Fatal(err)
			}
			// Found to be too much for one step, by looking at no more than that says so.
			c, now := step(prev)
			c.within(t, "a step that finds the bulk", 9000)

			lowest := prev
			start := scan[int64](t, session, "SELECT trunkline.backlog_start($1::pg_snapshot, pg_snapshot_xmin($2::pg_snapshot), $3)", now, lowest, era)
			page := func(after int64) cost {
				return explain(t, session, "SELECT * FROM trunkline.sequence_page($1::pg_snapshot, pg_snapshot_xmin($2::pg_snapshot), $3, $4, 2000, 4000000)", now, lowest, era, after)
			}
			c = page(start - 1)
			c.within(t, "the first page of the backlog", 60_000)
			// The second costs what the first did: it continues on the primary key.
			c2 := page(start + 1999)
			c2.within(t, "the second page", c.blocks()+c.blocks()/4)
			wantReadByIndex(t, conn)
			wantByIndex(t, conn, "history forward", trunkline.HistoryAfterSQL, "c1", 500, 1000, 4<<20)
			wantByIndex(t, conn, "history backward", trunkline.HistoryBeforeSQL, "c1", 5000, 1000, 4<<20)
			c = explain(t, conn, "SELECT * FROM trunkline.history('c1', 2000, 100)")
			c.within(t, "a hundred messages of history", 2000)
		})
	}
}

// wantReadByIndex checks the queries that read many messages.
func wantReadByIndex(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	wantByIndex(t, conn, "catching up", trunkline.CatchUpSQL,
		[]string{"c0", "c1", "c2"}, []int64{500, -1, -1}, []int64{0, 5000, 0}, []int32{1000, 1000, 1000}, 4<<20)
	wantByIndex(t, conn, "what is newest", trunkline.NewestSQL, []string{"c0", "c1", "c2"}, []int32{1000, 1000, 0}, 4<<20)
}

// wantByIndex checks that a query reads neither all messages nor all of the log, whatever the planner guesses, and isn't worth
// compiling.
func wantByIndex(t *testing.T, conn *pgx.Conn, what, sql string, args ...any) {
	t.Helper()
	for _, mode := range []string{"force_custom_plan", "force_generic_plan"} {
		tx, err := conn.Begin(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		exec(t, tx, "SET LOCAL plan_cache_mode = "+mode)
		text := scan[[]byte](t, tx, "EXPLAIN (ANALYZE, FORMAT JSON) "+sql, args...)
		if err := tx.Rollback(testContext(t)); err != nil {
			t.Fatal(err)
		}
		var plans []struct {
			Plan planNode
			JIT  json.RawMessage
		}
		if err := json.Unmarshal(text, &plans); err != nil {
			t.Fatal(err)
		}
		if plans[0].JIT != nil {
			t.Errorf("%s, %s: it is compiled: %s", what, mode, plans[0].JIT)
		}
		plans[0].Plan.walk(func(n planNode) {
			if (n.Relation == "message" || n.Relation == "log") && (n.Type == "Seq Scan" || n.Rows*n.Loops > 5000) {
				t.Errorf("%s, %s: %s on %s reads %.0f rows", what, mode, n.Type, n.Relation, n.Rows*n.Loops)
			}
		})
	}
}

type planNode struct {
	Type     string     `json:"Node Type"`
	Relation string     `json:"Relation Name"`
	Rows     float64    `json:"Actual Rows"`
	Loops    float64    `json:"Actual Loops"`
	Plans    []planNode `json:"Plans"`
}

func (n planNode) walk(visit func(planNode)) {
	visit(n)
	for _, p := range n.Plans {
		p.walk(visit)
	}
}

// What a statement cost.
type cost struct {
	Hit  int   `json:"Shared Hit Blocks"`
	Read int   `json:"Shared Read Blocks"`
	WAL  int64 `json:"WAL Records"`
}

func (c cost) blocks() int { return c.Hit + c.Read }

func (c cost) within(t *testing.T, what string, most int) {
	t.Helper()
	if c.blocks() > most {
		t.Errorf("%s touches %d blocks, more than %d", what, c.blocks(), most)
	}
	t.Logf("%s: %d blocks", what, c.blocks())
}

// explain runs a statement for its cost, functions included, and takes back what it did. Once before, so that what is
// read to plan it isn't counted.
func explain(t *testing.T, conn *pgx.Conn, sql string, args ...any) cost {
	t.Helper()
	var plans []struct{ Plan cost }
	for range 2 {
		tx, err := conn.Begin(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		text := scan[[]byte](t, tx, "EXPLAIN (ANALYZE, BUFFERS, WAL, FORMAT JSON) "+sql, args...)
		if err := tx.Rollback(testContext(t)); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &plans); err != nil {
			t.Fatal(err)
		}
	}
	return plans[0].Plan
}

func TestEmptyStepTakesNoTransactionID(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	session, err := trunkline.ConnectLog(testContext(t), url)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close(testContext(t))
	era := scan[int](t, session, "SELECT trunkline.default_era()")
	prev := scan[string](t, session, "SELECT pg_current_snapshot()::text")
	// Something has ended since, so that the step has to look.
	exec(t, pgtest.Connect(t, url), "SELECT pg_current_xact_id()")
	tx, err := session.Begin(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	exec(t, tx, "SELECT trunkline.step($1::pg_snapshot, $2, 2000, 4000000)", prev, era)
	if !scan[bool](t, tx, "SELECT pg_current_xact_id_if_assigned() IS NULL") {
		t.Error("an empty step takes an xid")
	}
	if err := tx.Rollback(testContext(t)); err != nil {
		t.Fatal(err)
	}
}

// Idle nodes ask about once a second each.
func TestIdleNodesAskOnceASecond(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	links := []*proxy{newProxy(t, url), newProxy(t, url)}
	var nodes []*trunkline.Engine
	for _, link := range links {
		nodes = append(nodes, startEngine(t, link.url))
	}
	sub := subscribe(t, nodes[1], trunkline.FromNow(), "c")
	publish(t, pgtest.Connect(t, url), "c", "1")
	next(t, sub, 1)
	leads(t, url, "the first", func() bool { return nodes[0].State().Sequencing })
	asleep(t, nodes[0])
	eventually(t, "retention has looked", func() bool { return nodes[0].Stats().TrimBatches > 0 })
	// A rate takes time. A node whose session the server ended, as the machine stood still, asks more for a moment: not each time.
	eventually(t, "each node asks once a second", func() bool {
		var before, asked [2]int64
		for i, link := range links {
			before[i] = link.asked.Load()
		}
		began := time.Now()
		time.Sleep(4 * time.Second)
		for i, link := range links {
			asked[i] = link.asked.Load() - before[i]
		}
		took := time.Since(began)
		t.Logf("the nodes asked %v times in %v", asked, took)
		// A heartbeat may fall into it: two questions.
		most := int64(took/time.Second) + 3
		return asked[0] <= most && asked[1] <= most
	})
}
