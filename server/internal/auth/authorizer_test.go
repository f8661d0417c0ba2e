package auth

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/trunkline/trunkline"
	"github.com/trunkline/trunkline/internal/pgtest"
)

// may is an application's function. It counts its calls in a sequence, which isn't transactional.
const may = `
CREATE SCHEMA app;
CREATE SEQUENCE app.calls;
CREATE FUNCTION app.may(user_id text, channel text, action text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM nextval('app.calls');
    CASE split_part(channel, ':', 2)
    WHEN 'null' THEN RETURN NULL;
    WHEN 'raises' THEN RAISE EXCEPTION 'a secret of the application';
    WHEN 'divides' THEN RETURN 1 / 0 = 1;
    WHEN 'slow' THEN PERFORM pg_sleep(60); RETURN true;
    WHEN 'own' THEN RETURN user_id = split_part(channel, ':', 3) AND action IN ('subscribe', 'history');
    WHEN 'no' THEN RETURN false;
    ELSE RETURN true;
    END CASE;
END $$`

func calls(t testing.TB, pool *pgxpool.Pool) (n int64) {
	t.Helper()
	if err := pool.QueryRow(testContext(t), "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM app.calls").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func withFunction(t testing.TB) (*Gate, *pgxpool.Pool, *settings) {
	t.Helper()
	g, pool, namespaces := online(t)
	exec(t, pool, may)
	namespaces.set(trunkline.Namespace{Name: "room", Authorize: "app.may", AuthorizeCache: time.Hour})
	return g, pool, namespaces
}

func TestTheFunctionDecides(t *testing.T) {
	g, _, _ := withFunction(t)
	ctx := testContext(t)
	ann := &Identity{User: "ann"}
	for _, test := range []struct {
		channel string
		action  Action
		code    Code // 0: allowed
	}{
		{"room:yes", Subscribe, 0},
		{"room:yes", History, 0},
		{"room:no", Subscribe, Denied},
		{"room:null", Subscribe, Denied},
		{"room:raises", Subscribe, Unavailable},
		{"room:divides", Subscribe, Unavailable},
		{"room:own:ann", Subscribe, 0},
		{"room:own:bob", Subscribe, Denied},
		{"room:own:ann", History, 0},
		{"other:yes", Subscribe, Denied}, // no row
		{"room", Subscribe, Denied},      // namespace default
		{`room:'); DROP SCHEMA app CASCADE; --`, Subscribe, 0},
		{"trunkline:control", Subscribe, Denied},
		{"room:yes", "delete", Denied},
		{"room:\x00", Subscribe, Denied},
		{"", Subscribe, Denied},
	} {
		err := g.Allow(ctx, ann, test.channel, test.action)
		if test.code == 0 {
			if err != nil {
				t.Errorf("%s %s: %v", test.action, test.channel, err)
			}
			continue
		}
		wantRefusal(t, err, test.code, "")
		if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "zero") {
			t.Errorf("%s shows what the function raised: %s", test.channel, err)
		}
	}
}

func TestPublishAndPresenceFollowTheNamespace(t *testing.T) {
	g, _, namespaces := withFunction(t)
	yes, no := true, false
	capable := &Identity{User: "ann", Caps: []Capability{{Channels: []string{"room:no"}, Allow: []string{"pub", "prs"}}}}
	bare := &Identity{User: "ann"}
	for _, action := range []Action{Publish, Presence} {
		for _, test := range []struct {
			name    string
			setting *bool
			id      *Identity
			channel string
			allowed bool
		}{
			{"nil: caps", nil, capable, "room:no", true},
			{"nil: not the function", nil, bare, "room:yes", false},
			{"true: caps", &yes, capable, "room:no", true},
			{"true: the function", &yes, bare, "room:yes", true},
			{"true: the function refuses", &yes, bare, "room:no", false},
			{"false: not even caps", &no, capable, "room:no", false},
			{"false: not the function", &no, bare, "room:yes", false},
		} {
			namespaces.set(trunkline.Namespace{Name: "room", Authorize: "app.may", Publish: test.setting, Presence: test.setting})
			if err := g.Allow(testContext(t), test.id, test.channel, action); (err == nil) != test.allowed {
				t.Errorf("%s %s: %v", action, test.name, err)
			}
		}
	}
}

