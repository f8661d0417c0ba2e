-- Watches: making, listing and removing them.

-- read_rule(source) → the rule in a trigger function's source, NULL if there is none. Anybody can write a function with
-- such a name, so nothing is taken for granted.
CREATE FUNCTION trunkline.read_rule(source text) RETURNS json
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    rule json;
BEGIN
    rule := substring(source FROM '\n-- trunkline: ([^\n]*)\n');
    RETURN CASE WHEN (rule->>'watch')::integer > 0 AND json_typeof(rule->'op') = 'array' AND rule->>'channel' <> ''
                 AND json_typeof(rule->'uses') = 'array' AND json_typeof(rule->'notify') = 'boolean' THEN rule END;
EXCEPTION WHEN OTHERS THEN
    RETURN NULL;
END
$$;

-- The trigger functions of all watches, and the triggers that run them; at_home is the table that was named to watch(),
-- the others are its partitions.
CREATE VIEW trunkline.watch_function AS
SELECT f.*, substring(f.name FROM '_([a-z]+)$') AS event, (f.rule->>'watch')::integer AS id
FROM (SELECT p.oid, p.proname::text AS name, p.pronamespace AS namespace, p.proowner AS owner, trunkline.read_rule(p.prosrc) AS rule
      FROM pg_catalog.pg_proc p
      WHERE p.proname LIKE 'trunkline\_watch\_%' AND p.prorettype = 'pg_catalog.trigger'::pg_catalog.regtype
      OFFSET 0) f
WHERE f.name ~ format('^trunkline_watch_%s_(insert|update|delete|truncate)$', f.rule->>'watch');

CREATE VIEW trunkline.watch_trigger AS
SELECT f.oid AS function, f.namespace, f.id, f.event, f.rule, t.tgrelid::pg_catalog.regclass AS table, t.tgname AS name,
       t.tgenabled IN ('O', 'A') AS enabled, t.tgname = f.name AS at_home,
       t.tgnewtable IS NOT NULL AS has_new, t.tgoldtable IS NOT NULL AS has_old
FROM trunkline.watch_function f
JOIN pg_catalog.pg_trigger t ON t.tgfoid = f.oid AND NOT t.tgisinternal;

-- create_watch_trigger makes the trigger of one event on a table, or, with partition, on a partition of it.
CREATE FUNCTION trunkline.create_watch_trigger(
    on_table regclass, function regproc, event text, has_new boolean, has_old boolean, partition boolean)
RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    name text := (SELECT p.proname FROM pg_proc p WHERE p.oid = function);
    transition text := concat(CASE WHEN has_new THEN ' NEW TABLE AS trunkline_new' END,
                              CASE WHEN has_old THEN ' OLD TABLE AS trunkline_old' END);
BEGIN
    EXECUTE format('CREATE TRIGGER %I AFTER %s ON %s %s FOR EACH STATEMENT EXECUTE FUNCTION %s()',
                   name || CASE WHEN partition THEN '_partition' ELSE '' END, event, trunkline.table_name(on_table),
                   CASE WHEN transition <> '' THEN 'REFERENCING' || transition END,
                   (SELECT format('%I.%I', n.nspname, p.proname)
                    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE p.oid = function));
END
$$;

-- check_watchable(a_table) raises for what cannot be watched, or not by the current role:
--   42809 wrong_object_type        not an ordinary or partitioned table, a temporary one
--   42501 insufficient_privilege   not owned, a system table, Trunkline's own
CREATE FUNCTION trunkline.check_watchable(a_table regclass) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    kind "char";
    persistence "char";
    schema text;
    owner oid;
    name text := trunkline.table_name(a_table);
