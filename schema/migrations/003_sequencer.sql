-- Sequencing: how committed messages get their position and seq. One session at a time calls these, holding the advisory
-- lock; docs/proof.md shows why nothing is lost, doubled or reordered.

-- One row of a step's result. The first row of a step has no position: it carries what the next step needs.
CREATE TYPE trunkline.sequenced AS (
    snapshot   pg_snapshot,
    more       boolean,
    "position" bigint,
    channel    text,
    seq        bigint,
    message_id bigint,
    size       integer,
    payload    json,
    sender     text,
    key        text,
    created_at timestamptz,
    notify     boolean
);

-- log_end: the last position given, 0 before the first message.
CREATE VIEW trunkline.log_end AS
SELECT greatest(s.trimmed_position,
                (SELECT l.position FROM trunkline.log l ORDER BY l.position DESC LIMIT 1)) AS last_position
FROM trunkline.state s;

-- append_log(ids, budget) numbers the messages of these ids, in this order, and appends them to the log. Payloads come
-- back as long as their sum stays within budget bytes, else as NULL, to be fetched by id.
--
-- The next numbers are read from the ends of the log's indexes: no counter row is updated, so none can bloat.
CREATE FUNCTION trunkline.append_log(ids bigint[], budget integer) RETURNS SETOF trunkline.sequenced
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    base bigint := (SELECT e.last_position FROM trunkline.log_end e);
BEGIN
    INSERT INTO trunkline.channel (name)
    SELECT DISTINCT m.channel
    FROM unnest(ids) o(id)
    JOIN trunkline.message m ON m.id = o.id
    WHERE NOT EXISTS (SELECT FROM trunkline.channel c WHERE c.name = m.channel OFFSET 0);

    RETURN QUERY
    WITH fresh AS (
        SELECT o.n, m.*, c.id AS channel_id, c.trimmed_seq, sum(m.size) OVER (ORDER BY o.n) AS total,
               row_number() OVER (PARTITION BY c.id ORDER BY o.n) AS nth
        FROM unnest(ids) WITH ORDINALITY o(id, n)
        JOIN trunkline.message m ON m.id = o.id
        JOIN trunkline.channel c ON c.name = m.channel
    ), numbered AS MATERIALIZED (
        -- Where the channel's seq stood is looked up once per channel.
        SELECT base + f.n AS position, f.*,
               f.nth + max(CASE WHEN f.nth = 1 THEN greatest(f.trimmed_seq, (
                   SELECT l.seq FROM trunkline.log l WHERE l.channel_id = f.channel_id ORDER BY l.seq DESC LIMIT 1
               )) END) OVER (PARTITION BY f.channel_id) AS seq
        FROM fresh f
    ), appended AS (
        INSERT INTO trunkline.log (position, message_id, channel_id, seq, size)
        SELECT n.position, n.id, n.channel_id, n.seq, n.size FROM numbered n ORDER BY n.position
    )
    SELECT NULL::pg_snapshot, NULL::boolean, n.position, n.channel, n.seq, n.id, n.size,
           CASE WHEN n.total <= budget THEN n.payload END, n.sender, n.key, n.created_at, n.notify
    FROM numbered n
    ORDER BY n.position;
END
$$;

-- step(prev, current_era, page, budget) sequences what committed since prev: the messages visible now that were not
-- visible at prev. Row one carries the snapshot to pass as prev next time.
--
-- Where more than page messages are new it writes nothing and says so (more): the caller then takes them page by page
-- with sequence_page, up to the snapshot of row one.
--
-- With nothing new it writes nothing and takes no xid. Transactions still running are excluded before the table is
-- touched: an open one with 500,000 messages must not be read again by each step.
CREATE FUNCTION trunkline.step(prev pg_snapshot, current_era integer, page integer, budget integer)
RETURNS SETOF trunkline.sequenced
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    -- Everything below is decided by this snapshot. The statements that follow see at least as much, but look only at
    -- transactions that had ended by it.
    upto pg_snapshot := pg_current_snapshot();
    running xid8[];
    ids bigint[];
