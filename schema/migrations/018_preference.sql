-- What users prefer: when they are mailed, and when not. Read and written as one JSON document, by the application in SQL and by
-- servers for their users; changed by links in mails, too.

-- refuse_preference(field, problem, fix) raises 22023, with field as the error's COLUMN.
CREATE FUNCTION trunkline.refuse_preference(field text, problem text, fix text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION '% %', field, problem USING ERRCODE = 'invalid_parameter_value', COLUMN = field, HINT = fix;
END
$$;

-- refuse_value(field, value, why, fix) raises 22023 for a value that can't be: 'quiet_hours is 7, not an object'. Of a long one it
-- shows the beginning; NULL is one that is missing.
CREATE FUNCTION trunkline.refuse_value(field text, value jsonb, why text, fix text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    shown text := coalesce(value::text, 'missing');
BEGIN
    IF length(shown) > 80 THEN
        shown := left(shown, 80) || '…';
    END IF;
    PERFORM trunkline.refuse_preference(field, concat('is ', shown, why), fix);
END
$$;

-- parse_delay(delay) → a duration such as 4h, 1h30m or 2 days, or NULL for what is none.
CREATE FUNCTION trunkline.parse_delay(delay text) RETURNS interval
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- A bare number would be seconds, which nobody means.
    IF octet_length(delay) > 64 OR delay COLLATE "C" !~ '[A-Za-z:]' THEN
        RETURN NULL;
    END IF;
    RETURN delay::interval;
EXCEPTION WHEN data_exception THEN
    RETURN NULL;
END
$$;

-- delay_text(delay) → the same as Go would write it, shortened: 4h, 1h30m, 45s, 0s.
CREATE FUNCTION trunkline.delay_text(delay interval) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN micros = 0 THEN '0s' ELSE concat(
        CASE WHEN micros >= 3600000000 THEN micros / 3600000000 || 'h' END,
        CASE WHEN micros / 60000000 % 60 > 0 THEN micros / 60000000 % 60 || 'm' END,
        CASE WHEN micros % 60000000 > 0 THEN trim_scale((micros % 60000000)::numeric / 1000000) || 's' END) END
    FROM (SELECT (extract(epoch FROM delay) * 1000000)::bigint AS micros) m
$$;

-- check_fields(field, value, fields) raises 22023 unless value is an object that has no other fields.
CREATE FUNCTION trunkline.check_fields(field text, value jsonb, fields text[]) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    fix text := format('Its fields are %s.', array_to_string(fields, ', '));
    other text;
BEGIN
    IF jsonb_typeof(value) <> 'object' THEN
        PERFORM trunkline.refuse_value(field, value, ', not an object', fix);
    END IF;
    SELECT k INTO other FROM jsonb_object_keys(value) k WHERE k <> ALL (fields) ORDER BY k COLLATE "C" LIMIT 1;
    IF FOUND THEN
        PERFORM trunkline.refuse_preference(field, format('has no field %s', to_json(left(other, 80))), fix);
    END IF;
END
$$;

-- read_time(field, value) → a time of day, "HH:MM", or raises 22023.
CREATE FUNCTION trunkline.read_time(field text, value jsonb) RETURNS time
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF value IS NULL OR jsonb_typeof(value) <> 'string' OR (value #>> '{}') COLLATE "C" !~ '^([01][0-9]|2[0-3]):[0-5][0-9]$' THEN
        PERFORM trunkline.refuse_value(field, value, ', not a time', 'Write HH:MM, from 00:00 to 23:59, such as "18:00".');
    END IF;
    RETURN (value #>> '{}')::time;
END
$$;

-- read_mail_rule(field, value) → when mail goes out: {"mail": "at_once"}, {"mail": "after", "delay": "4h"}, {"mail": "daily", "at":
-- "18:00"} or {"mail": "never"}; or raises 22023.
CREATE FUNCTION trunkline.read_mail_rule(field text, value jsonb, OUT mail text, OUT delay interval, OUT daily_at time)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    fix constant text := 'Write {"mail": "at_once"}, {"mail": "after", "delay": "4h"}, {"mail": "daily", "at": "18:00"} or '
                         '{"mail": "never"}.';
    rule jsonb;
BEGIN
    PERFORM trunkline.check_fields(field, value, '{mail,delay,at}');
    rule := jsonb_strip_nulls(value);
    mail := rule ->> 'mail';
    IF mail IS NULL OR mail NOT IN ('at_once', 'after', 'daily', 'never') THEN
        PERFORM trunkline.refuse_value(field || '.mail', value -> 'mail', '', fix);
    ELSIF rule ? 'delay' AND mail <> 'after' THEN
        PERFORM trunkline.refuse_value(field || '.delay', rule -> 'delay', format(', but mail is "%s"', mail), fix);
    ELSIF rule ? 'at' AND mail <> 'daily' THEN
        PERFORM trunkline.refuse_value(field || '.at', rule -> 'at', format(', but mail is "%s"', mail), fix);
    ELSIF mail = 'after' THEN
        IF jsonb_typeof(rule -> 'delay') = 'string' THEN
            delay := trunkline.parse_delay(rule ->> 'delay');
        END IF;
        IF delay IS NULL OR delay NOT BETWEEN '1 min' AND '30 days' OR extract(epoch FROM delay)::numeric % 1 <> 0 THEN
            PERFORM trunkline.refuse_value(field || '.delay', value -> 'delay', '',
                                           'Write whole seconds from 1m to 720h (30 days), such as "4h" or "1h30m".');
        END IF;
    ELSIF mail = 'daily' THEN
        daily_at := trunkline.read_time(field || '.at', value -> 'at');
    END IF;
END
$$;

-- read_preferences(preferences) → what set_preferences is to store, or raises what is documented there. Rules have no user_id yet.
CREATE FUNCTION trunkline.read_preferences(
    preferences json, OUT time_zone text, OUT quiet_from time, OUT quiet_to time, OUT vacation_until timestamptz,
    OUT rules trunkline.mail_preference[], OUT muted text[])
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    all_of_it jsonb;
    part jsonb;
    n integer;
    name text;
BEGIN
    IF preferences IS NULL THEN
        RAISE EXCEPTION 'preferences are missing (NULL)' USING
            ERRCODE = 'null_value_not_allowed', COLUMN = 'preferences', HINT = 'Give an object; {} for none.';
    ELSIF octet_length(preferences::text) > 1048576 THEN
        RAISE EXCEPTION 'preferences are % bytes, more than 1048576', octet_length(preferences::text) USING
            ERRCODE = 'program_limit_exceeded', COLUMN = 'preferences', HINT = 'Mute fewer groups.';
    END IF;
    BEGIN
        all_of_it := preferences;
    EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
        PERFORM trunkline.refuse_preference('preferences', format('can''t be read: %s', SQLERRM),
                                            'Leave out \u0000, half surrogates and huge numbers.');
    END;
    PERFORM trunkline.check_fields('preferences', all_of_it,
                                   '{time_zone,quiet_hours,vacation_until,default,kinds,muted_groups,known_kinds}');
    SELECT coalesce(jsonb_object_agg(e.key, e.value), '{}') INTO all_of_it
    FROM jsonb_each(all_of_it) e WHERE jsonb_typeof(e.value) <> 'null';

    part := all_of_it -> 'time_zone';
    IF jsonb_typeof(part) <> 'string' THEN
        PERFORM trunkline.refuse_value('time_zone', part, ', not a text', 'Give a name such as "Europe/Berlin", or null.');
    END IF;
    time_zone := part #>> '{}';
    IF cardinality(trunkline.unknown_zones(ARRAY[time_zone])) > 0 THEN
        PERFORM trunkline.refuse_zone('time_zone', time_zone);
    END IF;

    part := all_of_it -> 'quiet_hours';
    IF part IS NOT NULL THEN
        PERFORM trunkline.check_fields('quiet_hours', part, '{from,to}');
        quiet_from := trunkline.read_time('quiet_hours.from', part -> 'from');
        quiet_to := trunkline.read_time('quiet_hours.to', part -> 'to');
        IF quiet_from = quiet_to THEN
            PERFORM trunkline.refuse_preference(
                'quiet_hours', format('last from %s to %1$s, which is all day or not at all', to_char(quiet_from, 'HH24:MI')),
                'Choose another end; null for none, or {"mail": "never"} as default to get no mail.');
        END IF;
    END IF;

    part := all_of_it -> 'vacation_until';
    IF part IS NOT NULL THEN
        BEGIN
            IF jsonb_typeof(part) = 'string' AND (part #>> '{}') COLLATE "C"
               ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?([Zz]|[+-][0-9]{2}:[0-9]{2})$' THEN
                vacation_until := (part #>> '{}')::timestamptz;
            END IF;
        EXCEPTION WHEN data_exception THEN
            vacation_until := NULL;
        END;
        IF vacation_until IS NULL THEN
            PERFORM trunkline.refuse_value('vacation_until', part, ', not a moment',
                                           'Write it with its offset, as "2027-01-07T00:00:00Z" or "2027-01-07T08:00:00+01:00".');
        ELSIF vacation_until > clock_timestamp() + interval '10 years' THEN
            PERFORM trunkline.refuse_value('vacation_until', part, ', more than ten years away',
                                           'Give {"mail": "never"} as default to get no mail any more.');
        END IF;
    END IF;

    rules := '{}';
    IF all_of_it ? 'default' THEN
        SELECT rules || ROW(NULL, '', r.mail, r.delay, r.daily_at)::trunkline.mail_preference INTO rules
        FROM trunkline.read_mail_rule('default', all_of_it -> 'default') r;
    END IF;
    part := coalesce(all_of_it -> 'kinds', '{}');
    IF jsonb_typeof(part) <> 'object' THEN
        PERFORM trunkline.refuse_value('kinds', part, ', not an object',
                                       'Write {"mention": {"mail": "at_once"}}, with a rule for each kind.');
    END IF;
    n := (SELECT count(*) FROM jsonb_object_keys(part));
    IF n > 200 THEN
        PERFORM trunkline.refuse_preference('kinds', format('has %s rules, more than 200', n),
                                            'Leave out those that are like the default.');
    END IF;
    FOR name IN SELECT k FROM jsonb_object_keys(part) k ORDER BY k COLLATE "C" LOOP
        IF octet_length(name) NOT BETWEEN 1 AND 64 OR name COLLATE "C" ~ '[\u0001-\u001f\u007f-\u009f]' THEN
            PERFORM trunkline.refuse_preference(
                'kinds', format('has a rule for %s, which can''t be a kind', to_json(left(name, 80))),
                'A kind is 1 to 64 bytes without control characters.');
        END IF;
        SELECT rules || ROW(NULL, name, r.mail, r.delay, r.daily_at)::trunkline.mail_preference INTO rules
        FROM trunkline.read_mail_rule('kinds.' || name, part -> name) r;
    END LOOP;

    part := coalesce(all_of_it -> 'muted_groups', '[]');
    IF jsonb_typeof(part) <> 'array' OR jsonb_path_exists(part, 'strict $[*] ? (@.type() <> "string")', silent => true) THEN
        PERFORM trunkline.refuse_value('muted_groups', part, ', not a list of texts', 'Write ["project:7"], or [] for none.');
    END IF;
    muted := ARRAY(SELECT DISTINCT g COLLATE "C" FROM jsonb_array_elements_text(part) g ORDER BY 1);
    IF cardinality(muted) > 1000 THEN
        PERFORM trunkline.refuse_preference('muted_groups', format('has %s groups, more than 1000', cardinality(muted)),
                                            'Switch off a kind instead.');
    END IF;
    SELECT g INTO name FROM unnest(muted) g
    WHERE octet_length(g) NOT BETWEEN 1 AND 255 OR g COLLATE "C" ~ '[\u0001-\u001f\u007f-\u009f]' LIMIT 1;
    IF FOUND THEN
        PERFORM trunkline.refuse_preference('muted_groups', format('has %s, which can''t be a group', to_json(left(name, 80))),
                                            'A group is 1 to 255 bytes without control characters.');
    END IF;
END
$$;

-- set_preferences(user_id, preferences) replaces all that a user prefers; what is left out is none. Inside a transaction it counts
-- when that commits, and mail that is due earlier by it goes out then.
--
--     {"time_zone": "Europe/Berlin", "quiet_hours": {"from": "22:00", "to": "07:00"}, "vacation_until": "2027-01-07T00:00:00Z",
--      "default": {"mail": "after", "delay": "4h"}, "kinds": {"mention": {"mail": "at_once"}, "task.completed": {"mail": "daily",
--      "at": "18:00"}}, "muted_groups": ["project:7"]}
--
-- Each field may be null. known_kinds, which preferences() adds, is ignored. Callers for the same user wait for each other.
-- Errors: 22023 invalid_parameter_value (COLUMN is the field, such as kinds.mention.delay), 22004 null_value_not_allowed, 54000
-- program_limit_exceeded over 1 MiB.
--
--     SELECT trunkline.set_preferences('ann', '{"default": {"mail": "daily", "at": "18:00"}}');
CREATE FUNCTION trunkline.set_preferences(user_id text, preferences json) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    wanted record;
    changed boolean;
BEGIN
    PERFORM trunkline.check_name('user_id', set_preferences.user_id, 249);
    wanted := trunkline.read_preferences(preferences);

    -- This row is what callers for the same user wait for, so it comes first; and only what differs is written.
    INSERT INTO trunkline.mail_setting AS s (user_id, time_zone, quiet_from, quiet_to, vacation_until)
    VALUES (set_preferences.user_id, wanted.time_zone, wanted.quiet_from, wanted.quiet_to, wanted.vacation_until)
    ON CONFLICT (user_id) DO UPDATE SET
        time_zone = excluded.time_zone, quiet_from = excluded.quiet_from, quiet_to = excluded.quiet_to,
        vacation_until = excluded.vacation_until
    WHERE (s.time_zone, s.quiet_from, s.quiet_to, s.vacation_until)
          IS DISTINCT FROM (excluded.time_zone, excluded.quiet_from, excluded.quiet_to, excluded.vacation_until);
    changed := FOUND;
    DELETE FROM trunkline.mail_preference p
    WHERE p.user_id = set_preferences.user_id COLLATE "C" AND p.kind <> ALL (ARRAY(SELECT r.kind FROM unnest(wanted.rules) r));
    changed := changed OR FOUND;
    INSERT INTO trunkline.mail_preference AS p (user_id, kind, mail, delay, daily_at)
    SELECT set_preferences.user_id, r.kind, r.mail, r.delay, r.daily_at FROM unnest(wanted.rules) r
    ON CONFLICT (user_id, kind) DO UPDATE SET mail = excluded.mail, delay = excluded.delay, daily_at = excluded.daily_at
    WHERE (p.mail, p.delay, p.daily_at) IS DISTINCT FROM (excluded.mail, excluded.delay, excluded.daily_at);
    changed := changed OR FOUND;
    DELETE FROM trunkline.mute m WHERE m.user_id = set_preferences.user_id COLLATE "C" AND m."group" <> ALL (wanted.muted);
    changed := changed OR FOUND;
    INSERT INTO trunkline.mute (user_id, "group")
    SELECT set_preferences.user_id, g FROM unnest(wanted.muted) g ON CONFLICT DO NOTHING;
    IF changed OR FOUND THEN
        PERFORM trunkline.wake_digest(ARRAY[set_preferences.user_id]);
    END IF;
END
$$;

-- mail_rule(mail, delay, daily_at) → what read_mail_rule has read, as JSON again; NULL for none.
CREATE FUNCTION trunkline.mail_rule(mail text, delay interval, daily_at time) RETURNS json
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE mail WHEN 'after' THEN json_build_object('mail', mail, 'delay', trunkline.delay_text(delay))
                     WHEN 'daily' THEN json_build_object('mail', mail, 'at', to_char(daily_at, 'HH24:MI'))
                     ELSE CASE WHEN mail IS NOT NULL THEN json_build_object('mail', mail) END END
$$;

-- preferences(user_id) → what a user prefers, in the form that set_preferences takes, all fields there, and known_kinds: the kinds
-- there are, with what holds for who prefers nothing.
--
-- Errors: 22023 invalid_parameter_value.
--
--     SELECT trunkline.preferences('ann');
CREATE FUNCTION trunkline.preferences(user_id text) RETURNS json
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    PERFORM trunkline.check_name('user_id', preferences.user_id, 249);
    RETURN (
        SELECT json_build_object(
            'time_zone', s.time_zone,
            'quiet_hours', CASE WHEN s.quiet_from IS NOT NULL THEN
                json_build_object('from', to_char(s.quiet_from, 'HH24:MI'), 'to', to_char(s.quiet_to, 'HH24:MI')) END,
            'vacation_until', regexp_replace(trunkline.json_time(s.vacation_until), '\.?0{1,6}Z$', 'Z'),
            'default', (SELECT trunkline.mail_rule(p.mail, p.delay, p.daily_at) FROM trunkline.mail_preference p
                        WHERE p.user_id = preferences.user_id COLLATE "C" AND p.kind = ''),
            'kinds', (
                SELECT coalesce(json_object_agg(p.kind, trunkline.mail_rule(p.mail, p.delay, p.daily_at) ORDER BY p.kind), '{}')
                FROM trunkline.mail_preference p WHERE p.user_id = preferences.user_id COLLATE "C" AND p.kind <> ''),
            'muted_groups', (SELECT coalesce(json_agg(m."group" ORDER BY m."group"), '[]') FROM trunkline.mute m
                             WHERE m.user_id = preferences.user_id COLLATE "C"),
            'known_kinds', (
                SELECT coalesce(json_agg(json_build_object('name', k.name, 'title', k.title,
                    'mail', CASE WHEN k.delay = '0' THEN 'at_once' ELSE 'after' END,
                    'delay', CASE WHEN k.delay IS DISTINCT FROM '0' THEN trunkline.delay_text(coalesce(k.delay, '4 hours')) END)
                    ORDER BY k.name), '[]')
                FROM trunkline.kind k))
        FROM (SELECT) one LEFT JOIN trunkline.mail_setting s ON s.user_id = preferences.user_id COLLATE "C");
END
$$;

-- new_unsubscribe_token(hash, user_id, kinds) keeps the SHA-256 of a token that a mail to the user has in its links. With it
-- anybody can switch off mail of these kinds, or all of the user's, and nothing else. For mails of an application's own: the digest
-- worker keeps its own tokens.
--
-- Errors: 22023 invalid_parameter_value; 23505 unique_violation.
CREATE FUNCTION trunkline.new_unsubscribe_token(hash bytea, user_id text, kinds text[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM trunkline.check_name('user_id', user_id, 249);
    IF octet_length(hash) IS DISTINCT FROM 32 THEN
        RAISE EXCEPTION 'the hash of a token is % bytes long, not 32', coalesce(octet_length(hash)::text, 'NULL') USING
            ERRCODE = 'invalid_parameter_value', COLUMN = 'hash', HINT = 'Give the SHA-256 of the token.';
    ELSIF array_position(kinds, NULL) IS NOT NULL OR '' = ANY (kinds) THEN
        RAISE EXCEPTION 'the kinds of a token include an empty one' USING
            ERRCODE = 'invalid_parameter_value', COLUMN = 'kinds', HINT = 'Name the kinds that are in the mail.';
    END IF;
    INSERT INTO trunkline.unsubscribe_token (hash, user_id, kinds) VALUES (hash, user_id, coalesce(kinds, '{}'));
END
$$;

-- unsubscribe_offer(hash) returns what the token with this SHA-256 can switch off: whose mail (user_id, '' if the user was
-- forgotten), and which kinds of it, as JSON: [{"name": "mention", "title": "You were mentioned"}]. Changes nothing. No row: there
-- is no such token.
CREATE FUNCTION trunkline.unsubscribe_offer(hash bytea) RETURNS TABLE (user_id text, kinds json)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT t.user_id, coalesce((
        SELECT json_agg(json_build_object('name', u.kind, 'title', coalesce(k.title, u.kind)) ORDER BY u.n)
        FROM unnest(t.kinds) WITH ORDINALITY u(kind, n) LEFT JOIN trunkline.kind k ON k.name = u.kind COLLATE "C"), '[]')
    FROM trunkline.unsubscribe_token t WHERE t.hash = unsubscribe_offer.hash
$$;

-- unsubscribe_mail(hash, kind) switches off mail of a kind, or all mail (NULL), for the user whose token has this SHA-256. The same
-- again gives the same answer, and so does a token of a user who was forgotten. What the user chooses afterwards counts. → no row
-- if there is no such token; done is false if the kind isn't among the token's.
--
--     SELECT * FROM trunkline.unsubscribe_mail(sha256('…'), 'mention');
CREATE FUNCTION trunkline.unsubscribe_mail(hash bytea, kind text DEFAULT NULL) RETURNS TABLE (user_id text, done boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    token trunkline.unsubscribe_token;
BEGIN
    SELECT * INTO token FROM trunkline.unsubscribe_token t WHERE t.hash = unsubscribe_mail.hash;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    user_id := token.user_id;
    done := kind IS NULL OR kind = ANY (token.kinds);
    IF done AND user_id <> '' THEN
        -- The row that set_preferences locks first.
        INSERT INTO trunkline.mail_setting AS s (user_id) VALUES (token.user_id)
        ON CONFLICT (user_id) DO UPDATE SET user_id = s.user_id WHERE false;
        IF kind IS NULL THEN
            DELETE FROM trunkline.mail_preference p WHERE p.user_id = token.user_id AND p.kind <> '';
        END IF;
        INSERT INTO trunkline.mail_preference AS p (user_id, kind, mail)
        VALUES (token.user_id, coalesce(unsubscribe_mail.kind, ''), 'never')
        ON CONFLICT (user_id, kind) DO UPDATE SET mail = 'never', delay = NULL, daily_at = NULL WHERE p.mail <> 'never';
        UPDATE trunkline.unsubscribe_token t SET used_at = clock_timestamp() WHERE t.hash = token.hash AND t.used_at IS NULL;
    END IF;
    RETURN NEXT;
END
$$;

-- forget_tokens(before, most) removes tokens made before a moment, the oldest first, at most so many, and returns how many. Links
-- in mails older than that no longer work.
--
--     SELECT trunkline.forget_tokens(now() - interval '400 days');
CREATE FUNCTION trunkline.forget_tokens(before timestamptz, most integer DEFAULT 1000) RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    WITH removed AS (
        DELETE FROM trunkline.unsubscribe_token WHERE hash = ANY (ARRAY(
            SELECT t.hash FROM trunkline.unsubscribe_token t
            WHERE t.created_at < before ORDER BY t.created_at LIMIT most FOR UPDATE SKIP LOCKED
        ))
        RETURNING 1
    )
    SELECT count(*) FROM removed
$$;

-- grant_recipients(role) lets an existing role say who recipients are and what they prefer, for any user: what an application's own
-- role needs. For Trunkline's owner.
--
--     SELECT trunkline.grant_recipients('app');
CREATE FUNCTION trunkline.grant_recipients(role regrole) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA trunkline TO %s', role);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON trunkline.recipient TO %s', role);
    EXECUTE format('GRANT SELECT ON trunkline.time_zone TO %s', role);
    EXECUTE format('GRANT EXECUTE ON FUNCTION trunkline.set_recipient, trunkline.forget_recipient, trunkline.touch, '
                   'trunkline.preferences, trunkline.set_preferences, trunkline.new_unsubscribe_token, trunkline.email_problem TO %s', role);
END
$$;

-- grant_inbox(role), as before, and what users prefer and do: preferences, activity, links that unsubscribe. A role that was
-- granted before this version needs the call again, or that of grant_serve.
CREATE OR REPLACE FUNCTION trunkline.grant_inbox(role regrole) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA trunkline TO %s', role);
    EXECUTE format('GRANT SELECT ON trunkline.kind TO %s', role);
    EXECUTE format('GRANT EXECUTE ON FUNCTION trunkline.mark, trunkline.list_inbox, trunkline.inbox_counts, trunkline.inbox_fold, '
                   'trunkline.inbox_keep, trunkline.inbox_check, trunkline.item_text, trunkline.preferences, '
                   'trunkline.set_preferences, trunkline.touch, trunkline.unsubscribe_offer, trunkline.unsubscribe_mail TO %s', role);
END
$$;

REVOKE ALL ON FUNCTION trunkline.refuse_preference, trunkline.refuse_value, trunkline.parse_delay, trunkline.delay_text,
    trunkline.check_fields, trunkline.read_time, trunkline.read_mail_rule, trunkline.read_preferences, trunkline.set_preferences,
    trunkline.mail_rule, trunkline.preferences, trunkline.new_unsubscribe_token, trunkline.unsubscribe_offer, trunkline.unsubscribe_mail,
    trunkline.forget_tokens, trunkline.grant_recipients FROM PUBLIC;