BEGIN
    IF a_table IS NULL THEN
        RAISE EXCEPTION 'the table is missing (NULL)' USING
            ERRCODE = 'null_value_not_allowed', HINT = 'Name the table, such as ''public.task''.';
    END IF;
    SELECT c.relkind, c.relpersistence, n.nspname, c.relowner INTO kind, persistence, schema, owner
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = a_table;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no table with oid %', a_table::oid USING ERRCODE = 'undefined_table', HINT = 'Name the table, such as ''public.task''.';
    ELSIF schema = 'trunkline' THEN
        RAISE EXCEPTION 'table % is Trunkline''s own and cannot be watched', name USING
            ERRCODE = 'insufficient_privilege', HINT = 'Subscribe to its channels instead.';
    ELSIF schema IN ('pg_catalog', 'information_schema', 'pg_toast') THEN
        RAISE EXCEPTION '% is a system table and cannot be watched', name USING
            ERRCODE = 'insufficient_privilege', HINT = 'Watch a table of your own.';
    ELSIF kind NOT IN ('r', 'p') THEN
        RAISE EXCEPTION '% is a % and cannot be watched', name,
            CASE kind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'f' THEN 'foreign table' WHEN 'S' THEN 'sequence'
                      WHEN 'i' THEN 'index' WHEN 'I' THEN 'index' WHEN 'c' THEN 'composite type' ELSE 'relation of kind ' || kind::text END USING
            ERRCODE = 'wrong_object_type',
            HINT = CASE WHEN kind IN ('v', 'm') THEN 'Watch the tables that it reads.' WHEN kind = 'f' THEN 'Watch the table where it is.'
                        ELSE 'Watch a table.' END;
    ELSIF persistence = 't' THEN
        RAISE EXCEPTION '% is a temporary table and cannot be watched', name USING
            ERRCODE = 'wrong_object_type', HINT = 'Nobody but its own session sees its rows; publish them with trunkline.publish.';
    ELSIF NOT pg_has_role(current_user, owner, 'USAGE') THEN
        RAISE EXCEPTION 'table % is not owned by role "%"', name, current_user USING
            ERRCODE = 'insufficient_privilege', HINT = format('Its owner %I can watch it.', pg_get_userbyid(owner));
    END IF;
END
$$;

-- watch("table", channel, op, columns, predicate, payload, truncate_channel, notify) → the watch's id.
--
-- From the commit of the calling transaction on, changes of the table are published to the channel, in the transaction that
-- makes them. docs/watches.md describes the arguments. Takes the table's SHARE ROW EXCLUSIVE lock, as CREATE TRIGGER does.
--
-- Errors, each before anything is changed: those of check_watchable, read_template and check_predicate; 22023 for an unknown
-- op or payload and for columns that are empty or doubled; 42703 for an unknown column; 42710 if the table already has a
-- watch with this template; 42501 if the table's owner may not publish or may not create functions in the table's schema.
--
--     SELECT trunkline.watch('task', 'project:{project_id}', predicate => 'NOT draft', payload => 'change');
CREATE FUNCTION trunkline.watch(
    "table" regclass, channel text, op text[] DEFAULT '{insert,update,delete}', columns text[] DEFAULT NULL,
    predicate text DEFAULT NULL, payload text DEFAULT 'row', truncate_channel text DEFAULT NULL, notify boolean DEFAULT false)
RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    name text := trunkline.table_name("table");
    namespace oid;
    namespace_name text;
    owner oid;
    owner_name text;
    partitioned boolean;
    events text[];
    uses text[];
    row_columns text[];
    wrong text;
    id integer;
    event text;
    rule json;
    function text;
    part regclass;
