-- The keeper: who gives notifications their places, folds the counts and publishes both. One session at a time, under the advisory
-- lock (1953656430, 5), 'trun' in ASCII.

-- json_time(at) → a time as JSON texts have it: RFC 3339, UTC, microseconds.
CREATE FUNCTION trunkline.json_time(at timestamptz) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT pg_catalog.to_char(pg_catalog.timezone('UTC', at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
$$;

-- inbox_apply(users, ids, changes) is the part of inbox_keep and inbox_fold that does the counting: it gives the notifications of
-- these ids their places, folds the differences of these changes in, and publishes what came of it, one message a user. → how many
-- were published. The caller holds the inbox rows of all their users, and the notifications and changes themselves.
--
-- Rows are found one by one, by key: no plan depends on how large a table is thought to be, so that one made for an empty
-- table, and kept, serves a full one.
CREATE FUNCTION trunkline.inbox_apply(users text[], ids bigint[], changes bigint[]) RETURNS integer
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_nestloop = off SET enable_hashjoin = on SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    -- Of one push: how many items it carries, in how many bytes, and how many changes.
    most_items constant integer := 20;
    most_bytes constant integer := least(131072, trunkline.max_payload() / 2);
    most_changes constant integer := 100;
    placed bigint[];
    seqs bigint[];
    added_users text[];
    added_lists json[];
    added_counts bigint[];
    published integer;
BEGIN
    IF ids <> '{}' THEN
        -- Behind the highest seq ever given, and behind what somebody may have given by hand.
        WITH base AS MATERIALIZED (
            SELECT u.user_id, greatest(i.last_seq, m.seq) AS last
            FROM unnest(users) u(user_id)
            CROSS JOIN LATERAL (SELECT x.last_seq FROM trunkline.inbox x WHERE x.user_id = u.user_id COLLATE "C" OFFSET 0) i
            LEFT JOIN LATERAL (
                SELECT n.seq FROM trunkline.notification n
                WHERE n.user_id = u.user_id COLLATE "C" AND n.seq IS NOT NULL ORDER BY n.seq DESC LIMIT 1
            ) m ON true
        ), item AS MATERIALIZED (
            SELECT n.id, n.user_id, row_number() OVER (PARTITION BY n.user_id ORDER BY n.id) AS nth
            FROM unnest(ids) i(id)
            CROSS JOIN LATERAL (SELECT x.id, x.user_id FROM trunkline.notification x WHERE x.id = i.id OFFSET 0) n
        )
        SELECT array_agg(i.id), array_agg(b.last + i.nth) INTO placed, seqs FROM item i JOIN base b ON b.user_id = i.user_id;
        UPDATE trunkline.notification n SET seq = seqs[array_position(placed, n.id)] WHERE n.id = ANY (placed);
    END IF;

    IF placed <> '{}' THEN
        -- Whatever can't be made of an item, its push goes without and it has its place: one of them must not stop all inboxes.
        BEGIN
            WITH item AS MATERIALIZED (
                SELECT n.*, row_number() OVER (PARTITION BY n.user_id ORDER BY n.seq DESC) AS nth
                FROM unnest(placed) o(id)
                CROSS JOIN LATERAL (SELECT * FROM trunkline.notification x WHERE x.id = o.id OFFSET 0) n
            ), built AS (
                SELECT i.user_id, i.nth, row_to_json(j) AS json
                FROM item i
                LEFT JOIN LATERAL (SELECT x.title, x.template FROM trunkline.kind x WHERE x.name = i.kind OFFSET 0) k ON true
                CROSS JOIN LATERAL (
                    SELECT i.id, i.seq, i.kind, coalesce(k.title, i.kind) AS title,
                           trunkline.item_text(k.template, coalesce(k.title, i.kind), i.data) AS text,
                           i."group", i.cause, i.link, i.data,
                           trunkline.json_time(i.created_at) AS created_at, trunkline.json_time(i.expires_at) AS expires_at,
                           trunkline.json_time(i.seen_at) AS seen_at, trunkline.json_time(i.read_at) AS read_at,
                           trunkline.json_time(i.archived_at) AS archived_at, trunkline.json_time(i.snoozed_until) AS snoozed_until
                    OFFSET 0
                ) j
                WHERE i.nth <= most_items
            ), added AS (
                -- Nothing here reads JSON, so nothing in it can stop this.
                SELECT f.user_id, json_agg(f.json ORDER BY f.nth) AS list, count(*) AS n
                FROM (SELECT b.*, sum(octet_length(b.json::text)) OVER (PARTITION BY b.user_id ORDER BY b.nth) AS bytes
                      FROM built b) f
                WHERE f.bytes <= most_bytes
                GROUP BY f.user_id
            )
            SELECT array_agg(a.user_id), array_agg(a.list), array_agg(a.n) INTO added_users, added_lists, added_counts FROM added a;
        EXCEPTION WHEN OTHERS THEN
            RAISE WARNING 'notifications are pushed without their items: %', SQLERRM USING
                HINT = 'Clients are told to read their inboxes anew.';
        END;
    END IF;

    WITH change AS MATERIALIZED (
        SELECT c.* FROM unnest(changes) o(id)
        CROSS JOIN LATERAL (SELECT * FROM trunkline.inbox_change x WHERE x.id = o.id OFFSET 0) c
    ), item AS MATERIALIZED (
        SELECT n.*, row_number() OVER (PARTITION BY n.user_id ORDER BY n.seq DESC) AS nth
        FROM unnest(placed) o(id)
        CROSS JOIN LATERAL (SELECT * FROM trunkline.notification x WHERE x.id = o.id OFFSET 0) n
    ), delta AS MATERIALIZED (
        SELECT d.user_id, max(d.seq) AS seq, sum(d.unseen) AS unseen, sum(d.unread) AS unread,
               count(*) FILTER (WHERE d.seq > 0) AS items, bool_or(d.anew) AS anew
        FROM (SELECT c.user_id, 0 AS seq, c.unseen, c.unread, c.anew FROM change c
              UNION ALL
              SELECT i.user_id, i.seq, (i.seen_at IS NULL AND i.archived_at IS NULL AND i.snoozed_until IS NULL)::integer,
                     (i.read_at IS NULL AND i.archived_at IS NULL AND i.snoozed_until IS NULL)::integer, false
              FROM item i) d
        GROUP BY d.user_id
    ), counted AS (
        -- The rows are there, and held by us: this finds them by key, however many there are.
        INSERT INTO trunkline.inbox AS b (user_id, last_seq, unseen, unread, version)
        SELECT d.user_id, d.seq, d.unseen, d.unread, 1 FROM delta d ORDER BY d.user_id
        ON CONFLICT (user_id) DO UPDATE SET
            last_seq = greatest(b.last_seq, excluded.last_seq), version = b.version + 1,
            unseen = b.unseen + excluded.unseen, unread = b.unread + excluded.unread
        RETURNING b.user_id, b.unseen, b.unread, b.version
    ), altered AS (
        -- As they are now, which may be later than these changes: the next push then says it again. What was placed is in added.
        SELECT n.user_id, json_agg(json_build_object(
                   'id', n.id, 'seq', n.seq, 'seen_at', trunkline.json_time(n.seen_at), 'read_at', trunkline.json_time(n.read_at),
                   'archived_at', trunkline.json_time(n.archived_at), 'snoozed_until', trunkline.json_time(n.snoozed_until))
                   ORDER BY n.id) FILTER (WHERE n.nth <= most_changes) AS list, count(*) AS n
        FROM (SELECT s.user_id, m.*, row_number() OVER (PARTITION BY s.user_id ORDER BY s.id) AS nth
              FROM (SELECT c.user_id, u.id FROM change c CROSS JOIN LATERAL unnest(c.changed) u(id)
                    EXCEPT SELECT i.user_id, i.id FROM item i) s
              CROSS JOIN LATERAL (
                  SELECT x.id, x.seq, x.seen_at, x.read_at, x.archived_at, x.snoozed_until FROM trunkline.notification x
                  WHERE x.id = s.id AND x.seq IS NOT NULL AND x.user_id = s.user_id OFFSET 0
              ) m) n
        GROUP BY n.user_id
    ), gone AS (
        SELECT s.user_id, json_agg(s.id ORDER BY s.id) FILTER (WHERE s.nth <= most_changes) AS list, count(*) AS n
        FROM (SELECT x.user_id, x.id, row_number() OVER (PARTITION BY x.user_id ORDER BY x.id) AS nth
              FROM (SELECT c.user_id, u.id FROM change c CROSS JOIN LATERAL unnest(c.removed) u(id)
                    EXCEPT SELECT i.user_id, i.id FROM item i) x) s
        GROUP BY s.user_id
    ), told AS (
        INSERT INTO trunkline.message (channel, payload)
        SELECT 'inbox:' || c.user_id, json_build_object(
            'unseen', c.unseen, 'unread', c.unread, 'version', c.version,
            'added', coalesce(a.list, '[]'), 'changed', coalesce(h.list, '[]'), 'removed', coalesce(g.list, '[]'),
            'more', d.anew OR d.items > coalesce(a.n, 0) OR coalesce(h.n, 0) > most_changes OR coalesce(g.n, 0) > most_changes)
        FROM counted c
        JOIN delta d ON d.user_id = c.user_id
        LEFT JOIN unnest(added_users, added_lists, added_counts) a(user_id, list, n) ON a.user_id = c.user_id
        LEFT JOIN altered h ON h.user_id = c.user_id
        LEFT JOIN gone g ON g.user_id = c.user_id
        ORDER BY c.user_id
        RETURNING 1
    )
    SELECT count(*) INTO published FROM told;
    DELETE FROM trunkline.inbox_change c WHERE c.id = ANY (changes);
    RETURN published;
END
$$;

-- inbox_clear(most, at) is the part of inbox_keep that is about time and about what was left over: it wakes notifications whose
-- snooze has ended (they are to be placed anew), removes those that have expired and those that were retracted while another
-- transaction held them, and takes what look_again has left. → whether there is more of it; whether some of it is still held; which
-- users the digest worker is to look at from when on; and how long it took to find all that.
CREATE FUNCTION trunkline.inbox_clear(
    most integer, at timestamptz,
    OUT more boolean, OUT held boolean, OUT due_users text[], OUT due_times timestamptz[], OUT spent interval)
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off
SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    began timestamptz := clock_timestamp();
    woken bigint[];
    expired bigint[];
    others bigint[];
    retracted_ids bigint[];
BEGIN
    woken := ARRAY(
        SELECT n.id FROM trunkline.notification n WHERE n.snoozed_until <= at
        ORDER BY n.snoozed_until LIMIT most FOR UPDATE SKIP LOCKED);
    expired := ARRAY(
        SELECT n.id FROM trunkline.notification n WHERE n.expires_at <= at
        ORDER BY n.expires_at LIMIT most FOR UPDATE SKIP LOCKED);
    others := ARRAY(
        SELECT c.id FROM trunkline.inbox_change c WHERE c.due_at IS NOT NULL OR c.retracted IS NOT NULL
        ORDER BY c.id LIMIT most FOR UPDATE SKIP LOCKED);
    spent := clock_timestamp() - began;
    more := most IN (cardinality(woken), cardinality(expired), cardinality(others));
    held := false;
    due_users := '{}';
    due_times := '{}';
    IF woken <> '{}' THEN
        UPDATE trunkline.notification n SET seq = NULL, snoozed_until = NULL WHERE n.id = ANY (woken);
    END IF;
    IF expired <> '{}' THEN
        DELETE FROM trunkline.notification n WHERE n.id = ANY (expired);
    END IF;
    IF others <> '{}' THEN
        WITH taken AS (
            DELETE FROM trunkline.inbox_change c WHERE c.id = ANY (others) RETURNING c.user_id, c.due_at, c.retracted
        )
        SELECT coalesce(array_agg(t.user_id) FILTER (WHERE t.due_at IS NOT NULL), '{}'),
               coalesce(array_agg(t.due_at) FILTER (WHERE t.due_at IS NOT NULL), '{}'),
               (SELECT array_agg(r.id) FROM taken x CROSS JOIN LATERAL unnest(x.retracted) r(id))
        INTO due_users, due_times, retracted_ids FROM taken t;
        DELETE FROM trunkline.notification n
        WHERE n.id = ANY (ARRAY(SELECT x.id FROM trunkline.notification x WHERE x.id = ANY (retracted_ids) FOR UPDATE SKIP LOCKED));
        -- What is still held by others stays to be removed.
        INSERT INTO trunkline.inbox_change (user_id, retracted)
        SELECT n.user_id, array_agg(n.id) FROM trunkline.notification n WHERE n.id = ANY (retracted_ids) GROUP BY n.user_id;
        held := FOUND;
    END IF;
END
$$;

-- inbox_due(ids, users, times) is the part of inbox_keep that notes from when on the digest worker has to look at whom: because of
-- the notifications of these ids, and at the users given beside. → whether some of it had to be left for later.
CREATE FUNCTION trunkline.inbox_due(ids bigint[], users text[], times timestamptz[]) RETURNS boolean
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_nestloop = off SET enable_hashjoin = on SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    due_users text[];
    due_times timestamptz[];
    there text[];
    held text[];
BEGIN
    WITH item AS MATERIALIZED (
        SELECT n.user_id, n.created_at, n.kind FROM unnest(ids) o(id)
        CROSS JOIN LATERAL (SELECT * FROM trunkline.notification x WHERE x.id = o.id OFFSET 0) n
        WHERE n.read_at IS NULL AND n.archived_at IS NULL AND n.snoozed_until IS NULL AND n.digest_id IS NULL
    ), due AS (
        -- At the earliest, whatever else a user may prefer.
        SELECT i.user_id, CASE
                   WHEN p.mail = 'never' THEN NULL
                   WHEN p.mail IN ('at_once', 'daily') THEN i.created_at
                   -- In seconds, as nodes read them: a month is 30 days.
                   ELSE i.created_at + make_interval(secs => extract(epoch FROM coalesce(p.delay, k.delay, '4 hours'))::float8)
               END AS due_at
        FROM item i
        LEFT JOIN LATERAL (
            SELECT x.mail, x.delay FROM trunkline.mail_preference x
            WHERE x.user_id = i.user_id AND x.kind IN (i.kind, '') ORDER BY x.kind || '' DESC LIMIT 1
        ) p ON true
        LEFT JOIN LATERAL (SELECT x.delay FROM trunkline.kind x WHERE x.name = i.kind OFFSET 0) k ON true
        UNION ALL
        SELECT u.user_id, u.due_at FROM unnest(users, times) u(user_id, due_at)
    ), earliest AS (
        SELECT d.user_id, min(d.due_at) AS due_at FROM due d GROUP BY d.user_id HAVING min(d.due_at) IS NOT NULL
    )
    SELECT array_agg(e.user_id ORDER BY e.user_id), array_agg(e.due_at ORDER BY e.user_id)
    INTO due_users, due_times FROM earliest e;

    -- Those that a digest worker holds at this moment have to wait: it can't have seen what was placed here.
    held := ARRAY(SELECT d.user_id FROM trunkline.digest_due d WHERE d.user_id = ANY (due_users) FOR UPDATE SKIP LOCKED);
    there := ARRAY(SELECT d.user_id FROM trunkline.digest_due d WHERE d.user_id = ANY (due_users));
    there := ARRAY(SELECT o FROM unnest(there) o EXCEPT SELECT h FROM unnest(held) h);
    INSERT INTO trunkline.digest_due AS d (user_id, due_at)
    SELECT u.user_id, u.due_at FROM unnest(due_users, due_times) u(user_id, due_at) WHERE u.user_id <> ALL (there)
    ON CONFLICT (user_id) DO UPDATE SET due_at = excluded.due_at WHERE excluded.due_at < d.due_at;
    IF there = '{}' THEN
        RETURN false;
    END IF;
    INSERT INTO trunkline.inbox_change (user_id, due_at)
    SELECT u.user_id, u.due_at FROM unnest(due_users, due_times) u(user_id, due_at) WHERE u.user_id = ANY (there);
    RETURN true;
END
$$;

-- inbox_keep(most, at) does some of what there is to do, as of a moment, in one short transaction:
--
--   * wakes notifications whose snooze ends by then, which places them anew, and removes those that expire by then;

--   * removes what was retracted while another transaction held it;

--   * gives notifications that have none their place (seq), in the order of ids;

--   * folds differences into the counts, and publishes counts and what has changed, one message a user, on inbox:<user>;

--   * notes from when on the digest worker has to look at whom.
--
-- Of each, at most most (1 to 5,000). → how many it placed, to how many users it published, whether there is more to do at once,
-- and when there will be (NULL: not until the keeper is rung). All NULL where another session is at it.
--
-- It waits for nobody: rows that other transactions hold, and all of users whose inbox another transaction has folded and not
-- committed, are left for the next look, 100 ms later. It calls nothing of an application's: an error there would stop all
-- inboxes. The transaction must be flushed when it commits (synchronous_commit), since a seq that clients were shown must not be
-- given again.
--
-- Errors: 22023 invalid_parameter_value.
--
--     SELECT * FROM trunkline.inbox_keep(500, clock_timestamp());
CREATE FUNCTION trunkline.inbox_keep(
    most integer DEFAULT 500, at timestamptz DEFAULT clock_timestamp(),
    OUT placed integer, OUT users integer, OUT more boolean, OUT next_at timestamptz)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_nestloop = off SET enable_hashjoin = on SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    -- What this connection remembers of its last looks: up to which ids it has taken everything, and until when it need not look
    -- below them.
    memory text := coalesce(current_setting('trunkline.inbox_walk', true), '');
    id_taken bigint := 0;
    change_taken bigint := 0;
    looks_at timestamptz;
    cleared record;
    due_users text[] := '{}';
    due_times timestamptz[];
    ids bigint[];
    changes bigint[];
    owners text[];
    held text[];
    busy text[] := '{}';
    later boolean := false;
    began timestamptz;
    spent interval := '0';
BEGIN
    IF inbox_keep.most IS NULL OR inbox_keep.most NOT BETWEEN 1 AND 5000 THEN
        RAISE EXCEPTION 'inboxes cannot be kept % at a time', coalesce(inbox_keep.most::text, 'NULL') USING
            ERRCODE = 'invalid_parameter_value', COLUMN = 'most', HINT = 'Choose between 1 and 5000.';
    ELSIF inbox_keep.at IS NULL OR NOT isfinite(inbox_keep.at) THEN
        RAISE EXCEPTION 'inboxes cannot be kept as of %', coalesce(inbox_keep.at::text, 'NULL') USING
            ERRCODE = 'invalid_parameter_value', COLUMN = 'at', HINT = 'Give a moment, such as clock_timestamp().';
    END IF;
    IF NOT pg_try_advisory_xact_lock(1953656430, 5) THEN
        RETURN;
    END IF;
    placed := 0; users := 0; more := false;
    -- What follows need not ring us: we are here.
    PERFORM set_config('trunkline.inbox_keeping', 'on', true);

    -- While some transaction anywhere is open for long, what was done since stays in the indexes, and looking through it takes
    -- ever longer: then only behind what was taken, and through all of it in a twentieth of the time.
    IF memory ~ '^[0-9]{1,18} [0-9]{1,18} [0-9]{1,10}[.][0-9]+$' THEN
        looks_at := to_timestamp(split_part(memory, ' ', 3)::float8);
    END IF;
    IF looks_at > clock_timestamp() AND looks_at < clock_timestamp() + interval '10 min' THEN
        id_taken := split_part(memory, ' ', 1)::bigint;
        change_taken := split_part(memory, ' ', 2)::bigint;
    ELSE
        looks_at := NULL;
        SELECT * INTO cleared FROM trunkline.inbox_clear(inbox_keep.most, inbox_keep.at);
        more := cleared.more;
        later := cleared.held;
        spent := cleared.spent;
        due_users := cleared.due_users;
        due_times := cleared.due_times;
    END IF;

    -- A user whose inbox another transaction holds must not fill every batch: what was taken is then taken again without that one.
    FOR round IN 1..5 LOOP
        began := clock_timestamp();
        changes := ARRAY(
            SELECT c.id FROM trunkline.inbox_change c
            WHERE c.id > change_taken AND c.due_at IS NULL AND c.retracted IS NULL AND c.user_id <> ALL (busy)
            ORDER BY c.id LIMIT inbox_keep.most FOR UPDATE SKIP LOCKED);
        ids := ARRAY(
            SELECT n.id FROM trunkline.notification n WHERE n.seq IS NULL AND n.id > id_taken AND n.user_id <> ALL (busy)
            ORDER BY n.seq, n.id LIMIT inbox_keep.most FOR UPDATE SKIP LOCKED);
        spent := spent + (clock_timestamp() - began);
        owners := ARRAY(
            SELECT x.user_id FROM unnest(changes) o(id)
            CROSS JOIN LATERAL (SELECT c.user_id FROM trunkline.inbox_change c WHERE c.id = o.id OFFSET 0) x
            UNION
            SELECT x.user_id FROM unnest(ids) o(id)
            CROSS JOIN LATERAL (SELECT n.user_id FROM trunkline.notification n WHERE n.id = o.id OFFSET 0) x
            ORDER BY user_id);
        -- Nobody else adds rows, so this waits for nobody.
        INSERT INTO trunkline.inbox (user_id)
        SELECT u.user_id FROM unnest(owners) u(user_id)
        LEFT JOIN LATERAL (SELECT true AS there FROM trunkline.inbox b WHERE b.user_id = u.user_id OFFSET 0) x ON true
        WHERE x.there IS NULL
        ON CONFLICT DO NOTHING;
        held := ARRAY(SELECT b.user_id FROM trunkline.inbox b WHERE b.user_id = ANY (owners) FOR UPDATE SKIP LOCKED);
        EXIT WHEN cardinality(held) = cardinality(owners);
        later := true;
        busy := busy || ARRAY(SELECT o FROM unnest(owners) o EXCEPT SELECT h FROM unnest(held) h);
        EXIT WHEN inbox_keep.most NOT IN (cardinality(changes), cardinality(ids));
    END LOOP;
    more := more OR inbox_keep.most IN (cardinality(changes), cardinality(ids));
    id_taken := greatest(id_taken, ids[cardinality(ids)]);
    change_taken := greatest(change_taken, changes[cardinality(changes)]);
    IF cardinality(held) < cardinality(owners) THEN
        changes := ARRAY(
            SELECT o.id FROM unnest(changes) o(id)
            CROSS JOIN LATERAL (SELECT c.user_id FROM trunkline.inbox_change c WHERE c.id = o.id OFFSET 0) x
            WHERE x.user_id = ANY (held));
        ids := ARRAY(
            SELECT o.id FROM unnest(ids) o(id)
            CROSS JOIN LATERAL (SELECT n.user_id FROM trunkline.notification n WHERE n.id = o.id OFFSET 0) x
            WHERE x.user_id = ANY (held));
    END IF;
    IF held <> '{}' THEN
        users := trunkline.inbox_apply(held, ids, changes);
        placed := cardinality(ids);
    END IF;
    IF placed > 0 OR due_users <> '{}' THEN
        later := trunkline.inbox_due(ids, due_users, due_times) OR later;
    END IF;

    IF looks_at IS NOT NULL THEN
        next_at := inbox_keep.at + (looks_at - clock_timestamp());
    ELSE
        began := clock_timestamp();
        next_at := least(
            (SELECT n.snoozed_until FROM trunkline.notification n WHERE n.snoozed_until IS NOT NULL ORDER BY 1 LIMIT 1),
            (SELECT n.expires_at FROM trunkline.notification n WHERE n.expires_at IS NOT NULL ORDER BY 1 LIMIT 1));
        -- What is there and wasn't taken is held by others.
        later := later OR coalesce(next_at <= inbox_keep.at, false) OR NOT more AND (
            EXISTS (SELECT FROM trunkline.notification n WHERE n.seq IS NULL) OR EXISTS (SELECT FROM trunkline.inbox_change));
        spent := spent + (clock_timestamp() - began);
        looks_at := clock_timestamp();
        IF spent > interval '10 ms' AND pg_relation_size('trunkline.notification_unplaced')
                                        + pg_relation_size('trunkline.inbox_change_pkey') > 4194304 THEN
            looks_at := looks_at + 20 * spent;
        END IF;
    END IF;
    IF later THEN
        next_at := inbox_keep.at + interval '100 ms';
    END IF;
    PERFORM set_config('trunkline.inbox_walk', format('%s %s %s', id_taken, change_taken, extract(epoch FROM looks_at)), false);
    PERFORM set_config('trunkline.inbox_keeping', '', true);
END
$$;

REVOKE ALL ON FUNCTION trunkline.json_time, trunkline.inbox_apply, trunkline.inbox_clear, trunkline.inbox_due, trunkline.inbox_keep
    FROM PUBLIC;
