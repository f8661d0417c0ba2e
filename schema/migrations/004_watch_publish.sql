-- Watches: rules that publish the changes of a table to channels.
--
-- A watch is a trigger function per event, in the table's schema, and a trigger per event on the table and on each of its
-- partitions. There is no table of watches: the rule is the third line of the function's own source. So nobody can watch or
-- unwatch what is not theirs, because PostgreSQL's ownership of functions and triggers decides; a dump carries everything in
-- the right order; and a dropped table takes its triggers along without leaving a row that lies.
--
-- What a trigger function collects, it collects as the table's owner. What it publishes goes through publish_watched, which
-- trusts its caller with no more than publish does.

CREATE SEQUENCE trunkline.watch_id AS integer CACHE 1;

-- new_watch() → the id of a new watch, with its two counters. They are sequences, because counting must neither lock nor
-- roll back. All that a caller can do with it is to waste ids.
CREATE FUNCTION trunkline.new_watch() RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    id integer := nextval('trunkline.watch_id');
BEGIN
    EXECUTE format('CREATE SEQUENCE trunkline.watch_%s_skipped', id);
    EXECUTE format('CREATE SEQUENCE trunkline.watch_%s_rejected', id);
    RETURN id;
END
$$;

-- forget_watch(id) drops the counters of a watch that is gone. It looks for itself whether it is: nothing that the caller
-- says is believed, so one role cannot take another's counters away.
CREATE FUNCTION trunkline.forget_watch(id integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF id IS NULL OR EXISTS (SELECT FROM trunkline.watch_function f WHERE f.id = forget_watch.id) THEN
        RETURN;
    END IF;
    EXECUTE format('DROP SEQUENCE IF EXISTS trunkline.watch_%s_skipped, trunkline.watch_%s_rejected', id, id);
END
$$;

-- count_watched(id, what, n) adds n to the counter 'skipped' or 'rejected' of a watch. Missing counters count nothing: a
-- statistic must not fail a transaction.
CREATE FUNCTION trunkline.count_watched(id integer, what text, n bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    counter regclass := to_regclass(format('trunkline.watch_%s_%s', id, what));
BEGIN
    IF counter IS NOT NULL THEN
        PERFORM count(nextval(counter)) FROM generate_series(1, n);
    END IF;
END
$$;

-- publish_watched(watch, source, op, channels, payloads, reasons, skipped, notify) publishes what a watch has collected, in
-- the order given, with one INSERT. For the trigger functions that watch() writes.
--
-- Where reasons[n] is set, payloads[n] is the primary key of a row that could not be published, as a JSON object or NULL,
-- and what goes out in its place is {"rejected": reason, "table": source, "op": op, "key": …}. A message that no publish
-- would accept is replaced likewise, on trunkline:rejected if it is the channel that is bad. Nothing raises because of data,
-- and the namespace trunkline gets no other message than these, so a caller gains nothing over publish but notify.
--
--     SELECT trunkline.publish_watched(7, 'public.task', 'update', '{project:42}', ARRAY['{"id":1}'::json]);
CREATE FUNCTION trunkline.publish_watched(
    watch integer, source text, op text, channels text[], payloads json[],
    reasons text[] DEFAULT NULL, skipped bigint DEFAULT 0, notify boolean DEFAULT false)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    bad record;
    rejected bigint;
BEGIN
    -- The usual single row, without the price of sets.
    IF cardinality(channels) = 1 AND reasons IS NULL AND coalesce(skipped, 0) = 0 AND octet_length(channels[1]) BETWEEN 1 AND 255
       AND channels[1] COLLATE "C" !~ '[^!-~]' AND NOT starts_with(channels[1], 'trunkline:')
       AND octet_length(payloads[1]::text) <= trunkline.max_payload()
    THEN
        INSERT INTO trunkline.message (channel, payload, notify) VALUES (channels[1], payloads[1], notify);
        RETURN;
    END IF;

    IF skipped > 0 THEN
        PERFORM trunkline.count_watched(watch, 'skipped', skipped);
    END IF;
    IF coalesce(cardinality(channels), 0) = 0 THEN
        RETURN;
    END IF;
    -- What is bad is replaced by its number below, which counts from 1: in an array that doesn't, something else would be.
    IF concat_ws(',', array_ndims(channels), array_lower(channels, 1), array_ndims(payloads), array_lower(payloads, 1)) <> '1,1,1,1' THEN
        channels := ARRAY(SELECT unnest(channels));
        payloads := ARRAY(SELECT unnest(payloads));
    END IF;

    FOR bad IN
        SELECT m.n, m.channel, trunkline.channel_problem(m.channel) AS channel_problem,
               CASE WHEN m.reason IS NOT NULL THEN left(m.reason, 500)
                    WHEN m.payload IS NULL THEN 'the payload is missing (NULL)'
                    WHEN octet_length(m.payload::text) > trunkline.max_payload() THEN
                        format('the payload is %s bytes, more than %s', octet_length(m.payload::text), trunkline.max_payload())
               END AS reason,
               CASE WHEN m.reason IS NOT NULL AND octet_length(m.payload::text) <= 8192 THEN m.payload::text END AS key
        FROM unnest(channels, payloads, reasons) WITH ORDINALITY m(channel, payload, reason, n)
        WHERE m.reason IS NOT NULL OR m.channel IS NULL OR m.payload IS NULL
           OR octet_length(m.channel) NOT BETWEEN 1 AND 255 OR m.channel COLLATE "C" ~ '[^!-~]'
           OR starts_with(m.channel, 'trunkline:') OR octet_length(m.payload::text) > trunkline.max_payload()
    LOOP
        CONTINUE WHEN bad.reason IS NULL AND bad.channel_problem IS NULL;
        rejected := coalesce(rejected, 0) + 1;
        IF bad.channel_problem IS NOT NULL THEN
            channels[bad.n] := 'trunkline:rejected';
        END IF;
        payloads[bad.n] := concat('{"rejected":', to_json(coalesce(bad.reason, bad.channel_problem)), ',"table":', to_json(left(source, 400)),
                                  ',"op":', to_json(left(op, 40)), ',"key":', coalesce(bad.key, 'null'), '}');
    END LOOP;

    INSERT INTO trunkline.message (channel, payload, notify)
    SELECT m.channel, m.payload, notify AND NOT starts_with(m.channel, 'trunkline:')
    FROM unnest(channels, payloads) WITH ORDINALITY m(channel, payload, n)
    ORDER BY m.n;

    IF rejected > 0 THEN
        PERFORM trunkline.count_watched(watch, 'rejected', rejected);
    END IF;
END
$$;