BEGIN
    PERFORM trunkline.check_watchable("table");
    SELECT c.relnamespace, n.nspname, c.relowner, pg_get_userbyid(c.relowner), c.relkind = 'p'
    INTO namespace, namespace_name, owner, owner_name, partitioned
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = "table";
    IF NOT has_schema_privilege(owner, 'trunkline', 'USAGE')
       OR NOT has_function_privilege(owner, 'trunkline.publish_watched'::regproc, 'EXECUTE')
    THEN
        RAISE EXCEPTION 'role "%", the owner of %, may not publish', owner_name, name USING
            ERRCODE = 'insufficient_privilege', HINT = format('SELECT trunkline.grant_publish(%L);', owner_name);
    ELSIF NOT has_schema_privilege(owner, namespace, 'CREATE') THEN
        RAISE EXCEPTION 'role "%", the owner of %, may not create the watch''s functions in schema "%"', owner_name, name, namespace_name USING
            ERRCODE = 'insufficient_privilege', HINT = format('GRANT CREATE ON SCHEMA %I TO %I;', namespace_name, owner_name);
    END IF;

    -- Nobody else may watch this table, or change its columns, until we commit.
    EXECUTE format('LOCK TABLE ONLY %s IN SHARE ROW EXCLUSIVE MODE', name);

    -- op and truncate_channel
    SELECT o INTO wrong FROM unnest(op) o WHERE coalesce(lower(o) NOT IN ('insert', 'update', 'delete', 'truncate'), true) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'op % is unknown', coalesce(quote_literal(wrong), 'NULL') USING
            ERRCODE = 'invalid_parameter_value', HINT = 'The operations are insert, update, delete and truncate.';
    END IF;
    events := ARRAY(SELECT e.name FROM unnest('{insert,update,delete,truncate}'::text[]) WITH ORDINALITY e(name, n)
                    WHERE e.name IN (SELECT lower(o) FROM unnest(op) o) OR e.name = 'truncate' AND truncate_channel IS NOT NULL
                    ORDER BY e.n);
    IF events = '{}' THEN
        RAISE EXCEPTION 'op is empty: nothing would be watched' USING
            ERRCODE = 'invalid_parameter_value', HINT = 'The operations are insert, update, delete and truncate.';
    ELSIF 'truncate' = ANY (events) AND truncate_channel IS NULL THEN
        RAISE EXCEPTION 'op truncate needs a truncate_channel' USING
            ERRCODE = 'invalid_parameter_value', HINT = 'TRUNCATE has no row that could fill a template: pass truncate_channel => ''name''.';
    ELSIF truncate_channel IS NOT NULL THEN
        BEGIN
            PERFORM trunkline.read_template(0, truncate_channel);
        EXCEPTION WHEN undefined_column THEN
            RAISE EXCEPTION 'truncate_channel "%" names a column, but TRUNCATE has no row', truncate_channel USING
                ERRCODE = 'invalid_parameter_value', HINT = 'Name one channel. Write {{ for a literal brace.';
        END;
    END IF;

    -- payload and columns
    IF payload IS NULL OR payload NOT IN ('row', 'change') THEN
        RAISE EXCEPTION 'payload % is unknown', coalesce(quote_literal(payload), 'NULL') USING
            ERRCODE = 'invalid_parameter_value',
            HINT = 'The payloads are row (the row) and change (operation, table, new and old row).';
    ELSIF notify IS NULL THEN
        RAISE EXCEPTION 'notify is missing (NULL)' USING ERRCODE = 'null_value_not_allowed', HINT = 'Pass true or false.';
    ELSIF columns = '{}' THEN
        RAISE EXCEPTION 'columns is empty' USING
            ERRCODE = 'invalid_parameter_value', HINT = 'Pass NULL for all columns, or some of ' || trunkline.table_columns("table") || '.';
    END IF;
    SELECT c.name INTO wrong FROM unnest(columns) c(name)
    WHERE NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = "table" AND a.attnum > 0 AND NOT a.attisdropped AND a.attname = c.name)
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'columns names %, which is no column of %', coalesce('"' || wrong || '"', 'NULL'), name USING
            ERRCODE = 'undefined_column', HINT = format('Its columns are %s.', trunkline.table_columns("table"));
    END IF;
    SELECT c.name INTO wrong FROM unnest(columns) c(name) GROUP BY c.name HAVING count(*) > 1 LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'columns names "%" more than once', wrong USING
            ERRCODE = 'invalid_parameter_value', HINT = 'A JSON object has each key once.';
    END IF;

    -- channel
    uses := columns || ARRAY(SELECT t.column_name FROM trunkline.read_template("table", channel) t WHERE t.column_name IS NOT NULL);
    IF EXISTS (SELECT FROM trunkline.watch_trigger t WHERE t."table" = "table" AND t.rule->>'channel' = channel) THEN
        RAISE EXCEPTION 'table % is already watched with the channel template "%"', name, channel USING
            ERRCODE = 'duplicate_object',
            HINT = 'Remove that watch with trunkline.unwatch(table, channel); the view trunkline.watches lists all.';
    END IF;

    id := trunkline.new_watch();
    FOREACH event IN ARRAY events LOOP
        row_columns := '{}';
        IF predicate IS NOT NULL AND event <> 'truncate' THEN
            row_columns := trunkline.check_predicate("table", event, predicate);
        END IF;
        rule := json_build_object(
            'watch', id, 'table', name, 'channel', channel, 'op', events, 'columns', columns, 'predicate', predicate, 'payload', payload,
            'truncate_channel', truncate_channel, 'notify', notify, 'by', current_user,
            'uses', ARRAY(SELECT DISTINCT u FROM unnest(uses || row_columns) u));
        function := format('%I.%I', namespace_name, format('trunkline_watch_%s_%s', id, event));
        EXECUTE format('CREATE FUNCTION %s() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS %L',
                       function, CASE event WHEN 'truncate' THEN trunkline.truncate_source(rule)
                                            ELSE trunkline.watch_source("table", event, rule, row_columns) END);
        -- Else anybody could attach it to a table of theirs and publish in the owner's name.
        EXECUTE format('REVOKE ALL ON FUNCTION %s() FROM PUBLIC', function);
        EXECUTE format('ALTER FUNCTION %s() OWNER TO %I', function, owner_name);
        PERFORM trunkline.create_watch_trigger(
            "table", function::regproc, event, event IN ('insert', 'update'),
            event = 'delete' OR event = 'update' AND (payload = 'change' OR coalesce(predicate ~* '\mold\M', false)), false);
    END LOOP;
    IF partitioned THEN
        PERFORM trunkline.watch_partitions("table");
    END IF;
    RETURN id;