BEGIN
    IF upto::text <> prev::text THEN
        running := ARRAY(SELECT pg_snapshot_xip(upto));
        ids := ARRAY(
            SELECT found.id FROM (
                -- Transactions that were running at prev, and prev's xmax itself: ended since?
                SELECT m.id
                FROM (SELECT pg_snapshot_xip(prev) UNION SELECT pg_snapshot_xmax(prev)) ended(xid)
                CROSS JOIN LATERAL (
                    -- OFFSET 0 keeps the planner from joining with all of the table instead: one index probe for each.
                    SELECT i.id FROM trunkline.message i WHERE i.era = current_era AND i.xid = ended.xid OFFSET 0
                ) m
                WHERE ended.xid < pg_snapshot_xmax(upto) AND ended.xid <> ALL (running)
                UNION ALL
                -- Transactions that began since: between the running ones, which bound the intervals and are in none.
                SELECT m.id
                FROM (SELECT b.xid AS after, lead(b.xid) OVER (ORDER BY b.xid) AS before
                      FROM (SELECT pg_snapshot_xmax(prev)
                            UNION SELECT pg_snapshot_xmax(upto)
                            UNION SELECT r FROM unnest(running) r WHERE r > pg_snapshot_xmax(prev)) b(xid)) gap
                CROSS JOIN LATERAL (
                    SELECT i.id FROM trunkline.message i
                    WHERE i.era = current_era AND i.xid > gap.after AND i.xid < gap.before OFFSET 0
                ) m
                LIMIT page + 1) found
            ORDER BY found.id);
    END IF;

    RETURN NEXT (upto, cardinality(ids) > page, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)::trunkline.sequenced;
    IF cardinality(ids) BETWEEN 1 AND page THEN
        RETURN QUERY SELECT * FROM trunkline.append_log(ids, budget);
    END IF;
END
$$;

-- backlog_start(upto, lowest, current_era) → the smallest id that sequence_page would find, NULL if none.
CREATE FUNCTION trunkline.backlog_start(upto pg_snapshot, lowest xid8, current_era integer) RETURNS bigint
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    -- id + 0: with a plain min(id) the planner would walk the primary key from its beginning.
    SELECT min(m.id + 0)
    FROM trunkline.message m
    WHERE m.era = current_era AND m.xid >= lowest AND pg_visible_in_snapshot(m.xid, upto)
      AND NOT EXISTS (SELECT FROM trunkline.log l WHERE l.message_id = m.id)
$$;

-- overflow_start(prev, upto, current_era) → the smallest id that a step from prev to upto has to sequence, NULL if none: where
-- to begin with sequence_page when a step finds too many. Looks at what step looks at, and nothing else.
CREATE FUNCTION trunkline.overflow_start(prev pg_snapshot, upto pg_snapshot, current_era integer) RETURNS bigint
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT min(found.id)
    FROM (
        SELECT m.id
        FROM (SELECT pg_snapshot_xip(prev) UNION SELECT pg_snapshot_xmax(prev)) ended(xid)
        CROSS JOIN LATERAL (
            SELECT i.id FROM trunkline.message i WHERE i.era = current_era AND i.xid = ended.xid OFFSET 0
        ) m
        WHERE pg_visible_in_snapshot(ended.xid, upto)
        UNION ALL
        SELECT m.id
        FROM (SELECT b.xid AS after, lead(b.xid) OVER (ORDER BY b.xid) AS before
              FROM (SELECT pg_snapshot_xmax(prev)
                    UNION SELECT pg_snapshot_xmax(upto)
                    UNION SELECT r FROM pg_snapshot_xip(upto) r WHERE r > pg_snapshot_xmax(prev)) b(xid)) gap
        CROSS JOIN LATERAL (
            SELECT i.id FROM trunkline.message i
            WHERE i.era = current_era AND i.xid > gap.after AND i.xid < gap.before OFFSET 0
        ) m
    ) found
