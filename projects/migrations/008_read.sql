-- Reading: what a page shows first, each in one statement, so that it is of one moment and takes one round trip.

-- overview(p_person, p_project) → an array of Summary: somebody's projects at a glance, or, with p_project, that one, if it is theirs.
-- Active ones first, then those whose question has waited longest, then by name.
--
-- It costs the same however many tasks there are: counts are kept. Customers are shown the first 8 outstanding tasks of each active
-- project, which an index finds in the order of the page, milestone by milestone, those in none last; their descriptions are left out
-- (''). Who guides has many projects and is shown none. Tables are read by their indexes alone: a plan made while a table was small, and
-- kept, would read all of it for each project.
--
--     SELECT projects.overview(7);
CREATE FUNCTION projects.overview(p_person bigint, p_project bigint DEFAULT NULL) RETURNS json
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off SET enable_seqscan = off
AS $$
BEGIN
    RETURN (
        WITH mine AS MATERIALIZED (
            SELECT r.project_id AS id, r.role FROM projects.roles(p_person) r WHERE p_project IS NULL
            UNION ALL
            SELECT p_project, r.role FROM projects.role(p_person, p_project) r(role) WHERE r.role IS NOT NULL),
        chat AS (
            SELECT c.project_id AS id, count(c.awaiting_since) AS waiting, min(c.awaiting_since) AS since,
                   sum(greatest(c.last_seq - coalesce(r.read_seq, 0), 0))::bigint AS unread
            FROM mine JOIN projects.conversation c ON c.project_id = mine.id
            LEFT JOIN projects.reader r ON r.conversation_id = c.id AND r.person_id = p_person
            GROUP BY 1),
        member AS (
            SELECT m.project_id AS id, m.role = 'customer' AS customer, h.name, h.id AS person, projects.person_json(h, z.name) AS shown,
                   row_number() OVER (PARTITION BY m.project_id, m.role = 'customer' ORDER BY h.name, h.id) AS n
            FROM mine JOIN projects.membership m ON m.project_id = mine.id
            JOIN projects.person h ON h.id = m.person_id LEFT JOIN projects.organisation z ON z.id = h.organisation_id
            WHERE h.deactivated_at IS NULL),
        people AS (
            SELECT m.id, json_agg(m.shown ORDER BY m.name, m.person) FILTER (WHERE m.customer) AS customers,
                   json_agg(m.shown ORDER BY m.name, m.person) FILTER (WHERE NOT m.customer) AS staff
            FROM member m WHERE m.n <= 5 GROUP BY 1)
        SELECT coalesce(json_agg(json_build_object(
            'id', p.id, 'name', p.name, 'status', p.status, 'role', mine.role, 'due_on', p.due_on,
            'progress', projects.progress_json(g),
            'waiting', coalesce(c.waiting, 0), 'waiting_since', projects.utc(c.since), 'unread', coalesce(c.unread, 0),
            'outstanding', CASE WHEN mine.role <> 'customer' OR p.status <> 'active' THEN '[]' ELSE coalesce((
                SELECT json_agg(projects.task_json(f.task, (
                    SELECT c.id FROM projects.conversation c WHERE c.task_id = (f.task).id AND c.project_id = p.id), '')
                    ORDER BY f.stage_rank, f.stage, f.rank, f.id)
                FROM (
                    SELECT s.rank AS stage_rank, s.id AS stage, f.*
                    FROM (SELECT s.id, s.rank FROM projects.milestone s WHERE s.project_id = p.id
                          UNION ALL SELECT 0, 'infinity' ORDER BY rank, id) s
                    CROSS JOIN LATERAL (
                        SELECT t.rank, t.id, t AS task FROM projects.task t
                        WHERE t.project_id = p.id AND coalesce(t.milestone_id, 0) = s.id AND t.completed_at IS NULL
                        ORDER BY t.rank, t.id LIMIT 8) f
                    ORDER BY s.rank, s.id, f.rank, f.id LIMIT 8) f), '[]') END,
            'customers', coalesce(h.customers, '[]'), 'staff', coalesce(h.staff, '[]'))
            ORDER BY array_position('{active,finished,archived}', p.status), c.since, p.name, p.id), '[]')
        FROM mine
        JOIN projects.project p ON p.id = mine.id
        JOIN projects.progress g ON g.project_id = p.id
        LEFT JOIN chat c ON c.id = p.id
        LEFT JOIN people h ON h.id = p.id);