END
$$;

-- watch_partitions("table") → the partitions it has just made watched, or no longer watched.
--
-- An insert straight into a partition fires no trigger of the partitioned table, so each partition has triggers of its own.
-- Call this after a partition was created, attached or detached; without a table, for all watched ones that the current role
-- owns. The remarks in the view watches say where it is needed. Errors: those of check_watchable, for a partition.
CREATE FUNCTION trunkline.watch_partitions("table" regclass DEFAULT NULL) RETURNS SETOF regclass
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    one record;
    touched regclass[] := '{}';
BEGIN
    IF "table" IS NOT NULL THEN
        PERFORM trunkline.check_watchable("table");
    END IF;
    FOR one IN
        SELECT t.function, t.event, t.has_new, t.has_old, p.relid
        FROM trunkline.watch_trigger t
        JOIN pg_class c ON c.oid = t."table" AND c.relkind = 'p' AND pg_has_role(current_user, c.relowner, 'USAGE')
        CROSS JOIN LATERAL pg_partition_tree(t."table") p
        JOIN pg_class pc ON pc.oid = p.relid AND pc.relkind <> 'f'
        WHERE t.at_home AND t."table" = coalesce("table", t."table") AND p.level > 0
          AND NOT EXISTS (SELECT FROM pg_trigger e WHERE e.tgrelid = p.relid AND e.tgfoid = t.function)
        ORDER BY p.level, p.relid, t.id, t.event
    LOOP
        PERFORM trunkline.check_watchable(one.relid);
        PERFORM trunkline.create_watch_trigger(one.relid, one.function, one.event, one.has_new, one.has_old, true);
        touched := touched || one.relid::regclass;
    END LOOP;
    FOR one IN
        SELECT t."table" AS relid, t.name
        FROM trunkline.watch_trigger t
        JOIN pg_class c ON c.oid = t."table" AND pg_has_role(current_user, c.relowner, 'USAGE')
        JOIN trunkline.watch_trigger home ON home.function = t.function AND home.at_home AND home."table" = coalesce("table", home."table")
        WHERE NOT t.at_home AND NOT EXISTS (SELECT FROM pg_partition_tree(home."table") p WHERE p.relid = t."table")
        ORDER BY t."table", t.name
    LOOP
        EXECUTE format('DROP TRIGGER %I ON %s', one.name, trunkline.table_name(one.relid));
        touched := touched || one.relid::regclass;
    END LOOP;
    RETURN QUERY SELECT t.r FROM unnest(touched) WITH ORDINALITY t(r, n) GROUP BY t.r ORDER BY min(t.n);
END
$$;

-- unwatch(id) → the number of watches removed: 1. Takes the triggers of the table and of its partitions, the functions and
-- the counters away. For a watch whose table was dropped, too. Takes the table's ACCESS EXCLUSIVE lock for a moment, as DROP
-- TRIGGER does. Errors: 42704 if there is none; 42501 for another's.
CREATE FUNCTION trunkline.unwatch(id integer) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    one record;
    found_one boolean := false;