$$;

-- sequence_page(upto, lowest, current_era, after, page, budget) sequences a backlog, page by page in the order of ids: the
-- next messages with an id > after that have no log row, were committed by the snapshot upto, and have an xid >= lowest. One
-- fixed snapshot for all pages keeps their order that of one step. With upto NULL it takes earlier eras instead, whose xids
-- mean nothing here.
--
-- One call looks at no more than a window of ids, however few it finds there, so that it ends in time however large the
-- table is. Row one says whether there is more behind, and as its message_id which id to pass as after.
CREATE FUNCTION trunkline.sequence_page(
    upto pg_snapshot, lowest xid8, current_era integer, after bigint, page integer, budget integer)
RETURNS SETOF trunkline.sequenced
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    window_end bigint := after + 50000;
    newest bigint := (SELECT m.id FROM trunkline.message m ORDER BY m.id DESC LIMIT 1);
    ids bigint[];
    reached bigint;
BEGIN
    -- Ids that were handed out and never committed may leave a hole larger than a window.
    window_end := greatest(window_end, (SELECT m.id FROM trunkline.message m WHERE m.id > after ORDER BY m.id LIMIT 1));
    -- era + 0 keeps the planner from taking all of the backlog by xid and sorting it, once per page.
    IF upto IS NULL THEN
        ids := ARRAY(
            SELECT m.id FROM trunkline.message m
            WHERE m.id > after AND m.id <= window_end AND m.era + 0 < current_era
              AND NOT EXISTS (SELECT FROM trunkline.log l WHERE l.message_id = m.id)
            ORDER BY m.id LIMIT page);
    ELSE
        ids := ARRAY(
            SELECT m.id FROM trunkline.message m
            WHERE m.id > after AND m.id <= window_end AND m.era + 0 = current_era AND m.xid >= lowest
              AND pg_visible_in_snapshot(m.xid, upto)
              AND NOT EXISTS (SELECT FROM trunkline.log l WHERE l.message_id = m.id)
            ORDER BY m.id LIMIT page);
    END IF;
    reached := CASE WHEN cardinality(ids) = page THEN ids[page] ELSE window_end END;
    RETURN NEXT (upto, reached < newest, NULL, NULL, NULL, reached, NULL, NULL, NULL, NULL, NULL, NULL)::trunkline.sequenced;
    IF ids <> '{}' THEN
        RETURN QUERY SELECT * FROM trunkline.append_log(ids, budget);
    END IF;
END
$$;

-- takeover(own_term, own_position, own_message, unsure, seen_epoch, seen_position) begins a term: called once by a session
-- that has just taken the lock, before anything else, in a transaction that commits synchronously.
--
-- It decides whether the log still lives the life that its epoch names. A new epoch begins when
--   * the database is another one (restored, copied): then stored xids mean nothing and a new era begins as well;
--   * the timeline is another one (a standby was promoted, a point-in-time recovery), or the log's file is (a data-only restore,
--     VACUUM FULL);
--   * the life row is gone (crash recovery, promotion), unless the caller itself wrote the last log row: the term is still
--     its own, and the last row is the one it wrote (own_position, own_message), or, if a step's outcome was unknown when
--     it lost its session (unsure), that step is there to be seen;
--   * the caller has seen (seen_epoch, seen_position) more of this epoch than there is.
-- A caller that never sequenced passes own_term 0.
--
-- → term, epoch, whether it is new and why (''), the current era, floor, whether earlier eras wait, and the last position.
CREATE FUNCTION trunkline.takeover(
    own_term bigint, own_position bigint, own_message bigint, unsure boolean, seen_epoch text, seen_position bigint,
    OUT term bigint, OUT epoch text, OUT reason text, OUT current_era integer, OUT lowest xid8, OUT old_eras boolean,
    OUT last_position bigint)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    st trunkline.state;
    last_message bigint;
    alive boolean;
