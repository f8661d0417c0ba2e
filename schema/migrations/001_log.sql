-- The tables: what was published, and the order it was given.
--
-- message holds what users publish, log the one order over it. Writers only ever insert into message, without a lock, a
-- counter or a notification of their own; one session at a time (the sequencer) appends to log. Nothing in the hot path is
-- ever updated, so a long transaction anywhere in the cluster leaves no dead rows behind for it to wade through.

CREATE TABLE trunkline.message (
    -- CACHE 1, because order depends on it: if B was published after A had committed, B's id is the larger one.
    id         bigint GENERATED ALWAYS AS IDENTITY (CACHE 1) PRIMARY KEY,
    -- The top-level transaction. With a snapshot it says exactly which step of the sequencer first saw the row.
    xid        xid8 NOT NULL DEFAULT pg_current_xact_id(),
    -- xids mean something only within one database of one cluster. A restore elsewhere begins a new era.
    era        integer NOT NULL DEFAULT 1,
    -- Bytes of the payload's text.
    size       integer NOT NULL GENERATED ALWAYS AS (octet_length(payload::text)) STORED,
    -- Whether the sequencer repeats the payload on the raw channel of the same name, for direct listeners.
    notify     boolean NOT NULL DEFAULT false,
    channel    text COLLATE "C" NOT NULL,
    -- json, not jsonb: it is delivered byte for byte.
    payload    json NOT NULL,
    sender     text,
    key        text COLLATE "C",
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

COMMENT ON TABLE trunkline.message IS 'Every message published, kept until retention removes it.';

CREATE INDEX message_era_xid ON trunkline.message (era, xid);

-- An idempotency key is unique within its channel and kept as long as its message.
CREATE UNIQUE INDEX message_channel_key ON trunkline.message (channel, key) WHERE key IS NOT NULL;

CREATE TABLE trunkline.channel (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name             text COLLATE "C" NOT NULL UNIQUE,
    -- The newest message that retention removed, 0 while none was. Resuming from before it would be short.
    trimmed_seq      bigint NOT NULL DEFAULT 0,
    trimmed_position bigint NOT NULL DEFAULT 0
);

COMMENT ON TABLE trunkline.channel IS 'Channels that have had a message; written by the sequencer and by retention.';

CREATE TABLE trunkline.log (
    position   bigint PRIMARY KEY,
    message_id bigint NOT NULL UNIQUE,
    channel_id bigint NOT NULL,
    seq        bigint NOT NULL,
    size       integer NOT NULL,
    UNIQUE (channel_id, seq)
);

COMMENT ON TABLE trunkline.log IS
    'The order of messages: position over all channels, seq 1, 2, 3 … within each. Written by the sequencer alone.';

-- One row: which life of the log this is, and from where a new sequencer has to look.
CREATE TABLE trunkline.state (
    singleton        boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    epoch            text NOT NULL,
    -- Counts takeovers, each committed durably: a sequencer that finds its own term knows that nobody wrote since.
    term             bigint NOT NULL DEFAULT 0,
    -- Messages of transactions below this xid are all in the log, or were rolled back.
    floor            xid8 NOT NULL,
    -- What the epoch is tied to, as read when it began.
    database         text NOT NULL,
    timeline         text NOT NULL,
    -- Messages of earlier eras may still lack their log row.
    old_eras         boolean NOT NULL DEFAULT false,
    trimmed_position bigint NOT NULL DEFAULT 0
);

-- PostgreSQL empties an unlogged table in crash recovery, and a promoted standby has it empty. Its one row, present and of
-- the current epoch, is the proof that no crash has taken the end of the log since that epoch began.
CREATE UNLOGGED TABLE trunkline.life (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    epoch     text NOT NULL
);

-- database_identity() → what makes this database this one: cluster, database and log table. A restored or copied one
-- differs in at least one of them.
CREATE FUNCTION trunkline.database_identity() RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT concat_ws('/', (SELECT system_identifier FROM pg_control_system()),
                          (SELECT oid FROM pg_database WHERE datname = current_database()),
                          'trunkline.log'::regclass::oid)
$$;

-- timeline() → the current WAL timeline and the log's file. The first changes when a standby is promoted and after a
-- point-in-time recovery, the second when the table is rewritten, as by TRUNCATE before a data-only restore. Fails on a
-- standby, where nobody can publish or sequence either.
CREATE FUNCTION trunkline.timeline() RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT left(pg_walfile_name(pg_current_wal_lsn()), 8) || '/' || pg_relation_filenode('trunkline.log')
$$;

CREATE FUNCTION trunkline.random_epoch() RETURNS text
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT left(replace(gen_random_uuid()::text, '-', ''), 12)
$$;

INSERT INTO trunkline.state (epoch, floor, database, timeline)
VALUES (trunkline.random_epoch(), pg_snapshot_xmin(pg_current_snapshot()), trunkline.database_identity(), trunkline.timeline());

INSERT INTO trunkline.life (epoch) SELECT epoch FROM trunkline.state;

-- channels: what a reader wants to know of each channel. last_seq comes from the log's index; nothing keeps a counter.
CREATE VIEW trunkline.channels AS
SELECT c.name AS channel,
       c.trimmed_seq + 1 AS first_seq,
       greatest(c.trimmed_seq,
                (SELECT l.seq FROM trunkline.log l WHERE l.channel_id = c.id ORDER BY l.seq DESC LIMIT 1)) AS last_seq,
       c.trimmed_position
FROM trunkline.channel c;

-- history(channel, after, max_rows) → messages of a channel with seq > after, oldest first, at most max_rows.
--
--     SELECT seq, payload FROM trunkline.history('project:7', after => 41);
CREATE FUNCTION trunkline.history(channel text, after bigint DEFAULT 0, max_rows integer DEFAULT 100)
RETURNS TABLE (seq bigint, "position" bigint, id bigint, payload json, sender text, key text, created_at timestamptz)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT l.seq, l.position, m.id, m.payload, m.sender, m.key, m.created_at
    FROM trunkline.channel c
    CROSS JOIN LATERAL (
        SELECT x.* FROM trunkline.log x WHERE x.channel_id = c.id AND x.seq > $2 ORDER BY x.seq LIMIT $3
    ) l
    -- OFFSET 0: one look by id for each, where the planner, not knowing the limit, would read all of the table.
    CROSS JOIN LATERAL (SELECT x.* FROM trunkline.message x WHERE x.id = l.message_id OFFSET 0) m
    WHERE c.name = $1 COLLATE "C"
    ORDER BY l.seq
$$;
