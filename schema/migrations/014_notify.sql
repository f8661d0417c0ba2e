-- Notifying: what happens to notifications in their writers' transactions, and what is left to the keeper by it.

-- ring_keeper() tells the keeper, when the calling transaction commits, that there is something to do: once a transaction, and not
-- in the keeper's own.
CREATE FUNCTION trunkline.ring_keeper() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF current_setting('trunkline.inbox_keeping', true) = 'on' THEN
        RETURN;
    END IF;
    -- A local setting goes with the savepoint that it was made in, as the message does.
    IF current_setting('trunkline.inbox_rung', true) IS DISTINCT FROM pg_current_xact_id()::text THEN
        INSERT INTO trunkline.message (channel, payload) VALUES ('trunkline:inbox', '{}');
        PERFORM set_config('trunkline.inbox_rung', pg_current_xact_id()::text, true);
    END IF;
END
$$;

-- look_again(user_ids, at) has the digest worker look at users from that time on, because something about their mail has changed.
-- Those who never had a notification are passed over. It only inserts, like notify. Not granted to anybody: functions with the
-- owner's rights call it.
CREATE FUNCTION trunkline.look_again(user_ids text[], at timestamptz DEFAULT clock_timestamp()) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET plan_cache_mode = force_generic_plan
AS $$
BEGIN
    INSERT INTO trunkline.inbox_change (user_id, due_at)
    SELECT b.user_id, at
    FROM (SELECT DISTINCT x COLLATE "C" AS user_id FROM unnest(user_ids) x) u
    CROSS JOIN LATERAL (SELECT i.user_id FROM trunkline.inbox i WHERE i.user_id = u.user_id OFFSET 0) b
    ORDER BY b.user_id;
    IF FOUND THEN
        PERFORM trunkline.ring_keeper();
    END IF;
END
$$;

-- notification_inserted(), notification_updated(), notification_deleted() and notification_truncated() are the statement triggers
-- that leave to the keeper what a statement has changed: a row for each user in inbox_change, and one ring. Definer's rights, for
-- whoever writes to the table by hand.
--
-- Rows inserted with a seq, or given one by hand, are not counted: only the keeper gives seqs.
CREATE FUNCTION trunkline.notification_inserted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF EXISTS (SELECT FROM new_rows n WHERE n.seq IS NULL) THEN
        PERFORM trunkline.ring_keeper();
    END IF;
    RETURN NULL;
END
$$;

