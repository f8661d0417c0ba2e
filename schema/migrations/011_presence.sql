-- Presence: who follows which channel at this moment, over all nodes. Servers keep it for their clients: they write a row when
-- one subscribes, confirm it from time to time, and remove it when the client leaves. The rows of a server that died expire.
--
-- The table is unlogged: a crash of the database empties it, and what servers confirm comes back.

-- No index on expires_at: rows are confirmed far more often than they expire, and without one a confirmation changes no index.
CREATE UNLOGGED TABLE trunkline.presence (
    channel    text COLLATE "C" NOT NULL,
    client     text COLLATE "C" NOT NULL, -- the connection's id
    user_id    text NOT NULL,             -- '' if anonymous
    conn_info  json,                      -- what the connection's token says of the user
    chan_info  json,                      -- what the subscription's token says
    node       text NOT NULL,             -- the server process, for who wants to know
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (channel, client)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);

-- set_presence(node, expiry, channels, clients, user_ids, conn_infos, chan_infos) writes or confirms rows, one per element of the
-- arrays; no pair of channel and client may occur twice. conn_infos and chan_infos hold JSON, or NULL. The rows expire after
-- expiry.
--
-- Errors: 22P02 invalid_text_representation for what is not JSON, 21000 cardinality_violation for a pair given twice.
--
--     SELECT trunkline.set_presence('node-1', '1 min', '{room:1}', '{8f2c…}', '{ann}', '{NULL}', '{NULL}');
CREATE FUNCTION trunkline.set_presence(node text, expiry interval, channels text[], clients text[], user_ids text[], conn_infos text[],
                                       chan_infos text[]) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO trunkline.presence AS p (channel, client, user_id, conn_info, chan_info, node, expires_at)
    SELECT u.channel, u.client, u.user_id, u.conn_info::json, u.chan_info::json, set_presence.node, clock_timestamp() + expiry
    FROM unnest(channels, clients, user_ids, conn_infos, chan_infos) AS u(channel, client, user_id, conn_info, chan_info)
    ON CONFLICT (channel, client) DO UPDATE SET
        user_id = excluded.user_id, conn_info = excluded.conn_info, chan_info = excluded.chan_info, node = excluded.node,
        expires_at = excluded.expires_at
$$;

-- clear_presence(channels, clients) removes rows, one per element of the arrays. Those that aren't there are no error.
--
--     SELECT trunkline.clear_presence('{room:1}', '{8f2c…}');
CREATE FUNCTION trunkline.clear_presence(channels text[], clients text[]) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    DELETE FROM trunkline.presence p USING unnest(channels, clients) AS u(channel, client)
    WHERE p.channel = u.channel COLLATE "C" AND p.client = u.client COLLATE "C"
$$;

-- present(channels, most) returns who is present in each of the channels, at most so many per channel.
--
--     SELECT * FROM trunkline.present('{room:1}');
CREATE FUNCTION trunkline.present(channels text[], most integer DEFAULT 10000)
RETURNS TABLE (channel text, client text, user_id text, conn_info json, chan_info json)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT p.channel, p.client, p.user_id, p.conn_info, p.chan_info
    FROM unnest(channels) AS u(channel)
    CROSS JOIN LATERAL (
        SELECT * FROM trunkline.presence q
        WHERE q.channel = u.channel COLLATE "C" AND q.expires_at > clock_timestamp()
        LIMIT most
    ) p
$$;

-- count_present(channels) returns how many clients, and how many users, are present in each of the channels. Channels where nobody
-- is are left out. All anonymous clients count as one user.
--
--     SELECT * FROM trunkline.count_present('{room:1}');
CREATE FUNCTION trunkline.count_present(channels text[]) RETURNS TABLE (channel text, clients bigint, users bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT p.channel, count(*), count(DISTINCT p.user_id)
    FROM trunkline.presence p
    WHERE p.channel = ANY (channels) AND p.expires_at > clock_timestamp()
    GROUP BY p.channel
$$;

-- expire_presence(most) removes rows that have expired, at most so many, and returns how many. Several may call it at once: each
-- takes others.
--
--     SELECT trunkline.expire_presence(1000);
CREATE FUNCTION trunkline.expire_presence(most integer DEFAULT 1000) RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    WITH removed AS (
        DELETE FROM trunkline.presence WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM trunkline.presence WHERE expires_at <= clock_timestamp() LIMIT most FOR UPDATE SKIP LOCKED
        ))
        RETURNING 1
    )
    SELECT count(*) FROM removed
$$;

-- grant_serve(role) lets an existing role that doesn't own the schema run a server: grant_read, what it decides by, and presence. It
-- also needs EXECUTE on the authorize functions (and USAGE on their schemas), from their owner; grant_publish if clients or REST
-- publish; grant_admin if REST administers. For Trunkline's owner.
--
--     SELECT trunkline.grant_serve('live');
CREATE OR REPLACE FUNCTION trunkline.grant_serve(role regrole) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM trunkline.grant_read(role);
    EXECUTE format('GRANT SELECT ON trunkline.apikey, trunkline.revocation TO %s', role);
    EXECUTE format('GRANT EXECUTE ON FUNCTION trunkline.set_presence, trunkline.clear_presence, trunkline.present, '
                   'trunkline.count_present, trunkline.expire_presence TO %s', role);
END
$$;

REVOKE ALL ON trunkline.presence FROM PUBLIC;
REVOKE ALL ON FUNCTION trunkline.set_presence, trunkline.clear_presence, trunkline.present, trunkline.count_present,
    trunkline.expire_presence FROM PUBLIC;
