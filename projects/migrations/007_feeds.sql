-- Feeds: what happens to the tables is published by their triggers, so that a change by whatever program moves the pages.
--
-- One statement trigger for each table and event reads what the statement changed from its transition tables, and publishes it in one
-- call. A project that is being deleted says so once: what its deletion removes with it isn't told. What a person's first page shows
-- of a project is not pushed but said to have changed, on person:ID, to all who have access.
--
-- Each trigger's work grows with the rows of the statement and no faster. A session keeps the plan it first made, perhaps for a single
-- row: joined by nested loops, a hundred thousand old and new rows would be compared each with each. So what has changed is found by
-- grouping, or by a FULL JOIN, which is always hashed or merged as long as its WHERE can hold where one side is missing; and what is seldom
-- to be done with it is EXECUTEd, which plans it for as many as there are.

-- count_version() is the row trigger that counts the versions of rows, whatever an UPDATE says.
CREATE FUNCTION projects.count_version() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    NEW.version := OLD.version + 1;
    RETURN NEW;
END
$$;

CREATE TRIGGER count_version BEFORE UPDATE ON projects.project FOR EACH ROW EXECUTE FUNCTION projects.count_version();
CREATE TRIGGER count_version BEFORE UPDATE ON projects.milestone FOR EACH ROW EXECUTE FUNCTION projects.count_version();
CREATE TRIGGER count_version BEFORE UPDATE ON projects.task FOR EACH ROW EXECUTE FUNCTION projects.count_version();
CREATE TRIGGER count_version BEFORE UPDATE ON projects.conversation FOR EACH ROW EXECUTE FUNCTION projects.count_version();
CREATE TRIGGER count_version BEFORE UPDATE ON projects.message FOR EACH ROW EXECUTE FUNCTION projects.count_version();

