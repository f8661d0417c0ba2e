-- The newest messages of many channels, in one query, to fill rings from. $1 channels, $2 rows at most each (0: none, only
-- where the channel ends), $3 bytes of payload at most each (one message always fits, if any is wanted).
--
-- One row per message, oldest first, and at least one per request: its number n, the channel's bounds (the seq and position
-- of its last message), and where the log ends in this very snapshot; whether the epoch is known to live on (see catch_up.sql,
-- also for LIMIT 1 and OFFSET 0).
SELECT r.n, s.epoch, e.last_position, coalesce(c.trimmed_seq, 0), coalesce(c.trimmed_position, 0), coalesce(c.last_seq, 0),
       coalesce(c.channel_end, 0), EXISTS (SELECT FROM trunkline.life x WHERE x.epoch = s.epoch),
       l.position, l.seq, m.id, m.size, m.payload, m.sender, m.key, m.created_at
FROM (SELECT x.epoch FROM trunkline.state x LIMIT 1) s
CROSS JOIN (SELECT x.last_position FROM trunkline.log_end x LIMIT 1) e
CROSS JOIN unnest($1::text[], $2::integer[]) WITH ORDINALITY r(channel, row_limit, n)
LEFT JOIN LATERAL (
    SELECT c.id, c.trimmed_seq, c.trimmed_position, greatest(c.trimmed_seq, x.seq) AS last_seq,
           greatest(c.trimmed_position, x.position) AS channel_end
    FROM trunkline.channel c
    LEFT JOIN LATERAL (SELECT l.seq, l.position FROM trunkline.log l WHERE l.channel_id = c.id ORDER BY l.seq DESC LIMIT 1) x ON true
    WHERE c.name = r.channel
) c ON true
LEFT JOIN LATERAL (
    SELECT b.position, b.seq, b.message_id
    FROM (
        SELECT x.position, x.seq, x.message_id,
               coalesce(sum(x.size) OVER (ORDER BY x.seq DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)
                   + CASE WHEN row_number() OVER (ORDER BY x.seq DESC) > 1 THEN x.size ELSE 0 END AS reached
        FROM (
            SELECT l.position, l.seq, l.message_id, l.size
            FROM trunkline.log l
            WHERE l.channel_id = c.id
            ORDER BY l.seq DESC LIMIT r.row_limit
        ) x
    ) b
    WHERE b.reached <= $3 OR b.seq = c.last_seq
) l ON true
LEFT JOIN LATERAL (SELECT x.* FROM trunkline.message x WHERE x.id = l.message_id OFFSET 0) m ON true
ORDER BY r.n, l.seq
