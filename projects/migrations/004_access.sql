-- Who may do what. All of it is decided here: by the program's statements, by Trunkline for its channels, and before anything is mailed.
--
-- Every function of the schema projects names what it uses with its schema or has a search_path of its own, so that nobody's
-- search_path changes what it means.

-- role(p_person, p_project) → what somebody is in a project: lead, staff, customer, or NULL: nothing, so that for them it isn't there.
--
-- An admin of the project's organisation is a lead, member or not. Who is deactivated is nothing.
--
--     SELECT projects.role(7, 42);
CREATE FUNCTION projects.role(p_person bigint, p_project bigint) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (
        SELECT CASE WHEN h.admin AND h.organisation_id = p.organisation_id THEN 'lead' ELSE m.role END
        FROM projects.person h
        JOIN projects.project p ON p.id = p_project
        LEFT JOIN projects.membership m ON m.project_id = p.id AND m.person_id = h.id
        WHERE h.id = p_person AND h.deactivated_at IS NULL);
END
$$;

-- roles(p_person) → the same of all projects that somebody has access to.
CREATE FUNCTION projects.roles(p_person bigint) RETURNS TABLE (project_id bigint, role text)
LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 200 SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        SELECT p.id, CASE WHEN h.admin AND h.organisation_id = p.organisation_id THEN 'lead' ELSE m.role END
        FROM projects.person h
        CROSS JOIN LATERAL (
            SELECT m.project_id AS id FROM projects.membership m WHERE m.person_id = h.id
            UNION
            SELECT p.id FROM projects.project p WHERE h.admin AND p.organisation_id = h.organisation_id) a
        JOIN projects.project p ON p.id = a.id
        LEFT JOIN projects.membership m ON m.project_id = p.id AND m.person_id = h.id
        WHERE h.id = p_person AND h.deactivated_at IS NULL;
END
$$;

-- may(user_id, channel, action) → whether a person may do something with a channel, or with the group of a notification.
--
-- Trunkline asks it for the namespaces project, progress, chat and person, and for kinds, whose groups are project:ID and chat:ID and
-- whose action is mail. Members follow their projects and conversations, everybody themselves; presence is that of projects and
-- conversations. Nobody publishes: what there is to tell, triggers tell. What is malformed is refused like everything else, without an
-- error.
--
--     SELECT projects.may('7', 'project:42', 'subscribe');
CREATE FUNCTION projects.may(user_id text, channel text, action text) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    -- Up to 18 digits, which a bigint always holds.
    asked text[] := regexp_match(channel COLLATE "C", '^(project|progress|chat|person):([1-9][0-9]{0,17})$');
    person bigint := (regexp_match(user_id COLLATE "C", '^[1-9][0-9]{0,17}$'))[1];
    project bigint;
BEGIN
    IF asked IS NULL OR person IS NULL OR action IS NULL THEN
        RETURN false;
    END IF;
    CASE asked[1]
    WHEN 'person' THEN
        RETURN action IN ('subscribe', 'history') AND asked[2]::bigint = person
               AND EXISTS (SELECT FROM projects.person h WHERE h.id = person AND h.deactivated_at IS NULL);
    WHEN 'progress' THEN
        IF action NOT IN ('subscribe', 'history') THEN
            RETURN false;
        END IF;
        project := asked[2]::bigint;
    ELSE
        IF action NOT IN ('subscribe', 'history', 'presence', 'mail') THEN
            RETURN false;
        END IF;
        project := asked[2]::bigint;
        IF asked[1] = 'chat' THEN
            project := (SELECT c.project_id FROM projects.conversation c WHERE c.id = project);
        END IF;
    END CASE;
    RETURN projects.role(person, project) IS NOT NULL;
END
$$;

-- audience(p_project) → the ids of all who have access to a project: its members and the admins of its organisation.
CREATE FUNCTION projects.audience(p_project bigint) RETURNS SETOF bigint
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT h.id FROM projects.membership m JOIN projects.person h ON h.id = m.person_id
    WHERE m.project_id = p_project AND h.deactivated_at IS NULL
    UNION
    SELECT h.id FROM projects.project p JOIN projects.person h ON h.organisation_id = p.organisation_id
    WHERE p.id = p_project AND h.admin AND h.deactivated_at IS NULL
$$;

-- Who gets mail, and where: trunkline.recipients_from reads it. user_id is the plain id, so that looking somebody up uses its index.
CREATE VIEW projects.recipient AS
SELECT h.id AS user_id, h.email, h.name, h.time_zone, h.locale FROM projects.person h WHERE h.deactivated_at IS NULL;