func TestAnonymousUsers(t *testing.T) {
	g, pool, namespaces := withFunction(t)
	_, err := g.Connect(testContext(t), "")
	wantRefusal(t, err, BadToken, "a token is needed")

	namespaces.set(trunkline.Namespace{Name: "public", Authorize: "app.may", Anonymous: true})
	id := connect(t, g, "")
	if err := g.Allow(testContext(t), id, "public:yes", Subscribe); err != nil {
		t.Error(err)
	}
	wantRefusal(t, g.Allow(testContext(t), id, "public:no", Subscribe), Denied, "an anonymous user may not subscribe to")
	before := calls(t, pool)
	wantRefusal(t, g.Allow(testContext(t), id, "room:yes", Subscribe), Denied, "an anonymous user")
	wantRefusal(t, g.Allow(testContext(t), id, "public:yes", Publish), Denied, "an anonymous user")
	if after := calls(t, pool); after != before {
		t.Error("the function of a namespace that isn't open to anonymous users was asked")
	}
	if err := g.Check(testContext(t), id); err != nil {
		t.Error(err)
	}
	namespaces.set(trunkline.Namespace{Name: "public", Authorize: "app.may"})
	wantRefusal(t, g.Check(testContext(t), id), BadToken, "a token is needed")
}

func TestASlowFunctionIsUnavailable(t *testing.T) {
	g, _, namespaces := withFunction(t)
	namespaces.set(trunkline.Namespace{Name: "room", Authorize: "app.may", AuthorizeCache: time.Hour, AuthorizeTimeout: 50 * time.Millisecond})
	wantRefusal(t, g.Allow(testContext(t), &Identity{User: "ann"}, "room:slow", Subscribe), Unavailable, "try again")
	// The setting went with its transaction, or this would end too.
	for range 4 {
		if _, err := g.pool.Exec(testContext(t), "SELECT pg_sleep(0.1)"); err != nil {
			t.Fatal(err)
		}
	}
	// Who no longer waits is gone at once.
	namespaces.set(trunkline.Namespace{Name: "room", Authorize: "app.may", AuthorizeTimeout: 30 * time.Second})
	ctx, cancel := context.WithCancel(testContext(t))
	cancel()
	wantRefusal(t, g.Allow(ctx, &Identity{User: "ann"}, "room:slow", Subscribe), Unavailable, "try again")
}

func TestTheNameIsNeverSpliced(t *testing.T) {
	g, pool, namespaces := online(t)
	exec(t, pool, may)
	exec(t, pool, `
		CREATE SCHEMA "App's ""own""";
		CREATE FUNCTION "App's ""own"""."May do!"(text, text, text) RETURNS boolean LANGUAGE sql AS $$ SELECT $2 LIKE '%yes' $$;
		CREATE FUNCTION app.many(text, text, text) RETURNS SETOF boolean LANGUAGE sql AS $$ VALUES (true), (true) $$;
		CREATE FUNCTION app.words(text, text, text) RETURNS text LANGUAGE sql AS $$ SELECT 'true' $$;
		CREATE FUNCTION app.pair(text, text) RETURNS boolean LANGUAGE sql AS $$ SELECT true $$`)
	ann := &Identity{User: "ann"}
	for _, name := range []string{
		"app.many", "app.words", "app.pair", "app.none", "app", "", "app.may(text,text,text)--", `app.may"`, "true OR app.may", "none.may",
		"app.may(text, text, text); DROP SCHEMA app CASCADE; --", "(SELECT true) --", "pg_sleep", strings.Repeat("a", 300), "a.b.c.d", "\x00",
	} {
		namespaces.set(trunkline.Namespace{Name: "room", Authorize: name})
		if err := g.Allow(testContext(t), ann, "room:yes", Subscribe); err == nil {
			t.Errorf("function %q allowed", name)
		}
	}
	namespaces.set(trunkline.Namespace{Name: "room", Authorize: `"App's ""own"""."May do!"`})
	if err := g.Allow(testContext(t), ann, "room:yes", Subscribe); err != nil {
		t.Error(err)
	}
	wantRefusal(t, g.Allow(testContext(t), ann, "room:no", Subscribe), Denied, "")
}

