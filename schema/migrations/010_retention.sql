-- Retention: messages older than their namespace's retention are removed, in small batches, by the node that sequences.
--
-- A message goes together with its row in the log, and with its idempotency key. The oldest of a channel go first, so what is
-- kept has no gaps, and the channel remembers what is gone (trimmed_seq, trimmed_position): a reader that resumes from before is
-- told so. All of a batch is one transaction.

-- How far the walks along the log have come: one walk for each retention that some namespace has.
CREATE TABLE trunkline.retention_walk (
    retention  interval PRIMARY KEY,
    -- These namespaces have nothing left in the log of this epoch up to this position.
    namespaces text[] NOT NULL,
    epoch      text NOT NULL,
    "position" bigint NOT NULL
);

COMMENT ON TABLE trunkline.retention_walk IS 'How far retention has come along the log; may be emptied at any time, it then looks from the beginning.';

-- Batches update the rows of channels: room for that beside them.
ALTER TABLE trunkline.channel SET (fillfactor = 80);

-- trim(keep, look, most) removes messages of the namespaces whose retention is keep, the oldest first: those published longer ago
-- than that. It looks at no more than look rows of the log and removes at most most messages. → how many were removed, whether
-- nothing that it could remove is left (done), up to which position of the log that is known, how long until the next message is
-- too old (NULL: there is none yet), and whether one is that can't be removed before the sequencer has recorded a higher floor.
-- All NULL where another session is at it.
--
-- Two ways to find them, neither of which looks through other namespaces' messages again and again: where there are few
-- channels, each one's oldest; where there are many, a walk along the log that remembers where it stopped. What isn't in the log
-- is never touched: neither way can see it.
--
-- A message is removed only if its transaction is below the floor: whoever takes over the sequencing looks for messages
-- without a log row from there on.
CREATE FUNCTION trunkline.trim(
    keep interval, look integer, most integer,
    OUT removed integer, OUT done boolean, OUT upto bigint, OUT wait interval, OUT unfloored boolean)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    few constant integer := 64;
    oldest timestamptz := clock_timestamp() - keep;
    current_era integer := trunkline.default_era();
    st trunkline.state;
    walk trunkline.retention_walk;
    names text[];
    channels bigint[];
    walks boolean;
    looked integer;
    log_end bigint;
    last_looked bigint;
    blocked bigint;
    blocked_at timestamptz;
    doomed bigint[];
    messages bigint[];
    last_removed bigint;
