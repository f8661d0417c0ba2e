-- The log behind a position, for a node that follows it: $1 position, $2 rows at most, $3 bytes of payload at most (beyond,
-- payloads are NULL). At least one row, with the epoch and the log's end as of the same snapshot.
SELECT s.epoch, e.last_position,
       l.position, c.name, l.seq, l.message_id, l.size,
       CASE WHEN l.total <= $3 THEN m.payload END, m.sender, m.key, m.created_at
FROM (SELECT x.epoch FROM trunkline.state x LIMIT 1) s
CROSS JOIN (SELECT x.last_position FROM trunkline.log_end x LIMIT 1) e
LEFT JOIN LATERAL (
    SELECT x.*, sum(x.size) OVER (ORDER BY x.position) AS total
    FROM (SELECT * FROM trunkline.log WHERE position > $1 ORDER BY position LIMIT $2) x
) l ON true
LEFT JOIN LATERAL (SELECT x.name FROM trunkline.channel x WHERE x.id = l.channel_id OFFSET 0) c ON true
LEFT JOIN LATERAL (SELECT x.* FROM trunkline.message x WHERE x.id = l.message_id OFFSET 0) m ON true
ORDER BY l.position
