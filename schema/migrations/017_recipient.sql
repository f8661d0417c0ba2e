-- Recipients of mail, and what each of them prefers.
--
-- Who they are stands in trunkline.recipient, or in a relation of the application's (recipients_from); recipients_of reads either.
-- Whatever may make mail due earlier (an address, a preference) has the digest worker look at the user now, where there is
-- something unread.

CREATE TABLE trunkline.recipient (
    user_id       text COLLATE "C" PRIMARY KEY,
    -- NULL: no mail. Where recipients are read from a relation of the application's, that one's address counts.
    email         text,
    name          text,
    -- IANA, such as Europe/Berlin. NULL: the site's.
    time_zone     text,
    -- BCP 47, such as de or pt-BR. NULL: the site's.
    locale        text,
    -- When the user last did something: see touch.
    active_at     timestamptz CHECK (isfinite(active_at)),
    -- Addresses that refuse mail: each hard bounce adds one, and half of it is forgotten every 30 days. From 3 on no mail is
    -- sent until enough is forgotten or the address is another one than bounced_email.
    bounces       double precision NOT NULL DEFAULT 0 CHECK (bounces >= 0 AND bounces < 'infinity'),
    bounced_at    timestamptz CHECK (isfinite(bounced_at)),
    bounced_email text,
    bounce_reason text,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 80);

COMMENT ON TABLE trunkline.recipient IS 'Who gets mail, and where. Written by the application, directly or with set_recipient().';

-- When mail of a kind goes out; kind '' holds for all that have no row of their own.
CREATE TABLE trunkline.mail_preference (
    user_id  text COLLATE "C" NOT NULL,
    kind     text COLLATE "C" NOT NULL DEFAULT '',
    mail     text NOT NULL CHECK (mail IN ('at_once', 'after', 'daily', 'never')),
    -- With after.
    delay    interval CHECK (delay BETWEEN '1 min' AND '30 days'),
    -- With daily: in the user's zone.
    daily_at time,
    PRIMARY KEY (user_id, kind),
    CHECK ((mail = 'after') = (delay IS NOT NULL)),
    CHECK ((mail = 'daily') = (daily_at IS NOT NULL))
);

-- One row a user: what holds for all kinds.
CREATE TABLE trunkline.mail_setting (
    user_id        text COLLATE "C" PRIMARY KEY,
    time_zone      text,
    -- Nothing is mailed from one time to the other, in the user's zone; the second may be on the next day.
    quiet_from     time,
    quiet_to       time,
    vacation_until timestamptz CHECK (isfinite(vacation_until)),
    CHECK ((quiet_from IS NULL) = (quiet_to IS NULL)),
    CHECK (quiet_from <> quiet_to)
);

-- Nothing of the group is mailed to the user; it stays in the inbox.
CREATE TABLE trunkline.mute (
    user_id text COLLATE "C" NOT NULL,
    "group" text COLLATE "C" NOT NULL,
    PRIMARY KEY (user_id, "group")
);

-- Tokens of links in mails that unsubscribe without signing in. Only the SHA-256 of each is here.
CREATE TABLE trunkline.unsubscribe_token (
    hash       bytea PRIMARY KEY CHECK (octet_length(hash) = 32),
    -- '' once the user was forgotten.
    user_id    text COLLATE "C" NOT NULL,
    -- The kinds it may switch off, besides all at once.
    kinds      text[] NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    used_at    timestamptz
);
CREATE INDEX unsubscribe_token_created_at ON trunkline.unsubscribe_token (created_at);
-- For forget_recipient.
CREATE INDEX unsubscribe_token_user ON trunkline.unsubscribe_token (user_id);

-- The application's relation that recipients are read from; without a row they are read from trunkline.recipient. By name, so that
-- an application can drop its view and create it anew; with its owner and kind (pg_class.relkind), since it is read with the rights
-- of Trunkline's owner: whoever could take that name over must not get these.
CREATE TABLE trunkline.recipient_relation (
    one           boolean PRIMARY KEY DEFAULT true CHECK (one),
    schema_name   text NOT NULL,
    relation_name text NOT NULL,
    owner         text NOT NULL,
    kind          text NOT NULL
);