func TestAFunctionGoesAndComesBack(t *testing.T) {
	g, pool, namespaces := withFunction(t)
	namespaces.set(trunkline.Namespace{Name: "room", Authorize: "app.may"})
	ann := &Identity{User: "ann"}
	if err := g.Allow(testContext(t), ann, "room:yes", Subscribe); err != nil {
		t.Fatal(err)
	}
	exec(t, pool, "DROP FUNCTION app.may")
	wantRefusal(t, g.Allow(testContext(t), ann, "room:yes", Subscribe), Unavailable, "try again")
	exec(t, pool, "CREATE FUNCTION app.may(text, text, text) RETURNS text LANGUAGE sql AS 'SELECT $2'")
	wantRefusal(t, g.Allow(testContext(t), ann, "room:yes", Subscribe), Unavailable, "try again")
	exec(t, pool, "DROP FUNCTION app.may")
	exec(t, pool, "CREATE FUNCTION app.may(text, text, text) RETURNS boolean LANGUAGE sql AS $$ SELECT $2 = 'room:yes' $$")
	if err := g.Allow(testContext(t), ann, "room:yes", Subscribe); err != nil {
		t.Error(err)
	}
	wantRefusal(t, g.Allow(testContext(t), ann, "room:no", Subscribe), Denied, "")
}

// TestTheSearchPathDecidesNothing puts functions and operators of a stranger's before those of the system and the application.
func TestTheSearchPathDecidesNothing(t *testing.T) {
	url := pgtest.Database(t)
	pool := pgtest.Pool(t, url+"&options=-csearch_path%3Devil%2Cpg_catalog")
	exec(t, pool, may)
	exec(t, pool, `
		CREATE SCHEMA evil;
		CREATE FUNCTION evil.may(text, text, text) RETURNS boolean LANGUAGE sql AS $$ SELECT true $$;
		CREATE FUNCTION evil.to_regprocedure(text) RETURNS regprocedure LANGUAGE sql AS $$ SELECT 'evil.may'::regproc::regprocedure $$;
		CREATE FUNCTION evil.format(text, name, name) RETURNS text LANGUAGE sql AS $$ SELECT 'evil.may' $$;
		CREATE FUNCTION evil.unnest(text[], text[], text[]) RETURNS TABLE (a text, b text, c text) LANGUAGE sql AS $$ SELECT 'a', 'room:yes', 'b' $$;
		CREATE FUNCTION evil.same(oid, oid) RETURNS boolean LANGUAGE sql AS $$ SELECT true $$;
		CREATE OPERATOR evil.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = evil.same)`)
	namespaces := &settings{}
	g, err := New(Config{Pool: pool, Secret: testSecret, Namespace: namespaces.of})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	reload(t, g)
	namespaces.set(trunkline.Namespace{Name: "room", Authorize: "app.may"})
	wantRefusal(t, g.Allow(testContext(t), &Identity{User: "ann"}, "room:no", Subscribe), Denied, "")
	if err := g.Allow(testContext(t), &Identity{User: "ann"}, "room:yes", Subscribe); err != nil {
		t.Error(err)
	}
}

// held makes a function wait until the lock that the test holds is released, and tells when it is being asked.
func held(t testing.TB, pool *pgxpool.Pool) (release func()) {
	t.Helper()
	exec(t, pool, `CREATE FUNCTION app.held(user_id text, channel text, action text) RETURNS boolean LANGUAGE plpgsql AS $$
		BEGIN
			PERFORM pg_advisory_xact_lock_shared(4711);
			RETURN app.may(user_id, channel, action);
		END $$`)
	conn, err := pool.Acquire(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(testContext(t), "SELECT pg_advisory_lock(4711)"); err != nil {
		t.Fatal(err)
	}
	return sync.OnceFunc(func() {
		if _, err := conn.Exec(context.Background(), "SELECT pg_advisory_unlock(4711)"); err != nil {
			t.Error(err)
		}
		conn.Release()
	})
}

// eventually waits for a condition that no event announces.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("still not: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func (a *authorizer) waiting() (flights, waiters int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, f := range a.flights {
		flights++
		waiters += f.waiters
	}
	return flights, waiters
}

