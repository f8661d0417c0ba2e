-- How far each project is, kept by triggers of task: each statement adds its difference to the rows of the projects it touches, so
-- that nobody ever counts tasks. A project whose own deletion removes its tasks is not touched.

-- Every project has its row from the beginning.
CREATE FUNCTION projects.begin_progress() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO projects.progress (project_id) SELECT n.id FROM new_rows n ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;

CREATE TRIGGER begin_progress AFTER INSERT ON projects.project
REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION projects.begin_progress();

-- add_progress(p_projects, p_done, p_total) adds differences to the progress of projects, each of which is named once, and publishes
-- {done, total, version} on progress:ID for each.
--
-- The rows are locked in the order of their keys before anything is changed: two statements that touch the same projects wait for
-- each other and can't deadlock. The locks are held to the end of the transaction, so that what is published of one project commits in
-- the order of its versions.
CREATE FUNCTION projects.add_progress(p_projects bigint[], p_done bigint[], p_total bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    channels text[];
    payloads json[];
BEGIN
    IF cardinality(p_projects) = 1 THEN   -- nearly always: nothing to order
        UPDATE projects.progress g SET done = g.done + p_done[1], total = g.total + p_total[1], version = g.version + 1
        WHERE g.project_id = p_projects[1]
        RETURNING ARRAY[json_build_object('done', g.done, 'total', g.total, 'version', g.version)] INTO payloads;
        IF FOUND THEN
            PERFORM trunkline.publish('progress:' || p_projects[1], payloads[1]);
        END IF;
        RETURN;
    END IF;
    PERFORM FROM projects.progress g WHERE g.project_id = ANY (p_projects) ORDER BY g.project_id FOR NO KEY UPDATE;
    WITH changed AS (
        UPDATE projects.progress g SET done = g.done + d.done, total = g.total + d.total, version = g.version + 1
        FROM unnest(p_projects, p_done, p_total) d(id, done, total) WHERE g.project_id = d.id
        RETURNING g.project_id, json_build_object('done', g.done, 'total', g.total, 'version', g.version) AS payload)
    SELECT array_agg('progress:' || c.project_id), array_agg(c.payload) INTO channels, payloads FROM changed c;
    PERFORM trunkline.publish_many(channels, payloads);
END
$$;

-- count_tasks() is the statement trigger of task.
CREATE FUNCTION projects.count_tasks() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    ids bigint[];
    done bigint[];
    total bigint[];
BEGIN
    CASE TG_OP
    WHEN 'INSERT' THEN
        SELECT array_agg(d.project_id), array_agg(d.done), array_agg(d.total) INTO ids, done, total
        FROM (SELECT n.project_id, count(n.completed_at) AS done, count(*) AS total FROM new_rows n GROUP BY 1) d;
    WHEN 'DELETE' THEN
        SELECT array_agg(d.project_id), array_agg(-d.done), array_agg(-d.total) INTO ids, done, total
        FROM (SELECT o.project_id, count(o.completed_at) AS done, count(*) AS total FROM old_rows o GROUP BY 1) d
        WHERE EXISTS (SELECT FROM projects.project p WHERE p.id = d.project_id);
    WHEN 'UPDATE' THEN
        SELECT array_agg(d.project_id), array_agg(d.done), array_agg(d.total) INTO ids, done, total
        FROM (SELECT u.project_id, sum(u.done) AS done, sum(u.total) AS total
              FROM (SELECT n.project_id, count(n.completed_at) AS done, count(*) AS total FROM new_rows n GROUP BY 1
                    UNION ALL
                    SELECT o.project_id, -count(o.completed_at), -count(*) FROM old_rows o GROUP BY 1) u
              GROUP BY 1 HAVING sum(u.done) <> 0 OR sum(u.total) <> 0) d
        WHERE EXISTS (SELECT FROM projects.project p WHERE p.id = d.project_id);
    WHEN 'TRUNCATE' THEN
        SELECT array_agg(g.project_id), array_agg(-g.done), array_agg(-g.total) INTO ids, done, total
        FROM (SELECT g.* FROM projects.progress g WHERE g.total <> 0 OR g.done <> 0 ORDER BY g.project_id FOR NO KEY UPDATE) g;
    END CASE;
    IF ids IS NOT NULL THEN
        PERFORM projects.add_progress(ids, done, total);
    END IF;
    RETURN NULL;
END
$$;

-- Named so that they come before the feeds: triggers of one event fire in the order of their names.
CREATE TRIGGER count_insert AFTER INSERT ON projects.task
REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION projects.count_tasks();
CREATE TRIGGER count_delete AFTER DELETE ON projects.task
REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION projects.count_tasks();
CREATE TRIGGER count_update AFTER UPDATE ON projects.task
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION projects.count_tasks();
CREATE TRIGGER count_truncate AFTER TRUNCATE ON projects.task
FOR EACH STATEMENT EXECUTE FUNCTION projects.count_tasks();
