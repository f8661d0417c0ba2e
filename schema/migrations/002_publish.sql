-- Publishing: what every role that may publish can call. All of it runs inside the caller's transaction: what commits is
-- announced, what rolls back never was.

-- The doorbell: 1 while the sequencer is awake and needs no ring. A sequence, because reading and setting one is not
-- transactional, so a writer sees the flag as it is and not as its snapshot had it. See docs/proof.md for why this is safe.
CREATE SEQUENCE trunkline.doorbell MINVALUE 0 MAXVALUE 1 START 0 CYCLE CACHE 1;

-- ring() rings the sequencer, at most once a statement. The trigger calls it only while the sequencer is asleep.
--
-- Not while the notification queue is half full: a full queue fails every commit that notifies, and a message must not
-- depend on a queue that somebody else's hung listener has filled (the sequencer looks by itself once a second, and stays
-- awake meanwhile). Not where trunkline.ring is off: PREPARE TRANSACTION is refused after a NOTIFY.
CREATE FUNCTION trunkline.ring() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF coalesce(current_setting('trunkline.ring', true), '') <> 'off' AND pg_notification_queue_usage() < 0.5 THEN
        PERFORM pg_notify('trunkline_ring', '');
    END IF;
    RETURN NULL;
END
$$;

-- The flag is read when the statement ends, by which time its transaction holds the table's insert lock. As a condition, so
-- that no function is called while the sequencer is awake.
CREATE TRIGGER ring AFTER INSERT ON trunkline.message
FOR EACH STATEMENT WHEN (pg_catalog.pg_sequence_last_value('trunkline.doorbell') IS DISTINCT FROM 1)
EXECUTE FUNCTION trunkline.ring();

-- max_payload() → the largest payload in bytes. A constant that the planner inlines: asking costs a publish nothing.
CREATE FUNCTION trunkline.max_payload() RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE AS 'SELECT 1048576';

-- set_max_payload(bytes) changes that limit for this database: 1 kB to 64 MiB. For Trunkline's owner.
CREATE FUNCTION trunkline.set_max_payload(bytes integer) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF bytes IS NULL OR bytes < 1024 OR bytes > 67108864 THEN
        RAISE EXCEPTION 'the payload limit cannot be % bytes', coalesce(bytes::text, 'NULL') USING
            ERRCODE = 'invalid_parameter_value',
            HINT = 'Choose between 1024 and 67108864 (64 MiB).';
    END IF;
    EXECUTE format('CREATE OR REPLACE FUNCTION trunkline.max_payload() RETURNS integer '
                   'LANGUAGE sql IMMUTABLE PARALLEL SAFE AS %L', format('SELECT %s', bytes));
END
$$;

-- channel_problem(channel) → why the name cannot be a channel, or NULL.
CREATE FUNCTION trunkline.channel_problem(channel text) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN CASE
        WHEN channel IS NULL THEN 'a channel is missing (NULL)'
        WHEN channel = '' THEN 'a channel is empty'
        WHEN octet_length(channel) > 255 THEN
            format('channel "%s…" is %s bytes long, more than 255', left(channel, 40), octet_length(channel))
        WHEN channel COLLATE "C" ~ '[\u0001-\u001f\u007f-\u009f]' THEN
            format('channel %s contains a control character', to_json(left(channel, 80)))
        WHEN starts_with(channel COLLATE "C", 'trunkline:') THEN
            format('channel "%s" is in the namespace "trunkline", which is Trunkline''s own', left(channel, 80))
    END;
END
$$;