BEGIN
    FOR one IN
        SELECT f.oid, f.name, n.nspname, pg_get_userbyid(f.owner) AS owner, pg_has_role(current_user, f.owner, 'USAGE') AS mine
        FROM trunkline.watch_function f JOIN pg_namespace n ON n.oid = f.namespace
        WHERE f.id = id
        ORDER BY mine DESC, f.oid
    LOOP
        IF NOT one.mine THEN
            EXIT WHEN found_one;
            RAISE EXCEPTION 'watch % belongs to role "%"', id, one.owner USING
                ERRCODE = 'insufficient_privilege', HINT = 'Its owner can remove it.';
        END IF;
        EXECUTE coalesce((SELECT string_agg(format('DROP TRIGGER %I ON %s', t.tgname, trunkline.table_name(t.tgrelid)), '; ' ORDER BY t.tgrelid)
                          FROM pg_trigger t WHERE t.tgfoid = one.oid), 'SELECT');
        EXECUTE format('DROP FUNCTION %I.%I()', one.nspname, one.name);
        found_one := true;
    END LOOP;
    IF NOT found_one THEN
        RAISE EXCEPTION 'there is no watch %', coalesce(id::text, 'NULL') USING
            ERRCODE = 'undefined_object', HINT = 'The view trunkline.watches lists all.';
    END IF;
    PERFORM trunkline.forget_watch(id);
    RETURN 1;
END
$$;

-- unwatch("table", channel) → the number of watches removed: 1. Errors: 42704 if the table has no watch with this channel
-- template; those of unwatch(id).
--
--     SELECT trunkline.unwatch('task', 'project:{project_id}');
CREATE FUNCTION trunkline.unwatch("table" regclass, channel text) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    id integer;
BEGIN
    SELECT t.id INTO id FROM trunkline.watch_trigger t WHERE t."table" = "table" AND t.at_home AND t.rule->>'channel' = channel LIMIT 1;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'table % has no watch with the channel template %', trunkline.table_name("table"),
            coalesce('"' || channel || '"', 'NULL') USING
            ERRCODE = 'undefined_object',
            HINT = coalesce((SELECT 'Its watches are ' || string_agg(DISTINCT format('"%s" (id %s)', t.rule->>'channel', t.id), ', ') || '.'
                             FROM trunkline.watch_trigger t WHERE t."table" = "table" AND t.at_home),
                            (SELECT 'It is watched as a partition of ' || string_agg(DISTINCT home.rule->>'table', ', ') || '.'
                             FROM trunkline.watch_trigger t JOIN trunkline.watch_trigger home ON home.function = t.function AND home.at_home
                             WHERE t."table" = "table"),
                            'It has no watches.');
    END IF;
    RETURN trunkline.unwatch(id);
END
$$;

-- list_watches() → what the view watches shows. Definer's rights, for the counters.
CREATE FUNCTION trunkline.list_watches()
RETURNS TABLE (id integer, "table" text, channel text, op text[], columns text[], predicate text, payload text,
               truncate_channel text, notify boolean, created_by text, skipped bigint, rejected bigint, remarks text[])
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    w record;
    one record;
