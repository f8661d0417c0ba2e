-- Watches: rules that publish the changes of a table to channels.
--
-- A watch is a trigger function per event, in the table's schema, and a trigger per event on the table and on each of its
-- partitions. There is no table of watches: the rule is the third line of the function's own source. So nobody can watch or
-- unwatch what is not theirs, because PostgreSQL's ownership of functions and triggers decides; a dump carries everything in
-- the right order; and a dropped table takes its triggers along without leaving a row that lies.
--
-- What a trigger function collects, it collects as the table's owner. What it publishes goes through publish_watched, which
-- trusts its caller with no more than publish does.

CREATE SEQUENCE trunkline.watch_id AS integer CACHE 1;

-- new_watch() → the id of a new watch, with its two counters. They are sequences, because counting must neither lock nor
-- roll back. All that a caller can do with it is to waste ids.
CREATE FUNCTION trunkline.new_watch() RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    id integer := nextval('trunkline.watch_id');
BEGIN
    EXECUTE format('CREATE SEQUENCE trunkline.watch_%s_skipped', id);
    EXECUTE format('CREATE SEQUENCE trunkline.watch_%s_rejected', id);
    RETURN id;
END
$$;

-- forget_watch(id) drops the counters of a watch that is gone. It looks for itself whether it is: nothing that the caller
-- says is believed, so one role cannot take another's counters away.
CREATE FUNCTION trunkline.forget_watch(id integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF id IS NULL OR EXISTS (SELECT FROM pg_proc p WHERE p.proname LIKE format('trunkline\_watch\_%s\_%%', id)) THEN
        RETURN;
    END IF;
    EXECUTE format('DROP SEQUENCE IF EXISTS trunkline.watch_%s_skipped, trunkline.watch_%s_rejected', id, id);
END
$$;

-- count_watched(id, what, n) adds n to the counter 'skipped' or 'rejected' of a watch. Missing counters count nothing: a
-- statistic must not fail a transaction.
CREATE FUNCTION trunkline.count_watched(id integer, what text, n bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    counter regclass := to_regclass(format('trunkline.watch_%s_%s', id, what));
BEGIN
    IF counter IS NOT NULL THEN
        PERFORM count(nextval(counter)) FROM generate_series(1, n);
    END IF;
END
$$;

-- publish_watched(watch, source, op, channels, payloads, reasons, skipped, notify) publishes what a watch has collected, in
-- the order given, with one INSERT. For the trigger functions that watch() writes.
--
-- Where reasons[n] is set, payloads[n] is the primary key of a row that could not be published, as a JSON object or NULL,
-- and what goes out in its place is {"rejected": reason, "table": source, "op": op, "key": …}. A message that no publish
-- would accept is replaced likewise, on trunkline:rejected if it is the channel that is bad. Nothing raises because of data,
-- and the namespace trunkline gets no other message than these, so a caller gains nothing over publish but notify.
--
--     SELECT trunkline.publish_watched(7, 'public.task', 'update', '{project:42}', ARRAY['{"id":1}'::json]);
CREATE FUNCTION trunkline.publish_watched(
    watch integer, source text, op text, channels text[], payloads json[],
    reasons text[] DEFAULT NULL, skipped bigint DEFAULT 0, notify boolean DEFAULT false)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    problems text[] := reasons;
    bad record;
    rejected bigint := 0;
BEGIN
    IF skipped > 0 THEN
        PERFORM trunkline.count_watched(watch, 'skipped', skipped);
    END IF;
    IF cardinality(channels) = 0 THEN
        RETURN;
    ELSIF cardinality(channels) = 1 AND reasons IS NULL AND octet_length(channels[1]) BETWEEN 1 AND 255
          AND channels[1] COLLATE "C" !~ '[^!-~]' AND NOT starts_with(channels[1], 'trunkline:')
          AND octet_length(payloads[1]::text) <= trunkline.max_payload()
    THEN
        -- The usual single row, without the price of sets.
        INSERT INTO trunkline.message (channel, payload, notify) VALUES (channels[1], payloads[1], notify);
        RETURN;
    END IF;

    FOR bad IN
        SELECT m.n, m.channel, trunkline.channel_problem(m.channel) AS channel_problem,
               CASE WHEN m.reason IS NOT NULL THEN left(m.reason, 500)
                    WHEN m.payload IS NULL THEN 'the payload is missing (NULL)'
                    WHEN octet_length(m.payload::text) > trunkline.max_payload() THEN
                        format('the payload is %s bytes, more than %s', octet_length(m.payload::text), trunkline.max_payload())
               END AS reason,
               CASE WHEN m.reason IS NOT NULL AND octet_length(m.payload::text) <= 8192 THEN m.payload::text END AS key
        FROM unnest(channels, payloads, reasons) WITH ORDINALITY m(channel, payload, reason, n)
        WHERE m.reason IS NOT NULL OR m.channel IS NULL OR m.payload IS NULL
           OR octet_length(m.channel) NOT BETWEEN 1 AND 255 OR m.channel COLLATE "C" ~ '[^!-~]'
           OR starts_with(m.channel, 'trunkline:') OR octet_length(m.payload::text) > trunkline.max_payload()
    LOOP
        CONTINUE WHEN bad.reason IS NULL AND bad.channel_problem IS NULL;
        rejected := rejected + 1;
        IF bad.channel_problem IS NOT NULL THEN
            channels[bad.n] := 'trunkline:rejected';
        END IF;
        payloads[bad.n] := concat('{"rejected":', to_json(coalesce(bad.reason, bad.channel_problem)), ',"table":', to_json(left(source, 400)),
                                  ',"op":', to_json(left(op, 40)), ',"key":', coalesce(bad.key, 'null'), '}');
    END LOOP;

    INSERT INTO trunkline.message (channel, payload, notify)
    SELECT m.channel, m.payload, notify AND NOT starts_with(m.channel, 'trunkline:')
    FROM unnest(channels, payloads) WITH ORDINALITY m(channel, payload, n)
    ORDER BY m.n;

    IF rejected > 0 THEN
        PERFORM trunkline.count_watched(watch, 'rejected', rejected);
    END IF;
END
$$;

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
    EXECUTE format(E'EXPLAIN SELECT EXISTS (SELECT FROM %s WHERE cardinality(ARRAY[%s\n]) = 1) FROM %s',
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
    RAISE EXCEPTION 'the predicate "%" cannot be used for %: %', left(predicate, 200), event, SQLERRM USING
        ERRCODE = SQLSTATE,
        HINT = format('A predicate is one boolean SQL expression over the columns %s; new.x is the row after an insert or update, old.x before an '
                      'update or delete. Functions, operators and types outside pg_catalog need their schema.',
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
    w_channel text;[if both]
    w_other text;[end both]
    w_payload json;
    w_size integer;
    w_reason text;
    w_fetched boolean;
    w_ended boolean := false;
    w_skipped bigint := 0;
    w_bytes integer := 0;
    w_count integer := 0;
    w_channels text[] := '{}';
    w_payloads json[] := '{}';
    w_reasons text[];
BEGIN
    OPEN w_rows NO SCROLL FOR SELECT * FROM trunkline_[variable];[if pairs]
    OPEN w_old_rows NO SCROLL FOR SELECT * FROM trunkline_old;[end pairs][if moves]
    -- A trigger that stops a row on its way to another partition leaves old rows without new ones.
    IF (SELECT count(*) FROM trunkline_new) <> (SELECT count(*) FROM trunkline_old) THEN
        w_channels := ARRAY['trunkline:rejected'];
        w_payloads := ARRAY[NULL::json];
        w_reasons := ARRAY['a trigger stopped rows that moved between partitions: old and new rows cannot be paired'];
        w_count := 1;
        w_ended := true;
    END IF;[end moves]
    LOOP
        w_reason := NULL;
        BEGIN
            WHILE NOT w_ended AND w_count < 1000 AND w_bytes < 4194304 LOOP
                w_channel := NULL;
                w_fetched := false;
                FETCH w_rows INTO [variable];
                IF NOT FOUND THEN
                    w_ended := true;
                    EXIT;
                END IF;[if pairs]
                FETCH w_old_rows INTO old;[end pairs]
                w_fetched := true;
[computed][if predicate]                IF NOT EXISTS (SELECT FROM [row] WHERE ([predicate]
                )) THEN
                    CONTINUE;
                END IF;
[end predicate]                w_channel := [channel];
[if both]                -- A row that leaves one channel for another is news for both.
                w_other := [old_channel];
                w_channel := coalesce(w_channel, w_other);
[end both]                IF w_channel IS NULL THEN
                    w_skipped := w_skipped + 1;
                    CONTINUE;
                END IF;
                IF octet_length(w_channel) NOT BETWEEN 1 AND 255 OR w_channel COLLATE "C" ~ '[^!-~]'
                   OR starts_with(w_channel, 'trunkline:')
                THEN
                    w_reason := trunkline.channel_problem(w_channel);
                    IF w_reason IS NOT NULL THEN
                        w_channel := NULL;
                        EXIT;
                    END IF;
                END IF;
                -- Building the JSON of a huge row could take more memory than there is.
                IF [sizes] > 16::bigint * trunkline.max_payload() THEN
                    w_reason := format('the row is over %s bytes, far more than %s',
                                       16::bigint * trunkline.max_payload(), trunkline.max_payload());
                    EXIT;
                END IF;
                w_payload := [payload];
                w_size := octet_length(w_payload::text);
                IF w_size > trunkline.max_payload() THEN
                    w_reason := format('the payload is %s bytes, more than %s', w_size, trunkline.max_payload());
                    EXIT;
                END IF;
                w_count := w_count + 1;
                w_bytes := w_bytes + w_size;
                w_channels := array_append(w_channels, w_channel);
                w_payloads := array_append(w_payloads, w_payload);
[if both]                IF w_other <> w_channel THEN
                    w_count := w_count + 1;
                    w_bytes := w_bytes + w_size;
                    w_channels := array_append(w_channels, w_other);
                    w_payloads := array_append(w_payloads, w_payload);
                END IF;
[end both]            END LOOP;
        EXCEPTION
            WHEN transaction_rollback THEN
                RAISE;
            WHEN OTHERS THEN
                w_reason := SQLERRM;
                w_channel := NULL;
                w_ended := NOT w_fetched;
        END;

        IF w_reason IS NOT NULL THEN
            BEGIN
                w_payload := [keys];
            EXCEPTION WHEN OTHERS THEN
                w_payload := NULL;
            END;
            w_count := w_count + 1;
            w_channels := array_append(w_channels, coalesce(w_channel, 'trunkline:rejected'));
            w_payloads := array_append(w_payloads, w_payload);
            IF w_reasons IS NULL THEN
                w_reasons := ARRAY[NULL]::text[];
            END IF;
            w_reasons[w_count] := w_reason;
        END IF;

        IF w_count >= 1000 OR w_bytes >= 4194304 OR w_ended AND (w_count > 0 OR w_skipped > 0) THEN
            IF NOT has_function_privilege('trunkline.publish_watched'::regproc, 'EXECUTE') THEN
                RAISE EXCEPTION 'role "%" owns a watch of % but may no longer publish', current_user, [table] USING
                    ERRCODE = 'insufficient_privilege',
                    HINT = format('SELECT trunkline.grant_publish(%L), or remove the watch with SELECT trunkline.unwatch([id]).', current_user);
            END IF;
            PERFORM trunkline.publish_watched([id], [table], '[event]', w_channels, w_payloads, w_reasons, w_skipped, [notify]);
            w_channels := '{}';
            w_payloads := '{}';
            w_reasons := NULL;
            w_count := 0;
            w_bytes := 0;
            w_skipped := 0;
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

-- read_rule(source) → the rule in a trigger function's source, NULL if there is none. Anybody can write a function with
-- such a name, so nothing is taken for granted.
CREATE FUNCTION trunkline.read_rule(source text) RETURNS json
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    rule json := substring(source FROM '\n-- trunkline: ([^\n]*)\n');
    id integer := rule->>'watch';
BEGIN
    RETURN CASE WHEN id > 0 AND json_typeof(rule->'op') = 'array' AND rule->>'channel' <> ''
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
                      WHEN 'i' THEN 'index' WHEN 'I' THEN 'index' WHEN 'c' THEN 'composite type' ELSE 'relation of kind ' || kind END USING
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