func TestACrowdCostsFewQueries(t *testing.T) {
	g, pool, namespaces := withFunction(t)
	release := held(t, pool)
	defer release()
	namespaces.set(trunkline.Namespace{Name: "room", Authorize: "app.held", AuthorizeCache: time.Hour, AuthorizeTimeout: 30 * time.Second})
	ctx := testContext(t)
	var crowd sync.WaitGroup
	ask := func(user, channel string, allowed bool) {
		crowd.Go(func() {
			if err := g.Allow(ctx, &Identity{User: user}, channel, Subscribe); (err == nil) != allowed {
				t.Errorf("%s on %s: %v", user, channel, err)
			}
		})
	}
	ask("first", "room:yes", true)
	eventually(t, "the first is asked", func() bool { return g.Stats().Queries == 1 })
	const users = 500
	for i := range users {
		user := fmt.Sprintf("user %d", i)
		ask(user, "room:own:"+user, true)
		ask(user, "room:own:"+user, true) // the same question
		ask(user, "room:no", false)
	}
	eventually(t, "all wait", func() bool {
		flights, waiters := g.functions.waiting()
		return flights == 1+2*users && waiters == 1+3*users
	})
	release()
	crowd.Wait()
	if n, want := g.Stats().Queries, int64(1+(2*users+maxBatch-1)/maxBatch); n != want {
		t.Errorf("%d queries for %d questions, want %d", n, 1+3*users, want)
	}
	if n := calls(t, pool); n != 1+2*users {
		t.Errorf("the function was called %d times, want %d", n, 1+2*users)
	}
	// Now all is known.
	ask("first", "room:yes", true)
	ask("user 7", "room:no", false)
	crowd.Wait()
	if n := calls(t, pool); n != 1+2*users {
		t.Errorf("the function was called %d times after its answers were known, want %d", n, 1+2*users)
	}
}

// TestOneQuestionDoesNotDecideOverOthers asks together what fails for some.
func TestOneQuestionDoesNotDecideOverOthers(t *testing.T) {
	g, pool, namespaces := withFunction(t)
	release := held(t, pool)
	defer release()
	namespaces.set(trunkline.Namespace{Name: "room", Authorize: "app.held", AuthorizeCache: time.Hour, AuthorizeTimeout: 30 * time.Second})
	ctx := testContext(t)
	var crowd sync.WaitGroup
	want := map[string]Code{"room:yes": 0, "room:other": 0, "room:no": Denied, "room:raises": Unavailable, "room:divides": Unavailable}
	crowd.Go(func() { _ = g.Allow(ctx, &Identity{User: "first"}, "room:yes", Subscribe) })
	eventually(t, "the first is asked", func() bool { return g.Stats().Queries == 1 })
	for channel, code := range want {
		crowd.Go(func() {
			err := g.Allow(ctx, &Identity{User: "ann"}, channel, Subscribe)
			if code == 0 {
				if err != nil {
					t.Errorf("%s: %v", channel, err)
				}
				return
			}
			wantCode(t, err, code)
		})
	}
	eventually(t, "all wait", func() bool { flights, _ := g.functions.waiting(); return flights == 1+len(want) })
	release()
	crowd.Wait()
	if n := g.Stats().Failures; n != 2 {
		t.Errorf("%d failures, want 2", n)
	}
}

func TestAnswersAreForgotten(t *testing.T) {
	g, pool, namespaces := withFunction(t)
	ann, bob := &Identity{User: "ann"}, &Identity{User: "bob"}
	asked := func(id *Identity, channel string) bool {
		t.Helper()
		before := calls(t, pool)
		if err := g.Allow(testContext(t), id, channel, Subscribe); err != nil {
			t.Fatal(err)
		}
		return calls(t, pool) > before
	}
	for _, id := range []*Identity{ann, bob} {
		for _, channel := range []string{"room:1", "room:2"} {
			if !asked(id, channel) || asked(id, channel) {
				t.Errorf("%s on %s should be asked once", id.User, channel)
			}
		}
	}
	g.Forget("ann", "room:1")
	if !asked(ann, "room:1") || asked(ann, "room:2") || asked(bob, "room:1") {
		t.Error("Forget should drop one user's answers about a channel")
	}
	g.Forget("ann", "")
	if !asked(ann, "room:1") || !asked(ann, "room:2") || asked(bob, "room:1") {
		t.Error("Forget without a channel should drop all of one user's")
	}
	g.ForgetAll()
	if !asked(ann, "room:1") || !asked(bob, "room:1") {
		t.Error("ForgetAll should drop all")
	}
	// revoke drops by itself, upon Load.
	exec(t, pool, "SELECT trunkline.revoke('ann', 'room:1')")
	reload(t, g)
	if !asked(ann, "room:1") {
		t.Error("what was revoked should be asked anew")
	}
	if reload(t, g); asked(ann, "room:1") {
		t.Error("what was revoked before should not be asked anew")
	}
	// So do other settings.
	exec(t, pool, "CREATE FUNCTION app.may2(a text, b text, c text) RETURNS boolean LANGUAGE sql AS 'SELECT app.may(a, b, c)'")
	namespaces.set(trunkline.Namespace{Name: "room", Authorize: "app.may2", AuthorizeCache: time.Hour})
	if !asked(bob, "room:1") || asked(bob, "room:1") {
		t.Error("another function should be asked, once")
	}
	namespaces.set(trunkline.Namespace{Name: "room", Authorize: "app.may2"})
	for range 2 {
		if !asked(bob, "room:1") {
			t.Error("without a cache each time should be asked")
		}
	}
}