-- publish_all(channels, payloads) publishes what a trigger has gathered; NULL: nothing.
CREATE FUNCTION projects.publish_all(channels text[], payloads json[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF cardinality(channels) = 1 THEN   -- nearly always, and the cheaper call
        PERFORM trunkline.publish(channels[1], payloads[1]);
    ELSIF channels IS NOT NULL THEN
        PERFORM trunkline.publish_many(channels, payloads);
    END IF;
END
$$;

-- tell_summary(p_projects) tells all who have access to the projects that what their first pages show of them has changed.
CREATE FUNCTION projects.tell_summary(p_projects bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM projects.publish_all(array_agg('person:' || a.person),
                                array_agg(json_build_object('type', 'summary', 'project_id', a.project)))
    FROM (SELECT DISTINCT p.project, h.person FROM unnest(p_projects) p(project), projects.audience(p.project) h(person)) a;
END
$$;

-- tell_summary_to(p_people, p_projects) tells the same to single people, each of one project.
CREATE FUNCTION projects.tell_summary_to(p_people bigint[], p_projects bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM projects.publish_all(array_agg('person:' || a.person),
                                array_agg(json_build_object('type', 'summary', 'project_id', a.project)))
    FROM (SELECT DISTINCT u.person, u.project FROM unnest(p_people, p_projects) u(person, project)) a;
END
$$;

-- feed_task() publishes task and task.deleted on project:ID, or one reload where a statement has more than 500 for a project, or more
-- than 5,000 for all: then for each of them. A task that moves is deleted in the one project and appears in the other; the conversation
-- about it stays where those are who wrote it, and is about no task any more.
CREATE FUNCTION projects.feed_task() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    flooded bigint[] := '{}';   -- the projects that have too many
    moved bigint[];             -- tasks that go to other projects: which, from where, to where, and their versions
    origins bigint[];
    targets bigint[];
    versions bigint[];
    channels text[];
    payloads json[];
BEGIN
    CASE TG_OP
    WHEN 'INSERT' THEN
        flooded := ARRAY(SELECT n.project_id FROM new_rows n
            GROUP BY 1 HAVING count(*) > CASE WHEN (SELECT count(*) FROM new_rows) > 5000 THEN 0 ELSE 500 END);
        SELECT array_agg('project:' || n.project_id ORDER BY n.id),
               array_agg(json_build_object('type', 'task', 'task', projects.task_json(n::projects.task, NULL)) ORDER BY n.id)
        INTO channels, payloads
        FROM new_rows n WHERE n.project_id <> ALL (flooded);
    WHEN 'UPDATE' THEN
        SELECT array_agg(m.id), array_agg(m.origin), array_agg(m.target), array_agg(m.version) INTO moved, origins, targets, versions
        FROM (SELECT u.id, max(u.origin) AS origin, max(u.target) AS target, max(u.version) AS version
              FROM (SELECT n.id, NULL::bigint AS origin, n.project_id AS target, n.version FROM new_rows n
                    UNION ALL SELECT o.id, o.project_id, NULL, NULL FROM old_rows o) u
              GROUP BY 1 HAVING max(u.origin) <> max(u.target)) m;
        flooded := ARRAY(
            SELECT u.project_id FROM (SELECT n.project_id FROM new_rows n UNION ALL SELECT unnest(origins)) u
            GROUP BY 1 HAVING count(*) > CASE WHEN (SELECT count(*) FROM new_rows) > 5000 THEN 0 ELSE 500 END);
        IF moved IS NOT NULL THEN
            EXECUTE 'UPDATE projects.conversation c SET task_id = NULL
                FROM unnest($1, $2) m(id, project_id) WHERE c.task_id = m.id AND c.project_id <> m.project_id' USING moved, targets;
        END IF;
        -- The conversation is looked up for each: a join would be planned once, perhaps to read all of them.
        SELECT array_agg('project:' || d.project_id ORDER BY d.id), array_agg(d.payload ORDER BY d.id) INTO channels, payloads
        FROM (SELECT n.project_id, n.id, json_build_object('type', 'task', 'task', projects.task_json(n::projects.task,
                     (SELECT c.id FROM projects.conversation c WHERE c.task_id = n.id AND c.project_id = n.project_id))) AS payload
              FROM new_rows n WHERE n.project_id <> ALL (flooded)
              UNION ALL
              SELECT m.origin, m.id, json_build_object('type', 'task.deleted', 'id', m.id, 'version', m.version)
              FROM unnest(moved, origins, versions) m(id, origin, version) WHERE m.origin <> ALL (flooded)) d
        WHERE EXISTS (SELECT FROM projects.project p WHERE p.id = d.project_id);
    WHEN 'DELETE' THEN
        flooded := ARRAY(SELECT o.project_id FROM old_rows o
            GROUP BY 1 HAVING count(*) > CASE WHEN (SELECT count(*) FROM old_rows) > 5000 THEN 0 ELSE 500 END);
        SELECT array_agg('project:' || o.project_id ORDER BY o.id),
               array_agg(json_build_object('type', 'task.deleted', 'id', o.id, 'version', o.version + 1) ORDER BY o.id)
        INTO channels, payloads
        FROM old_rows o
        WHERE o.project_id <> ALL (flooded) AND EXISTS (SELECT FROM projects.project p WHERE p.id = o.project_id);
    WHEN 'TRUNCATE' THEN
        flooded := ARRAY(SELECT p.id FROM projects.project p);
    END CASE;
    PERFORM projects.publish_all(channels, payloads);
    PERFORM projects.tell_reload(flooded);
    RETURN NULL;
END
$$;

-- tell_reload(p_projects) tells the pages of those of the projects that are still there to read everything anew.
CREATE FUNCTION projects.tell_reload(p_projects bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF cardinality(p_projects) > 0 THEN
        PERFORM projects.publish_all(array_agg('project:' || p.id), array_agg('{"type":"reload"}'::json))
        FROM projects.project p WHERE p.id = ANY (p_projects);
    END IF;
END
$$;

CREATE TRIGGER feed_insert AFTER INSERT ON projects.task
REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION projects.feed_task();
CREATE TRIGGER feed_update AFTER UPDATE ON projects.task
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION projects.feed_task();
CREATE TRIGGER feed_delete AFTER DELETE ON projects.task
REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION projects.feed_task();
CREATE TRIGGER feed_truncate AFTER TRUNCATE ON projects.task
FOR EACH STATEMENT EXECUTE FUNCTION projects.feed_task();

-- feed_milestone() publishes milestone and milestone.deleted on project:ID: the latter also in the project that one has left.
CREATE FUNCTION projects.feed_milestone() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        PERFORM projects.publish_all(array_agg('project:' || o.project_id ORDER BY o.id),
                                     array_agg(json_build_object('type', 'milestone.deleted', 'id', o.id) ORDER BY o.id))
        FROM old_rows o WHERE EXISTS (SELECT FROM projects.project p WHERE p.id = o.project_id);
    ELSE
        IF TG_OP = 'UPDATE' THEN
            PERFORM projects.publish_all(
                array_agg('project:' || o.project_id ORDER BY o.id) FILTER (WHERE o.id IS NOT NULL),
                array_agg(json_build_object('type', 'milestone.deleted', 'id', o.id) ORDER BY o.id) FILTER (WHERE o.id IS NOT NULL))
            FROM old_rows o FULL JOIN new_rows n ON n.id = o.id WHERE n.project_id IS DISTINCT FROM o.project_id;
        END IF;
        PERFORM projects.publish_all(
            array_agg('project:' || n.project_id ORDER BY n.id),
            array_agg(json_build_object('type', 'milestone', 'milestone', projects.milestone_json(n::projects.milestone)) ORDER BY n.id))
        FROM new_rows n;
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER feed_insert AFTER INSERT ON projects.milestone
REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION projects.feed_milestone();
CREATE TRIGGER feed_update AFTER UPDATE ON projects.milestone
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION projects.feed_milestone();
CREATE TRIGGER feed_delete AFTER DELETE ON projects.milestone
REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION projects.feed_milestone();

-- feed_project() publishes project and project.deleted on project:ID, and tells first pages. Members are told of a deletion by the
-- trigger of membership, whose rows go with it; here it is the organisation's admins.
CREATE FUNCTION projects.feed_project() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    CASE TG_OP
    WHEN 'INSERT' THEN
        PERFORM projects.tell_summary(array_agg(n.id)) FROM new_rows n;
    WHEN 'UPDATE' THEN
        PERFORM projects.publish_all(
            array_agg('project:' || n.id ORDER BY n.id),
            array_agg(json_build_object('type', 'project', 'project', projects.project_json(n::projects.project)) ORDER BY n.id))
        FROM new_rows n;
        PERFORM projects.tell_summary(array_agg(n.id))
        FROM new_rows n FULL JOIN old_rows o ON o.id = n.id
        WHERE (n.name, n.status, n.due_on) IS DISTINCT FROM (o.name, o.status, o.due_on);
    WHEN 'DELETE' THEN
        PERFORM projects.publish_all(array_agg('project:' || o.id ORDER BY o.id), array_agg('{"type":"project.deleted"}'::json))
        FROM old_rows o;
        PERFORM projects.tell_summary_to(array_agg(h.id), array_agg(o.id))
        FROM old_rows o JOIN projects.person h ON h.organisation_id = o.organisation_id AND h.admin AND h.deactivated_at IS NULL;
    END CASE;
    RETURN NULL;
END
$$;

CREATE TRIGGER feed_insert AFTER INSERT ON projects.project
REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION projects.feed_project();
CREATE TRIGGER feed_update AFTER UPDATE ON projects.project
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION projects.feed_project();
CREATE TRIGGER feed_delete AFTER DELETE ON projects.project
REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION projects.feed_project();

-- revoke_project(p_person, p_project) ends somebody's subscriptions to all channels of a project, unless they still have access to it.
CREATE FUNCTION projects.revoke_project(p_person bigint, p_project bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF projects.role(p_person, p_project) IS NULL THEN
        PERFORM trunkline.revoke(p_person::text, 'project:' || p_project), trunkline.revoke(p_person::text, 'progress:' || p_project);
        PERFORM trunkline.revoke(p_person::text, 'chat:' || c.id)
        FROM (SELECT c.id FROM projects.conversation c WHERE c.project_id = p_project ORDER BY c.id) c;
    END IF;
END
$$;

-- feed_membership() publishes member and member.removed on project:ID, tells first pages, and ends what those who were removed follow.
CREATE FUNCTION projects.feed_membership() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        PERFORM projects.publish_all(
            array_agg('project:' || o.project_id ORDER BY o.project_id, o.person_id),
            array_agg(json_build_object('type', 'member.removed', 'id', o.person_id) ORDER BY o.project_id, o.person_id))
        FROM old_rows o WHERE EXISTS (SELECT FROM projects.project p WHERE p.id = o.project_id);
        PERFORM projects.tell_summary_to(array_agg(o.person_id), array_agg(o.project_id)) FROM old_rows o;
        PERFORM projects.tell_summary(array_agg(DISTINCT o.project_id)) FROM old_rows o;
        PERFORM projects.revoke_project(o.person_id, o.project_id)
        FROM (SELECT o.* FROM old_rows o ORDER BY o.person_id, o.project_id) o
        WHERE EXISTS (SELECT FROM projects.project p WHERE p.id = o.project_id);
    ELSE
        PERFORM projects.publish_all(
            array_agg('project:' || n.project_id ORDER BY n.project_id, n.person_id),
            array_agg(json_build_object('type', 'member', 'member', projects.member_json(h, g.name, n.role, n.joined_at))
                      ORDER BY n.project_id, n.person_id))
        FROM new_rows n JOIN projects.person h ON h.id = n.person_id LEFT JOIN projects.organisation g ON g.id = h.organisation_id
        WHERE h.deactivated_at IS NULL;
        PERFORM projects.tell_summary(array_agg(DISTINCT n.project_id)) FROM new_rows n;
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER feed_insert AFTER INSERT ON projects.membership
REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION projects.feed_membership();
CREATE TRIGGER feed_update AFTER UPDATE ON projects.membership
REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION projects.feed_membership();
CREATE TRIGGER feed_delete AFTER DELETE ON projects.membership
REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION projects.feed_membership();

-- cut_off_all() is the statement trigger that ends all connections once nobody is a member of anything, since who was isn't known any
-- more. Pages connect again by themselves, and find what is left to them.
CREATE FUNCTION projects.cut_off_all() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM projects.tell_reload(ARRAY(SELECT p.id FROM projects.project p));
    PERFORM trunkline.revoke(h.id::text) FROM (SELECT h.id FROM projects.person h ORDER BY h.id) h;
    RETURN NULL;
END
$$;

CREATE TRIGGER cut_off_all AFTER TRUNCATE ON projects.membership
FOR EACH STATEMENT EXECUTE FUNCTION projects.cut_off_all();

-- keep_membership() is the row trigger that refuses to turn one membership into another's.
--
-- Errors: 22023 invalid_parameter_value.
CREATE FUNCTION projects.keep_membership() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION 'the membership of person % in project % can''t become another''s', OLD.person_id, OLD.project_id USING
        ERRCODE = 'invalid_parameter_value', HINT = 'Delete it and insert a new one.';
END
$$;

CREATE TRIGGER keep_membership BEFORE UPDATE ON projects.membership FOR EACH ROW
WHEN (OLD.person_id <> NEW.person_id OR OLD.project_id <> NEW.project_id) EXECUTE FUNCTION projects.keep_membership();

-- feed_person() publishes member where a member's name or company has changed, and member.removed for who is deactivated. Who has less
-- access than before (deactivated, no admin any more, in another organisation) is cut off, and may connect again with a new token. Who is
-- deactivated is signed out as well, so that they have to sign in should they come back.
CREATE FUNCTION projects.feed_person() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    changed bigint[] := ARRAY(
        SELECT n.id FROM new_rows n FULL JOIN old_rows o ON o.id = n.id
        WHERE (n.name, n.company, n.organisation_id, n.deactivated_at IS NULL)
              IS DISTINCT FROM (o.name, o.company, o.organisation_id, o.deactivated_at IS NULL));
BEGIN
    IF cardinality(changed) > 0 THEN
        PERFORM projects.publish_all(
            array_agg('project:' || m.project_id ORDER BY m.project_id, m.person_id),
            array_agg(CASE WHEN h.deactivated_at IS NULL
                           THEN json_build_object('type', 'member', 'member', projects.member_json(h, g.name, m.role, m.joined_at))
                           ELSE json_build_object('type', 'member.removed', 'id', h.id) END ORDER BY m.project_id, m.person_id))
        FROM projects.membership m
        JOIN projects.person h ON h.id = m.person_id LEFT JOIN projects.organisation g ON g.id = h.organisation_id
        WHERE m.person_id = ANY (changed);
        PERFORM projects.tell_summary(array_agg(DISTINCT m.project_id)) FROM projects.membership m WHERE m.person_id = ANY (changed);
    END IF;
    DELETE FROM projects.session s WHERE s.person_id = ANY (ARRAY(
        SELECT n.id FROM new_rows n FULL JOIN old_rows o ON o.id = n.id
        WHERE (n.deactivated_at IS NOT NULL) > (o.deactivated_at IS NOT NULL)));
    PERFORM trunkline.revoke(l.id::text)
    FROM (SELECT o.id FROM new_rows n FULL JOIN old_rows o ON o.id = n.id
          WHERE (o.deactivated_at IS NULL AND n.deactivated_at IS NOT NULL)
             OR (o.admin AND (NOT n.admin OR n.organisation_id IS DISTINCT FROM o.organisation_id))
          ORDER BY o.id) l;
    RETURN NULL;
END
$$;

CREATE TRIGGER feed_update AFTER UPDATE ON projects.person
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION projects.feed_person();

-- cut_off() is the statement trigger that ends the connections of people who are deleted.
CREATE FUNCTION projects.cut_off() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM trunkline.revoke(o.id::text) FROM (SELECT o.id FROM old_rows o ORDER BY o.id) o;
    RETURN NULL;
END
$$;

CREATE TRIGGER cut_off AFTER DELETE ON projects.person
REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION projects.cut_off();

-- feed_organisation() has pages read anew what names an organisation: its projects, and those that its staff take part in.
CREATE FUNCTION projects.feed_organisation() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    renamed bigint[] := ARRAY(SELECT n.id FROM new_rows n FULL JOIN old_rows o ON o.id = n.id WHERE n.name IS DISTINCT FROM o.name);
    named bigint[] := ARRAY(
        SELECT p.id FROM projects.project p WHERE p.organisation_id = ANY (renamed)
        UNION
        SELECT m.project_id FROM projects.membership m JOIN projects.person h ON h.id = m.person_id WHERE h.organisation_id = ANY (renamed));
BEGIN
    PERFORM projects.tell_reload(named);
    PERFORM projects.tell_summary(named);
    RETURN NULL;
END
$$;

CREATE TRIGGER feed_update AFTER UPDATE ON projects.organisation
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION projects.feed_organisation();

-- feed_conversation() publishes conversation on project:ID, and tells first pages when there is a message, a question or an answer. A
-- task whose conversation begins or ends gets a new version, since it names it.
CREATE FUNCTION projects.feed_conversation() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    tasks bigint[];   -- whose conversation begins or ends, and the projects of these conversations
    places bigint[];
BEGIN
    -- Where conversations are removed, or leave a project, its page reads everything anew.
    IF TG_OP = 'DELETE' THEN
        PERFORM projects.tell_reload(ARRAY(SELECT DISTINCT o.project_id FROM old_rows o));
        PERFORM projects.tell_summary(array_agg(DISTINCT o.project_id)) FROM old_rows o;
        RETURN NULL;
    ELSIF TG_OP = 'TRUNCATE' THEN
        PERFORM projects.tell_reload(ARRAY(SELECT p.id FROM projects.project p));
        PERFORM projects.tell_summary(array_agg(p.id)) FROM projects.project p;
        RETURN NULL;
    ELSIF TG_OP = 'UPDATE' THEN
        PERFORM projects.tell_reload(ARRAY(
            SELECT DISTINCT o.project_id FROM old_rows o FULL JOIN new_rows n ON n.id = o.id WHERE n.project_id IS DISTINCT FROM o.project_id));
    END IF;
    PERFORM projects.publish_all(
        array_agg('project:' || n.project_id ORDER BY n.id),
        array_agg(json_build_object('type', 'conversation', 'conversation', projects.conversation_json(n::projects.conversation)) ORDER BY n.id))
    FROM new_rows n;
    IF TG_OP = 'INSERT' THEN
        IF EXISTS (SELECT FROM new_rows n WHERE n.task_id IS NOT NULL) THEN
            UPDATE projects.task t SET version = t.version FROM new_rows n WHERE t.id = n.task_id;
            -- One that has moved away meanwhile.
            UPDATE projects.conversation c SET task_id = NULL
            FROM new_rows n JOIN projects.task t ON t.id = n.task_id WHERE c.id = n.id AND t.project_id <> c.project_id;
        END IF;
    ELSE
        -- Statement triggers also fire where no row is changed: without the condition, this and that of task would call each other.
        SELECT array_agg(u.task_id), array_agg(u.project_id) INTO tasks, places
        FROM new_rows n FULL JOIN old_rows o ON o.id = n.id,
             LATERAL (VALUES (n.task_id, n.project_id), (o.task_id, o.project_id)) u(task_id, project_id)
        WHERE n.task_id IS DISTINCT FROM o.task_id;
        IF tasks IS NOT NULL THEN
            EXECUTE 'UPDATE projects.task t SET version = t.version
                FROM unnest($1, $2) c(task_id, project_id) WHERE t.id = c.task_id AND t.project_id = c.project_id' USING tasks, places;
        END IF;
        PERFORM projects.tell_summary(array_agg(DISTINCT n.project_id))
        FROM new_rows n FULL JOIN old_rows o ON o.id = n.id
        WHERE (n.last_seq, n.awaiting_since) IS DISTINCT FROM (o.last_seq, o.awaiting_since);
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER feed_insert AFTER INSERT ON projects.conversation
REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION projects.feed_conversation();
CREATE TRIGGER feed_update AFTER UPDATE ON projects.conversation
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION projects.feed_conversation();
CREATE TRIGGER feed_delete AFTER DELETE ON projects.conversation
REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION projects.feed_conversation();
CREATE TRIGGER feed_truncate AFTER TRUNCATE ON projects.conversation
FOR EACH STATEMENT EXECUTE FUNCTION projects.feed_conversation();

-- feed_message() publishes message on chat:ID, for new, edited and deleted ones alike. Attachments go with it if they are linked in the
-- statement that inserts it. A row that is removed while its conversation stays, which the program never does, looks as if its author
-- had deleted it.
CREATE FUNCTION projects.feed_message() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        PERFORM projects.publish_all(
            array_agg('chat:' || o.conversation_id ORDER BY o.conversation_id, o.seq),
            array_agg(json_build_object('type', 'message', 'message', projects.message_json(o::projects.message)::jsonb || jsonb_build_object(
                'body', '', 'html', '', 'edited_at', NULL, 'deleted_at', projects.utc(clock_timestamp()), 'version', o.version + 1))
                      ORDER BY o.conversation_id, o.seq))
        FROM old_rows o WHERE EXISTS (SELECT FROM projects.conversation c WHERE c.id = o.conversation_id);
        RETURN NULL;
    END IF;
    PERFORM projects.publish_all(
        array_agg('chat:' || n.conversation_id ORDER BY n.conversation_id, n.seq),
        array_agg(json_build_object('type', 'message', 'message', projects.message_json(n::projects.message))
                  ORDER BY n.conversation_id, n.seq))
    FROM new_rows n;
    RETURN NULL;
END
$$;

CREATE TRIGGER feed_insert AFTER INSERT ON projects.message
REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION projects.feed_message();
CREATE TRIGGER feed_update AFTER UPDATE ON projects.message
REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION projects.feed_message();

CREATE TRIGGER feed_delete AFTER DELETE ON projects.message
REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION projects.feed_message();

-- feed_reader() publishes read on chat:ID, and tells the reader's own first page that less is unread.
CREATE FUNCTION projects.feed_reader() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM projects.publish_all(
        array_agg('chat:' || n.conversation_id ORDER BY n.conversation_id, n.person_id),
        array_agg(json_build_object('type', 'read', 'reader', projects.reader_json(n::projects.reader))
                  ORDER BY n.conversation_id, n.person_id))
    FROM new_rows n WHERE n.read_seq > 0;
    PERFORM projects.tell_summary_to(array_agg(n.person_id), array_agg(c.project_id))
    FROM new_rows n JOIN projects.conversation c ON c.id = n.conversation_id WHERE n.read_seq > 0;
    RETURN NULL;
END
$$;

CREATE TRIGGER feed_insert AFTER INSERT ON projects.reader
REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION projects.feed_reader();
CREATE TRIGGER feed_update AFTER UPDATE ON projects.reader
REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION projects.feed_reader();