-- Old and new rows pair by id, which never changes. No nested loops: a plan made for one row must not be kept for ten thousand.
CREATE FUNCTION trunkline.notification_updated() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_nestloop = off SET enable_hashjoin = on SET jit = off
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    rings boolean;
BEGIN
    WITH pair AS MATERIALIZED (
        SELECT o.id, o.user_id AS old_user, n.user_id AS new_user, n.seq IS NOT NULL AS placed, n.digest_id IS NULL AS unsent,
               (o.seen_at IS NULL AND o.counts)::integer AS old_unseen, (o.read_at IS NULL AND o.counts)::integer AS old_unread,
               (n.seen_at IS NULL AND n.counts)::integer AS new_unseen, (n.read_at IS NULL AND n.counts)::integer AS new_unread
        FROM (SELECT *, seq IS NOT NULL AND archived_at IS NULL AND snoozed_until IS NULL AS counts FROM old_rows) o
        JOIN (SELECT *, seq IS NOT NULL AND archived_at IS NULL AND snoozed_until IS NULL AS counts FROM new_rows) n ON n.id = o.id
        WHERE o.seq IS NOT NULL
          AND (o.user_id, o.seq, o.seen_at, o.read_at, o.archived_at, o.snoozed_until)
              IS DISTINCT FROM (n.user_id, n.seq, n.seen_at, n.read_at, n.archived_at, n.snoozed_until)
    ), effect AS (
        SELECT p.new_user AS user_id, p.new_unseen - p.old_unseen AS unseen, p.new_unread - p.old_unread AS unread,
               CASE WHEN p.placed THEN p.id END AS changed,
               -- Back from the archive or a snooze it has to be placed anew, and may be removed before it is.
               CASE WHEN NOT p.placed THEN p.id END AS removed, false AS anew
        FROM pair p WHERE p.new_user = p.old_user
        UNION ALL
        -- Given to another user.
        SELECT p.old_user, -p.old_unseen, -p.old_unread, NULL, p.id, false FROM pair p WHERE p.new_user <> p.old_user
        UNION ALL
        SELECT p.new_user, p.new_unseen, p.new_unread, NULL, NULL, true FROM pair p WHERE p.new_user <> p.old_user AND p.placed
    ), folded AS (
        SELECT e.user_id, sum(e.unseen) AS unseen, sum(e.unread) AS unread,
               bool_or(e.anew) OR count(e.changed) + count(e.removed) > 100 AS anew,
               array_agg(e.changed) FILTER (WHERE e.changed IS NOT NULL) AS changed,
               array_agg(e.removed) FILTER (WHERE e.removed IS NOT NULL) AS removed
        FROM effect e GROUP BY e.user_id
        HAVING sum(e.unseen) <> 0 OR sum(e.unread) <> 0 OR count(e.changed) + count(e.removed) > 0 OR bool_or(e.anew)
    ), written AS (
        INSERT INTO trunkline.inbox_change (user_id, unseen, unread, changed, removed, anew, due_at)
        SELECT f.user_id, f.unseen, f.unread, CASE WHEN NOT f.anew THEN f.changed END, CASE WHEN NOT f.anew THEN f.removed END,
               f.anew, NULL
        FROM folded f
        UNION ALL
        -- What is unread again may have to be mailed.
        SELECT DISTINCT p.new_user, 0, 0, NULL::bigint[], NULL::bigint[], false, clock_timestamp()
        FROM pair p WHERE p.unsent AND p.new_unread > p.old_unread
        RETURNING 1
    )
    SELECT EXISTS (SELECT FROM written) OR EXISTS (SELECT FROM new_rows n WHERE n.seq IS NULL) INTO rings;
    IF rings THEN
        PERFORM trunkline.ring_keeper();
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION trunkline.notification_deleted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
BEGIN
    INSERT INTO trunkline.inbox_change (user_id, unseen, unread, removed, anew)
    SELECT o.user_id,
           -count(*) FILTER (WHERE o.seen_at IS NULL AND o.archived_at IS NULL AND o.snoozed_until IS NULL),
           -count(*) FILTER (WHERE o.read_at IS NULL AND o.archived_at IS NULL AND o.snoozed_until IS NULL),
           CASE WHEN count(*) <= 100 THEN array_agg(o.id) END, count(*) > 100
    FROM old_rows o WHERE o.seq IS NOT NULL
    GROUP BY o.user_id;
    IF FOUND THEN
        PERFORM trunkline.ring_keeper();
    END IF;
    RETURN NULL;
END
$$;

-- TRUNCATE has waited for whoever has written to the table, so all of their differences can be seen here.
CREATE FUNCTION trunkline.notification_truncated() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
BEGIN
    INSERT INTO trunkline.inbox_change (user_id, unseen, unread, anew)
    SELECT s.user_id, -sum(s.unseen), -sum(s.unread), true
    FROM (SELECT i.user_id, i.unseen, i.unread FROM trunkline.inbox i
          UNION ALL SELECT c.user_id, c.unseen, c.unread FROM trunkline.inbox_change c) s
    GROUP BY s.user_id;
    IF FOUND THEN
        PERFORM trunkline.ring_keeper();
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER keep_inserted AFTER INSERT ON trunkline.notification REFERENCING NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION trunkline.notification_inserted();
CREATE TRIGGER keep_updated AFTER UPDATE ON trunkline.notification REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION trunkline.notification_updated();
CREATE TRIGGER keep_deleted AFTER DELETE ON trunkline.notification REFERENCING OLD TABLE AS old_rows
FOR EACH STATEMENT EXECUTE FUNCTION trunkline.notification_deleted();
CREATE TRIGGER keep_truncated AFTER TRUNCATE ON trunkline.notification
FOR EACH STATEMENT EXECUTE FUNCTION trunkline.notification_truncated();

