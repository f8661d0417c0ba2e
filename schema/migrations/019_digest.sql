-- Digests: mails of what stayed unread, and why each was sent or not.
--
-- A worker (any number of them, in any program: package digest) looks at the users whose time has come, decides what to mail by
-- the rules, and freezes a mail as a row of digest, in one transaction with its notifications' digest_id. Then it sends it,
-- outside of any transaction, in steps that the row's phase remembers. Functions here are what a worker calls; all times are
-- given by it, so that a pass can be made as of any moment.
--
-- Nobody waits for a worker for long, nor it for others: rows that somebody else has locked are left for later.

-- Who is being looked at, by which look (a number of the worker's own), and until when that is believed. A row is looked at again
-- at once if something about the user changes meanwhile: that sets due_at.
ALTER TABLE trunkline.digest_due
    ADD COLUMN look         bigint,
    ADD COLUMN looked_until timestamptz,
    -- How many looks in a row found that an authorize function had no answer.
    ADD COLUMN unknowns     integer NOT NULL DEFAULT 0;

-- What may be mailed, since what is too old isn't any more. Without digest_id, so that mailing changes no index: then a row's new
-- version stays on its page, which costs a fifth.
CREATE INDEX notification_mailable ON trunkline.notification (user_id, created_at)
WHERE seq IS NOT NULL AND read_at IS NULL AND archived_at IS NULL AND snoozed_until IS NULL;

-- A row is written when it is notified, placed, seen, mailed and read. With room on its page most of that changes no index.
ALTER TABLE trunkline.notification SET (fillfactor = 50);

CREATE TABLE trunkline.digest (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id     text COLLATE "C" NOT NULL,
    -- Frozen when it was claimed; the address is looked at again before another try.
    email       text NOT NULL,
    name        text,
    locale      text,
    time_zone   text NOT NULL,
    -- The same however often it is sent, so that a double can be told.
    message_id  text COLLATE "C" NOT NULL UNIQUE,
    -- What it is about: at first what was claimed, then what was in the last try.
    items       bigint[] NOT NULL,
    -- claimed → data_sent (all but the final dot was taken, and the dot may be on its way) → sent. Or else: cancelled (nothing
    -- of it was to be mailed any more), bounced (the address was refused), failed (given up), parked (after a break behind the
    -- dot, where uncertain mails aren't to be sent again by themselves).
    phase       text NOT NULL DEFAULT 'claimed'
                CHECK (phase IN ('claimed', 'data_sent', 'sent', 'cancelled', 'bounced', 'failed', 'parked')),
    -- Counts tries; who works on a try may go on only while it is the current one.
    attempt     integer NOT NULL DEFAULT 0,
    -- Phases claimed and data_sent: when the next try may begin, which is also when this one's lease ends.
    next_at     timestamptz,
    -- Set with the first break behind the dot: the server may have it.
    uncertain   boolean NOT NULL DEFAULT false,
    claimed_at  timestamptz NOT NULL,
    finished_at timestamptz,
    -- What the server answered, or what went wrong with the last try.
    reply       text,
    -- What still has to be done about it by digest_settle: notifications to give back, the user to be looked at again, a bounce to
    -- be counted. All of it can meet locks of others, which must not hold up a worker.
    loose       bigint[],
    again_at    timestamptz,
    bounces     boolean NOT NULL DEFAULT false,
    CHECK ((phase IN ('claimed', 'data_sent')) = (next_at IS NOT NULL)),
    CHECK ((phase IN ('claimed', 'data_sent')) = (finished_at IS NULL))
) WITH (fillfactor = 70);

COMMENT ON TABLE trunkline.digest IS 'Mails of what stayed unread. A finished one is kept for a while, for whoever asks why.';

-- To be tried.
-- Its predicate names no other column, so that the step to data_sent changes no index.
CREATE INDEX digest_next_at ON trunkline.digest (next_at) WHERE next_at IS NOT NULL;
-- To be settled.
CREATE INDEX digest_unsettled ON trunkline.digest (id) WHERE loose IS NOT NULL OR again_at IS NOT NULL OR bounces;
CREATE INDEX digest_user ON trunkline.digest (user_id, claimed_at);
CREATE INDEX digest_finished_at ON trunkline.digest (finished_at) WHERE finished_at IS NOT NULL;

-- What was decided about a user each time the worker looked, newest last: 'mailed', 'postponed', 'nothing', …. The same decision
-- for the same reason is one row, which says when it was made last.
CREATE TABLE trunkline.digest_decision (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id    text COLLATE "C" NOT NULL,
    first_at   timestamptz NOT NULL,
    at         timestamptz NOT NULL,
    decision   text NOT NULL,
    -- A sentence.
    reason     text NOT NULL,
    -- When it is looked at again; NULL: when something happens.
    next_at    timestamptz,
    digest_id  bigint
) WITH (fillfactor = 90);
CREATE INDEX digest_decision_user ON trunkline.digest_decision (user_id, id);
CREATE INDEX digest_decision_at ON trunkline.digest_decision (at);

-- digest_admit(kept) → whether a worker may mail. One with a mail server (not kept) always may, and from then on none that only keeps
-- mails: on a developer's machine, say, with the address of a database in use.
CREATE TABLE trunkline.digest_sent (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    since     timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE trunkline.digest_sent IS 'Has a row once mails of this database are sent. Delete it to keep them again.';

CREATE FUNCTION trunkline.digest_admit(kept boolean) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF EXISTS (SELECT FROM trunkline.digest_sent) THEN
        RETURN NOT kept;
    ELSIF NOT kept THEN
        INSERT INTO trunkline.digest_sent DEFAULT VALUES ON CONFLICT DO NOTHING;
    END IF;
    RETURN true;
END
$$;

-- digest_look_again(users, at) has users looked at from that time on, whatever was decided as of a later one.
CREATE FUNCTION trunkline.digest_look_again(users text[], at timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM trunkline.look_again(users, at);
END
$$;

-- kind_mailed() is the row trigger that has users looked at again whose mail may be due earlier, now that a kind has another delay or
-- authorize function. It looks through all that is to be mailed, once.
CREATE FUNCTION trunkline.kind_mailed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM trunkline.look_again(ARRAY(
        SELECT DISTINCT n.user_id FROM trunkline.notification n
        WHERE n.kind = CASE WHEN TG_OP = 'DELETE' THEN OLD.name ELSE NEW.name END AND n.seq IS NOT NULL AND n.digest_id IS NULL
          AND n.read_at IS NULL AND n.archived_at IS NULL AND n.snoozed_until IS NULL));
    RETURN NULL;
END
$$;
CREATE TRIGGER mailed_insert_delete AFTER INSERT OR DELETE ON trunkline.kind
FOR EACH ROW EXECUTE FUNCTION trunkline.kind_mailed();
CREATE TRIGGER mailed_update AFTER UPDATE ON trunkline.kind
FOR EACH ROW WHEN (OLD.delay IS DISTINCT FROM NEW.delay OR OLD.authorize IS DISTINCT FROM NEW.authorize)
EXECUTE FUNCTION trunkline.kind_mailed();

-- digest_next(at) → the earliest moment at which there is something to do, or may be; NULL if nothing is known to come. What other
-- workers are at counts from when they should be done.
--
--     SELECT trunkline.digest_next(now());
CREATE FUNCTION trunkline.digest_next(at timestamptz) RETURNS timestamptz
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
    SELECT least(
        (SELECT min(CASE WHEN d.looked_until > at AND d.looked_until <= at + interval '10 min' THEN d.looked_until ELSE d.due_at END)
         FROM (SELECT x.due_at, x.looked_until FROM trunkline.digest_due x ORDER BY x.due_at, x.user_id LIMIT 500) d),
        (SELECT g.next_at FROM trunkline.digest g WHERE g.next_at IS NOT NULL ORDER BY g.next_at LIMIT 1),
        (SELECT at + interval '1 min' FROM trunkline.digest g
         WHERE g.loose IS NOT NULL OR g.again_at IS NOT NULL OR g.bounces ORDER BY g.id LIMIT 1))
$$;

-- digest_look(look, at, until, most) takes users whose time has come, those that waited longest first, at most so many, and keeps
-- them from other workers until then. look is any number that no other look has.
--
-- What somebody has looked at for longer than ten minutes from at is believed no longer: that was another clock.
CREATE FUNCTION trunkline.digest_look(look bigint, at timestamptz, until timestamptz, most integer)
RETURNS TABLE (user_id text, unknowns integer)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    UPDATE trunkline.digest_due d SET look = digest_look.look, looked_until = digest_look.until
    WHERE d.user_id = ANY (ARRAY(
        SELECT x.user_id FROM trunkline.digest_due x
        WHERE x.due_at <= digest_look.at
          AND (x.looked_until IS NULL OR x.looked_until <= digest_look.at OR x.looked_until > digest_look.at + interval '10 min')
        ORDER BY x.due_at, x.user_id LIMIT digest_look.most
        FOR UPDATE SKIP LOCKED))
    RETURNING d.user_id, d.unknowns;
END
$$;

-- digest_lock(look, users) locks those of the users that are still this look's, as the first step of the transaction that decides
-- about them, and returns them. Those that somebody else has locked for a moment are left out: try again.
CREATE FUNCTION trunkline.digest_lock(look bigint, users text[]) RETURNS SETOF text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
SET plan_cache_mode = force_generic_plan
AS $$
BEGIN
    RETURN QUERY
    SELECT d.user_id FROM trunkline.digest_due d WHERE d.user_id = ANY (users) AND d.look = digest_lock.look FOR UPDATE SKIP LOCKED;
END
$$;

-- digest_unlook(look, users) gives users back that nothing was decided about: whoever is next may look at them.
CREATE FUNCTION trunkline.digest_unlook(look bigint, users text[]) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
    UPDATE trunkline.digest_due d SET look = NULL, looked_until = NULL
    WHERE d.user_id = ANY (ARRAY(
        SELECT x.user_id FROM trunkline.digest_due x WHERE x.user_id = ANY (users) AND x.look = digest_unlook.look FOR UPDATE SKIP LOCKED));
END
$$;

-- digest_own_recipients() → whether recipients are read from trunkline.recipient, and from nothing of the application's.
CREATE FUNCTION trunkline.digest_own_recipients() RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'SELECT NOT EXISTS (SELECT FROM trunkline.recipient_relation)';

-- digest_settings(users, since) → what each of the users prefers, and when mails of theirs were claimed since then, those that came to
-- nothing left out. A row for each user that has any of it. preferences is [{kind, mail, delay (seconds), at (seconds of the day)}].
CREATE FUNCTION trunkline.digest_settings(users text[], since timestamptz)
RETURNS TABLE (user_id text, time_zone text, quiet_from time, quiet_to time, vacation_until timestamptz, preferences json, sent timestamptz[])
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT u.user_id, s.time_zone, s.quiet_from, s.quiet_to, s.vacation_until, p.list, g.list
    FROM unnest(users) u(user_id)
    LEFT JOIN trunkline.mail_setting s ON s.user_id = u.user_id COLLATE "C"
    CROSS JOIN LATERAL (
        SELECT json_agg(json_build_object('kind', x.kind, 'mail', x.mail, 'delay', extract(epoch FROM x.delay), 'at', extract(epoch FROM x.daily_at))) AS list
        FROM trunkline.mail_preference x WHERE x.user_id = u.user_id COLLATE "C"
    ) p
    CROSS JOIN LATERAL (
        SELECT array_agg(x.claimed_at) AS list FROM trunkline.digest x
        WHERE x.user_id = u.user_id COLLATE "C" AND x.claimed_at > since AND x.phase NOT IN ('cancelled', 'bounced', 'failed')
    ) g
    WHERE s.user_id IS NOT NULL OR p.list IS NOT NULL OR g.list IS NOT NULL;
END
$$;

-- digest_mutes(users, groups) → those pairs (one element of each array) that are muted, each once.
CREATE FUNCTION trunkline.digest_mutes(users text[], groups text[]) RETURNS TABLE (user_id text, "group" text)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET jit = off
AS $$
    SELECT m.user_id, m."group" FROM (SELECT DISTINCT x.u, x.g FROM unnest(users, groups) x(u, g)) q
    JOIN trunkline.mute m ON m.user_id = q.u COLLATE "C" AND m."group" = q.g COLLATE "C"
$$;

-- digest_unread(users, since, most, mailable) → what may be mailed to each of the users: what is placed, unread, neither archived nor
-- snoozed, not part of a digest, and was created since then. At most so many per user, the oldest first; mailable leaves out
-- what the user wants no mail of, which else comes with muted set, or is known by the preferences.
CREATE FUNCTION trunkline.digest_unread(users text[], since timestamptz, most integer, mailable boolean)
RETURNS TABLE (user_id text, id bigint, seq bigint, kind text, "group" text, created_at timestamptz, expires_at timestamptz, muted boolean)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT u.user_id, n.id, n.seq, n.kind, n."group", n.created_at, n.expires_at, n.muted
    FROM unnest(users) u(user_id)
    CROSS JOIN LATERAL (
        SELECT array_agg(p.kind) FILTER (WHERE p.mail = 'never' AND p.kind <> '') AS never,
               array_agg(p.kind) FILTER (WHERE p.mail <> 'never' AND p.kind <> '') AS other,
               coalesce(bool_or(p.mail = 'never') FILTER (WHERE p.kind = ''), false) AS never_any
        FROM trunkline.mail_preference p WHERE digest_unread.mailable AND p.user_id = u.user_id COLLATE "C"
    ) w
    CROSS JOIN LATERAL (
        SELECT x.id, x.seq, x.kind, x."group", x.created_at, x.expires_at, m.muted
        FROM trunkline.notification x
        CROSS JOIN LATERAL (
            SELECT x."group" IS NOT NULL
                   AND EXISTS (SELECT FROM trunkline.mute y WHERE y.user_id = x.user_id AND y."group" = x."group") AS muted
        ) m
        WHERE x.user_id = u.user_id COLLATE "C" AND x.created_at >= digest_unread.since
          AND x.seq IS NOT NULL AND x.digest_id IS NULL AND x.read_at IS NULL AND x.archived_at IS NULL AND x.snoozed_until IS NULL
          AND (NOT digest_unread.mailable OR NOT m.muted AND CASE WHEN w.never_any THEN x.kind = ANY (coalesce(w.other, '{}'))
                                                                  ELSE x.kind <> ALL (coalesce(w.never, '{}')) END)
        ORDER BY x.user_id, x.created_at LIMIT digest_unread.most
    ) n;
END
$$;

-- digest_decide(look, at, …) writes what was decided about users of a look, and ends the look at them. The arrays have one element per
-- user; the second row of them says what to mail where the decision is 'mailed', and is NULL elsewhere. items are the notifications
-- to mail, item_users the index of the user each belongs to.
--
-- A notification that was read, marked or locked by somebody meanwhile isn't taken. Where none is left there is no mail and no
-- decision, and the user is due again ten seconds later, as where some are missing. → the users that a decision was written for,
-- with the mail's id and how many notifications it has. Users that are no longer this look's are left alone.
CREATE FUNCTION trunkline.digest_decide(
    look bigint, at timestamptz, users text[], decisions text[], reasons text[], next_ats timestamptz[], unknowns integer[],
    emails text[], names text[], locales text[], time_zones text[], message_ids text[],
    item_users integer[], items bigint[])
RETURNS TABLE (user_id text, digest_id bigint, item_count integer)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    mine integer[];
    taken_users integer[];
    taken bigint[];
    made bigint[];
BEGIN
    -- What is locked here, and what is asked of others' rows, is asked one by one (OFFSET 0): no plan for many can become a bad one.
    mine := ARRAY(
        SELECT u.n::integer FROM unnest(users) WITH ORDINALITY u(user_id, n)
        CROSS JOIN LATERAL (
            SELECT FROM trunkline.digest_due d WHERE d.user_id = u.user_id COLLATE "C" AND d.look = digest_decide.look
            OFFSET 0 FOR UPDATE SKIP LOCKED
        ) d);
    -- A statement of its own, so that the next one sees all that was committed before these rows were locked.
    SELECT array_agg(i.n), array_agg(x.id) INTO taken_users, taken
    FROM unnest(mine) m(n)
    JOIN unnest(item_users, items) i(n, id) ON i.n = m.n
    CROSS JOIN LATERAL (
        SELECT y.id FROM trunkline.notification y
        WHERE y.id = i.id AND y.user_id = users[i.n] COLLATE "C"
          AND y.seq IS NOT NULL AND y.digest_id IS NULL AND y.read_at IS NULL AND y.archived_at IS NULL AND y.snoozed_until IS NULL
        OFFSET 0 FOR NO KEY UPDATE SKIP LOCKED
    ) x;

    WITH inserted AS (
        INSERT INTO trunkline.digest AS g (user_id, email, name, locale, time_zone, message_id, items, next_at, claimed_at)
        SELECT users[t.n], emails[t.n], names[t.n], locales[t.n], time_zones[t.n], message_ids[t.n], array_agg(t.id ORDER BY t.id),
               digest_decide.at, digest_decide.at
        FROM unnest(taken_users, taken) t(n, id)
        WHERE decisions[t.n] = 'mailed'
        GROUP BY t.n ORDER BY t.n
        RETURNING g.id
    )
    SELECT array_agg(i.id) INTO made FROM inserted i;

    UPDATE trunkline.notification n SET digest_id = t.digest_id
    FROM (
        SELECT i.id, g.id AS digest_id FROM unnest(made) m(id)
        CROSS JOIN LATERAL (SELECT x.id, x.items FROM trunkline.digest x WHERE x.id = m.id OFFSET 0) g
        CROSS JOIN LATERAL unnest(g.items) i(id)
    ) t
    WHERE n.id = t.id;

    RETURN QUERY
    WITH mail AS MATERIALIZED (
        SELECT g.* FROM unnest(made) m(id)
        CROSS JOIN LATERAL (SELECT x.id, x.user_id, cardinality(x.items) AS count FROM trunkline.digest x WHERE x.id = m.id OFFSET 0) g
    ), wanted AS MATERIALIZED (
        SELECT i.n, count(*) AS count FROM unnest(item_users) i(n) GROUP BY i.n
    ), decided AS MATERIALIZED (
        SELECT u.user_id, u.n, g.id AS digest_id, coalesce(g.count, 0) AS count, u.decision, u.reason, u.unknowns,
               CASE WHEN coalesce(g.count, 0) < coalesce(w.count, 0) THEN least(u.next_at, digest_decide.at + interval '10 s')
                    ELSE u.next_at END AS next_at,
               u.decision <> 'mailed' OR g.id IS NOT NULL AS said
        FROM ROWS FROM (unnest(users), unnest(decisions), unnest(reasons), unnest(next_ats), unnest(digest_decide.unknowns))
             WITH ORDINALITY u(user_id, decision, reason, next_at, unknowns, n)
        JOIN unnest(mine) m(n) ON m.n = u.n
        LEFT JOIN mail g ON g.user_id = u.user_id
        LEFT JOIN wanted w ON w.n = u.n
    ), postponed AS (
        UPDATE trunkline.digest_due d SET due_at = e.next_at, look = NULL, looked_until = NULL, unknowns = coalesce(e.unknowns, 0)
        FROM decided e WHERE d.user_id = e.user_id AND e.next_at IS NOT NULL
    ), done AS (
        DELETE FROM trunkline.digest_due d USING decided e WHERE d.user_id = e.user_id AND e.next_at IS NULL
    ), again AS (
        UPDATE trunkline.digest_decision x SET at = digest_decide.at, next_at = l.next_at
        FROM (
            SELECT e.n, e.next_at, y.id FROM decided e
            CROSS JOIN LATERAL (
                SELECT z.id, z.decision, z.reason FROM trunkline.digest_decision z WHERE z.user_id = e.user_id ORDER BY z.id DESC LIMIT 1
            ) y
            WHERE e.digest_id IS NULL AND e.said AND y.decision = e.decision AND y.reason = e.reason
        ) l
        WHERE x.id = l.id
        RETURNING l.n
    ), new AS (
        INSERT INTO trunkline.digest_decision (user_id, first_at, at, decision, reason, next_at, digest_id)
        SELECT e.user_id, digest_decide.at, digest_decide.at, e.decision, e.reason, e.next_at, e.digest_id
        FROM decided e WHERE e.said AND NOT EXISTS (SELECT FROM again a WHERE a.n = e.n)
        ORDER BY e.n
    )
    SELECT e.user_id, e.digest_id, e.count FROM decided e WHERE e.said;
END
$$;

-- digest_take(at, until, most, park) begins the next try at mails whose time has come, those that waited longest first: each is the
-- caller's until then, unless somebody begins another try, and what it writes about it carries the attempt's number.
--
-- A mail whose last try broke off behind the final dot, so that the server may have it, is uncertain; with park it isn't tried
-- again, but parked.
CREATE FUNCTION trunkline.digest_take(at timestamptz, until timestamptz, most integer, park boolean)
RETURNS TABLE (id bigint, user_id text, email text, name text, locale text, time_zone text, message_id text, items bigint[],
               phase text, attempt integer, uncertain boolean, claimed_at timestamptz)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    UPDATE trunkline.digest g SET
        attempt = g.attempt + 1,
        uncertain = g.uncertain OR g.phase = 'data_sent',
        phase = CASE WHEN g.phase = 'data_sent' AND digest_take.park THEN 'parked' ELSE 'claimed' END,
        finished_at = CASE WHEN g.phase = 'data_sent' AND digest_take.park THEN digest_take.at END,
        reply = CASE WHEN g.phase = 'data_sent' THEN 'Whoever sent it didn''t live to hear the answer.' ELSE g.reply END,
        next_at = CASE WHEN g.phase = 'data_sent' AND digest_take.park THEN NULL ELSE digest_take.until END
    WHERE g.id = ANY (ARRAY(
        SELECT x.id FROM trunkline.digest x
        WHERE x.next_at <= digest_take.at
        ORDER BY x.next_at LIMIT digest_take.most
        FOR UPDATE SKIP LOCKED))
    RETURNING g.id, g.user_id, g.email, g.name, g.locale, g.time_zone, g.message_id, g.items, g.phase, g.attempt, g.uncertain, g.claimed_at;
END
$$;

-- digest_contents(ids, at, per_group, most) → the notifications of mails that are still to be mailed: unread, neither archived, snoozed
-- nor expired, and not gone. Newest first. Only those that the mail shows have a text and data: the newest per_group of each group,
-- and of these the newest most.
CREATE FUNCTION trunkline.digest_contents(ids bigint[], at timestamptz, per_group integer, most integer)
RETURNS TABLE (digest_id bigint, id bigint, seq bigint, kind text, title text, "text" text, "group" text, cause text, link text, data json,
               created_at timestamptz, expires_at timestamptz, seen_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT r.digest_id, r.id, r.seq, r.kind, coalesce(k.title, r.kind),
           CASE WHEN s.shown AND k.template IS NOT NULL THEN trunkline.item_text(k.template, k.title, r.data) END,
           r."group", r.cause, r.link, CASE WHEN s.shown THEN r.data END, r.created_at, r.expires_at, r.seen_at
    FROM (
        SELECT q.*, sum((q.rank <= digest_contents.per_group)::integer) OVER (PARTITION BY q.digest_id ORDER BY q.seq DESC) AS number
        FROM (
            SELECT g.id AS digest_id, x.id, x.seq, x.kind, x."group", x.cause, x.link, x.data, x.created_at, x.expires_at, x.seen_at,
                   row_number() OVER (PARTITION BY g.id, x."group" ORDER BY x.seq DESC) AS rank
            FROM unnest(ids) i(id)
            CROSS JOIN LATERAL (SELECT y.id, y.items FROM trunkline.digest y WHERE y.id = i.id OFFSET 0) g
            CROSS JOIN LATERAL unnest(g.items) j(id)
            CROSS JOIN LATERAL (
                SELECT * FROM trunkline.notification y
                WHERE y.id = j.id AND y.digest_id = g.id AND y.seq IS NOT NULL
                  AND y.read_at IS NULL AND y.archived_at IS NULL AND y.snoozed_until IS NULL
                  AND (y.expires_at IS NULL OR y.expires_at > digest_contents.at)
                OFFSET 0
            ) x
        ) q
    ) r
    CROSS JOIN LATERAL (SELECT r.rank <= digest_contents.per_group AND r.number <= digest_contents.most AS shown) s
    LEFT JOIN trunkline.kind k ON k.name = r.kind
    ORDER BY r.digest_id, r.seq DESC;
END
$$;

-- digest_prepare(ids, attempts, …) writes what is found out before a try begins, for mails whose attempt is the current one: tokens to
-- unsubscribe (their SHA-256; NULL: none) for kinds (each a list with E'\x1f' between), another address (NULL: as it was), and what
-- is left to mail of those in changed: left_items are the notifications, left_digests the mail each belongs to. What is no longer in
-- it is given back, unless the mail is uncertain, so that it may have been mailed.
CREATE FUNCTION trunkline.digest_prepare(ids bigint[], attempts integer[], hashes bytea[], kinds text[], emails text[],
                                         changed bigint[], left_digests bigint[], left_items bigint[], at timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
    IF cardinality(changed) > 0 THEN
        UPDATE trunkline.digest g SET
            items = l.items,
            loose = CASE WHEN g.uncertain THEN g.loose ELSE nullif(g.loose || ARRAY(
                SELECT x.id FROM unnest(g.items) x(id) WHERE x.id <> ALL (l.items)), '{}') END
        FROM (
            SELECT u.id, u.attempt, ARRAY(SELECT x.item FROM unnest(left_digests, left_items) x(id, item) WHERE x.id = u.id) AS items
            FROM unnest(ids, attempts) u(id, attempt) WHERE u.id = ANY (changed)
        ) l
        WHERE g.id = l.id AND g.attempt = l.attempt AND g.phase = 'claimed';
    END IF;
    IF array_remove(emails, NULL) <> '{}' THEN
        UPDATE trunkline.digest g SET email = u.email
        FROM unnest(ids, attempts, emails) u(id, attempt, email)
        WHERE u.email IS NOT NULL AND g.id = u.id AND g.attempt = u.attempt AND g.phase = 'claimed';
    END IF;
    INSERT INTO trunkline.unsubscribe_token (hash, user_id, kinds, created_at)
    SELECT u.hash, g.user_id, string_to_array(u.kinds, E'\x1f'), digest_prepare.at
    FROM unnest(ids, hashes, kinds) u(id, hash, kinds)
    JOIN trunkline.digest g ON g.id = u.id
    WHERE u.hash IS NOT NULL;
END
$$;

-- digest_commit(ids, attempts) → those mails whose attempt is still the current one, and whether each may go on to the final dot: not if
-- anything in it was read, archived, snoozed or removed since it was made. It is the point of no return: what breaks off behind it
-- is uncertain.
CREATE FUNCTION trunkline.digest_commit(ids bigint[], attempts integer[]) RETURNS TABLE (id bigint, whole boolean)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
    -- Once the dot is sent there is no way back: this has to survive a crash, whatever the role prefers.
    IF current_setting('synchronous_commit') = 'off' THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
    RETURN QUERY
    UPDATE trunkline.digest g SET phase = CASE WHEN w.whole THEN 'data_sent' ELSE 'claimed' END
    FROM (
        SELECT u.id, u.attempt, NOT EXISTS (
            SELECT FROM unnest(d.items) i(id)
            LEFT JOIN LATERAL (SELECT * FROM trunkline.notification x WHERE x.id = i.id OFFSET 0) n ON true
            WHERE n.id IS NULL OR n.digest_id IS DISTINCT FROM d.id OR n.read_at IS NOT NULL OR n.archived_at IS NOT NULL
               OR n.snoozed_until IS NOT NULL
        ) AS whole
        FROM unnest(ids, attempts) u(id, attempt)
        CROSS JOIN LATERAL (SELECT x.id, x.items FROM trunkline.digest x WHERE x.id = u.id OFFSET 0) d
    ) w
    WHERE g.id = w.id AND g.attempt = w.attempt AND g.phase = 'claimed'
    RETURNING g.id, w.whole;
END
$$;

-- digest_finish(ids, attempts, …, ats) writes how tries ended, and when → those for which that was news. A mail that was sent was sent, whoever has
-- begun another try meanwhile, and who did is told so by digest_commit; of all other outcomes those of earlier attempts don't count.
--
-- phases: 'sent', 'cancelled', 'bounced', 'failed' and 'parked' are ends; 'claimed' is tried again at next_ats. Mails that weren't
-- sent give their notifications back, unless they are uncertain. again_ats is when to look at the users again, NULL for not at all.
CREATE FUNCTION trunkline.digest_finish(ids bigint[], attempts integer[], phases text[], uncertain boolean[], replies text[],
                                        next_ats timestamptz[], again_ats timestamptz[], ats timestamptz[]) RETURNS SETOF bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
    IF current_setting('synchronous_commit') = 'off' THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
    RETURN QUERY
    UPDATE trunkline.digest g SET
        phase = u.phase,
        uncertain = g.uncertain OR u.uncertain,
        reply = u.reply,
        next_at = CASE WHEN u.phase = 'claimed' THEN u.next_at END,
        finished_at = CASE WHEN u.phase <> 'claimed' THEN u.at END,
        loose = CASE WHEN u.phase IN ('cancelled', 'bounced', 'failed') AND NOT g.uncertain AND NOT u.uncertain
                     THEN nullif(g.loose || g.items, '{}') ELSE g.loose END,
        again_at = u.again_at,
        bounces = u.phase = 'bounced'
    FROM unnest(ids, attempts, phases, digest_finish.uncertain, replies, next_ats, again_ats, ats)
         u(id, attempt, phase, uncertain, reply, next_at, again_at, at)
    WHERE g.id = u.id AND g.phase IN ('claimed', 'data_sent') AND (g.attempt = u.attempt OR u.phase = 'sent')
    RETURNING g.id;
END
$$;

-- digest_settle(after, most, at) does what mails have left to be done: gives notifications back, has users looked at again, counts bounces.
-- It looks at mails with an id above after, at most so many → how many those were, and the last one's id. What somebody else has
-- locked stays for another time.
--
-- Whoever gets notifications back is looked at again, at at if the mail says nothing else: until now, looks passed over them.
CREATE FUNCTION trunkline.digest_settle(after bigint, most integer, at timestamptz, OUT looked integer, OUT last bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off SET lock_timeout = '100ms'
AS $$
DECLARE
    one trunkline.digest;
    freed bigint[];
    left_over bigint[];
BEGIN
    looked := 0; last := after;
    FOR one IN
        SELECT * FROM trunkline.digest g WHERE (g.loose IS NOT NULL OR g.again_at IS NOT NULL OR g.bounces) AND g.id > after
        ORDER BY g.id LIMIT most FOR UPDATE SKIP LOCKED
    LOOP
        looked := looked + 1; last := one.id;
        freed := ARRAY(SELECT n.id FROM trunkline.notification n WHERE n.id = ANY (one.loose) AND n.digest_id = one.id FOR NO KEY UPDATE SKIP LOCKED);
        UPDATE trunkline.notification n SET digest_id = NULL WHERE n.id = ANY (freed);
        left_over := (SELECT array_agg(n.id) FROM trunkline.notification n WHERE n.id = ANY (one.loose) AND n.digest_id = one.id);
        IF one.loose IS NOT NULL THEN
            one.again_at := coalesce(one.again_at, digest_settle.at);
        END IF;
        -- In this order: if the user can't be looked at again now, something remains that says so.
        UPDATE trunkline.digest g SET loose = left_over, again_at = one.again_at WHERE g.id = one.id;
        BEGIN
            IF one.bounces THEN
                PERFORM trunkline.bounce(one.user_id, one.email, one.reply, one.finished_at);
            END IF;
            IF one.again_at IS NOT NULL THEN
                INSERT INTO trunkline.digest_due AS d (user_id, due_at) VALUES (one.user_id, one.again_at)
                ON CONFLICT (user_id) DO UPDATE SET due_at = excluded.due_at WHERE d.due_at > excluded.due_at;
            END IF;
            UPDATE trunkline.digest g SET bounces = false, again_at = CASE WHEN left_over IS NOT NULL THEN one.again_at END WHERE g.id = one.id;
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            NULL; -- it stays for another time
        END;
    END LOOP;
END
$$;

-- bounce(user_id, email, reason, at) counts that the address refused mail for good. From three on nothing is mailed to it; half of
-- what an address had is forgotten every 30 days. Another address of the user's starts from nothing.
CREATE FUNCTION trunkline.bounce(user_id text, email text, reason text, at timestamptz DEFAULT now()) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO trunkline.recipient AS r (user_id, bounces, bounced_at, bounced_email, bounce_reason)
    VALUES (user_id, 1, at, email, left(reason, 500))
    ON CONFLICT (user_id) DO UPDATE SET
        bounces = 1 + CASE
            WHEN r.bounced_email IS DISTINCT FROM excluded.bounced_email THEN 0
            -- Beyond, nothing is left that a number could hold.
            WHEN excluded.bounced_at - r.bounced_at > interval '3000 days' THEN 0
            ELSE r.bounces * power(0.5, greatest(0, extract(epoch FROM excluded.bounced_at - r.bounced_at)::float8 / (30 * 86400)))
        END,
        bounced_at = greatest(r.bounced_at, excluded.bounced_at), bounced_email = excluded.bounced_email, bounce_reason = excluded.bounce_reason
$$;

-- report_bounce(token, reason) → whether there is such a mail. For programs that read the mailbox that bounces go to: where each mail
-- has an address of its own there, token is what tells it, and is what stands before the @ of its Message-ID.
--
-- A mail counts once, however often its bounce is reported. For Trunkline's owner and roles with grant_digest.
--
--     SELECT trunkline.report_bounce('17.k3m9q2', '550 5.1.1 no such user');
CREATE FUNCTION trunkline.report_bounce(token text, reason text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    one trunkline.digest;
BEGIN
    -- 'A' follows '@'.
    SELECT * INTO one FROM trunkline.digest g
    WHERE g.message_id >= lower(token) || '@' COLLATE "C" AND g.message_id < lower(token) || 'A' COLLATE "C" FOR UPDATE;
    IF NOT FOUND OR token = '' THEN
        RETURN false;
    END IF;
    IF one.phase IN ('sent', 'parked') THEN
        UPDATE trunkline.digest g SET phase = 'bounced', reply = left(reason, 500) WHERE g.id = one.id;
        PERFORM trunkline.bounce(one.user_id, one.email, reason, clock_timestamp());
    END IF;
    RETURN true;
END
$$;

-- resend_digest(id) has a parked mail sent again, under the same Message-ID: its recipient gets it, or gets it twice. → whether there
-- was such a parked mail.
--
--     SELECT trunkline.resend_digest(17);
CREATE FUNCTION trunkline.resend_digest(id bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE trunkline.digest g SET phase = 'claimed', next_at = clock_timestamp(), finished_at = NULL
    WHERE g.id = resend_digest.id AND g.phase = 'parked';
    RETURN FOUND;
END
$$;

-- digest_forget(before, most) removes what is known of mails that were finished before then, and of decisions and tokens as old, at most so many
-- of each → how many it removed. Notifications remember that they were mailed.
CREATE FUNCTION trunkline.digest_forget(before timestamptz, most integer) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
DECLARE
    removed integer;
    total integer := 0;
BEGIN
    DELETE FROM trunkline.digest g WHERE g.id = ANY (ARRAY(
        SELECT x.id FROM trunkline.digest x
        WHERE x.finished_at < before AND x.loose IS NULL AND x.again_at IS NULL AND NOT x.bounces
        ORDER BY x.finished_at LIMIT most FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS removed = ROW_COUNT;
    total := total + removed;
    DELETE FROM trunkline.digest_decision e WHERE e.id = ANY (ARRAY(
        SELECT x.id FROM trunkline.digest_decision x WHERE x.at < before ORDER BY x.at LIMIT most FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS removed = ROW_COUNT;
    RETURN total + removed;
END
$$;

-- grant_digest(role) lets an existing role that doesn't own the schema run a digest worker. It can then read the addresses of
-- recipients, and what every user was notified of. It also needs EXECUTE on the authorize functions of kinds (and USAGE on their
-- schemas), from their owner. For Trunkline's owner.
--
--     SELECT trunkline.grant_digest('live');
CREATE FUNCTION trunkline.grant_digest(role regrole) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA trunkline TO %s', role);
    EXECUTE format('GRANT SELECT ON trunkline.digest, trunkline.digest_decision, trunkline.digest_due, trunkline.kind TO %s', role);
    EXECUTE format('GRANT EXECUTE ON FUNCTION trunkline.digest_next, trunkline.digest_look, trunkline.digest_lock, trunkline.digest_unlook, '
                   'trunkline.digest_own_recipients, trunkline.digest_settings, trunkline.digest_mutes, trunkline.digest_unread, trunkline.digest_decide, '
                   'trunkline.digest_take, trunkline.digest_contents, trunkline.digest_prepare, trunkline.digest_commit, '
                   'trunkline.digest_finish, trunkline.digest_settle, trunkline.digest_forget, trunkline.recipients_of, '
                   'trunkline.report_bounce, trunkline.resend_digest, trunkline.forget_tokens, trunkline.digest_admit, '
                   'trunkline.digest_look_again TO %s', role);
END
$$;

REVOKE ALL ON trunkline.digest, trunkline.digest_decision, trunkline.digest_sent FROM PUBLIC;
REVOKE ALL ON SEQUENCE trunkline.digest_id_seq, trunkline.digest_decision_id_seq FROM PUBLIC;
REVOKE ALL ON FUNCTION trunkline.digest_next, trunkline.digest_look, trunkline.digest_lock, trunkline.digest_unlook,
    trunkline.digest_own_recipients, trunkline.digest_settings, trunkline.digest_mutes, trunkline.digest_unread, trunkline.digest_decide, trunkline.digest_take,
    trunkline.digest_contents, trunkline.digest_prepare, trunkline.digest_commit, trunkline.digest_finish, trunkline.digest_settle,
    trunkline.bounce, trunkline.report_bounce, trunkline.resend_digest, trunkline.digest_forget, trunkline.grant_digest,
    trunkline.digest_admit, trunkline.digest_look_again, trunkline.kind_mailed FROM PUBLIC;