BEGIN
    FOR w IN
        SELECT f.id, f.namespace, (array_agg(f.rule))[1] AS rule, array_agg(f.oid) AS functions, array_agg(f.event) AS events, min(f.owner::bigint)::oid AS owner,
               (SELECT min(t."table"::bigint)::oid::regclass FROM trunkline.watch_trigger t
                WHERE t.id = f.id AND t.namespace = f.namespace AND t.at_home) AS home
        FROM trunkline.watch_function f
        GROUP BY f.id, f.namespace
        ORDER BY f.id, f.namespace
    LOOP
        id := w.id;
        "table" := coalesce(trunkline.table_name(w.home), w.rule->>'table');
        channel := w.rule->>'channel';
        op := ARRAY(SELECT json_array_elements_text(w.rule->'op'));
        columns := CASE WHEN json_typeof(w.rule->'columns') = 'array' THEN ARRAY(SELECT json_array_elements_text(w.rule->'columns')) END;
        predicate := w.rule->>'predicate';
        payload := w.rule->>'payload';
        truncate_channel := w.rule->>'truncate_channel';
        notify := w.rule->>'notify';
        created_by := w.rule->>'by';
        skipped := coalesce(pg_sequence_last_value(to_regclass(format('trunkline.watch_%s_skipped', w.id))), 0);
        rejected := coalesce(pg_sequence_last_value(to_regclass(format('trunkline.watch_%s_rejected', w.id))), 0);
        remarks := '{}';
        IF w.home IS NULL THEN
            remarks := remarks || format('the table was dropped: remove what is left with trunkline.unwatch(%s)', w.id);
            RETURN NEXT;
            CONTINUE;
        END IF;

        IF truncate_channel IS NULL THEN
            remarks := remarks || 'TRUNCATE is not watched: pass truncate_channel'::text;
        END IF;
        FOR one IN SELECT o.name FROM unnest(op) o(name)
                   WHERE NOT EXISTS (SELECT FROM trunkline.watch_trigger t
                                     WHERE t.id = w.id AND t.namespace = w.namespace AND t.at_home AND t.event = o.name)
        LOOP
            remarks := remarks || format('the trigger for %s is gone: watch the table anew', one.name);
        END LOOP;
        FOR one IN SELECT t.name, t."table" FROM trunkline.watch_trigger t
                   WHERE t.id = w.id AND t.namespace = w.namespace AND NOT t.enabled ORDER BY t.at_home DESC, t."table", t.name
        LOOP
            remarks := remarks || format('trigger %s of %s is disabled', one.name, trunkline.table_name(one."table"));
        END LOOP;
        FOR one IN SELECT u.name FROM json_array_elements_text(w.rule->'uses') u(name)
                   WHERE NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = w.home AND a.attnum > 0 AND NOT a.attisdropped AND a.attname = u.name)
                   ORDER BY u.name
        LOOP
            remarks := remarks || format('column "%s" is gone: every row is rejected, watch the table anew', one.name);
        END LOOP;
        IF "table" IS DISTINCT FROM w.rule->>'table' THEN
            remarks := remarks || format('the table is now called %s, its messages still say %s: watch it anew', "table", w.rule->>'table');
        END IF;
        IF w.owner IS DISTINCT FROM (SELECT c.relowner FROM pg_class c WHERE c.oid = w.home) THEN
            remarks := remarks || format('the table''s owner has changed, the watch still runs as %s: watch the table anew', pg_get_userbyid(w.owner));
        END IF;
        IF NOT has_schema_privilege(w.owner, 'trunkline', 'USAGE') OR NOT has_function_privilege(w.owner, 'trunkline.publish_watched'::regproc, 'EXECUTE') THEN
            remarks := remarks || format('role "%1$s" may no longer publish and every write fails: SELECT trunkline.grant_publish(%1$L)', pg_get_userbyid(w.owner));
        END IF;

        FOR one IN SELECT trunkline.table_name(p.relid) AS name, c.relkind, p.relid
                   FROM pg_partition_tree(w.home) p JOIN pg_class c ON c.oid = p.relid
                   WHERE p.level > 0 AND EXISTS (SELECT FROM unnest(w.functions) f(oid)
                                                 WHERE NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = p.relid AND t.tgfoid = f.oid))
                   ORDER BY p.level, name
        LOOP
            remarks := remarks || CASE WHEN one.relkind = 'f' THEN
                format('partition %s is a foreign table: direct writes to it are not watched', one.name)
            ELSE format('partition %s has no trigger: run trunkline.watch_partitions()', one.name) END;
        END LOOP;
        FOR one IN SELECT DISTINCT trunkline.table_name(t."table") AS name FROM trunkline.watch_trigger t
                   WHERE t.id = w.id AND t.namespace = w.namespace AND NOT t.at_home
                     AND NOT EXISTS (SELECT FROM pg_partition_tree(w.home) p WHERE p.relid = t."table")
                   ORDER BY name
        LOOP
            remarks := remarks || format('%s is no longer a partition but still watched: run trunkline.watch_partitions()', one.name);
        END LOOP;
        FOR one IN SELECT trunkline.table_name(i.inhrelid) AS name
                   FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhparent AND c.relkind = 'r'
                   WHERE i.inhparent = w.home ORDER BY name
        LOOP
            remarks := remarks || format('%s inherits from the table: direct writes to it are not watched, watch it too', one.name);
        END LOOP;
        RETURN NEXT;
    END LOOP;
END
$$;

-- watches: every watch, with what it has skipped (rows with NULL in the template) and rejected, and remarks on what keeps it
-- from seeing every change.
CREATE VIEW trunkline.watches AS SELECT * FROM trunkline.list_watches();
