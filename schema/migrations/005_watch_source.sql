-- Watches: reading a rule's template and predicate, and writing the trigger functions that carry it out.

-- table_columns(of_table) → its columns as one line of text, for hints.
CREATE FUNCTION trunkline.table_columns(of_table regclass) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum)
    FROM pg_attribute a WHERE a.attrelid = of_table AND a.attnum > 0 AND NOT a.attisdropped
$$;

-- table_name(of_table) → schema and name, quoted where they must be, whatever the search path is.
CREATE FUNCTION trunkline.table_name(of_table regclass) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT format('%I.%I', n.nspname, c.relname)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = of_table
$$;

-- read_template(of_table, template) → its parts in order: a literal, or a column. Errors: 22023 for an empty template, an
-- unbalanced brace, or a literal that no channel can have; 42703 for an unknown column.
--
-- {{ and }} are literal braces. A name ends at the first } that makes it a column's, so that names may hold any character.
CREATE FUNCTION trunkline.read_template(of_table regclass, template text)
RETURNS TABLE (literal text, column_name text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    rest text := template;
    text_so_far text := '';
    ends integer;
    found_column boolean;
    columns boolean := false;
    all_literals text := '';
    problem text;
BEGIN
    IF template IS NULL OR template = '' THEN
        RAISE EXCEPTION 'the channel template is %', CASE WHEN template IS NULL THEN 'missing (NULL)' ELSE 'empty' END USING
            ERRCODE = 'invalid_parameter_value',
            HINT = 'Write the channel with columns in braces, such as ''project:{project_id}''.';
    END IF;
    WHILE rest <> '' LOOP
        IF left(rest, 2) IN ('{{', '}}') THEN
            text_so_far := text_so_far || left(rest, 1);
            rest := substr(rest, 3);
        ELSIF left(rest, 1) = '{' THEN
            found_column := false;
            FOR ends IN SELECT n FROM generate_series(2, length(rest)) n WHERE substr(rest, n, 1) = '}' LOOP
                IF EXISTS (SELECT FROM pg_attribute a
                           WHERE a.attrelid = of_table AND a.attnum > 0 AND NOT a.attisdropped
                             AND a.attname = substr(rest, 2, ends - 2))
                THEN
                    literal := text_so_far;
                    column_name := substr(rest, 2, ends - 2);
                    RETURN NEXT;
                    columns := true;
                    all_literals := all_literals || text_so_far;
                    text_so_far := '';
                    rest := substr(rest, ends + 1);
                    found_column := true;
                    EXIT;
                END IF;
            END LOOP;
            IF NOT found_column AND strpos(rest, '}') = 0 THEN
                RAISE EXCEPTION 'the channel template "%" has a { that is not closed', template USING
                    ERRCODE = 'invalid_parameter_value', HINT = 'Close it with }, or write {{ for a literal brace.';
            ELSIF NOT found_column THEN
                RAISE EXCEPTION 'the channel template "%" names "%", which is no column of %',
                    template, substr(rest, 2, strpos(rest, '}') - 2), trunkline.table_name(of_table) USING
                    ERRCODE = 'undefined_column',
                    HINT = format('Its columns are %s. Write {{ for a literal brace.', trunkline.table_columns(of_table));
            END IF;
        ELSIF left(rest, 1) = '}' THEN
            RAISE EXCEPTION 'the channel template "%" has a } that closes nothing', template USING
                ERRCODE = 'invalid_parameter_value', HINT = 'Write }} for a literal brace.';
        ELSE
            text_so_far := text_so_far || left(rest, 1);
            rest := substr(rest, 2);
        END IF;
    END LOOP;
    IF text_so_far <> '' THEN
        literal := text_so_far;
        column_name := NULL;
        all_literals := all_literals || text_so_far;
        RETURN NEXT;
    END IF;

    -- What no value of the columns can mend.
    problem := trunkline.channel_problem(CASE WHEN columns THEN 'x' || all_literals ELSE all_literals END);
    IF problem IS NULL AND starts_with(template, 'trunkline:') THEN
        problem := trunkline.channel_problem('trunkline:');
    END IF;
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION 'the channel template "%" cannot work: %', left(template, 80), problem USING
            ERRCODE = 'invalid_parameter_value',
            HINT = 'A channel is 1 to 255 bytes without control characters, such as project:42.';
    END IF;
END
$$;

-- mentions(predicate, name) → whether the text may speak of a column of that name. May err towards yes.
CREATE FUNCTION trunkline.mentions(predicate text, name text) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN name ~ '^[a-z_][a-z0-9_]*$' THEN lower(predicate) ~ ('(^|[^a-z0-9_$])' || name || '($|[^a-z0-9_$])')
                ELSE strpos(predicate, replace(name, '"', '""')) > 0 OR strpos(lower(predicate), lower(name)) > 0 END
$$;

-- row_of(variable, columns) → a FROM item with these fields of a row variable.
CREATE FUNCTION trunkline.row_of(variable text, columns text[]) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT format('(SELECT %s) row_', string_agg(format('%s.%I AS %I', variable, c.name, c.name), ', ' ORDER BY c.n))
    FROM unnest(columns) WITH ORDINALITY c(name, n)
$$;

-- check_predicate(of_table, event, predicate) → the columns of the row that the predicate needs under their bare names, in
-- the table's order. Raises what PostgreSQL says of the predicate, with its SQLSTATE, if it is not one boolean expression.
CREATE FUNCTION trunkline.check_predicate(of_table regclass, event text, predicate text) RETURNS text[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    variable text := CASE event WHEN 'delete' THEN 'old' ELSE 'new' END;
    tables text := format(CASE event WHEN 'update' THEN 'ONLY %1$s new, ONLY %1$s old' ELSE 'ONLY %1$s ' || variable END,
                          trunkline.table_name(of_table));
    every text[];
    used text[];
BEGIN
    SELECT array_agg(a.attname::text ORDER BY a.attnum),
           coalesce(array_agg(a.attname::text ORDER BY a.attnum) FILTER (WHERE trunkline.mentions(predicate, a.attname)), '{}')
    INTO every, used
    FROM pg_attribute a WHERE a.attrelid = of_table AND a.attnum > 0 AND NOT a.attisdropped;

    -- Planned, not run. What is whole between parentheses and between brackets is one expression, for no text closes
    -- both; the brackets come first, so that a text with a semicolon fails before anything of it is planned.
    EXECUTE format(E'EXPLAIN SELECT EXISTS (SELECT FROM %s WHERE cardinality(ARRAY[NULL, %s\n]) = 2) FROM %s',
                   trunkline.row_of(variable, every), predicate, tables);
    EXECUTE format(E'EXPLAIN SELECT EXISTS (SELECT FROM %s WHERE (%s\n)) FROM %s',
                   trunkline.row_of(variable, every), predicate, tables);
    -- The rest of the columns may be dropped later without the watch noticing.
    BEGIN
        EXECUTE format(E'EXPLAIN SELECT EXISTS (SELECT FROM %s WHERE (%s\n)) FROM %s',
                       coalesce(trunkline.row_of(variable, used), '(SELECT) row_'), predicate, tables);
        RETURN used;
    EXCEPTION WHEN undefined_column OR undefined_function THEN
        RETURN every;
    END;
EXCEPTION WHEN OTHERS THEN
    RAISE EXCEPTION 'the predicate "%" cannot be used for %: %', left(predicate, 200), event,
        -- The closing bracket is ours, not the user's.
        CASE WHEN SQLERRM IN ('syntax error at or near "]"', 'syntax error at or near ")"') AND predicate !~ '[])]\s*$'
             THEN 'it ends before the expression does' ELSE SQLERRM END USING
        ERRCODE = SQLSTATE,
        HINT = format('A predicate is one boolean SQL expression over the columns %s; new.x is the row after an insert or update, old.x before an '
                      'update or delete: pass op where not all three have what it needs. Functions, operators and types outside pg_catalog need their schema.',
                      trunkline.table_columns(of_table));
END
$$;

-- json_of(variable, columns) → an expression for the row variable as to_json gives it, or for these columns of it.
CREATE FUNCTION trunkline.json_of(variable text, columns text[]) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN columns IS NULL THEN format('to_json(%s)', variable) ELSE (
        SELECT format('(%s || ''}'')::json',
                      string_agg(format('%L || coalesce(to_json(%s.%I)::text, ''null'')',
                                        CASE c.n WHEN 1 THEN '{' ELSE ',' END || to_json(c.name) || ':', variable, c.name),
                                 ' || ' ORDER BY c.n))
        FROM unnest(columns) WITH ORDINALITY c(name, n)) END
$$;

-- size_of(variable, columns) → an expression for the bytes that the row, or these columns of it, take in storage.
CREATE FUNCTION trunkline.size_of(variable text, columns text[]) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN columns IS NULL THEN format('pg_column_size(%s)', variable) ELSE (
        SELECT string_agg(format('coalesce(pg_column_size(%s.%I), 0)::bigint', variable, c.name), ' + ' ORDER BY c.n)
        FROM unnest(columns) WITH ORDINALITY c(name, n)) END
$$;

-- channel_of(variable, of_table, template) → an expression for the channel.
CREATE FUNCTION trunkline.channel_of(variable text, of_table regclass, template text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT string_agg(concat_ws(' || ', CASE WHEN p.literal <> '' THEN quote_literal(p.literal) || '::text' END,
                                        CASE WHEN p.column_name IS NOT NULL THEN format('%s.%I::text', variable, p.column_name) END),
                      ' || ' ORDER BY p.n)
    FROM ROWS FROM (trunkline.read_template(of_table, template)) WITH ORDINALITY p(literal, column_name, n)
$$;

-- keep_passage(source, name, keep) → source with what stands between [if name] and [end name], or without it.
CREATE FUNCTION trunkline.keep_passage(source text, name text, keep boolean) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT regexp_replace(source, format('\[if %s\](.*?)\[end %s\]', name, name), CASE WHEN keep THEN '\1' ELSE '' END, 'g')
$$;

-- fill_in(source, texts) → source with each [name] replaced by the text of that name. One pass: texts are not read again.
CREATE FUNCTION trunkline.fill_in(source text, texts jsonb) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT string_agg(CASE WHEN piece.n = 1 THEN piece.found
                           WHEN texts ? split_part(piece.found, ']', 1) THEN
                               (texts->>split_part(piece.found, ']', 1)) || substr(piece.found, strpos(piece.found, ']') + 1)
                           ELSE '[' || piece.found END, '' ORDER BY piece.n)
    FROM regexp_split_to_table(source, '\[(?=[a-z_]+\])') WITH ORDINALITY piece(found, n)
$$;

-- watch_source(of_table, event, rule, row_columns) → the body of the trigger function for insert, update or delete.
--
-- It walks through the transition table with a cursor that computes nothing and so cannot fail. What can fail, the
-- predicate and the building of channel and payload, stands in a block that catches; publishing stands outside it, so the
-- block writes nothing and its subtransaction takes no transaction id. Chunks of 1,000 rows or 4 MiB bound the memory.
-- PL/pgSQL prepares each expression anew in every transaction, which is most of the price of a single row: the usual path
-- evaluates few, and variables start as NULL.
CREATE FUNCTION trunkline.watch_source(of_table regclass, event text, rule json, row_columns text[]) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    id integer := rule->>'watch';
    template text := rule->>'channel';
    columns text[] := (SELECT array_agg(c.value ORDER BY c.n)
                       FROM json_array_elements_text((rule->>'columns')::json) WITH ORDINALITY c(value, n));
    predicate text := rule->>'predicate';
    change boolean := rule->>'payload' = 'change';
    variable text := CASE event WHEN 'delete' THEN 'old' ELSE 'new' END;
    pairs boolean := event = 'update' AND (change OR coalesce(predicate ~* '\mold\M', false));
    payload text;
    sizes text;
    keys text;
    computed text;
    source text;
BEGIN
    payload := CASE WHEN change THEN
        format('(%L || %s || %L || %s || %L)::json',
               format('{"op":%s,"table":%s,"new":', to_json(event), to_json(rule->>'table')),
               CASE WHEN event = 'delete' THEN '''null''' ELSE trunkline.json_of('new', columns) || '::text' END,
               ',"old":',
               CASE WHEN event = 'insert' THEN '''null''' ELSE trunkline.json_of('old', columns) || '::text' END,
               '}')
        ELSE trunkline.json_of(variable, columns) END;
    sizes := trunkline.size_of(variable, columns)
        || CASE WHEN change AND event = 'update' THEN ' + ' || trunkline.size_of('old', columns) ELSE '' END;

    SELECT trunkline.json_of(variable, array_agg(a.attname::text ORDER BY k.n)) INTO keys
    FROM pg_index i
    CROSS JOIN unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, n)
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
    WHERE i.indrelid = of_table AND i.indisprimary
    HAVING count(*) > 0;

    -- PostgreSQL does not compute virtual generated columns in transition tables.
    SELECT string_agg(format(E'                %s.%I := (SELECT %s FROM %s);\n', v.variable, a.attname, pg_get_expr(d.adbin, d.adrelid),
                             trunkline.row_of(v.variable, others.names)), '' ORDER BY v.variable, a.attnum)
    INTO computed
    FROM (SELECT variable UNION ALL SELECT 'old' WHERE pairs) v(variable)
    CROSS JOIN pg_attribute a
    JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    CROSS JOIN LATERAL (SELECT array_agg(o.attname::text) AS names
                        FROM pg_attribute o
                        WHERE o.attrelid = of_table AND o.attnum > 0 AND NOT o.attisdropped
                          AND trunkline.mentions(pg_get_expr(d.adbin, d.adrelid), o.attname)) others
    WHERE a.attrelid = of_table AND a.attgenerated = 'v' AND NOT a.attisdropped
      AND (columns IS NULL OR a.attname = ANY (columns || row_columns)
           OR EXISTS (SELECT FROM trunkline.read_template(of_table, template) t WHERE t.column_name = a.attname));

    source := $body$
#variable_conflict use_column
-- trunkline: [rule]
-- Written by trunkline.watch(); trunkline.unwatch([id]) removes it.
DECLARE
    w_rows refcursor;[if pairs]
    w_old_rows refcursor;[end pairs]
    w_ended boolean;
    w_channel text;[if both]
    w_other text;[end both]
    w_payload json;
    w_size integer;
    w_reason text;
    w_channels text[];
    w_payloads json[];
    w_reasons text[];
    w_bytes integer;
    w_skipped bigint;
BEGIN[if moves]
    -- A trigger that stops a row on its way to another partition leaves old rows without new ones.
    IF (SELECT count(*) FROM trunkline_new) <> (SELECT count(*) FROM trunkline_old) THEN
        PERFORM trunkline.publish_watched([id], [table], '[event]', '{trunkline:rejected}', ARRAY[NULL::json],
            ARRAY['a trigger stopped rows that moved between partitions: old and new rows cannot be paired']);
        RETURN NULL;
    END IF;[end moves]
    OPEN w_rows NO SCROLL FOR SELECT * FROM trunkline_[variable];[if pairs]
    OPEN w_old_rows NO SCROLL FOR SELECT * FROM trunkline_old;[end pairs]
    LOOP
        BEGIN
            LOOP
                w_ended := true; -- also if the cursor should fail
                FETCH w_rows INTO [variable];
                EXIT WHEN NOT FOUND;[if pairs]
                FETCH w_old_rows INTO old;[end pairs]
                w_ended := false;
[computed][if predicate]                IF NOT EXISTS (SELECT FROM [row] WHERE ([predicate]
                )) THEN
                    CONTINUE;
                END IF;
[end predicate]                w_channel := [channel];
[if both]                -- A row that leaves one channel for another is news for both.
                w_other := [old_channel];
                w_channel := coalesce(w_channel, w_other);
[end both]                -- Building the JSON of a huge row could take more memory than there is.
                IF (octet_length(w_channel) BETWEEN 1 AND 255 AND w_channel COLLATE "C" !~ '[^!-~]'
                    AND NOT starts_with(w_channel, 'trunkline:') AND [sizes] <= 16::bigint * trunkline.max_payload()) IS NOT TRUE
                THEN
                    IF w_channel IS NULL THEN
                        w_skipped := coalesce(w_skipped, 0) + 1;
                        CONTINUE;
                    END IF;
                    w_reason := trunkline.channel_problem(w_channel);
                    IF w_reason IS NOT NULL THEN
                        w_channel := NULL;
                        EXIT;
                    ELSIF [sizes] > 16::bigint * trunkline.max_payload() THEN
                        w_reason := format('the row is over %s bytes, far more than %s',
                                           16::bigint * trunkline.max_payload(), trunkline.max_payload());
                        EXIT;
                    END IF;
                END IF;
                w_payload := [payload];
                w_size := octet_length(w_payload::text);
                IF w_size > trunkline.max_payload() THEN
                    w_reason := format('the payload is %s bytes, more than %s', w_size, trunkline.max_payload());
                    EXIT;
                END IF;
                w_channels := array_append(w_channels, w_channel);
                w_payloads := array_append(w_payloads, w_payload);
[if both]                IF w_other <> w_channel THEN
                    w_channels := array_append(w_channels, w_other);
                    w_payloads := array_append(w_payloads, w_payload);
                END IF;
[end both]                w_bytes := coalesce(w_bytes, 0) + w_size;
                EXIT WHEN cardinality(w_channels) >= 1000 OR w_bytes >= 4194304;
            END LOOP;
        EXCEPTION
            WHEN transaction_rollback THEN
                RAISE;
            WHEN OTHERS THEN
                w_reason := SQLERRM;
                w_channel := NULL;
        END;

        IF w_reason IS NOT NULL THEN
            BEGIN
                w_payload := [keys];
            EXCEPTION WHEN OTHERS THEN
                w_payload := NULL;
            END;
            w_channels := array_append(w_channels, coalesce(w_channel, 'trunkline:rejected'));
            w_payloads := array_append(w_payloads, w_payload);
            IF w_reasons IS NULL THEN
                w_reasons := ARRAY[NULL]::text[];
            END IF;
            w_reasons[cardinality(w_channels)] := w_reason;
            w_reason := NULL;
        END IF;

        IF (w_channels IS NOT NULL OR w_skipped > 0)
           AND (w_ended OR cardinality(w_channels) >= 1000 OR w_bytes >= 4194304)
        THEN
            IF NOT has_function_privilege('trunkline.publish_watched'::regproc, 'EXECUTE') THEN
                RAISE EXCEPTION 'role "%" owns a watch of % but may no longer publish', current_user, [table] USING
                    ERRCODE = 'insufficient_privilege',
                    HINT = format('SELECT trunkline.grant_publish(%L), or remove the watch with SELECT trunkline.unwatch([id]).', current_user);
            END IF;
            PERFORM trunkline.publish_watched([id], [table], '[event]', w_channels, w_payloads, w_reasons, w_skipped, [notify]);
            EXIT WHEN w_ended;
            w_channels := NULL;
            w_payloads := NULL;
            w_reasons := NULL;
            w_bytes := NULL;
            w_skipped := NULL;
        END IF;
        EXIT WHEN w_ended;
    END LOOP;
    CLOSE w_rows;[if pairs]
    CLOSE w_old_rows;[end pairs]
    RETURN NULL;
END
$body$;

    -- Passages for some watches only, then the values: at once, so that no value is searched for another's place.
    source := trunkline.keep_passage(source, 'pairs', pairs);
    source := trunkline.keep_passage(source, 'moves', pairs AND (SELECT c.relkind = 'p' FROM pg_class c WHERE c.oid = of_table));
    source := trunkline.keep_passage(source, 'predicate', predicate IS NOT NULL);
    source := trunkline.keep_passage(source, 'both', change AND event = 'update');
    RETURN trunkline.fill_in(source, jsonb_build_object(
        'rule', rule::text,
        'id', id::text,
        'event', event,
        'variable', variable,
        'table', quote_literal(rule->>'table'),
        'notify', rule->>'notify',
        'computed', coalesce(computed, ''),
        'row', coalesce(trunkline.row_of(variable, row_columns), '(SELECT) row_'),
        'predicate', coalesce(predicate, ''),
        'channel', trunkline.channel_of(variable, of_table, template),
        'old_channel', trunkline.channel_of('old', of_table, template),
        'sizes', sizes,
        'payload', payload,
        'keys', coalesce(keys, 'NULL')));
END
$$;

-- truncate_source(rule) → the body of the trigger function for TRUNCATE.
--
-- TRUNCATE of a partitioned table fires the triggers of the table first, then those of all its partitions: the first one
-- notes which others are to follow, and each of those only strikes itself off.
CREATE FUNCTION trunkline.truncate_source(rule json) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT trunkline.fill_in($body$
-- trunkline: [rule]
-- Written by trunkline.watch(); trunkline.unwatch([id]) removes it.
DECLARE
    follow text[] := string_to_array(current_setting('trunkline.truncating_[id]', true), ' ');
BEGIN
    IF TG_RELID::text = ANY (follow) THEN
        PERFORM set_config('trunkline.truncating_[id]', array_to_string(array_remove(follow, TG_RELID::text), ' '), true);
        RETURN NULL;
    END IF;
    follow := ARRAY(SELECT t.tgrelid::text
                    FROM pg_partition_tree(TG_RELID) p
                    JOIN pg_trigger t ON t.tgrelid = p.relid AND t.tgenabled IN ('O', 'A')
                    WHERE p.level > 0 AND t.tgname = 'trunkline_watch_[id]_truncate_partition');
    IF follow <> '{}' THEN
        PERFORM set_config('trunkline.truncating_[id]', array_to_string(follow, ' '), true);
    END IF;
    IF NOT has_function_privilege('trunkline.publish_watched'::regproc, 'EXECUTE') THEN
        RAISE EXCEPTION 'role "%" owns a watch of % but may no longer publish', current_user, [table] USING
            ERRCODE = 'insufficient_privilege',
            HINT = format('SELECT trunkline.grant_publish(%L), or remove the watch with SELECT trunkline.unwatch([id]).', current_user);
    END IF;
    PERFORM trunkline.publish_watched([id], [table], 'truncate', ARRAY[[channel]], ARRAY[format('{"op":"truncate","table":%s}',
        to_json(CASE WHEN TG_NAME LIKE '%\_partition' THEN format('%I.%I', TG_TABLE_SCHEMA, TG_TABLE_NAME) ELSE [table] END))::json],
        notify => [notify]);
    RETURN NULL;
END
$body$, jsonb_build_object('rule', rule::text, 'id', rule->>'watch', 'notify', rule->>'notify',
                           'table', quote_literal(rule->>'table'),
                           'channel', quote_literal((SELECT string_agg(p.literal, '') FROM trunkline.read_template(0, rule->>'truncate_channel') p))))
$$;
