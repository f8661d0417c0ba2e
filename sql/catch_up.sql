-- What many readers of many channels missed, in one query. $1 channels, $2 seqs to read after (-1: find it by $3),
-- $3 positions, $4 rows at most each, $5 bytes of payload at most each (one message always fits).
--
-- One row per message, and at least one per request: its number n, the channel's bounds, and where the log ends in this
-- very snapshot, so that "nothing more" means "nothing up to there"; and whether the epoch is known to live on (it isn't
-- between a crash and the next takeover).
--
-- LIMIT 1 and OFFSET 0 keep the planner from guessing: that state has many rows, that joining all of message pays, and
-- that after_seq may be computed anew for every row.
SELECT r.n, s.epoch, e.last_position, coalesce(c.trimmed_seq, 0), coalesce(c.trimmed_position, 0), coalesce(c.last_seq, 0),
       coalesce(r.after_seq, 0), coalesce(l.more, false), EXISTS (SELECT FROM trunkline.life x WHERE x.epoch = s.epoch),
       l.position, l.seq, m.id, m.size, m.payload, m.sender, m.key, m.created_at
FROM (SELECT x.epoch FROM trunkline.state x LIMIT 1) s
CROSS JOIN (SELECT x.last_position FROM trunkline.log_end x LIMIT 1) e
CROSS JOIN (
    SELECT n, channel, row_limit, CASE WHEN seq >= 0 THEN seq ELSE trunkline.seq_at(channel, position) END AS after_seq
    FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::integer[]) WITH ORDINALITY u(channel, seq, position, row_limit, n)
    OFFSET 0
) r
LEFT JOIN LATERAL (
    SELECT c.id, c.trimmed_seq, c.trimmed_position,
           greatest(c.trimmed_seq,
                    (SELECT x.seq FROM trunkline.log x WHERE x.channel_id = c.id ORDER BY x.seq DESC LIMIT 1)) AS last_seq
    FROM trunkline.channel c WHERE c.name = r.channel
) c ON true
LEFT JOIN LATERAL (
    SELECT b.position, b.seq, b.message_id, b.reached >= $5 OR b.number = r.row_limit AS more
    FROM (
        SELECT x.position, x.seq, x.message_id, sum(x.size) OVER w AS reached,
               coalesce(sum(x.size) OVER (ORDER BY x.seq ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS before,
               row_number() OVER w AS number
        FROM (
            SELECT l.position, l.seq, l.message_id, l.size
            FROM trunkline.log l
            WHERE l.channel_id = c.id AND l.seq > r.after_seq
            ORDER BY l.seq LIMIT r.row_limit
        ) x
        WINDOW w AS (ORDER BY x.seq)
    ) b
    WHERE b.before < $5
) l ON true
LEFT JOIN LATERAL (SELECT x.* FROM trunkline.message x WHERE x.id = l.message_id OFFSET 0) m ON true
ORDER BY r.n, l.seq