-- check_publish raises for arguments that cannot be published:
--   22023 invalid_parameter_value    a bad channel, sender or key
--   22004 null_value_not_allowed     no payload
--   54000 program_limit_exceeded     a payload over max_payload()
CREATE FUNCTION trunkline.check_publish(channel text, size integer, sender text, key text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    problem text := trunkline.channel_problem(channel);
BEGIN
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION '%', problem USING
            ERRCODE = 'invalid_parameter_value',
            HINT = 'A channel is 1 to 255 bytes without control characters, such as project:42.';
    ELSIF size IS NULL THEN
        RAISE EXCEPTION 'the payload for channel "%" is missing (NULL)', channel USING
            ERRCODE = 'null_value_not_allowed',
            HINT = 'Publish a JSON value; the JSON null is written ''null''.';
    ELSIF size > trunkline.max_payload() THEN
        RAISE EXCEPTION 'the payload for channel "%" is % bytes, more than %', channel, size, trunkline.max_payload() USING
            ERRCODE = 'program_limit_exceeded',
            HINT = 'Publish a reference to the data instead, or raise the limit with SELECT trunkline.set_max_payload(bytes).';
    ELSIF octet_length(sender) > 255 OR sender COLLATE "C" ~ '[\u0001-\u001f\u007f-\u009f]' THEN
        RAISE EXCEPTION 'sender % is over 255 bytes long or contains a control character', to_json(left(sender, 80)) USING
            ERRCODE = 'invalid_parameter_value',
            HINT = 'A sender is the id of a user or a service.';
    ELSIF key = '' OR octet_length(key) > 255 OR key COLLATE "C" ~ '[\u0001-\u001f\u007f-\u009f]' THEN
        RAISE EXCEPTION 'key % is empty, over 255 bytes long or contains a control character', to_json(left(key, 80)) USING
            ERRCODE = 'invalid_parameter_value',
            HINT = 'A key is 1 to 255 bytes; pass NULL for none.';
    END IF;
END
$$;

-- publish(channel, payload, sender, key) → id of the message.
--
-- Publishes payload to channel when the calling transaction commits. Without a key no publisher waits for another. With
-- one, the same key in the same channel and the same payload (equal bytes) returns the first message's id; publishers of
-- the same key wait for each other, and in REPEATABLE READ and above a concurrent one fails with 40001, to be retried.
--
-- Errors: those of check_publish; 23505 unique_violation for a key that was used with another payload.
--
-- Called with every message, it fixes what names mean by qualifying each of them, operators and types included, instead of
-- by SET search_path as other functions do: that would cost a third of an INSERT.
--
--     SELECT trunkline.publish('project:42', '{"done": 7, "total": 9}', sender => 'ann');
CREATE FUNCTION trunkline.publish(channel text, payload json, sender text DEFAULT NULL, key text DEFAULT NULL)
RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
AS $$
#variable_conflict use_variable
DECLARE
    published pg_catalog.int8;
    size pg_catalog.int4;
BEGIN
    -- All of check_publish as one cheap test, so that the usual call does not pay for a second function. The expression lets
    -- pass what is certainly fine: printable ASCII that does not begin like the reserved namespace.
    IF channel IS NULL OR payload IS NULL OR sender IS NOT NULL OR key IS NOT NULL
       OR pg_catalog.octet_length(channel) OPERATOR(pg_catalog.>) 255
       OR channel COLLATE pg_catalog."C" OPERATOR(pg_catalog.!~) '^([!-su-~]|t[!-qs-~])[!-~]*$'
    THEN
        PERFORM trunkline.check_publish(channel, pg_catalog.octet_length(payload::pg_catalog.text), sender, key);
        IF key IS NOT NULL THEN
            RETURN trunkline.publish_keyed(channel, payload, sender, key);
        END IF;
    END IF;
    INSERT INTO trunkline.message (channel, payload, sender) VALUES (channel, payload, sender)
    RETURNING message.id, message.size INTO published, size;
    IF size OPERATOR(pg_catalog.>) trunkline.max_payload() THEN
        PERFORM trunkline.check_publish(channel, size, sender, key);
    END IF;
    RETURN published;
END
$$;

-- publish_keyed is the part of publish for messages with a key, whose arguments were checked.
CREATE FUNCTION trunkline.publish_keyed(channel text, payload json, sender text, key text) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    published bigint;
    stored text;
BEGIN
    LOOP
        INSERT INTO trunkline.message (channel, payload, sender, key) VALUES (channel, payload, sender, key)
        ON CONFLICT DO NOTHING RETURNING id INTO published;
        IF FOUND THEN
            RETURN published;
        END IF;
        SELECT m.id, m.payload::text INTO published, stored
        FROM trunkline.message m WHERE m.channel = channel COLLATE "C" AND m.key = key COLLATE "C";
        IF FOUND THEN
            IF stored <> payload::text COLLATE "C" THEN
                RAISE EXCEPTION 'key "%" was already used in channel "%" for message % with another payload',
                    key, channel, published USING
                    ERRCODE = 'unique_violation',
                    HINT = 'A key names one message: repeat it with the same bytes, or choose a new key.';
            END IF;
            RETURN published;
        END IF;
        -- Retention removed the first one between the two statements; the key is free again.
    END LOOP;
END
$$;

-- publish_many(channels, payloads, senders, keys) → the messages' ids, in the order given.
--
-- The same as as many calls of publish, in one statement; senders and keys may be NULL or hold NULLs. Messages without a
-- key are ordered as given. Those with one are published in the order of channel and key, so that two callers with the
-- same keys in another order cannot deadlock. Errors: those of publish; one bad message fails the call.
CREATE FUNCTION trunkline.publish_many(
    channels text[], payloads json[], senders text[] DEFAULT NULL, keys text[] DEFAULT NULL)
RETURNS bigint[]
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    ids bigint[];
    one record;
BEGIN
    IF cardinality(channels) IS DISTINCT FROM cardinality(payloads) THEN
        RAISE EXCEPTION '% channels do not fit % payloads', cardinality(channels), cardinality(payloads) USING
            ERRCODE = 'invalid_parameter_value', HINT = 'Pass one channel for each payload.';
    END IF;

    PERFORM trunkline.check_publish(m.channel, octet_length(m.payload::text), m.sender, m.key)
    FROM unnest(channels, payloads, senders, keys) m(channel, payload, sender, key)
    WHERE m.channel IS NULL OR m.payload IS NULL OR m.sender IS NOT NULL OR m.key IS NOT NULL
       OR octet_length(m.channel) NOT BETWEEN 1 AND 255 OR m.channel COLLATE "C" ~ '[^!-~]' OR starts_with(m.channel COLLATE "C", 'trunkline:')
       OR octet_length(m.payload::text) > trunkline.max_payload();

    IF (SELECT count(k) FROM unnest(keys) k) = 0 THEN
        WITH inserted AS (
            INSERT INTO trunkline.message (channel, payload, sender)
            SELECT m.channel, m.payload, m.sender
            FROM unnest(channels, payloads, senders) WITH ORDINALITY m(channel, payload, sender, n)
            ORDER BY m.n
            RETURNING id)
        SELECT array_agg(id ORDER BY id) INTO ids FROM inserted;
        RETURN coalesce(ids, '{}');
    END IF;

    ids := array_fill(NULL::bigint, ARRAY[cardinality(channels)]);
    FOR one IN
        SELECT m.* FROM unnest(channels, payloads, senders, keys) WITH ORDINALITY m(channel, payload, sender, key, n)
        ORDER BY m.key IS NOT NULL, CASE WHEN m.key IS NOT NULL THEN m.channel END COLLATE "C", m.key COLLATE "C", m.n
    LOOP
        ids[one.n] := trunkline.publish(one.channel, one.payload, one.sender, one.key);
    END LOOP;
    RETURN ids;
END
$$;

-- signal(channel, payload, sender) → whether it was sent.
--
-- Delivers payload, when the transaction commits, to whoever is subscribed at that moment; nothing is stored. Travels in
-- the NOTIFY itself: 7,500 bytes at most, channel and sender included (54000 beyond). Not sent, with a warning, while the
-- notification queue is half full.
--
--     SELECT trunkline.signal('project:42', '{"typing": true}', sender => 'ann');
CREATE FUNCTION trunkline.signal(channel text, payload json, sender text DEFAULT NULL) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    envelope text;
BEGIN
    PERFORM trunkline.check_publish(channel, octet_length(payload::text), sender, NULL);
    -- The time also keeps PostgreSQL from folding two equal signals of one transaction into one.
    envelope := concat((extract(epoch FROM clock_timestamp()) * 1000000)::bigint, E'\n', channel, E'\n', sender, E'\n', payload::text);
    IF octet_length(envelope) > 7500 THEN
        RAISE EXCEPTION 'a signal of % bytes to channel "%" is more than 7500', octet_length(envelope), channel USING
            ERRCODE = 'program_limit_exceeded',
            HINT = 'Publish it as a message, which may be larger.';
    END IF;
    IF pg_notification_queue_usage() >= 0.5 THEN
        RAISE WARNING 'a signal to channel "%" was dropped: the notification queue is more than half full', channel USING
            HINT = 'Find the session that listens and does not read: trunkline doctor names it.';
        RETURN false;
    END IF;
    PERFORM pg_notify('trunkline_signal', envelope);
    RETURN true;
END
$$;