-- nested_deeper(data, levels) → whether arrays and objects in a JSON text are nested deeper than so many levels.
CREATE FUNCTION trunkline.nested_deeper(data text, levels integer) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    brackets text;
BEGIN
    -- Most texts don't even have so many brackets.
    IF length(data) - length(translate(data, '[{', '')) <= levels THEN
        RETURN false;
    END IF;
    brackets := regexp_replace(regexp_replace(data, '"(?:[^"\\]|\\.)*"', '', 'g'), '[^][{}]', '', 'g');
    -- Each round takes away the innermost level.
    FOR i IN 1..levels LOOP
        brackets := replace(replace(replace(brackets, '[]', ' '), '{}', ' '), ' ', '');
        EXIT WHEN brackets = '';
    END LOOP;
    RETURN brackets <> '';
END
$$;

-- check_notification raises for arguments that notify can't take:
--   22023 invalid_parameter_value    a bad kind, group, link, cause, dedupe key or time
--   22004 null_value_not_allowed     no data
--   54000 program_limit_exceeded     data over 64 KiB, or nested deeper than 100 levels, which not every reader of JSON takes
CREATE FUNCTION trunkline.check_notification(
    kind text, data json, "group" text, link text, cause text, dedupe_key text, expires_at timestamptz) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    size integer := octet_length(data::text);
BEGIN
    PERFORM trunkline.check_argument('kind', 'kind', kind, 64);
    IF "group" IS NOT NULL THEN
        PERFORM trunkline.check_argument('group', 'group', "group", 255);
    END IF;
    IF cause IS NOT NULL THEN
        PERFORM trunkline.check_argument('cause', 'cause', cause, 255);
    END IF;
    IF dedupe_key IS NOT NULL THEN
        PERFORM trunkline.check_argument('dedupe_key', 'dedupe key', dedupe_key, 255);
    END IF;
    IF link IS NOT NULL THEN
        PERFORM trunkline.check_argument('link', 'link', link, 2048);
        -- Browsers read a backslash as a slash: //evil.example and /\evil.example lead away.
        IF link COLLATE "C" !~ '^(/([^/\\]|$)|[Hh][Tt][Tt][Pp][Ss]?://)' THEN
            RAISE EXCEPTION 'the link % leads to neither a page of the site nor the web', to_json(left(link, 80)) USING
                ERRCODE = 'invalid_parameter_value', COLUMN = 'link', HINT = 'Begin it with / and a path, http:// or https://.';
        END IF;
    END IF;
    IF size IS NULL THEN
        RAISE EXCEPTION 'the data of a notification of kind "%" is missing (NULL)', kind USING
            ERRCODE = 'null_value_not_allowed', COLUMN = 'data', HINT = 'Leave it out for none, which is ''{}''.';
    ELSIF size > 65536 THEN
        RAISE EXCEPTION 'the data of a notification of kind "%" is % bytes, more than 65536', kind, size USING
            ERRCODE = 'program_limit_exceeded', COLUMN = 'data', HINT = 'Keep what is large elsewhere, and give its id.';
    ELSIF trunkline.nested_deeper(data::text, 100) THEN
        RAISE EXCEPTION 'the data of a notification of kind "%" is nested deeper than 100 levels', kind USING
            ERRCODE = 'program_limit_exceeded', COLUMN = 'data', HINT = 'Keep what is large elsewhere, and give its id.';
    ELSIF expires_at >= '10000-01-01 00:00:00+00' OR expires_at < '0001-01-01 00:00:00+00' THEN
        RAISE EXCEPTION 'a notification cannot expire at %', expires_at USING
            ERRCODE = 'invalid_parameter_value', COLUMN = 'expires_at', HINT = 'Give a time, or none (NULL) for one that stays.';
    END IF;
END
$$;