BEGIN
    IF NOT pg_try_advisory_xact_lock(1953656430, 4) THEN
        RETURN;
    END IF;
    removed := 0; done := false; unfloored := false;
    -- The table decides, not what a node has in memory: a retention that was just lengthened holds at once.
    -- In seconds, as nodes read them: by comparison a year is 360 days.
    names := ARRAY(SELECT n.name FROM trunkline.namespace n WHERE extract(epoch FROM n.retention) = extract(epoch FROM keep) ORDER BY n.name);
    SELECT * INTO STRICT st FROM trunkline.state;
    log_end := (SELECT e.last_position FROM trunkline.log_end e);

    -- Names of a namespace lie between 'name:' and 'name;'; those without a colon, of 'default', lie anywhere.
    walks := 'default' = ANY (names);
    IF NOT walks THEN
        channels := ARRAY(
            SELECT c.id FROM unnest(names) n(name)
            CROSS JOIN LATERAL (
                SELECT x.id FROM trunkline.channel x
                WHERE x.name >= (n.name || ':') COLLATE "C" AND x.name < (n.name || ';') COLLATE "C"
                ORDER BY x.name LIMIT few + 1
            ) c
            LIMIT few + 1);
        walks := cardinality(channels) > few;
    END IF;
    IF walks THEN
        SELECT * INTO walk FROM trunkline.retention_walk w WHERE w.retention = keep;
        IF walk.epoch IS DISTINCT FROM st.epoch OR NOT names <@ walk.namespaces THEN
            walk.position := 0;
        END IF;
    END IF;

    WITH ahead AS MATERIALIZED (
        SELECT l.position, l.channel_id, l.message_id
        FROM (SELECT x.position, x.channel_id, x.message_id FROM trunkline.log x
              WHERE walks AND x.position > walk.position ORDER BY x.position LIMIT look) l
        UNION ALL
        SELECT l.position, c.id, l.message_id
        FROM unnest(channels) c(id)
        -- From behind what is gone: while a long snapshot runs, the index still has it.
        CROSS JOIN LATERAL (SELECT x.trimmed_seq FROM trunkline.channel x WHERE x.id = c.id OFFSET 0) t
        CROSS JOIN LATERAL (
            SELECT x.position, x.message_id FROM trunkline.log x
            WHERE x.channel_id = c.id AND x.seq > t.trimmed_seq ORDER BY x.seq LIMIT most + 1
        ) l
        WHERE NOT walks
    ), own AS MATERIALIZED (
        SELECT a.position, a.message_id
        FROM ahead a
        -- OFFSET 0: one look by id for each, instead of joining with the whole table.
        CROSS JOIN LATERAL (SELECT x.name FROM trunkline.channel x WHERE x.id = a.channel_id OFFSET 0) c
        WHERE NOT walks OR CASE WHEN strpos(c.name, ':') > 0 THEN split_part(c.name, ':', 1) ELSE 'default' END = ANY (names)
        ORDER BY a.position LIMIT most + 1
    ), judged AS MATERIALIZED (
        SELECT o.position, o.message_id, m.created_at, m.created_at >= oldest AS young,
               -- A message deleted by hand has left its row in the log, which goes with the others.
               m.id IS NULL OR CASE WHEN m.era = current_era THEN m.xid < st.floor ELSE NOT st.old_eras END AS floored
        FROM own o
        LEFT JOIN LATERAL (SELECT x.id, x.created_at, x.era, x.xid FROM trunkline.message x WHERE x.id = o.message_id OFFSET 0) m ON true
    ), stop AS (
        SELECT j.position, j.created_at, NOT coalesce(j.young, false) AS unfloored FROM judged j
        WHERE coalesce(j.young, false) OR NOT j.floored ORDER BY j.position LIMIT 1
    ), taken AS (
        SELECT j.position, j.message_id FROM judged j
        WHERE NOT EXISTS (SELECT FROM stop s WHERE s.position <= j.position) ORDER BY j.position LIMIT most
    )
    SELECT (SELECT count(*) FROM ahead), (SELECT max(a.position) FROM ahead a), s.position, s.created_at, coalesce(s.unfloored, false),
           ARRAY(SELECT t.position FROM taken t ORDER BY t.position), ARRAY(SELECT t.message_id FROM taken t),
           (SELECT count(*) FROM own) <= most
    INTO looked, last_looked, blocked, blocked_at, unfloored, doomed, messages, done
    FROM (SELECT) one LEFT JOIN stop s ON true;

    removed := cardinality(doomed);
    last_removed := doomed[removed];
    -- Done: what it has seen is removed or must wait, and there was no more to be seen.
    done := blocked IS NOT NULL AND removed < most OR done AND (NOT walks OR looked < look);
    -- Where own rows filled the page, those behind them were not judged.
    upto := CASE
        WHEN removed = most THEN last_removed
        WHEN blocked IS NOT NULL THEN blocked - 1
        WHEN NOT walks THEN log_end
        ELSE coalesce(last_looked, walk.position, 0)
    END;
    IF done AND blocked IS NOT NULL AND NOT unfloored THEN
        wait := greatest(blocked_at + keep - clock_timestamp(), '0');
    END IF;

    IF walks THEN
        INSERT INTO trunkline.retention_walk AS w (retention, namespaces, epoch, "position") VALUES (keep, names, st.epoch, upto)
        ON CONFLICT (retention) DO UPDATE SET namespaces = EXCLUDED.namespaces, epoch = EXCLUDED.epoch, "position" = EXCLUDED.position
        WHERE w.position <> EXCLUDED.position OR w.namespaces <> EXCLUDED.namespaces OR w.epoch <> EXCLUDED.epoch;
    END IF;
    IF removed = 0 THEN
        RETURN;
    END IF;
    DELETE FROM trunkline.message m WHERE m.id = ANY (messages);
    WITH gone AS (
        DELETE FROM trunkline.log l WHERE l.position = ANY (doomed) RETURNING l.channel_id, l.seq, l.position
    )
    UPDATE trunkline.channel c SET trimmed_seq = g.seq, trimmed_position = g.position
    FROM (SELECT gone.channel_id, max(gone.seq) AS seq, max(gone.position) AS position FROM gone GROUP BY gone.channel_id) g
    WHERE c.id = g.channel_id;
    -- The end of the log is read from its last row; the state needs to know it only where that row is gone. Last of all, since
    -- the sequencer writes the same row.
    IF NOT EXISTS (SELECT FROM trunkline.log l WHERE l.position > last_removed) THEN
        UPDATE trunkline.state s SET trimmed_position = last_removed WHERE s.trimmed_position < last_removed;
    END IF;
END
$$;

REVOKE ALL ON trunkline.retention_walk FROM PUBLIC;
REVOKE ALL ON FUNCTION trunkline.trim FROM PUBLIC;