BEGIN
    SELECT * INTO STRICT st FROM trunkline.state FOR UPDATE;
    SELECT l.position, l.message_id INTO last_position, last_message
    FROM trunkline.log l ORDER BY l.position DESC LIMIT 1;
    last_position := greatest(st.trimmed_position, last_position);
    alive := EXISTS (SELECT FROM trunkline.life l WHERE l.epoch = st.epoch);

    reason := CASE
        WHEN st.database <> trunkline.database_identity() THEN 'the database was restored or copied'
        WHEN st.timeline <> trunkline.timeline() THEN 'a standby was promoted, the database recovered to a point in time, or the log''s table was rewritten'
        WHEN seen_epoch = st.epoch AND seen_position > last_position THEN 'the end of the log was lost'
        WHEN alive THEN ''
        WHEN own_term = st.term AND NOT unsure AND own_position = last_position AND own_message = last_message THEN ''
        WHEN own_term = st.term AND unsure AND last_position > own_position THEN ''
        ELSE 'PostgreSQL recovered from a crash, which may have taken the end of the log'
    END;

    IF st.database <> trunkline.database_identity() THEN
        -- The exclusive lock waits for every transaction that has inserted under the old default.
        SELECT coalesce(max(m.era), 0) INTO current_era FROM trunkline.message m;
        current_era := greatest(current_era, trunkline.default_era()) + 1;
        EXECUTE format('ALTER TABLE trunkline.message ALTER COLUMN era SET DEFAULT %s', current_era);
        st.floor := pg_snapshot_xmin(pg_current_snapshot());
        st.old_eras := true;
    ELSE
        current_era := trunkline.default_era();
    END IF;

    IF reason <> '' THEN
        st.epoch := trunkline.random_epoch();
    END IF;
    IF reason <> '' OR NOT alive THEN
        DELETE FROM trunkline.life;
        INSERT INTO trunkline.life (epoch) VALUES (st.epoch);
    END IF;

    UPDATE trunkline.state s
    SET term = s.term + 1, epoch = st.epoch, floor = st.floor, old_eras = st.old_eras,
        database = trunkline.database_identity(), timeline = trunkline.timeline()
    RETURNING s.term INTO term;
    epoch := st.epoch;
    lowest := st.floor;
    old_eras := st.old_eras;
END
$$;

-- default_era() → the era that new messages get.
CREATE FUNCTION trunkline.default_era() RETURNS integer
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT pg_get_expr(d.adbin, d.adrelid)::integer
    FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
    WHERE d.adrelid = 'trunkline.message'::regclass AND a.attname = 'era'
$$;

-- new_epoch() ends the current epoch by hand, after something that cannot be seen from inside, such as starting a cold copy
-- of the cluster's files: positions handed out before it will be refused instead of misread. Takes effect at once: the
-- sequencing session is ended, and whoever takes over begins the new epoch. For Trunkline's owner.
CREATE FUNCTION trunkline.new_epoch() RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM trunkline.life;
    UPDATE trunkline.state SET term = term + 1;
    PERFORM pg_terminate_backend(l.pid) FROM trunkline.sequencer_session() l WHERE l.pid IS NOT NULL;
END
$$;

-- The advisory lock of the sequencer: (1953656430, 1), 'trun' in ASCII. Followers hold (1953656430, 2) shared.

-- sequencer_session() → the session that holds the sequencer's lock, no row if nobody does: its pid, and whether it hangs,
-- which is: it has been trying for more than 3 s to send a result that its client doesn't read. (A client that hangs while
-- idle is ended by idle_session_timeout.)
CREATE FUNCTION trunkline.sequencer_session(OUT pid integer, OUT hangs boolean) RETURNS SETOF record
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT l.pid,
           coalesce(a.wait_event = 'ClientWrite' AND a.state = 'active' AND clock_timestamp() - a.query_start > interval '3 s', false)
    FROM pg_locks l
    LEFT JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'advisory' AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND l.classid = 1953656430 AND l.objid = 1 AND l.objsubid = 2 AND l.granted AND l.mode = 'ExclusiveLock'
