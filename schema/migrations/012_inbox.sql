-- The inbox: notifications kept per user, with what was seen and read of them, and counts that are kept and not counted.
--
-- notify only inserts, so that two transactions that notify the same users in opposite order never wait for each other. A
-- keeper (one at a time, in any program that runs the inbox; see inbox_keep) gives each notification its place in the user's
-- inbox (seq), adjusts the counts and publishes them on inbox:<user>, in a short transaction of its own. What changes or
-- removes notifications leaves the difference in inbox_change, for the same reason, and the keeper folds it in.
--
-- The keeper waits for nobody: what another transaction holds it leaves for its next look. So no transaction of a user's can hold
-- up other users' inboxes, or be part of a deadlock with it.

-- What notifications can be about. One that isn't here gets defaults: its own name as title, the default delay.
CREATE TABLE trunkline.kind (
    name       text COLLATE "C" PRIMARY KEY,
    -- For people: 'Task completed'.
    title      text NOT NULL,
    -- One line about a notification, with {names} of its data: '{actor} completed {task.title}'. NULL: the title.
    template   text,
    -- How long it may stay unread before it is mailed, unless the user prefers otherwise. NULL: the default of four hours.
    delay      interval,
    -- The application's function (user_id text, "group" text, action text) → boolean, stored as schema.name: asked with action
    -- 'mail' whether the user may still see the group, before anything of it is mailed. NULL: it isn't asked.
    authorize  text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE trunkline.kind IS 'What notifications can be about; registered with trunkline.kind().';

CREATE TABLE trunkline.notification (
    -- CACHE 1, because order depends on it, as in trunkline.message.
    id            bigint GENERATED ALWAYS AS IDENTITY (CACHE 1) PRIMARY KEY,
    user_id       text COLLATE "C" NOT NULL,
    -- Its place in the user's inbox: rises in the order things became visible, so that "all up to what I was shown" can be
    -- said with one number. NULL until the keeper has placed it. What comes back from a snooze gets a new one.
    seq           bigint,
    kind          text COLLATE "C" NOT NULL,
    -- What it belongs to, such as a project or a conversation: 'project:7'.
    "group"       text COLLATE "C",
    -- What it is about, such as a task: with that gone, retract(cause) removes it.
    cause         text COLLATE "C",
    dedupe_key    text COLLATE "C",
    link          text,
    data          json NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at    timestamptz,
    seen_at       timestamptz,
    read_at       timestamptz,
    -- Archived ones aren't snoozed, and the other way round.
    archived_at   timestamptz,
    snoozed_until timestamptz,
    -- The digest that it was mailed with or is about to be; NULL: none. Released again where that one failed.
    digest_id     bigint,
    CONSTRAINT notification_read_is_seen CHECK (read_at IS NULL OR seen_at IS NOT NULL)
) WITH (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.05);

COMMENT ON TABLE trunkline.notification IS 'Notifications of users, kept until they expire or their cause is retracted.';

-- To be placed by the keeper.
CREATE INDEX notification_unplaced ON trunkline.notification (seq, id) WHERE seq IS NULL;
CREATE UNIQUE INDEX notification_user_seq ON trunkline.notification (user_id, seq);
CREATE UNIQUE INDEX notification_user_dedupe_key ON trunkline.notification (user_id, dedupe_key) WHERE dedupe_key IS NOT NULL;
CREATE INDEX notification_group ON trunkline.notification ("group", user_id, seq) WHERE "group" IS NOT NULL;
CREATE INDEX notification_cause ON trunkline.notification (cause) WHERE cause IS NOT NULL;
CREATE INDEX notification_expires_at ON trunkline.notification (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX notification_snoozed_until ON trunkline.notification (snoozed_until) WHERE snoozed_until IS NOT NULL;
-- What an inbox shows, for users who archive what they are done with.
CREATE INDEX notification_inbox ON trunkline.notification (user_id, seq) WHERE archived_at IS NULL;
-- Unread ones, for the inbox that shows nothing else, for marking all, and for digests.
CREATE INDEX notification_unread ON trunkline.notification (user_id, seq) WHERE read_at IS NULL AND archived_at IS NULL;

-- One row a user that ever had a notification. The keeper alone adds rows.
CREATE TABLE trunkline.inbox (
    user_id  text COLLATE "C" PRIMARY KEY,
    last_seq bigint NOT NULL DEFAULT 0,
    -- Of the placed notifications that are neither archived nor snoozed: those not seen, and those not read.
    unseen   integer NOT NULL DEFAULT 0,
    unread   integer NOT NULL DEFAULT 0,
    -- Rises with each push, so that a client can ignore what is older than what it has.
    version  bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

COMMENT ON TABLE trunkline.inbox IS 'Counts of each user''s notifications, as of what is folded in; inbox_check() proves them.';

-- What the keeper hasn't folded in yet. In any snapshot, the counts of a user plus the differences here are what counting gives.
CREATE TABLE trunkline.inbox_change (
    id        bigint GENERATED ALWAYS AS IDENTITY (CACHE 1) PRIMARY KEY,
    user_id   text COLLATE "C" NOT NULL,
    unseen    integer NOT NULL DEFAULT 0,
    unread    integer NOT NULL DEFAULT 0,
    -- Ids of placed notifications that one statement has changed or removed, to be pushed.
    changed   bigint[],
    removed   bigint[],
    -- They were too many to be listed: clients are told to read anew.
    anew      boolean NOT NULL DEFAULT false,
    -- A row with nothing else: the digest worker is to look at the user then. See look_again.
    due_at    timestamptz,
    -- A row with nothing else: ids of retracted notifications that another transaction held, to be removed by the keeper.
    retracted bigint[]
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
CREATE INDEX inbox_change_user ON trunkline.inbox_change (user_id) WHERE due_at IS NULL AND retracted IS NULL;
CREATE INDEX inbox_change_other ON trunkline.inbox_change (id) WHERE due_at IS NOT NULL OR retracted IS NOT NULL;

-- Who is to be looked at by the digest worker, and when at the earliest. It is a lower bound: the worker finds out what is
-- really due, and writes when to look again. The keeper alone adds rows; who wants a user to be looked at calls look_again.
CREATE TABLE trunkline.digest_due (
    user_id text COLLATE "C" PRIMARY KEY,
    due_at  timestamptz NOT NULL
) WITH (fillfactor = 80);
CREATE INDEX digest_due_at ON trunkline.digest_due (due_at, user_id);

-- Pushes are about the moment: who was away for longer reads the inbox anew. Not where an application has channels of that name.
-- Nobody needs to be told: programs that push read the namespaces when they start.
ALTER TABLE trunkline.namespace DISABLE TRIGGER tell_insert;
INSERT INTO trunkline.namespace (name, retention)
SELECT 'inbox', '1 day'
WHERE NOT EXISTS (SELECT FROM trunkline.channel c WHERE c.name >= 'inbox:' COLLATE "C" AND c.name < 'inbox;' COLLATE "C")
ON CONFLICT DO NOTHING;
ALTER TABLE trunkline.namespace ENABLE TRIGGER tell_insert;

-- Kinds

-- template_rest(template) → what stands behind the part of a template that is well formed: '' if all of it is.
CREATE FUNCTION trunkline.template_rest(template text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT substr(template, 1 + length(substring(
        template COLLATE "C" FROM '^(?:[^{}]|\{\{|\}\}|\{[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\})*')))
$$;

-- fill_template(template, data) → the template with what stands in the data in the place of its names. Raises where the JSON has
-- texts that PostgreSQL can't hold.
CREATE FUNCTION trunkline.fill_template(template text, data json) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    -- A { of its own is a control character, which no template has, until it is put in.
    segments text[] := string_to_array(replace(template, '{{', E'\u0001'), '{');
    segment text;
    name text;
    path text[];
    filled text := replace(replace(segments[1], '}}', '}'), E'\u0001', '{');
BEGIN
    FOREACH segment IN ARRAY segments[2:] LOOP
        name := split_part(segment, '}', 1);
        path := string_to_array(name, '.');
        IF json_typeof(data #> path) NOT IN ('object', 'array') THEN
            filled := filled || coalesce(left(data #>> path, 1000), '');
        END IF;
        filled := filled || replace(replace(substr(segment, length(name) + 2), '}}', '}'), E'\u0001', '{');
    END LOOP;
    RETURN filled;
END
$$;

-- item_text(template, title, data) → one line about a notification: the template filled with its data, the title where there is no
-- template or nothing came of it. {task.title} is the text at that path of the data, a number in a path counts elements of an
-- array from 0; what isn't there, is null, an object or an array is empty. {{ and }} are braces. At most 500 characters, without
-- control characters and line breaks.
--
-- It never raises because of data: JSON may hold texts that PostgreSQL can't ("\u0000", half of a surrogate pair), and then the
-- title it is.
--
--     SELECT trunkline.item_text('{actor} completed {task.title}', 'Task completed',
--                                '{"actor": "Ann", "task": {"title": "Paint"}}');
CREATE FUNCTION trunkline.item_text(template text, title text, data json) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    filled text := '';
BEGIN
    IF template IS NULL THEN
        NULL;
    ELSIF strpos(data::text, '\u') = 0 THEN
        filled := trunkline.fill_template(template, data);
    ELSE
        BEGIN
            filled := trunkline.fill_template(template, data);
        EXCEPTION
            WHEN untranslatable_character OR invalid_text_representation THEN
                NULL;
        END;
    END IF;
    IF filled COLLATE "C" ~ '[\u0001-\u001f\u007f-\u009f\u2028\u2029]' THEN
        filled := regexp_replace(filled COLLATE "C", '[\u0001-\u001f\u007f-\u009f\u2028\u2029]', ' ', 'g');
    END IF;
    filled := btrim(filled);
    IF filled = '' THEN
        filled := title;
    END IF;
    RETURN CASE WHEN length(filled) > 500 THEN left(filled, 499) || '…' ELSE filled END;
END
$$;

-- find_authorize() as before; its sentence says of what.
CREATE OR REPLACE FUNCTION trunkline.find_authorize() RETURNS trigger
LANGUAGE plpgsql
AS $$
DECLARE
    signature pg_catalog.regprocedure;
    stored pg_catalog.text;
BEGIN
    IF NEW.authorize IS NOT NULL THEN
        signature := pg_catalog.to_regprocedure(
            pg_catalog.concat(NEW.authorize, '(pg_catalog.text,pg_catalog.text,pg_catalog.text)'));
        SELECT pg_catalog.format('%I.%I', n.nspname, p.proname) INTO stored
        FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace
        WHERE p.oid OPERATOR(pg_catalog.=) signature::pg_catalog.oid;
        NEW.authorize := COALESCE(stored, NEW.authorize);
    END IF;
    RETURN NEW;
EXCEPTION
    WHEN syntax_error OR invalid_name OR invalid_text_representation OR undefined_object OR invalid_schema_name
         OR feature_not_supported THEN
        RETURN NEW;
    WHEN insufficient_privilege THEN
        RAISE EXCEPTION 'role "%" may not use the schema of the function % of % "%"',
            CURRENT_USER, NEW.authorize, TG_TABLE_NAME, NEW.name USING
            ERRCODE = 'invalid_parameter_value', COLUMN = 'authorize',
            HINT = 'Have the schema''s owner run: GRANT USAGE ON SCHEMA … TO …, also for the role that serves.';
END
$$;

-- check_kind() is the row trigger that refuses, in a sentence, what a kind can't be. The error's COLUMN is the argument of kind().
--
-- Errors: 22023 invalid_parameter_value.
CREATE FUNCTION trunkline.check_kind() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    setting text;
    problem text;
    fix text;
    rest text;
    found record;
BEGIN
    PERFORM trunkline.check_argument('name', 'name of the kind', NEW.name, 64);
    NEW.title := coalesce(NEW.title, NEW.name);
    CASE
    WHEN btrim(NEW.title) = '' OR octet_length(NEW.title) > 200 OR NEW.title COLLATE "C" ~ '[\u0001-\u001f\u007f-\u009f]' THEN
        setting := 'title';
        problem := format('the title of kind "%s" is empty, over 200 bytes long or contains a control character: %s',
                          NEW.name, to_json(left(NEW.title, 80)));
        fix := 'Give what people call it, such as Task completed, or none (NULL) for its name.';
    WHEN NEW.delay NOT BETWEEN '0' AND '30 days' THEN
        setting := 'delay'; problem := format('delay of kind "%s" cannot be %s', NEW.name, NEW.delay);
        fix := 'Choose between 0 (mailed at once) and 30 days, or none (NULL) for four hours.';
    WHEN octet_length(NEW.template) > 1000 OR NEW.template COLLATE "C" ~ '[\u0001-\u001f\u007f-\u009f]' THEN
        setting := 'template';
        problem := format('the template of kind "%s" is over 1000 bytes long or contains a control character', NEW.name);
        fix := 'It makes one line: {actor} completed {task.title}.';
    WHEN NEW.template = '' THEN
        setting := 'template'; problem := format('the template of kind "%s" is empty', NEW.name);
        fix := 'Pass none (NULL) for the title.';
    WHEN trunkline.template_rest(NEW.template) <> '' THEN
        rest := trunkline.template_rest(NEW.template);
        setting := 'template';
        problem := format('the template of kind "%s" has %s at %s', NEW.name, CASE
            WHEN starts_with(rest, '}') THEN 'a } without its {'
            WHEN rest COLLATE "C" ~ '^\{[^{}]*\}' THEN 'no name between braces'
            ELSE 'a { without its }' END, to_json(left(rest, 40)));
        fix := 'Names are of letters, digits, _ and -, with dots between the steps of a path: {task.title}. '
               'Braces themselves are written {{ and }}.';
    WHEN NEW.authorize IS NOT NULL THEN
        setting := 'authorize';
        SELECT p.oid, p.prokind, p.proretset, p.prorettype, n.nspname INTO found
        FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE format('%I.%I', n.nspname, p.proname) = NEW.authorize
          AND p.pronargs = 3 AND oidvectortypes(p.proargtypes) = 'text, text, text';
        fix := 'Create it first: CREATE FUNCTION app.may(user_id text, "group" text, action text) RETURNS boolean …, and write '
               'authorize as app.may.';
        IF found.oid IS NULL THEN
            problem := format('there is no function %s(text, text, text) for authorize of kind "%s"',
                              left(NEW.authorize, 140), NEW.name);
        ELSIF found.prokind <> 'f' OR found.proretset OR found.prorettype <> 'boolean'::regtype THEN
            problem := format(
                'the function %s(text, text, text) for authorize of kind "%s" returns %s%s, not boolean', NEW.authorize, NEW.name,
                CASE WHEN found.prokind <> 'f' THEN 'no plain value, ' WHEN found.proretset THEN 'a set of ' ELSE '' END,
                coalesce(format_type(found.prorettype, NULL), 'nothing'));
        ELSIF starts_with(found.nspname, 'pg_temp') THEN
            problem := format('the function %s for authorize of kind "%s" is temporary', NEW.authorize, NEW.name);
        END IF;
    ELSE
    END CASE;
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION '%', problem USING ERRCODE = 'invalid_parameter_value', COLUMN = setting, HINT = fix;
    END IF;
    IF TG_OP = 'UPDATE' THEN
        NEW.updated_at := clock_timestamp();
    END IF;
    RETURN NEW;
END
$$;

-- Before triggers fire in the order of their names.
CREATE TRIGGER a_find_authorize BEFORE INSERT OR UPDATE OF authorize ON trunkline.kind
FOR EACH ROW EXECUTE FUNCTION trunkline.find_authorize();
CREATE TRIGGER b_check_kind BEFORE INSERT OR UPDATE ON trunkline.kind
FOR EACH ROW EXECUTE FUNCTION trunkline.check_kind();

-- check_argument(argument, what, value, most) raises 22023 unless value is 1 to most bytes without control characters. The error's
-- COLUMN is the argument.
CREATE FUNCTION trunkline.check_argument(argument text, what text, value text, most integer) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    problem text := CASE
        WHEN value IS NULL THEN format('the %s is missing (NULL)', what)
        WHEN value = '' THEN format('the %s is empty', what)
        WHEN octet_length(value) > most THEN
            format('the %s "%s…" is %s bytes long, more than %s', what, left(value, 40), octet_length(value), most)
        WHEN value COLLATE "C" ~ '[\u0001-\u001f\u007f-\u009f]' THEN
            format('the %s %s contains a control character', what, to_json(left(value, 80)))
    END;
BEGIN
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION '%', problem USING
            ERRCODE = 'invalid_parameter_value', COLUMN = argument,
            HINT = format('Give 1 to %s bytes without control characters.', most)
                   || CASE WHEN argument IN ('group', 'link', 'cause', 'dedupe_key') THEN ' NULL is for none.' ELSE '' END;
    END IF;
END
$$;

-- kind(name, title, delay, template, authorize) registers a kind of notifications, or replaces all that is registered of it: what
-- isn't given has its default. It also holds for notifications that are there already.
--
-- title is what people call it (NULL: its name), delay how long a notification may stay unread before it is mailed (NULL: four
-- hours), template makes one line of a notification's data (see item_text), authorize is asked before anything is mailed whether
-- the user may still see its group. The function's name is looked up as the caller would; choosing one takes grant_admin, because
-- it is called with the rights of the role that mails.
--
-- Errors: 22023 invalid_parameter_value; 42501 insufficient_privilege if it would change authorize and the role may not.
--
--     SELECT trunkline.kind('task.completed', 'Task completed', '2 hours', '{actor} completed {task.title}', 'app.may');
CREATE FUNCTION trunkline.kind(name text, title text DEFAULT NULL, delay interval DEFAULT NULL, template text DEFAULT NULL,
                               "authorize" text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql
AS $$
#variable_conflict use_variable
BEGIN
    -- The caller's rights and, for authorize, the caller's search path: so everything is qualified.
    IF pg_catalog.has_table_privilege('trunkline.kind', 'INSERT')
       AND pg_catalog.has_table_privilege('trunkline.kind', 'UPDATE') THEN
        INSERT INTO trunkline.kind AS k (name, title, delay, template, authorize)
        VALUES (name, COALESCE(title, name), delay, template, "authorize")
        ON CONFLICT ON CONSTRAINT kind_pkey DO UPDATE SET
            title = excluded.title, delay = excluded.delay, template = excluded.template, authorize = excluded.authorize;
    ELSE
        PERFORM trunkline.set_kind(name, title, delay, template, "authorize");
    END IF;
END
$$;

-- set_kind is kind for roles that may notify but choose no authorize function.
CREATE FUNCTION trunkline.set_kind(name text, title text, delay interval, template text, "authorize" text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
    IF (SELECT k.authorize FROM trunkline.kind k WHERE k.name = name COLLATE "C") IS DISTINCT FROM "authorize" THEN
        RAISE EXCEPTION 'this role may not change authorize of kind "%"', left(name, 80) USING
            ERRCODE = 'insufficient_privilege', COLUMN = 'authorize',
            HINT = 'Have Trunkline''s owner register the kind, or run: SELECT trunkline.grant_admin(role). '
                   'One that stays as it is, is given as schema.name.';
    END IF;
    LOOP
        -- Without a word about authorize, which the owner might not be able to look up.
        UPDATE trunkline.kind k SET title = coalesce(title, name), delay = delay, template = template
        WHERE k.name = name COLLATE "C";
        EXIT WHEN FOUND;
        INSERT INTO trunkline.kind (name, title, delay, template) VALUES (name, coalesce(title, name), delay, template)
        ON CONFLICT DO NOTHING;
        EXIT WHEN FOUND;
    END LOOP;
END
$$;

-- remove_kind(name) forgets a kind. Its notifications stay, with the defaults of a kind that isn't registered.
--
-- Errors: 42704 undefined_object if there is none of that name; 42501 insufficient_privilege if it has an authorize function and
-- the role may not change that.
--
--     SELECT trunkline.remove_kind('task.completed');
CREATE FUNCTION trunkline.remove_kind(name text) RETURNS void
LANGUAGE plpgsql
AS $$
#variable_conflict use_variable
DECLARE
    gone pg_catalog.bool;
BEGIN
    IF pg_catalog.has_table_privilege('trunkline.kind', 'DELETE') THEN
        DELETE FROM trunkline.kind k WHERE k.name OPERATOR(pg_catalog.=) name COLLATE pg_catalog."C";
        gone := FOUND;
    ELSE
        gone := trunkline.drop_kind(name);
    END IF;
    IF NOT gone THEN
        RAISE EXCEPTION 'there is no kind "%"', COALESCE(pg_catalog.left(name, 80), 'NULL') USING
            ERRCODE = 'undefined_object', COLUMN = 'name', HINT = 'SELECT name FROM trunkline.kind lists all.';
    END IF;
END
$$;

-- drop_kind is remove_kind for roles that may notify but choose no authorize function. → whether there was such a kind.
CREATE FUNCTION trunkline.drop_kind(name text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
    DELETE FROM trunkline.kind k WHERE k.name = name COLLATE "C" AND k.authorize IS NULL;
    IF FOUND THEN
        RETURN true;
    END IF;
    IF EXISTS (SELECT FROM trunkline.kind k WHERE k.name = name COLLATE "C") THEN
        RAISE EXCEPTION 'this role may not remove kind "%", which has an authorize function', left(name, 80) USING
            ERRCODE = 'insufficient_privilege', COLUMN = 'name',
            HINT = 'Have Trunkline''s owner remove it, or run: SELECT trunkline.grant_admin(role).';
    END IF;
    RETURN false;
END
$$;

-- What changes notifications, and what is left to the keeper by it

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
SET search_path = pg_catalog, pg_temp SET enable_nestloop = off SET jit = off SET plan_cache_mode = force_generic_plan
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
               -- Back from a snooze it has to be placed anew, and may be removed before it is.
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

-- check_notification raises for arguments that notify can't take:
--   22023 invalid_parameter_value    a bad kind, group, link, cause, dedupe key or time
--   22004 null_value_not_allowed     no data
--   54000 program_limit_exceeded     data over 64 KiB
CREATE FUNCTION trunkline.check_notification(
    kind text, size integer, "group" text, link text, cause text, dedupe_key text, expires_at timestamptz) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
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
-- 40001, to be retried. A kind that isn't registered has defaults; data is JSON for the kind's template and the application's
-- pages. After expires_at the notification disappears.
--
-- Errors: 22023 invalid_parameter_value, 22004 null_value_not_allowed, 54000 program_limit_exceeded for data over 64 KiB.
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
    PERFORM trunkline.check_notification(kind, octet_length(data::text), "group", link, cause, dedupe_key, expires_at);
    LOOP
        INSERT INTO trunkline.notification (user_id, kind, data, "group", link, cause, dedupe_key, expires_at)
        VALUES (user_id, kind, data, "group", link, cause, dedupe_key, expires_at)
        ON CONFLICT DO NOTHING RETURNING id INTO notified;
        IF NOT FOUND THEN
            SELECT n.id INTO notified FROM trunkline.notification n
            WHERE n.user_id = user_id COLLATE "C" AND n.dedupe_key = dedupe_key COLLATE "C";
        END IF;
        -- Not found again: the first one was removed between the two statements, and the key is free.
        EXIT WHEN FOUND;
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
SET enable_nestloop = off SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    waiting text[];
    users text[] := '{}';
    ids bigint[] := '{}';
    some_users text[];
    some_ids bigint[];
BEGIN
    IF user_ids IS NULL OR cardinality(user_ids) > 10000 THEN
        RAISE EXCEPTION '%', coalesce(format('a notification is for %s users, more than 10000', cardinality(user_ids)),
                                      'the users of a notification are missing (NULL)') USING
            ERRCODE = 'invalid_parameter_value', COLUMN = 'user_ids',
            HINT = 'Name up to 10000 in one call, and make several calls for more.';
    END IF;
    -- The cheap test lets pass what is certainly fine, so that the check is called for few.
    PERFORM trunkline.check_argument('user_id', 'user', u, 249)
    FROM unnest(user_ids) u WHERE u IS NULL OR octet_length(u) NOT BETWEEN 1 AND 249 OR u COLLATE "C" ~ '[^!-~]';
    PERFORM trunkline.check_notification(
        notify_many.kind, octet_length(notify_many.data::text), notify_many."group", notify_many.link, notify_many.cause,
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
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_generic_plan
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
-- archive or from a snooze; snoozed, until a time within 400 days. Which notifications: up_to_seq for all up to the one that was
-- shown last (seen, read and archived only; neither archived nor snoozed ones; "group" narrows it), so that what arrives meanwhile
-- is never touched; or up to 1,000 ids. Those of other users, or of nothing, are passed over. What is so already isn't changed
-- again.
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
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_generic_plan
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
        -- Back from a snooze it gets a new place.
        changes := '(n.archived_at IS NOT NULL OR n.snoozed_until IS NOT NULL)';
        change := 'archived_at = NULL, snoozed_until = NULL, seq = CASE WHEN n.snoozed_until IS NULL THEN n.seq END';
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

-- The keeper

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
SET enable_nestloop = off SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    -- Of one push: how many items it carries, in how many bytes, and how many changes.
    most_items constant integer := 20;
    most_bytes constant integer := least(131072, trunkline.max_payload() / 2);
    most_changes constant integer := 100;
    placed bigint[];
    seqs bigint[];
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
    ), built AS (
        SELECT i.user_id, i.nth, row_to_json(j)::text AS json
        FROM item i
        LEFT JOIN LATERAL (SELECT x.title, x.template FROM trunkline.kind x WHERE x.name = i.kind OFFSET 0) k ON true
        CROSS JOIN LATERAL (
            SELECT i.id, i.seq, i.kind, coalesce(k.title, i.kind) AS title,
                   trunkline.item_text(k.template, coalesce(k.title, i.kind), i.data) AS text, i."group", i.cause, i.link, i.data,
                   trunkline.json_time(i.created_at) AS created_at, trunkline.json_time(i.expires_at) AS expires_at,
                   trunkline.json_time(i.seen_at) AS seen_at, trunkline.json_time(i.read_at) AS read_at,
                   trunkline.json_time(i.archived_at) AS archived_at, trunkline.json_time(i.snoozed_until) AS snoozed_until
            OFFSET 0
        ) j
        WHERE i.nth <= most_items
    ), added AS (
        SELECT f.user_id, ('[' || string_agg(f.json, ',' ORDER BY f.nth) || ']')::json AS list, count(*) AS n
        FROM (SELECT b.*, sum(octet_length(b.json)) OVER (PARTITION BY b.user_id ORDER BY b.nth) AS bytes FROM built b) f
        WHERE f.bytes <= most_bytes
        GROUP BY f.user_id
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
        LEFT JOIN added a ON a.user_id = c.user_id
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
SET enable_nestloop = off SET jit = off SET plan_cache_mode = force_generic_plan
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
SET enable_nestloop = off SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    -- What this session remembers of its last looks: up to which ids it has taken everything, and until when it need not look
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
    IF looks_at > clock_timestamp() THEN
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

-- inbox_fold(user_id) → the user's counts and their version, with what this transaction and committed ones have changed: folded in,
-- and published when the calling transaction commits. For a caller that has marked and wants to answer with counts; the keeper
-- would do it a moment later.
--
-- It holds the user's inbox until the transaction ends: commit soon, and fold several users in their order only.
--
--     SELECT * FROM trunkline.inbox_fold('ann');
CREATE FUNCTION trunkline.inbox_fold(user_id text, OUT unseen integer, OUT unread integer, OUT version bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off SET plan_cache_mode = force_generic_plan
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
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off
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

-- Who may do what

-- grant_notify(role) lets an existing role, usually an application's own, notify and retract and register kinds (their authorize
-- functions take grant_admin besides), and nothing else: it reads nobody's inbox. For Trunkline's owner.
--
--     SELECT trunkline.grant_notify('app');
CREATE FUNCTION trunkline.grant_notify(role regrole) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA trunkline TO %s', role);
    EXECUTE format('GRANT SELECT ON trunkline.kind TO %s', role);
    EXECUTE format('GRANT EXECUTE ON FUNCTION trunkline.notify, trunkline.notify_many, trunkline.retract, trunkline.kind, '
                   'trunkline.set_kind, trunkline.remove_kind, trunkline.drop_kind TO %s', role);
END
$$;

-- grant_inbox(role) lets an existing role read, mark and keep all users' inboxes, as a server does for its users. For Trunkline's
-- owner.
--
--     SELECT trunkline.grant_inbox('live');
CREATE FUNCTION trunkline.grant_inbox(role regrole) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA trunkline TO %s', role);
    EXECUTE format('GRANT SELECT ON trunkline.kind TO %s', role);
    EXECUTE format('GRANT EXECUTE ON FUNCTION trunkline.mark, trunkline.list_inbox, trunkline.inbox_counts, trunkline.inbox_fold, '
                   'trunkline.inbox_keep, trunkline.inbox_check, trunkline.item_text TO %s', role);
END
$$;

-- grant_admin(role), as before, and kinds: it lets a role choose their authorize functions too. A role that was granted before this
-- version needs the call again.
CREATE OR REPLACE FUNCTION trunkline.grant_admin(role regrole) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA trunkline TO %s', role);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON trunkline.namespace, trunkline.kind TO %s', role);
    EXECUTE format('GRANT SELECT (id, name, prefix, scopes, created_at, expires_at, revoked_at) ON trunkline.apikey TO %s', role);
    EXECUTE format('GRANT SELECT, DELETE ON trunkline.revocation TO %s', role);
    EXECUTE format('GRANT EXECUTE ON FUNCTION trunkline.revoke, trunkline.revoke_token, trunkline.disconnect, '
                   'trunkline.unsubscribe, trunkline.create_apikey, trunkline.revoke_apikey, trunkline.kind, trunkline.remove_kind '
                   'TO %s', role);
END
$$;

-- grant_serve(role), as before, and inboxes. A role that was granted before this version needs the call again.
CREATE OR REPLACE FUNCTION trunkline.grant_serve(role regrole) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM trunkline.grant_read(role);
    EXECUTE format('GRANT SELECT ON trunkline.apikey, trunkline.revocation TO %s', role);
    EXECUTE format('GRANT EXECUTE ON FUNCTION trunkline.set_presence, trunkline.clear_presence, trunkline.present, '
                   'trunkline.count_present, trunkline.expire_presence TO %s', role);
    PERFORM trunkline.grant_inbox(role);
END
$$;

REVOKE ALL ON trunkline.kind, trunkline.notification, trunkline.inbox, trunkline.inbox_change, trunkline.digest_due FROM PUBLIC;
REVOKE ALL ON SEQUENCE trunkline.notification_id_seq, trunkline.inbox_change_id_seq FROM PUBLIC;
REVOKE ALL ON FUNCTION trunkline.template_rest, trunkline.fill_template, trunkline.item_text, trunkline.check_kind,
    trunkline.check_argument, trunkline.kind, trunkline.set_kind, trunkline.remove_kind, trunkline.drop_kind, trunkline.ring_keeper,
    trunkline.look_again, trunkline.notification_inserted, trunkline.notification_updated, trunkline.notification_deleted,
    trunkline.notification_truncated, trunkline.check_notification, trunkline.notify, trunkline.notify_many, trunkline.retract,
    trunkline.mark, trunkline.json_time, trunkline.inbox_apply, trunkline.inbox_clear, trunkline.inbox_due, trunkline.inbox_keep,
    trunkline.inbox_fold, trunkline.inbox_counts, trunkline.list_inbox, trunkline.inbox_check, trunkline.grant_notify,
    trunkline.grant_inbox FROM PUBLIC;