// TestForgetReachesWhatIsBeingAsked changes the answer, and forgets, while a question is under way.
func TestForgetReachesWhatIsBeingAsked(t *testing.T) {
	g, pool, namespaces := online(t)
	exec(t, pool, may)
	exec(t, pool, `
		CREATE TABLE app.member (user_id text);
		INSERT INTO app.member VALUES ('ann');
		CREATE FUNCTION app.held(u text, channel text, action text) RETURNS boolean LANGUAGE plpgsql AS $$
		DECLARE
			known boolean := EXISTS (SELECT FROM app.member WHERE user_id = u);
		BEGIN
			PERFORM pg_advisory_xact_lock_shared(4712);
			RETURN known;
		END $$`)
	namespaces.set(trunkline.Namespace{Name: "room", Authorize: "app.held", AuthorizeCache: time.Hour, AuthorizeTimeout: 30 * time.Second})
	conn, err := pool.Acquire(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	if _, err := conn.Exec(testContext(t), "SELECT pg_advisory_lock(4712)"); err != nil {
		t.Fatal(err)
	}
	answer := make(chan error, 1)
	ctx := testContext(t)
	go func() { answer <- g.Allow(ctx, &Identity{User: "ann"}, "room:1", Subscribe) }()
	eventually(t, "it waits for the lock", func() bool {
		var waiting bool
		err := conn.QueryRow(testContext(t), "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = 4712"+
			" AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))").Scan(&waiting)
		if err != nil {
			t.Fatal(err)
		}
		return waiting
	})
	if _, err := conn.Exec(testContext(t), "DELETE FROM app.member"); err != nil {
		t.Fatal(err)
	}
	g.Forget("ann", "room:1")
	if _, err := conn.Exec(testContext(t), "SELECT pg_advisory_unlock(4712)"); err != nil {
		t.Fatal(err)
	}
	wantRefusal(t, <-answer, Denied, "")
	wantRefusal(t, g.Allow(testContext(t), &Identity{User: "ann"}, "room:1", Subscribe), Denied, "")
}

func TestWhatAFunctionRaisesIsLogged(t *testing.T) {
	var log strings.Builder
	var mu sync.Mutex
	g, pool, namespaces := online(t, func(c *Config) {
		c.Logger = slog.New(slog.NewTextHandler(writerFunc(func(p []byte) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			return log.Write(p)
		}), nil))
	})
	exec(t, pool, may)
	namespaces.set(trunkline.Namespace{Name: "room", Authorize: "app.may"})
	wantRefusal(t, g.Allow(testContext(t), &Identity{User: "ann"}, "room:raises", Subscribe), Unavailable, "try again")
	mu.Lock()
	defer mu.Unlock()
	for _, words := range []string{"a secret of the application", "function=app.may", "user=ann", "channel=room:raises"} {
		if !strings.Contains(log.String(), words) {
			t.Errorf("the log lacks %q:\n%s", words, log.String())
		}
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestAnswersAreBounded(t *testing.T) {
	a := newAnswers(100)
	now := time.Now()
	for i := range 1000 {
		q := question{user: fmt.Sprint("user", i%7), channel: fmt.Sprint("channel", i), action: Subscribe}
		a.put(q, true, now)
		if _, ok := a.get(q, now, time.Minute); !ok {
			t.Fatalf("answer %d was dropped at once", i)
		}
		if a.count > 100 {
			t.Fatalf("%d answers are kept, more than 100", a.count)
		}
	}
	n := 0
	for _, user := range a.users {
		n += len(user)
	}
	if n != a.count {
		t.Errorf("counted %d answers, there are %d", a.count, n)
	}
}

func TestAClosedGateAsksNobody(t *testing.T) {
	g, _, _ := withFunction(t)
	g.Close()
	wantRefusal(t, g.Allow(testContext(t), &Identity{User: "ann"}, "room:yes", Subscribe), Unavailable, "try again")
}