$$;

-- contend() → whether the caller's session now holds the sequencer's lock, and how far the log is under which epoch. A
-- session that holds the lock but hangs is ended, and its lock taken if it is gone within a second.
CREATE FUNCTION trunkline.contend(OUT leads boolean, OUT epoch text, OUT last_position bigint)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    leads := pg_try_advisory_lock(1953656430, 1);
    IF NOT leads THEN
        PERFORM pg_terminate_backend(s.pid, 1000) FROM trunkline.sequencer_session() s WHERE s.hangs;
        IF FOUND THEN
            leads := pg_try_advisory_lock(1953656430, 1);
        END IF;
    END IF;
    SELECT s.epoch, e.last_position INTO epoch, last_position FROM trunkline.state s, trunkline.log_end e;
END
$$;

-- followed() → whether some other node follows the log and wants to be rung.
CREATE FUNCTION trunkline.followed() RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF pg_try_advisory_xact_lock(1953656430, 2) THEN
        RETURN false;
    END IF;
    RETURN true;
END
$$;

-- wake() says that the sequencer is awake: nobody needs to ring.
CREATE FUNCTION trunkline.wake() RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT setval('trunkline.doorbell', 1)
$$;

-- doze() says that the sequencer is about to sleep: from now on every writer rings. → the transactions that may have read
-- "awake" before, and so will not ring: those that hold the table's insert lock. The sequencer may sleep once all of them
-- have ended and one more step has been made.
CREATE FUNCTION trunkline.doze() RETURNS text[]
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- Statement order matters: the flag is set before the locks are read.
    PERFORM setval('trunkline.doorbell', 0);
    RETURN trunkline.inserting();
END
$$;

-- inserting() → the transactions that have inserted messages and have not ended. Without prepared ones, whose locks have no
-- pid: they have no end in sight, and are left to the sequencer's look once a second.
CREATE FUNCTION trunkline.inserting() RETURNS text[]
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(array_agg(DISTINCT l.virtualtransaction), '{}')
    FROM pg_locks l
    WHERE l.locktype = 'relation' AND l.relation = 'trunkline.message'::regclass AND l.mode = 'RowExclusiveLock' AND l.pid IS NOT NULL
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
$$;

-- set_floor(lowest) records that every message of a transaction below that xid is in the log.
CREATE FUNCTION trunkline.set_floor(lowest xid8) RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
    UPDATE trunkline.state SET floor = lowest
$$;

-- old_eras_done() records that no message of an earlier era lacks its log row.
CREATE FUNCTION trunkline.old_eras_done() RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
    UPDATE trunkline.state SET old_eras = false
$$;

-- seq_at(of_channel, at_position) → the seq of the channel's last message at or before a position of the log; the trimmed seq if none
-- is left. Bisects: within a channel position rises with seq, and seq has no gaps.
CREATE FUNCTION trunkline.seq_at(of_channel text, at_position bigint) RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    c trunkline.channel;
    low bigint;
    high bigint;
    middle bigint;
BEGIN
    SELECT * INTO c FROM trunkline.channel WHERE name = of_channel COLLATE "C";
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    low := c.trimmed_seq;
    high := (SELECT l.seq FROM trunkline.log l WHERE l.channel_id = c.id ORDER BY l.seq DESC LIMIT 1);
    IF high IS NULL OR (SELECT l.position FROM trunkline.log l WHERE l.channel_id = c.id AND l.seq = high) <= at_position THEN
        RETURN coalesce(high, low);
    END IF;
    -- low is at or before the position, high after it.
    WHILE high - low > 1 LOOP
        middle := (low + high) / 2;
        IF (SELECT l.position FROM trunkline.log l WHERE l.channel_id = c.id AND l.seq = middle) <= at_position THEN
            low := middle;
        ELSE
            high := middle;
        END IF;
    END LOOP;
    RETURN low;
END
$$;
