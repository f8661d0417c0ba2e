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
    -- said with one number. NULL until the keeper has placed it. What comes back from the archive or a snooze gets a new one.
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
CREATE INDEX inbox_change_retracted ON trunkline.inbox_change (user_id) WHERE retracted IS NOT NULL;
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

-- item_text(template, title, data) → one line about a notification: the template filled with its data, the title where there is no
-- template or nothing came of it. {task.title} is the text at that path of the data, a number in a path counts elements of an
-- array from 0; what isn't there, is null, an object or an array is empty. {{ and }} are braces. At most 500 characters, without
-- control characters and line breaks.
--
-- It never raises because of data: JSON may hold texts that PostgreSQL can't ("\u0000", half of a surrogate pair), or be nested too
-- deeply to be read at this depth of the stack, and then the title it is.
--
--     SELECT trunkline.item_text('{actor} completed {task.title}', 'Task completed',
--                                '{"actor": "Ann", "task": {"title": "Paint"}}');
CREATE FUNCTION trunkline.item_text(template text, title text, data json) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    segments text[];
    segment text;
    name text;
    -- What was looked up, and what was found: each name is looked up once.
    names text[] := '{}';
    texts text[] := '{}';
    value json;
    filled text := '';
BEGIN
    IF template IS NOT NULL THEN
        BEGIN
            -- A { of its own is a control character, which no template has, until it is put in.
            segments := string_to_array(replace(template, '{{', E'\u0001'), '{');
            filled := replace(replace(segments[1], '}}', '}'), E'\u0001', '{');
            FOREACH segment IN ARRAY segments[2:] LOOP
                name := split_part(segment, '}', 1);
                IF name <> ALL (names) THEN
                    value := data #> string_to_array(name, '.');
                    names := array_append(names, name);
                    texts := array_append(texts, CASE WHEN json_typeof(value) IN ('object', 'array') THEN ''
                                                      ELSE coalesce(left(value #>> '{}', 1000), '') END);
                END IF;
                filled := concat(filled, texts[array_position(names, name)],
                                 replace(replace(substr(segment, length(name) + 2), '}}', '}'), E'\u0001', '{'));
                -- The rest isn't shown.
                EXIT WHEN length(btrim(filled, E' \t\r\n')) > 500;
            END LOOP;
        EXCEPTION
            WHEN untranslatable_character OR invalid_text_representation OR statement_too_complex THEN
                filled := '';
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
REVOKE ALL ON FUNCTION trunkline.item_text, trunkline.check_argument, trunkline.grant_notify, trunkline.grant_inbox FROM PUBLIC;