-- The time zones there are, as far as the server knew them when this version was installed. Only a shortcut: pg_timezone_names
-- opens some 600 files each time it is read. Who needs a newer one finds it there.
CREATE TABLE trunkline.time_zone (name text COLLATE "C" PRIMARY KEY);

INSERT INTO trunkline.time_zone
SELECT z.name FROM pg_catalog.pg_timezone_names z
WHERE z.name !~ '^(posix|right|SystemV)/' AND z.name NOT IN ('localtime', 'posixrules', 'Factory');

-- unknown_zones(zones) returns those of the zones that are none, each once. POSIX's own notation, which PostgreSQL takes for a zone
-- (Foo5 is "five hours west of Greenwich"), and abbreviations are none; nor is a name in other letters (europe/berlin).
CREATE FUNCTION trunkline.unknown_zones(zones text[]) RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    zone text;
    unknown text[] := '{}';
    newer text[] := '{}';
BEGIN
    FOR zone IN
        SELECT DISTINCT u.zone COLLATE "C" FROM unnest(zones) u(zone)
        WHERE u.zone IS NOT NULL AND NOT EXISTS (SELECT FROM trunkline.time_zone z WHERE z.name = u.zone COLLATE "C") ORDER BY 1
    LOOP
        -- It may be newer than the table. Such a one has neither digits, which POSIX's notation has, nor only one part.
        IF octet_length(zone) <= 64 AND zone COLLATE "C" ~ '^[A-Z][A-Za-z_]*(/[A-Z][A-Za-z_-]*)+$' AND zone !~ '^SystemV/' THEN
            BEGIN
                PERFORM '2000-01-01'::timestamptz AT TIME ZONE zone;
                newer := newer || zone;
                CONTINUE;
            EXCEPTION WHEN invalid_parameter_value THEN
                NULL;
            END;
        END IF;
        unknown := unknown || zone;
    END LOOP;
    IF cardinality(newer) > 0 THEN
        unknown := unknown || ARRAY(
            SELECT n.zone FROM unnest(newer) n(zone)
            WHERE NOT EXISTS (SELECT FROM pg_timezone_names z WHERE z.name = n.zone COLLATE "C"));
    END IF;
    RETURN unknown;
END
$$;