-- notify(user_id, kind, data, "group", link, cause, dedupe_key, expires_at) → the id of the notification.
--
-- Puts a notification into a user's inbox when the calling transaction commits. It only inserts: whoever notifies waits for
-- nobody, unless it uses a dedupe key that another open transaction uses for the same user. With a dedupe_key that is in the
-- user's inbox already nothing is inserted, and that one's id returned; in REPEATABLE READ and above a concurrent one fails with
-- 40001, to be retried. One that is retracted already, but held by another transaction, isn't there: notify waits for that one,
-- and inserts. A kind that isn't registered has defaults; data is JSON for the kind's template and the application's pages. After
-- expires_at the notification disappears.
--
-- Errors: 22023 invalid_parameter_value, 22004 null_value_not_allowed, 54000 program_limit_exceeded for data over 64 KiB or nested
-- deeper than 100 levels.
--
--     SELECT trunkline.notify('ann', 'task.completed', '{"actor": "Bob", "task": {"title": "Paint"}}', "group" => 'project:7',
--                             link => '/projects/7', cause => 'task:12');
CREATE FUNCTION trunkline.notify(
    user_id text, kind text, data json DEFAULT '{}', "group" text DEFAULT NULL, link text DEFAULT NULL, cause text DEFAULT NULL,
    dedupe_key text DEFAULT NULL, expires_at timestamptz DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    notified bigint;
BEGIN
    -- With the user a channel is made: inbox:<user>.
    PERFORM trunkline.check_argument('user_id', 'user', user_id, 249);
    PERFORM trunkline.check_notification(kind, data, "group", link, cause, dedupe_key, expires_at);
    LOOP
        INSERT INTO trunkline.notification (user_id, kind, data, "group", link, cause, dedupe_key, expires_at)
        VALUES (user_id, kind, data, "group", link, cause, dedupe_key, expires_at)
        ON CONFLICT DO NOTHING RETURNING id INTO notified;
        IF NOT FOUND THEN
            SELECT n.id INTO notified FROM trunkline.notification n
            WHERE n.user_id = user_id COLLATE "C" AND n.dedupe_key = dedupe_key COLLATE "C";
            -- Not found again: the first one was removed between the two statements, and the key is free.
            CONTINUE WHEN NOT FOUND;
            IF EXISTS (SELECT FROM trunkline.inbox_change c
                       WHERE c.user_id = user_id COLLATE "C" AND c.retracted IS NOT NULL AND notified = ANY (c.retracted)) THEN
                -- What retract has left to the keeper. This waits for who holds it.
                DELETE FROM trunkline.notification n WHERE n.id = notified;
                CONTINUE;
            END IF;
        END IF;
        EXIT;
    END LOOP;
    RETURN notified;
END
$$;

-- notify_many(user_ids, kind, data, …) → the notifications' ids, in the order of the users given.
--
-- The same as a call of notify for each of up to 10,000 users, in one statement; who is named twice gets it once. Errors: those of
-- notify; one bad user fails the call.
--
--     SELECT trunkline.notify_many('{ann,bob}', 'release', '{"version": "2.0"}');
CREATE FUNCTION trunkline.notify_many(
    user_ids text[], kind text, data json DEFAULT '{}', "group" text DEFAULT NULL, link text DEFAULT NULL, cause text DEFAULT NULL,
    dedupe_key text DEFAULT NULL, expires_at timestamptz DEFAULT NULL) RETURNS bigint[]
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_nestloop = off SET enable_hashjoin = on SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    waiting text[];
    users text[] := '{}';
    ids bigint[] := '{}';
    some_users text[];
    some_ids bigint[];
    retracted_ids bigint[];
    retracted_id bigint;
BEGIN
    IF user_ids IS NULL OR cardinality(user_ids) > 10000 THEN
        RAISE EXCEPTION '%', CASE WHEN user_ids IS NULL THEN 'the users of a notification are missing (NULL)'
                                  ELSE format('a notification is for %s users, more than 10000', cardinality(user_ids)) END USING
            ERRCODE = 'invalid_parameter_value', COLUMN = 'user_ids',
            HINT = 'Name up to 10000 in one call, and make several calls for more.';
    END IF;
    -- The cheap test lets pass what is certainly fine, so that the check is called for few.
    PERFORM trunkline.check_argument('user_id', 'user', u, 249)
    FROM unnest(user_ids) u WHERE u IS NULL OR octet_length(u) NOT BETWEEN 1 AND 249 OR u COLLATE "C" ~ '[^!-~]';
    PERFORM trunkline.check_notification(
        notify_many.kind, notify_many.data, notify_many."group", notify_many.link, notify_many.cause,
        notify_many.dedupe_key, notify_many.expires_at);
    waiting := ARRAY(SELECT DISTINCT u COLLATE "C" AS user_id FROM unnest(user_ids) u ORDER BY user_id);
    WHILE waiting <> '{}' LOOP
        -- In the order of users, so that two calls with the same key can't deadlock.
        WITH inserted AS (
            INSERT INTO trunkline.notification (user_id, kind, data, "group", link, cause, dedupe_key, expires_at)
            SELECT u.user_id, notify_many.kind, notify_many.data, notify_many."group", notify_many.link, notify_many.cause,
                   notify_many.dedupe_key, notify_many.expires_at
            FROM unnest(waiting) WITH ORDINALITY u(user_id, n) ORDER BY u.n
            ON CONFLICT DO NOTHING RETURNING id, user_id
        )
        SELECT coalesce(array_agg(i.user_id), '{}'), coalesce(array_agg(i.id), '{}') INTO some_users, some_ids FROM inserted i;
        users := users || some_users;
        ids := ids || some_ids;
        EXIT WHEN notify_many.dedupe_key IS NULL;
        waiting := ARRAY(
            SELECT w COLLATE "C" AS user_id FROM unnest(waiting) w EXCEPT SELECT s FROM unnest(some_users) s ORDER BY user_id);
        SELECT coalesce(array_agg(n.user_id), '{}'), coalesce(array_agg(n.id), '{}') INTO some_users, some_ids
        FROM unnest(waiting) w(user_id)
        CROSS JOIN LATERAL (
            SELECT x.user_id, x.id FROM trunkline.notification x
            WHERE x.user_id = w.user_id COLLATE "C" AND x.dedupe_key = notify_many.dedupe_key COLLATE "C" OFFSET 0
        ) n;
        -- What retract has left to the keeper isn't there. This waits for who holds it, in the order of users, too.
        retracted_ids := ARRAY(
            SELECT s.id FROM unnest(some_users, some_ids) s(user_id, id)
            WHERE EXISTS (SELECT FROM trunkline.inbox_change c
                          WHERE c.user_id = s.user_id COLLATE "C" AND c.retracted IS NOT NULL AND s.id = ANY (c.retracted) OFFSET 0)
            ORDER BY s.user_id COLLATE "C");
        IF retracted_ids <> '{}' THEN
            FOREACH retracted_id IN ARRAY retracted_ids LOOP
                DELETE FROM trunkline.notification n WHERE n.id = retracted_id;
            END LOOP;
            CONTINUE;
        END IF;
        users := users || some_users;
        ids := ids || some_ids;
        -- Those that were removed between the two statements are notified after all.
        waiting := ARRAY(
            SELECT w COLLATE "C" AS user_id FROM unnest(waiting) w EXCEPT SELECT s FROM unnest(some_users) s ORDER BY user_id);
    END LOOP;
    RETURN ARRAY(
        SELECT m.id FROM unnest(user_ids) WITH ORDINALITY u(user_id, n)
        JOIN unnest(users, ids) m(user_id, id) ON m.user_id = u.user_id COLLATE "C"
        ORDER BY u.n);
END
$$;

REVOKE ALL ON FUNCTION trunkline.ring_keeper, trunkline.look_again, trunkline.notification_inserted, trunkline.notification_updated,
    trunkline.notification_deleted, trunkline.notification_truncated, trunkline.nested_deeper,
    trunkline.check_notification, trunkline.notify, trunkline.notify_many FROM PUBLIC;