END
$$;

-- snapshot(p_person, p_project) → Project with all that its page shows, as that person sees it; NULL where it isn't theirs to see.
--
-- former are those whose names the page needs although they aren't members: who had tasks, completed or reopened one, read or wrote;
-- and the organisation's admins, who can write at any time.
--
--     SELECT projects.snapshot(7, 42);
CREATE FUNCTION projects.snapshot(p_person bigint, p_project bigint) RETURNS json
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
DECLARE
    role text := projects.role(p_person, p_project);
BEGIN
    IF role IS NULL THEN
        RETURN NULL;
    END IF;
    RETURN (
        WITH member AS MATERIALIZED (
            SELECT h.id, h.name, projects.member_json(h, z.name, m.role, m.joined_at) AS shown
            FROM projects.membership m JOIN projects.person h ON h.id = m.person_id
            LEFT JOIN projects.organisation z ON z.id = h.organisation_id
            WHERE m.project_id = p_project AND h.deactivated_at IS NULL),
        seen AS (
            SELECT u.id FROM projects.task t, LATERAL (VALUES (t.assignee_id), (t.completed_by), (t.reopened_by)) u(id)
            WHERE t.project_id = p_project
            UNION
            SELECT r.person_id FROM projects.conversation c JOIN projects.reader r ON r.conversation_id = c.id WHERE c.project_id = p_project
            UNION
            SELECT a.id FROM projects.audience(p_project) a(id))
        SELECT json_build_object(
            'id', p.id, 'name', p.name, 'summary', p.summary, 'status', p.status, 'due_on', p.due_on,
            'created_at', projects.utc(p.created_at), 'version', p.version, 'role', role, 'organisation', z.name,
            'progress', projects.progress_json(g),
            'milestones', coalesce((
                SELECT json_agg(projects.milestone_json(s) ORDER BY s.rank, s.id) FROM projects.milestone s WHERE s.project_id = p.id), '[]'),
            'tasks', coalesce((
                SELECT json_agg(projects.task_json(t, c.id) ORDER BY t.rank, t.id)
                FROM projects.task t LEFT JOIN projects.conversation c ON c.task_id = t.id AND c.project_id = t.project_id
                WHERE t.project_id = p.id), '[]'),
            'members', coalesce((SELECT json_agg(m.shown ORDER BY m.name, m.id) FROM member m), '[]'),
            'conversations', coalesce((
                SELECT json_agg(projects.conversation_json(c, r.read_seq) ORDER BY c.id)
                FROM projects.conversation c LEFT JOIN projects.reader r ON r.conversation_id = c.id AND r.person_id = p_person
                WHERE c.project_id = p.id), '[]'),
            'former', coalesce((
                SELECT json_agg(projects.person_json(h, z.name) ORDER BY h.name, h.id)
                FROM projects.person h LEFT JOIN projects.organisation z ON z.id = h.organisation_id
                WHERE h.id IN (SELECT s.id FROM seen s) AND h.id NOT IN (SELECT m.id FROM member m)), '[]'))
        FROM projects.project p
        JOIN projects.organisation z ON z.id = p.organisation_id
        JOIN projects.progress g ON g.project_id = p.id
        WHERE p.id = p_project);
END
$$;

-- waits_since(p_conversation) → since when a customer's question waits for staff, counted from the messages: the oldest one by somebody
-- outside the organisation that nobody of it has written after; NULL if there is none. What was deleted asks nothing.
CREATE FUNCTION projects.waits_since(p_conversation bigint) RETURNS timestamptz
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (
        WITH message AS (
            SELECT m.seq, m.created_at, m.deleted_at, h.organisation_id IS NOT DISTINCT FROM p.organisation_id AS guides
            FROM projects.message m JOIN projects.person h ON h.id = m.author_id
            JOIN projects.conversation c ON c.id = m.conversation_id JOIN projects.project p ON p.id = c.project_id
            WHERE m.conversation_id = p_conversation)
        SELECT min(m.created_at) FROM message m
        WHERE NOT m.guides AND m.deleted_at IS NULL AND m.seq > coalesce((SELECT max(x.seq) FROM message x WHERE x.guides), 0));
END
$$;