-- refuse_zone(field, zone) raises 22023 for what is no time zone, with field as the error's COLUMN.
CREATE FUNCTION trunkline.refuse_zone(field text, zone text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION 'there is no time zone %', to_json(left(zone, 80)) USING
        ERRCODE = 'invalid_parameter_value', COLUMN = field,
        HINT = coalesce(
            (SELECT format('Write it as %s.', z.name) FROM trunkline.time_zone z
             WHERE lower(z.name) = lower(replace(left(zone, 80), ' ', '_')) ORDER BY z.name LIMIT 1),
            'Give a name of the IANA''s, such as Europe/Berlin or UTC: SELECT name FROM trunkline.time_zone.');
END
$$;

-- email_problem(email) → why nothing can be mailed to the address, or NULL if something can, or there is none.
--
-- An address is local@domain, at most 254 bytes, with nothing that would have to be quoted: what reaches a mail's header can't end
-- it. Letters beyond ASCII are fine on both sides; such a local part needs a mail server that knows SMTPUTF8.
CREATE FUNCTION trunkline.email_problem(email text) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    shown text := to_json(left(email, 80));
    address text COLLATE "C" := email;
    local text COLLATE "C" := split_part(email, '@', 1);
    domain text COLLATE "C" := split_part(email, '@', 2);
BEGIN
    RETURN CASE
        WHEN address = '' THEN 'the address is empty'
        WHEN octet_length(address) > 254 THEN
            format('address %s is %s bytes long, more than 254', shown, octet_length(address))
        -- Controls, spaces, and what can't be seen or turns the writing round.
        WHEN address ~ '[\u0001-\u0020\u007f-\u00a0\u00ad\u034f\u061c\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff]'
        THEN
            format('address %s contains a space, a control character or an invisible one', shown)
        WHEN address ~ '[][()<>,;:"\\]' THEN format('address %s contains one of < > ( ) [ ] , ; : " \', shown)
        WHEN strpos(address, '@') = 0 THEN format('address %s has no "@"', shown)
        WHEN length(address) - length(replace(address, '@', '')) > 1 THEN format('address %s has more than one "@"', shown)
        WHEN local = '' THEN format('address %s has nothing before the "@"', shown)
        WHEN octet_length(local) > 64 THEN
            format('address %s has %s bytes before the "@", more than 64', shown, octet_length(local))
        WHEN local ~ '^\.|\.\.|\.$' THEN format('address %s has a dot too many before the "@"', shown)
        WHEN domain = '' THEN format('address %s has nothing after the "@"', shown)
        WHEN domain ~ '^\.|\.\.|\.$' THEN format('address %s has a dot too many after the "@"', shown)
        WHEN domain ~ '[\u0001-,/:-@[-`{-\u007f]' OR domain ~ '(^|\.)-|-(\.|$)' OR domain ~ '(^|\.)[^.]{64}' THEN
            format('address %s has a domain that can''t be', shown)
        WHEN domain ~ '(^|\.)[0-9]+$' THEN format('address %s has a number for a domain', shown)
    END;
END
$$;

-- check_recipient(user_id, email, name, locale) → true, or raises 22023 for what can't be, with the column as the error's COLUMN.
CREATE FUNCTION trunkline.check_recipient(user_id text, email text, name text, locale text) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    field text;
    problem text := trunkline.email_problem(email);
    fix text;
BEGIN
    PERFORM trunkline.check_name('user_id', user_id, 249);
    IF problem IS NOT NULL THEN
        field := 'email';
        fix := 'Give an address such as ann@example.com, without a name; NULL for none.';
    ELSIF name = '' OR octet_length(name) > 255 OR name COLLATE "C" ~ '[\u0001-\u001f\u007f-\u009f\u2028\u2029]' THEN
        field := 'name';
        problem := format('name %s is empty, over 255 bytes long or contains a control character', to_json(left(name, 80)));
        fix := 'Give 1 to 255 bytes without control characters; NULL for none.';
    ELSIF octet_length(locale) > 35 OR locale COLLATE "C" !~ '^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$' THEN
        field := 'locale'; problem := format('there is no locale %s', to_json(left(locale, 80)));
        fix := 'Write it as BCP 47 does, such as de or pt-BR; NULL for the site''s.';
    ELSE
        RETURN true;
    END IF;
    RAISE EXCEPTION '% (recipient "%")', problem, user_id USING ERRCODE = 'invalid_parameter_value', COLUMN = field, HINT = fix;
END
$$;

-- wake_digest(user_ids) has the digest worker look, once the transaction commits, at those of the users who have something unread.
-- What isn't placed yet counts: the keeper may have read the old preferences.
CREATE FUNCTION trunkline.wake_digest(user_ids text[]) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $$
DECLARE
    -- LIMIT 1: one look into the index for each, however many users and notifications there are, or were when this was planned.
    waiting text[] := ARRAY(
        SELECT u.user_id
        FROM (SELECT DISTINCT x.user_id COLLATE "C" AS user_id FROM unnest(user_ids) x(user_id)) u
        CROSS JOIN LATERAL (
            SELECT FROM trunkline.notification n
            WHERE n.user_id = u.user_id AND n.read_at IS NULL AND n.archived_at IS NULL LIMIT 1
        ) unread
        ORDER BY u.user_id);
BEGIN
    IF cardinality(waiting) > 0 THEN
        PERFORM trunkline.look_again(waiting);
    END IF;
END
$$;

-- keep_recipients() is the statement trigger that refuses, in a sentence, what a recipient can't be, and has the digest worker look
-- at those who have an address and are new or changed. Once for all rows written, so that 100,000 of them are one check of zones.
-- Definer's rights: who writes recipients need not be able to read notifications.
--
-- Errors: 22023 invalid_parameter_value; COLUMN is the column.
CREATE FUNCTION trunkline.keep_recipients() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    written text := 'SELECT user_id, email, name, time_zone, locale FROM changed';
    unknown text[];
    looked_at text[];
BEGIN
    IF TG_OP = 'UPDATE' THEN
        -- By columns and not by key: whatever the planner makes of it takes time in proportion to the rows. This is also where
        -- touch and bounces end, which change nothing of it.
        IF NOT EXISTS (SELECT user_id, email, name, time_zone, locale FROM changed
                       EXCEPT SELECT user_id, email, name, time_zone, locale FROM former) THEN
            RETURN NULL;
        END IF;
        written := written || ' EXCEPT SELECT user_id, email, name, time_zone, locale FROM former';
    END IF;
    -- Planned anew each time: the plan for one row is a bad one for many. What the expressions let pass is certainly fine; the
    -- rest is judged one by one.
    EXECUTE format($query$
        WITH written AS MATERIALIZED (%s)
        SELECT trunkline.unknown_zones(ARRAY(SELECT DISTINCT w.time_zone FROM written w)),
               ARRAY(SELECT w.user_id FROM written w WHERE w.email IS NOT NULL)
        FROM (
            SELECT bool_and(trunkline.check_recipient(w.user_id, w.email, w.name, w.locale)) FROM written w
            WHERE NOT (octet_length(w.user_id) BETWEEN 1 AND 249 AND w.user_id COLLATE "C" !~ '[^!-~]'
                AND (w.email IS NULL OR octet_length(w.email) <= 63
                     AND w.email COLLATE "C" ~ '^[A-Za-z0-9_+-]+(\.[A-Za-z0-9_+-]+)*@[A-Za-z0-9]+([.-][A-Za-z0-9]+)*\.[A-Za-z]+$')
                AND (w.name IS NULL OR octet_length(w.name) BETWEEN 1 AND 255 AND w.name COLLATE "C" ~ '^[ -~]*$')
                AND (w.locale IS NULL OR w.locale COLLATE "C" ~ '^[a-z]{2,3}(-[A-Za-z0-9]{2,8})?$'))
            OFFSET 0
        ) checked(fine)
        WHERE fine IS NOT false
        $query$, written) INTO unknown, looked_at;
    IF cardinality(unknown) > 0 THEN
        PERFORM trunkline.refuse_zone('time_zone', unknown[1]);
    END IF;
    PERFORM trunkline.wake_digest(looked_at);
    RETURN NULL;
END
$$;

CREATE TRIGGER keep_inserted AFTER INSERT ON trunkline.recipient REFERENCING NEW TABLE AS changed
FOR EACH STATEMENT EXECUTE FUNCTION trunkline.keep_recipients();
CREATE TRIGGER keep_updated AFTER UPDATE ON trunkline.recipient REFERENCING OLD TABLE AS former NEW TABLE AS changed
FOR EACH STATEMENT EXECUTE FUNCTION trunkline.keep_recipients();

-- change_recipient() is the row trigger that notes when what the application says of a recipient was changed. Another address
-- starts without bounces.
CREATE FUNCTION trunkline.change_recipient() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    NEW.updated_at := clock_timestamp();
    IF NEW.email IS DISTINCT FROM OLD.email THEN
        NEW.bounces := 0; NEW.bounced_at := NULL; NEW.bounced_email := NULL; NEW.bounce_reason := NULL;
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER change BEFORE UPDATE ON trunkline.recipient
FOR EACH ROW
WHEN ((OLD.email, OLD.name, OLD.time_zone, OLD.locale) IS DISTINCT FROM (NEW.email, NEW.name, NEW.time_zone, NEW.locale))
EXECUTE FUNCTION trunkline.change_recipient();

-- set_recipient(user_id, email, name, time_zone, locale) says who a user is to mail: all of it, so what is left out is none.
--
-- Where recipients are read from a relation of the application's, a notice says that this one isn't. Many at once are better written
-- to trunkline.recipient with one INSERT … ON CONFLICT (user_id) DO UPDATE.
--
-- Errors: 22023 invalid_parameter_value; COLUMN is the argument.
--
--     SELECT trunkline.set_recipient('ann', 'ann@example.com', 'Ann Lee', 'Europe/Berlin', 'de');
CREATE FUNCTION trunkline.set_recipient(
    user_id text, email text, name text DEFAULT NULL, time_zone text DEFAULT NULL, locale text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    -- Before the table's constraints get to see it.
    PERFORM trunkline.check_recipient(set_recipient.user_id, set_recipient.email, set_recipient.name, set_recipient.locale);
    INSERT INTO trunkline.recipient AS r (user_id, email, name, time_zone, locale)
    VALUES (set_recipient.user_id, set_recipient.email, set_recipient.name, set_recipient.time_zone, set_recipient.locale)
    ON CONFLICT (user_id) DO UPDATE SET
        email = excluded.email, name = excluded.name, time_zone = excluded.time_zone, locale = excluded.locale
    WHERE (r.email, r.name, r.time_zone, r.locale)
          IS DISTINCT FROM (excluded.email, excluded.name, excluded.time_zone, excluded.locale);
    IF EXISTS (SELECT FROM trunkline.recipient_relation) THEN
        RAISE NOTICE 'recipients are read from %, and not from trunkline.recipient',
            (SELECT format('%I.%I', l.schema_name, l.relation_name) FROM trunkline.recipient_relation l) USING
            HINT = 'Change them there, or go back with SELECT trunkline.recipients_from(NULL).';
    END IF;
END
$$;

-- touch(user_id) notes that the user did something just now, so that mail waits a little: call it with what users do, as often as
-- you like. It writes once in 30 seconds at most, and doesn't wait for who is changing the recipient. Errors: 22023
-- invalid_parameter_value.
--
--     SELECT trunkline.touch('ann');
CREATE FUNCTION trunkline.touch(user_id text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    moment timestamptz := clock_timestamp();
    last_at timestamptz;
BEGIN
    PERFORM trunkline.check_name('user_id', touch.user_id, 249);
    SELECT r.active_at INTO last_at FROM trunkline.recipient r WHERE r.user_id = touch.user_id COLLATE "C";
    IF NOT FOUND THEN
        INSERT INTO trunkline.recipient (user_id, active_at) VALUES (touch.user_id, moment) ON CONFLICT (user_id) DO NOTHING;
    ELSIF last_at IS NULL OR last_at < moment - interval '30 s' THEN
        -- Skipped where another transaction has the row: the next touch comes soon.
        UPDATE trunkline.recipient SET active_at = moment WHERE user_id = (
            SELECT r.user_id FROM trunkline.recipient r WHERE r.user_id = touch.user_id COLLATE "C" FOR NO KEY UPDATE SKIP LOCKED);
    END IF;
END
$$;

-- forget_recipient(user_id) removes what is known of a user to mail: address, preferences and mutes. Mail is no longer sent. Their
-- notifications stay: retract removes those. Links in mails sent before still answer, without knowing whom. → whether there was
-- anything.
--
-- Errors: 22023 invalid_parameter_value.
--
--     SELECT trunkline.forget_recipient('ann');
CREATE FUNCTION trunkline.forget_recipient(user_id text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    had boolean := false;
BEGIN
    PERFORM trunkline.check_name('user_id', forget_recipient.user_id, 249);
    -- First what set_preferences locks first.
    DELETE FROM trunkline.mail_setting WHERE user_id = forget_recipient.user_id COLLATE "C";
    had := had OR FOUND;
    DELETE FROM trunkline.mail_preference WHERE user_id = forget_recipient.user_id COLLATE "C";
    had := had OR FOUND;
    DELETE FROM trunkline.mute WHERE user_id = forget_recipient.user_id COLLATE "C";
    had := had OR FOUND;
    UPDATE trunkline.unsubscribe_token SET user_id = '' WHERE user_id = forget_recipient.user_id COLLATE "C";
    had := had OR FOUND;
    DELETE FROM trunkline.recipient WHERE user_id = forget_recipient.user_id COLLATE "C";
    RETURN had OR FOUND;
END
$$;

-- recipient_query(schema_name, relation_name, everyone) → the query by which recipients_of reads a relation of the application's:
-- the users in $1, or everyone. It is made of the relation's columns as they are now: user_id and email, and of name, time_zone,
-- locale and active_at what there is.
--
-- Errors: 42P01 undefined_table, 42703 undefined_column, 42804 datatype_mismatch.
CREATE FUNCTION trunkline.recipient_query(schema_name text, relation_name text, everyone boolean) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    relation oid := to_regclass(format('%I.%I', schema_name, relation_name));
    user_type oid;
    chosen text;
    texts text;
    moment text := 'NULL::timestamptz';
    found record;
BEGIN
    IF relation IS NULL THEN
        RAISE EXCEPTION 'there is no relation %.%', quote_ident(schema_name), quote_ident(relation_name) USING
            ERRCODE = 'undefined_table',
            HINT = 'Name the one there is now with SELECT trunkline.recipients_from(''…''); with NULL it is trunkline.recipient.';
    END IF;
    FOR found IN
        WITH RECURSIVE wanted(n, name) AS (
            SELECT * FROM unnest('{1,2,3,4,5,6}'::integer[], '{user_id,email,name,time_zone,locale,active_at}'::text[])
        ), base(n, type) AS (
            SELECT w.n, a.atttypid
            FROM wanted w JOIN pg_attribute a ON a.attrelid = relation AND a.attname = w.name AND a.attnum > 0
            UNION ALL
            SELECT b.n, t.typbasetype FROM base b JOIN pg_type t ON t.oid = b.type WHERE t.typtype = 'd'
        )
        SELECT w.n, w.name, t.oid AS type, t.typcategory AS category, format_type(t.oid, NULL) AS type_name
        FROM wanted w LEFT JOIN (base b JOIN pg_type t ON t.oid = b.type AND t.typtype <> 'd') ON b.n = w.n
        ORDER BY w.n
    LOOP
        IF found.type IS NULL AND found.n <= 2 THEN
            RAISE EXCEPTION '% has no column %', relation::regclass, found.name USING
                ERRCODE = 'undefined_column', COLUMN = found.name,
                HINT = 'Make a view with user_id and email, and with what you have of name, time_zone, locale and active_at.';
        ELSIF found.n = 1 AND found.category <> 'S' AND found.type_name NOT IN ('smallint', 'integer', 'bigint', 'uuid')
              OR found.n = 6 AND found.type_name NOT LIKE 'timestamp%'
              OR found.n BETWEEN 2 AND 5 AND found.category NOT IN ('S', 'E') THEN
            RAISE EXCEPTION 'column % of % is of type %', found.name, relation::regclass, found.type_name USING
                ERRCODE = 'datatype_mismatch', COLUMN = found.name,
                HINT = CASE found.n WHEN 1 THEN 'Make it text, an integer or a uuid: a view can cast it.'
                                    WHEN 6 THEN 'Make it a timestamptz (or a timestamp in UTC): a view can cast it.'
                                    ELSE 'Make it text: a view can cast it.' END;
        END IF;
        IF found.n = 1 THEN
            user_type := found.type;
        ELSIF found.n < 6 THEN
            texts := concat_ws(', ', texts, format(
                CASE WHEN found.type IS NULL THEN 'NULL::text AS %I' ELSE 'nullif(t.%1$I::text, '''') AS %1$I' END, found.name));
        ELSIF found.type IS NOT NULL THEN
            moment := CASE WHEN found.type = 'timestamp'::regtype THEN 't.active_at AT TIME ZONE ''UTC''' ELSE 't.active_at' END;
        END IF;
    END LOOP;

    -- The users are cast to the column's type and not the other way round, so that the relation's index is used. Only those that
    -- the column would write in the same way can be in it.
    chosen := CASE
        WHEN everyone THEN 't.user_id IS NOT NULL'
        WHEN user_type IN ('smallint'::regtype, 'integer'::regtype, 'bigint'::regtype) THEN
            't.user_id = ANY (ARRAY(SELECT CASE WHEN u COLLATE "C" ~ ''^(0|-?[1-9][0-9]{0,18})$'' THEN '
            'CASE WHEN u::numeric BETWEEN -9223372036854775808 AND 9223372036854775807 THEN u::bigint END END FROM unnest($1) u))'
        WHEN user_type = 'uuid'::regtype THEN
            't.user_id = ANY (ARRAY(SELECT CASE WHEN u COLLATE "C" ~ ''^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'' THEN u::uuid END '
            'FROM unnest($1) u))'
        WHEN user_type IN ('text'::regtype, 'varchar'::regtype) THEN 't.user_id = ANY ($1)'
        ELSE 't.user_id::text = ANY ($1)'
    END;
    RETURN concat(
        'SELECT s.user_id, s.email, s.name, s.time_zone, s.locale, greatest(s.active_at, r.active_at), '
        'CASE WHEN r.bounced_email = s.email THEN r.bounces ELSE 0 END, CASE WHEN r.bounced_email = s.email THEN r.bounced_at END, '
        'CASE WHEN r.bounced_email = s.email THEN r.bounce_reason END '
        'FROM (SELECT DISTINCT ON (t.user_id::text COLLATE "C") t.user_id::text AS user_id, ', texts,
        ', CASE WHEN isfinite(', moment, ') THEN ', moment, ' END AS active_at FROM ', relation::regclass, ' t WHERE ', chosen,
        ' ORDER BY t.user_id::text COLLATE "C", nullif(t.email::text, '''') COLLATE "C") s '
        'LEFT JOIN trunkline.recipient r ON r.user_id = s.user_id COLLATE "C"');
END
$$;

-- recipients_of(user_ids) returns who the users are to mail, from wherever recipients are read; with NULL all there are. A user
-- that isn't there has no row, and one that the application's relation has twice has one: with the address that sorts first. What
-- bounced is told only while the address is that one.
--
-- Errors: whatever reading the application's relation raises, with a message that says so.
--
--     SELECT * FROM trunkline.recipients_of('{ann,bob}');
CREATE FUNCTION trunkline.recipients_of(user_ids text[])
RETURNS TABLE (user_id text, email text, name text, time_zone text, locale text, active_at timestamptz,
               bounces double precision, bounced_at timestamptz, bounce_reason text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    named trunkline.recipient_relation;
    query text := 'SELECT r.user_id, r.email, r.name, r.time_zone, r.locale, r.active_at, '
                  'CASE WHEN r.bounced_email = r.email THEN r.bounces ELSE 0 END, '
                  'CASE WHEN r.bounced_email = r.email THEN r.bounced_at END, '
                  'CASE WHEN r.bounced_email = r.email THEN r.bounce_reason END FROM trunkline.recipient r';
    relation text;
    message text;
    hint text;
BEGIN
    SELECT * INTO named FROM trunkline.recipient_relation;
    IF NOT FOUND THEN
        -- Planned anew each time, as the other one is: no plan is kept that was made for an empty table.
        RETURN QUERY EXECUTE query || CASE WHEN user_ids IS NOT NULL THEN ' WHERE r.user_id = ANY ($1)' ELSE '' END USING user_ids;
        RETURN;
    END IF;
    IF current_setting('trunkline.reading_recipients', true) = 'on' THEN
        RAISE EXCEPTION 'it is made of recipients_of or recipient_source, which read it' USING
            ERRCODE = 'invalid_recursion', HINT = 'Make the view of tables of the application''s, or of trunkline.recipient.';
    END IF;
    relation := format('%I.%I', named.schema_name, named.relation_name);
    BEGIN
        IF EXISTS (
            SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE n.nspname = named.schema_name AND c.relname = named.relation_name
              AND (pg_get_userbyid(c.relowner)::text, c.relkind::text) IS DISTINCT FROM (named.owner, named.kind)) THEN
            RAISE EXCEPTION 'it has another owner or is another kind of relation than when it was named' USING
                ERRCODE = 'object_not_in_prerequisite_state',
                HINT = format('If that is as it should be, call trunkline.recipients_from(%L) again.', relation);
        END IF;
        PERFORM set_config('trunkline.reading_recipients', 'on', true);
        RETURN QUERY EXECUTE trunkline.recipient_query(named.schema_name, named.relation_name, user_ids IS NULL) USING user_ids;
        PERFORM set_config('trunkline.reading_recipients', 'off', true);
    EXCEPTION WHEN OTHERS THEN
        GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
        RAISE EXCEPTION 'recipients can''t be read from %: %', relation, message USING
            ERRCODE = SQLSTATE, HINT = CASE
                WHEN hint <> '' THEN hint
                WHEN SQLSTATE = '42501' THEN format('Have its owner run: GRANT USAGE ON SCHEMA %I TO %I; GRANT SELECT ON %s TO %2$I',
                                                    named.schema_name, current_user, relation)
                ELSE 'Read it yourself to see what it lacks; SELECT trunkline.recipients_from(''…'') names another one.'
            END;
    END;
END
$$;

CREATE VIEW trunkline.recipient_source AS SELECT * FROM trunkline.recipients_of(NULL);

COMMENT ON VIEW trunkline.recipient_source IS 'All recipients, from wherever they are read. Programs call recipients_of().';

-- recipients_from(relation) has recipients read from a table or view of the application's, from the next look on, or with NULL from
-- trunkline.recipient again. Its columns are found by name: user_id (text, an integer or a uuid) and email, and if it has them
-- name, time_zone, locale and active_at. trunkline.recipient goes on keeping what touch and bounces write.
--
-- It is read with the rights of Trunkline's owner, and if it is a view, functions in it run with them: name none that you wouldn't
-- trust with these. It is remembered by its name, so it can be dropped and created anew, by the same owner and as the same kind of
-- relation; while it isn't there, or is another one's, mail waits. For Trunkline's owner.
--
-- Errors: 42P01 undefined_table, 42703 undefined_column, 42804 datatype_mismatch, 42809 wrong_object_type, 42501
-- insufficient_privilege if Trunkline's owner may not read it.
--
--     SELECT trunkline.recipients_from('app.recipient');
CREATE FUNCTION trunkline.recipients_from(relation regclass) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    named record;
BEGIN
    SELECT n.nspname, c.relname, c.relkind, c.relpersistence, pg_get_userbyid(c.relowner) AS owner INTO named
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = relation;
    IF relation IS NOT NULL AND NOT FOUND THEN
        RAISE EXCEPTION 'there is no relation with the oid %', relation::oid USING
            ERRCODE = 'undefined_table', HINT = 'Name a table or view.';
    ELSIF named.relkind NOT IN ('r', 'p', 'v', 'm', 'f') OR named.relpersistence = 't'
          OR named.nspname IN ('trunkline', 'pg_catalog', 'information_schema') THEN
        RAISE EXCEPTION 'recipients can''t be read from %', relation USING
            ERRCODE = 'wrong_object_type',
            HINT = 'Name a table or view of the application''s, not a temporary one; NULL goes back to trunkline.recipient.';
    END IF;
    DELETE FROM trunkline.recipient_relation;
    IF relation IS NOT NULL THEN
        INSERT INTO trunkline.recipient_relation (schema_name, relation_name, owner, kind)
        VALUES (named.nspname, named.relname, named.owner, named.relkind);
        -- Finds out whether it can be read.
        PERFORM FROM trunkline.recipients_of('{}');
    END IF;
    -- Who had no address may have one.
    PERFORM trunkline.look_again(ARRAY(SELECT d.user_id FROM trunkline.digest_due d ORDER BY d.user_id));
END
$$;

REVOKE ALL ON trunkline.recipient, trunkline.mail_preference, trunkline.mail_setting, trunkline.mute, trunkline.unsubscribe_token,
    trunkline.recipient_relation, trunkline.time_zone, trunkline.recipient_source FROM PUBLIC;
REVOKE ALL ON FUNCTION trunkline.unknown_zones, trunkline.refuse_zone, trunkline.email_problem, trunkline.check_recipient,
    trunkline.wake_digest, trunkline.keep_recipients, trunkline.change_recipient, trunkline.set_recipient, trunkline.touch,
    trunkline.forget_recipient, trunkline.recipient_query, trunkline.recipients_of, trunkline.recipients_from FROM PUBLIC;
