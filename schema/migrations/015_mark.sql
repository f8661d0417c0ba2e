-- Retracting, marking and reading notifications, and the counts of them.

-- retract(cause, "group", user_id, kind, dedupe_key) → how many notifications it removed: those that fit all that is given, read or
-- not. What another transaction holds at this moment is counted too; the keeper removes it once that has ended, so that no two
-- retractions wait for each other.
--
-- Errors: 22023 invalid_parameter_value unless a cause, a group, or a user and a dedupe key are given.
--
--     SELECT trunkline.retract(cause => 'task:12');
CREATE FUNCTION trunkline.retract(
    cause text DEFAULT NULL, "group" text DEFAULT NULL, user_id text DEFAULT NULL, kind text DEFAULT NULL,
    dedupe_key text DEFAULT NULL)
RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    doomed bigint[];
    removed integer;
    held integer;
BEGIN
    IF retract.cause IS NULL AND retract."group" IS NULL AND (retract.user_id IS NULL OR retract.dedupe_key IS NULL) THEN
        RAISE EXCEPTION 'retract was told too little to know what is meant' USING
            ERRCODE = 'invalid_parameter_value', COLUMN = 'cause',
            HINT = 'Give a cause, a group, or a user and a dedupe key; more narrows it.';
    END IF;
    -- Planned with the values at hand, since which index serves depends on what is given.
    EXECUTE 'SELECT array_agg(n.id) FROM trunkline.notification n WHERE '
            || concat_ws(' AND ', CASE WHEN retract.cause IS NOT NULL THEN 'n.cause = $1 COLLATE "C"' END,
                         CASE WHEN retract."group" IS NOT NULL THEN 'n."group" = $2 COLLATE "C"' END,
                         CASE WHEN retract.user_id IS NOT NULL THEN 'n.user_id = $3 COLLATE "C"' END,
                         CASE WHEN retract.kind IS NOT NULL THEN 'n.kind = $4 COLLATE "C"' END,
                         CASE WHEN retract.dedupe_key IS NOT NULL THEN 'n.dedupe_key = $5 COLLATE "C"' END)
    INTO doomed USING retract.cause, retract."group", retract.user_id, retract.kind, retract.dedupe_key;
    IF doomed IS NULL THEN
        RETURN 0;
    END IF;
    DELETE FROM trunkline.notification n
    WHERE n.id = ANY (ARRAY(SELECT x.id FROM trunkline.notification x WHERE x.id = ANY (doomed) FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS removed = ROW_COUNT;
    -- What is still there is held by others.
    WITH remaining AS (
        INSERT INTO trunkline.inbox_change (user_id, retracted)
        SELECT n.user_id, array_agg(n.id) FROM trunkline.notification n WHERE n.id = ANY (doomed) GROUP BY n.user_id
        RETURNING cardinality(retracted) AS n
    )
    SELECT coalesce(sum(r.n), 0) INTO held FROM remaining r;
    IF held > 0 THEN
        PERFORM trunkline.ring_keeper();
    END IF;
    RETURN removed + held;
END
$$;

-- mark(user_id, state, up_to_seq, ids, "group", until) → how many of the user's notifications it changed.
--
-- States: seen; read, which implies seen; unread (seen stays); archived, which leaves the counts; inbox, which is back from the
-- archive or from a snooze, at its top; snoozed, until a time within 400 days. Which notifications: up_to_seq for all up to the
-- one that was shown last (seen, read and archived only; neither archived nor snoozed ones; "group" narrows it), so that what
-- arrives meanwhile is never touched; or up to 1,000 ids. Those of other users, or of nothing, are passed over. What is so already
-- isn't changed again.
--
-- Waits for whoever has marked or retracted the same ones and not committed. It locks them in the order of their ids: who marks
-- several times in one transaction does so in the order of users, and before it retracts, or may deadlock with another that does.
-- What it changed is pushed, and counted, by the keeper (or inbox_fold).
--
-- Errors: 22023 invalid_parameter_value.
--
--     SELECT trunkline.mark('ann', 'read', up_to_seq => 41);

--     SELECT trunkline.mark('ann', 'snoozed', ids => '{7}', until => now() + interval '1 day');
CREATE FUNCTION trunkline.mark(
    user_id text, state text, up_to_seq bigint DEFAULT NULL, ids bigint[] DEFAULT NULL, "group" text DEFAULT NULL,
    until timestamptz DEFAULT NULL) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    at timestamptz := clock_timestamp();
    changes text;
    change text;
    setting text;
    problem text;
    fix text;
    found bigint[];
    changed integer;
BEGIN
    PERFORM trunkline.check_argument('user_id', 'user', mark.user_id, 249);
    CASE
    WHEN mark.state IS NULL OR mark.state NOT IN ('seen', 'read', 'unread', 'archived', 'inbox', 'snoozed') THEN
        setting := 'state';
        problem := format('a notification cannot be marked %s', coalesce(to_json(left(mark.state, 80))::text, 'NULL'));
        fix := 'Choose one of seen, read, unread, archived, inbox and snoozed.';
    WHEN (mark.up_to_seq IS NULL) = (mark.ids IS NULL) THEN
        setting := 'up_to_seq';
        problem := CASE WHEN mark.ids IS NULL THEN 'neither up_to_seq nor ids are given'
                        ELSE 'up_to_seq and ids exclude each other' END;
        fix := 'Give up_to_seq, the seq of the newest one that was shown, or ids.';
    WHEN mark.up_to_seq IS NOT NULL AND mark.state NOT IN ('seen', 'read', 'archived') THEN
        setting := 'up_to_seq'; problem := format('"%s" cannot be said of all up to a seq', mark.state);
        fix := 'Give ids; up_to_seq goes with seen, read and archived.';
    WHEN cardinality(mark.ids) > 1000 THEN
        setting := 'ids'; problem := format('%s ids are given, more than 1000', cardinality(mark.ids));
        fix := 'Make several calls.';
    WHEN mark."group" IS NOT NULL AND mark.up_to_seq IS NULL THEN
        setting := 'group'; problem := 'a group cannot be given with ids';
        fix := 'It narrows up_to_seq.';
    WHEN mark.state = 'snoozed' AND (mark.until IS NULL OR mark.until <= at OR mark.until > at + interval '400 days') THEN
        setting := 'until'; problem := format('a notification cannot be snoozed until %s', coalesce(mark.until::text, 'NULL'));
        fix := 'Give a time to come, within 400 days.';
    WHEN mark.state <> 'snoozed' AND mark.until IS NOT NULL THEN
        setting := 'until'; problem := format('"%s" cannot be said until a time', mark.state);
        fix := 'until goes with snoozed.';
    ELSE
    END CASE;
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION '%', problem USING ERRCODE = 'invalid_parameter_value', COLUMN = setting, HINT = fix;
    END IF;
    IF mark."group" IS NOT NULL THEN
        PERFORM trunkline.check_argument('group', 'group', mark."group", 255);
    END IF;

    CASE mark.state
    WHEN 'seen' THEN
        -- What isn't seen isn't read: said as well, for the index of unread ones.
        changes := 'n.seen_at IS NULL AND n.read_at IS NULL'; change := 'seen_at = $2';
    WHEN 'read' THEN
        changes := 'n.read_at IS NULL'; change := 'read_at = $2, seen_at = coalesce(n.seen_at, $2)';
    WHEN 'unread' THEN
        changes := 'n.read_at IS NOT NULL'; change := 'read_at = NULL';
    WHEN 'archived' THEN
        changes := 'n.archived_at IS NULL'; change := 'archived_at = $2, snoozed_until = NULL';
    WHEN 'inbox' THEN
        -- It gets a new place: who marks all hasn't been shown it at its old one.
        changes := '(n.archived_at IS NOT NULL OR n.snoozed_until IS NOT NULL)';
        change := 'archived_at = NULL, snoozed_until = NULL, seq = NULL';
    WHEN 'snoozed' THEN
        changes := '(n.snoozed_until IS DISTINCT FROM $5 OR n.archived_at IS NOT NULL)';
        change := 'snoozed_until = $3, archived_at = NULL';
    END CASE;
    -- By the user's index, or by id: id + 0 and IS NOT DISTINCT FROM keep the planner from the other one. What was found is still
    -- so when it is locked, or it isn't locked.
    EXECUTE 'SELECT array_agg(f.id) FROM (SELECT n.id FROM trunkline.notification n WHERE '
            || CASE WHEN mark.ids IS NULL
                    THEN 'n.user_id = $1 COLLATE "C" AND n.seq <= $2 AND n.archived_at IS NULL AND n.snoozed_until IS NULL'
                         || CASE WHEN mark."group" IS NULL THEN '' ELSE ' AND n."group" = $4 COLLATE "C"' END
                    ELSE 'n.user_id IS NOT DISTINCT FROM $1 COLLATE "C" AND n.id = ANY ($3)' END
            || ' AND ' || changes || ' ORDER BY n.id + 0 FOR UPDATE) f'
    INTO found USING mark.user_id, mark.up_to_seq, mark.ids, mark."group", mark.until;
    IF found IS NULL THEN
        RETURN 0;
    END IF;
    EXECUTE 'UPDATE trunkline.notification n SET ' || change || ' WHERE n.id = ANY ($1)' USING found, at, mark.until;
    GET DIAGNOSTICS changed = ROW_COUNT;
    RETURN changed;
END
$$;

-- inbox_fold(user_id) → the user's counts and their version, with what this transaction and committed ones have changed: folded in,
-- and published when the calling transaction commits. For a caller that has marked and wants to answer with counts; the keeper
-- would do it a moment later.
--
-- It holds the user's inbox until the transaction ends: commit soon, and fold several users in their order only.
--
--     SELECT * FROM trunkline.inbox_fold('ann');
CREATE FUNCTION trunkline.inbox_fold(user_id text, OUT unseen integer, OUT unread integer, OUT version bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    changes bigint[];
BEGIN
    -- Without a row nothing was ever placed, so nothing can have changed.
    SELECT b.unseen, b.unread, b.version INTO unseen, unread, version
    FROM trunkline.inbox b WHERE b.user_id = inbox_fold.user_id COLLATE "C" FOR UPDATE;
    IF NOT FOUND THEN
        unseen := 0; unread := 0; version := 0;
        RETURN;
    END IF;
    -- By the user's index. Some that the keeper holds at this moment it leaves alone, to try again.
    changes := ARRAY(
        SELECT c.id FROM trunkline.inbox_change c
        WHERE c.user_id = inbox_fold.user_id COLLATE "C" AND c.due_at IS NULL AND c.retracted IS NULL
        ORDER BY c.id + 0 LIMIT 1000 FOR UPDATE SKIP LOCKED);
    IF changes <> '{}' THEN
        PERFORM trunkline.inbox_apply(ARRAY[inbox_fold.user_id], '{}', changes);
        SELECT b.unseen, b.unread, b.version INTO unseen, unread, version
        FROM trunkline.inbox b WHERE b.user_id = inbox_fold.user_id COLLATE "C";
    END IF;
    -- The keeper may have passed this user over meanwhile.
    PERFORM trunkline.ring_keeper();
END
$$;

-- inbox_counts(user_id) → the user's counts as they were published last, and their version. Zeros for one who was never notified.
--
--     SELECT * FROM trunkline.inbox_counts('ann');
CREATE FUNCTION trunkline.inbox_counts(user_id text, OUT unseen integer, OUT unread integer, OUT version bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(max(b.unseen), 0), coalesce(max(b.unread), 0), coalesce(max(b.version), 0)
    FROM trunkline.inbox b WHERE b.user_id = inbox_counts.user_id COLLATE "C"
$$;

-- A notification as its user sees it.
CREATE TYPE trunkline.inbox_item AS (
    id            bigint,
    seq           bigint,
    kind          text,
    title         text,
    text          text,
    "group"       text,
    cause         text,
    link          text,
    data          json,
    created_at    timestamptz,
    expires_at    timestamptz,
    seen_at       timestamptz,
    read_at       timestamptz,
    archived_at   timestamptz,
    snoozed_until timestamptz
);

-- list_inbox(user_id, before, max_rows, state, kind, "group") → a user's notifications, the newest first, up to max_rows (1 to 200)
-- of those with a seq below before (NULL: from the newest on).
--
-- state: inbox (what is neither archived nor snoozed) and of that unseen, unread or read; archived; snoozed; all. kind and "group"
-- narrow it. Errors: 22023 invalid_parameter_value.
--
--     SELECT * FROM trunkline.list_inbox('ann', before => 42, state => 'unread');
CREATE FUNCTION trunkline.list_inbox(
    user_id text, before bigint DEFAULT NULL, max_rows integer DEFAULT 50, state text DEFAULT 'inbox', kind text DEFAULT NULL,
    "group" text DEFAULT NULL)
RETURNS SETOF trunkline.inbox_item
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    condition text := CASE list_inbox.state
        WHEN 'inbox' THEN 'n.archived_at IS NULL AND n.snoozed_until IS NULL'
        WHEN 'unseen' THEN 'n.archived_at IS NULL AND n.snoozed_until IS NULL AND n.seen_at IS NULL AND n.read_at IS NULL'
        WHEN 'unread' THEN 'n.archived_at IS NULL AND n.snoozed_until IS NULL AND n.read_at IS NULL'
        WHEN 'read' THEN 'n.archived_at IS NULL AND n.snoozed_until IS NULL AND n.read_at IS NOT NULL'
        WHEN 'archived' THEN 'n.archived_at IS NOT NULL'
        WHEN 'snoozed' THEN 'n.snoozed_until IS NOT NULL'
        WHEN 'all' THEN 'true'
    END;
BEGIN
    IF condition IS NULL THEN
        RAISE EXCEPTION 'notifications cannot be listed by the state %', coalesce(to_json(left(list_inbox.state, 80))::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value', COLUMN = 'state',
            HINT = 'Choose one of inbox, unseen, unread, read, archived, snoozed and all.';
    ELSIF list_inbox.max_rows IS NULL OR list_inbox.max_rows NOT BETWEEN 1 AND 200 THEN
        RAISE EXCEPTION 'a page cannot have % notifications', coalesce(list_inbox.max_rows::text, 'NULL') USING
            ERRCODE = 'invalid_parameter_value', COLUMN = 'max_rows',
            HINT = 'Choose between 1 and 200; more are read page by page, with before.';
    END IF;
    -- Planned with the values at hand, since which index serves depends on what is given.
    RETURN QUERY EXECUTE
        'SELECT n.id, n.seq, n.kind, coalesce(k.title, n.kind), '
        'trunkline.item_text(k.template, coalesce(k.title, n.kind), n.data), n."group", n.cause, n.link, n.data, n.created_at, '
        'n.expires_at, n.seen_at, n.read_at, n.archived_at, n.snoozed_until '
        'FROM (SELECT * FROM trunkline.notification n WHERE n.user_id = $1 COLLATE "C" AND n.seq IS NOT NULL AND ' || condition
        || CASE WHEN list_inbox.before IS NULL THEN '' ELSE ' AND n.seq < $2' END
        || CASE WHEN list_inbox.kind IS NULL THEN '' ELSE ' AND n.kind = $4 COLLATE "C"' END
        || CASE WHEN list_inbox."group" IS NULL THEN '' ELSE ' AND n."group" = $5 COLLATE "C"' END
        || ' ORDER BY n.seq DESC LIMIT $3) n LEFT JOIN LATERAL '
        '(SELECT x.title, x.template FROM trunkline.kind x WHERE x.name = n.kind OFFSET 0) k ON true ORDER BY n.seq DESC'
    USING list_inbox.user_id, list_inbox.before, list_inbox.max_rows, list_inbox.kind, list_inbox."group";
END
$$;

-- inbox_check(repair) counts the notifications of all users, which reads them all, and returns those users whose counts disagree
-- (the kept ones, with what isn't folded in yet, beside the counted ones), in one snapshot: nobody, unless somebody has written to
-- the tables behind the triggers' back. With repair it sets them right, and publishes them.
--
--     SELECT * FROM trunkline.inbox_check(repair => true);
CREATE FUNCTION trunkline.inbox_check(repair boolean DEFAULT false)
RETURNS TABLE (user_id text, unseen integer, unread integer, counted_unseen integer, counted_unread integer)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
#variable_conflict use_column
BEGIN
    IF inbox_check.repair THEN
        -- Two at once would repair twice.
        PERFORM pg_advisory_xact_lock(1953656430, 6);
    END IF;
    FOR user_id, unseen, unread, counted_unseen, counted_unread IN
        SELECT s.user_id, sum(s.unseen), sum(s.unread), sum(s.counted_unseen), sum(s.counted_unread)
        FROM (SELECT b.user_id, b.unseen, b.unread, 0 AS counted_unseen, 0 AS counted_unread FROM trunkline.inbox b
              UNION ALL
              SELECT c.user_id, c.unseen, c.unread, 0, 0 FROM trunkline.inbox_change c
              UNION ALL
              SELECT n.user_id, 0, 0, count(*) FILTER (WHERE n.seen_at IS NULL), count(*) FILTER (WHERE n.read_at IS NULL)
              FROM trunkline.notification n
              WHERE n.seq IS NOT NULL AND n.archived_at IS NULL AND n.snoozed_until IS NULL GROUP BY n.user_id) s
        GROUP BY s.user_id
        HAVING sum(s.unseen) <> sum(s.counted_unseen) OR sum(s.unread) <> sum(s.counted_unread)
        ORDER BY s.user_id
    LOOP
        IF inbox_check.repair THEN
            -- As one more difference. The counts and differences that others have meanwhile moved or added don't matter to it.
            INSERT INTO trunkline.inbox_change (user_id, unseen, unread, anew)
            VALUES (user_id, counted_unseen - unseen, counted_unread - unread, true);
            PERFORM trunkline.inbox_fold(user_id);
        END IF;
        RETURN NEXT;
    END LOOP;
END
$$;

REVOKE ALL ON FUNCTION trunkline.retract, trunkline.mark, trunkline.inbox_fold, trunkline.inbox_counts, trunkline.list_inbox,
    trunkline.inbox_check FROM PUBLIC;
