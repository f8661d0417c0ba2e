-- What people see of rows, as JSON: the same for what is read and for what is pushed, and the shapes of the program's types.
--
-- All are single expressions that the planner puts in the place of the call: a thousand tasks cost no thousand calls. So they have
-- no SET search_path, which would prevent that, and use what pg_catalog has, qualified.

-- utc(at) → a time as RFC 3339 in UTC, whatever the session's time zone.
CREATE FUNCTION projects.utc(at timestamptz) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
AS $$ SELECT pg_catalog.to_char(pg_catalog.timezone('UTC', at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') $$;

-- person_json(h, organisation) → Person; organisation is the name of the person's, NULL for a customer.
CREATE FUNCTION projects.person_json(h projects.person, organisation text) RETURNS json LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT pg_catalog.json_build_object('id', h.id, 'name', h.name, 'company', COALESCE(organisation, h.company),
        'staff', h.organisation_id IS NOT NULL)
$$;

-- member_json(h, organisation, role, joined_at) → Member.
CREATE FUNCTION projects.member_json(h projects.person, organisation text, role text, joined_at timestamptz) RETURNS json
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT pg_catalog.json_build_object('id', h.id, 'name', h.name, 'company', COALESCE(organisation, h.company),
        'staff', h.organisation_id IS NOT NULL, 'role', role, 'joined_at', projects.utc(joined_at))
$$;

-- progress_json(g) → Progress.
CREATE FUNCTION projects.progress_json(g projects.progress) RETURNS json LANGUAGE sql STABLE PARALLEL SAFE
AS $$ SELECT pg_catalog.json_build_object('done', g.done, 'total', g.total, 'version', g.version) $$;

-- project_json(p) → the head of a Project: what its delta says.
CREATE FUNCTION projects.project_json(p projects.project) RETURNS json LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT pg_catalog.json_build_object('id', p.id, 'name', p.name, 'summary', p.summary, 'status', p.status, 'due_on', p.due_on,
        'version', p.version)
$$;

-- milestone_json(m) → Milestone.
CREATE FUNCTION projects.milestone_json(m projects.milestone) RETURNS json LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT pg_catalog.json_build_object('id', m.id, 'project_id', m.project_id, 'name', m.name, 'due_on', m.due_on, 'rank', m.rank,
        'version', m.version)
$$;

-- The fields of a Task. Thousands are read at once, and a row of known fields becomes JSON in half the time of a list of names and values.
CREATE TYPE projects.task_shape AS (
    id bigint, project_id bigint, milestone_id bigint, title text, description text, rank double precision, assignee_id bigint,
    due_on date, completed_at text, completed_by bigint, reopened_at text, reopened_by bigint, conversation_id bigint, created_at text,
    version bigint
);

-- task_json(t, conversation_id, description) → Task; conversation_id is that of the conversation about it, in the same project, NULL for
-- none; description is what is shown for one, where that isn't its own.
--
--     SELECT projects.task_json(t, c.id)
--     FROM projects.task t LEFT JOIN projects.conversation c ON c.task_id = t.id AND c.project_id = t.project_id WHERE t.id = 7;
CREATE FUNCTION projects.task_json(t projects.task, conversation_id bigint, description text) RETURNS json LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT pg_catalog.row_to_json(ROW(t.id, t.project_id, t.milestone_id, t.title, description, t.rank, t.assignee_id, t.due_on,
        projects.utc(t.completed_at), t.completed_by, projects.utc(t.reopened_at), t.reopened_by, conversation_id,
        projects.utc(t.created_at), t.version)::projects.task_shape)
$$;
CREATE FUNCTION projects.task_json(t projects.task, conversation_id bigint) RETURNS json LANGUAGE sql STABLE PARALLEL SAFE
AS $$ SELECT projects.task_json(t, conversation_id, t.description) $$;

-- conversation_json(c) → Conversation as it is pushed, without read_seq.
CREATE FUNCTION projects.conversation_json(c projects.conversation) RETURNS json LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT pg_catalog.json_build_object('id', c.id, 'project_id', c.project_id, 'task_id', c.task_id, 'subject', c.subject,
        'last_seq', c.last_seq, 'last_message_at', projects.utc(c.last_message_at), 'awaiting_since', projects.utc(c.awaiting_since),
        'version', c.version)
$$;

-- conversation_json(c, read_seq) → Conversation as somebody reads it who has read up to read_seq; NULL: nothing yet.
CREATE FUNCTION projects.conversation_json(c projects.conversation, read_seq bigint) RETURNS json LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT pg_catalog.json_build_object('id', c.id, 'project_id', c.project_id, 'task_id', c.task_id, 'subject', c.subject,
        'last_seq', c.last_seq, 'last_message_at', projects.utc(c.last_message_at), 'awaiting_since', projects.utc(c.awaiting_since),
        'version', c.version, 'read_seq', COALESCE(read_seq, 0))
$$;

-- shown_image(media_type) → whether browsers show it as an image, and it can hold no script.
CREATE FUNCTION projects.shown_image(media_type text) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT media_type IN ('image/png', 'image/jpeg', 'image/gif', 'image/webp') $$;

-- attachment_json(…) → Attachment. Takes columns rather than the row, which would have its content read.
CREATE FUNCTION projects.attachment_json(id bigint, name text, media_type text, size bigint) RETURNS json
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT pg_catalog.json_build_object('id', id, 'name', name, 'media_type', media_type, 'size', size,
        'image', projects.shown_image(media_type))
$$;

-- attachments_json(p_message) → the attachments of a message, oldest first: an array, empty for none.
CREATE FUNCTION projects.attachments_json(p_message bigint) RETURNS json LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT COALESCE((
        SELECT pg_catalog.json_agg(projects.attachment_json(a.id, a.name, a.media_type, a.size) ORDER BY a.id)
        FROM projects.attachment a WHERE a.message_id = p_message), '[]')
$$;

-- message_json(m) → Message with its attachments.
--
--     SELECT projects.message_json(m) FROM projects.message m WHERE m.id = 7;
CREATE FUNCTION projects.message_json(m projects.message) RETURNS json LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT pg_catalog.json_build_object('id', m.id, 'conversation_id', m.conversation_id, 'seq', m.seq, 'author_id', m.author_id,
        'key', m.client_key, 'body', m.body, 'html', m.html, 'created_at', projects.utc(m.created_at),
        'edited_at', projects.utc(m.edited_at), 'deleted_at', projects.utc(m.deleted_at), 'version', m.version,
        'attachments', projects.attachments_json(m.id))
$$;

-- reader_json(r) → Reader.
CREATE FUNCTION projects.reader_json(r projects.reader) RETURNS json LANGUAGE sql STABLE PARALLEL SAFE
AS $$ SELECT pg_catalog.json_build_object('person_id', r.person_id, 'read_seq', r.read_seq, 'read_at', projects.utc(r.read_at)) $$;
