-- Kinds: what notifications can be about, with a title, a template and a delay.

-- template_rest(template) → what stands behind the part of a template that is well formed: '' if all of it is.
CREATE FUNCTION trunkline.template_rest(template text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT substr(template, 1 + length(substring(
        template COLLATE "C" FROM '^(?:[^{}]|\{\{|\}\}|\{[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\})*')))
$$;

-- find_authorize() as before; its sentence says of what.
CREATE OR REPLACE FUNCTION trunkline.find_authorize() RETURNS trigger
LANGUAGE plpgsql
AS $$
DECLARE
    signature pg_catalog.regprocedure;
    stored pg_catalog.text;
BEGIN
    IF NEW.authorize IS NOT NULL THEN
        signature := pg_catalog.to_regprocedure(
            pg_catalog.concat(NEW.authorize, '(pg_catalog.text,pg_catalog.text,pg_catalog.text)'));
        SELECT pg_catalog.format('%I.%I', n.nspname, p.proname) INTO stored
        FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace
        WHERE p.oid OPERATOR(pg_catalog.=) signature::pg_catalog.oid;
        NEW.authorize := COALESCE(stored, NEW.authorize);
    END IF;
    RETURN NEW;
EXCEPTION
    WHEN syntax_error OR invalid_name OR invalid_text_representation OR undefined_object OR invalid_schema_name
         OR feature_not_supported THEN
        RETURN NEW;
    WHEN insufficient_privilege THEN
        RAISE EXCEPTION 'role "%" may not use the schema of the function % of % "%"',
            CURRENT_USER, NEW.authorize, TG_TABLE_NAME, NEW.name USING
            ERRCODE = 'invalid_parameter_value', COLUMN = 'authorize',
            HINT = 'Have the schema''s owner run: GRANT USAGE ON SCHEMA … TO …, also for the role that serves.';
END
$$;

-- check_kind() is the row trigger that refuses, in a sentence, what a kind can't be. The error's COLUMN is the argument of kind().
--
-- Errors: 22023 invalid_parameter_value.
CREATE FUNCTION trunkline.check_kind() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    setting text;
    problem text;
    fix text;
    rest text;
    found record;
BEGIN
    PERFORM trunkline.check_argument('name', 'name of the kind', NEW.name, 64);
    NEW.title := coalesce(NEW.title, NEW.name);
    CASE
    WHEN btrim(NEW.title) = '' OR octet_length(NEW.title) > 200 OR NEW.title COLLATE "C" ~ '[\u0001-\u001f\u007f-\u009f]' THEN
        setting := 'title';
        problem := format('the title of kind "%s" is empty, over 200 bytes long or contains a control character: %s',
                          NEW.name, to_json(left(NEW.title, 80)));
        fix := 'Give what people call it, such as Task completed, or none (NULL) for its name.';
    WHEN NEW.delay NOT BETWEEN '0' AND '30 days' THEN
        setting := 'delay'; problem := format('delay of kind "%s" cannot be %s', NEW.name, NEW.delay);
        fix := 'Choose between 0 (mailed at once) and 30 days, or none (NULL) for four hours.';
    WHEN octet_length(NEW.template) > 1000 OR NEW.template COLLATE "C" ~ '[\u0001-\u001f\u007f-\u009f]' THEN
        setting := 'template';
        problem := format('the template of kind "%s" is over 1000 bytes long or contains a control character', NEW.name);
        fix := 'It makes one line: {actor} completed {task.title}.';
    WHEN NEW.template = '' THEN
        setting := 'template'; problem := format('the template of kind "%s" is empty', NEW.name);
        fix := 'Pass none (NULL) for the title.';
    WHEN trunkline.template_rest(NEW.template) <> '' THEN
        rest := trunkline.template_rest(NEW.template);
        setting := 'template';
        problem := format('the template of kind "%s" has %s at %s', NEW.name, CASE
            WHEN starts_with(rest, '}') THEN 'a } without its {'
            WHEN rest COLLATE "C" ~ '^\{[^{}]*\}' THEN 'no name between braces'
            ELSE 'a { without its }' END, to_json(left(rest, 40)));
        fix := 'Names are of letters, digits, _ and -, with dots between the steps of a path: {task.title}. '
               'Braces themselves are written {{ and }}.';
    WHEN cardinality(string_to_array(replace(NEW.template, '{{', ''), '{')) > 21 THEN
        setting := 'template';
        problem := format('the template of kind "%s" has %s names in braces, more than 20', NEW.name,
                          cardinality(string_to_array(replace(NEW.template, '{{', ''), '{')) - 1);
        fix := 'It makes one line: {actor} completed {task.title}.';
    WHEN NEW.authorize IS NOT NULL THEN
        setting := 'authorize';
        SELECT p.oid, p.prokind, p.proretset, p.prorettype, n.nspname INTO found
        FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE format('%I.%I', n.nspname, p.proname) = NEW.authorize
          AND p.pronargs = 3 AND oidvectortypes(p.proargtypes) = 'text, text, text';
        fix := 'Create it first: CREATE FUNCTION app.may(user_id text, "group" text, action text) RETURNS boolean …, and write '
               'authorize as app.may.';
        IF found.oid IS NULL THEN
            problem := format('there is no function %s(text, text, text) for authorize of kind "%s"',
                              left(NEW.authorize, 140), NEW.name);
        ELSIF found.prokind <> 'f' OR found.proretset OR found.prorettype <> 'boolean'::regtype THEN
            problem := format(
                'the function %s(text, text, text) for authorize of kind "%s" returns %s%s, not boolean', NEW.authorize, NEW.name,
                CASE WHEN found.prokind <> 'f' THEN 'no plain value, ' WHEN found.proretset THEN 'a set of ' ELSE '' END,
                coalesce(format_type(found.prorettype, NULL), 'nothing'));
        ELSIF starts_with(found.nspname, 'pg_temp') THEN
            problem := format('the function %s for authorize of kind "%s" is temporary', NEW.authorize, NEW.name);
        END IF;
    ELSE
    END CASE;
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION '%', problem USING ERRCODE = 'invalid_parameter_value', COLUMN = setting, HINT = fix;
    END IF;
    IF TG_OP = 'UPDATE' THEN
        NEW.updated_at := clock_timestamp();
    END IF;
    RETURN NEW;
END
$$;

-- Before triggers fire in the order of their names.
CREATE TRIGGER a_find_authorize BEFORE INSERT OR UPDATE OF authorize ON trunkline.kind
FOR EACH ROW EXECUTE FUNCTION trunkline.find_authorize();
CREATE TRIGGER b_check_kind BEFORE INSERT OR UPDATE ON trunkline.kind
FOR EACH ROW EXECUTE FUNCTION trunkline.check_kind();

-- kind(name, title, delay, template, authorize) registers a kind of notifications, or replaces all that is registered of it: what
-- isn't given has its default. It also holds for notifications that are there already.
--
-- title is what people call it (NULL: its name), delay how long a notification may stay unread before it is mailed (0: it is mailed
-- at once; NULL: four hours), template makes one line of a notification's data (see item_text), authorize is asked before anything
-- is mailed whether the user may still see its group. The function's name is looked up as the caller would; choosing one takes
-- grant_admin, because it is called with the rights of the role that mails.
--
-- Errors: 22023 invalid_parameter_value; 42501 insufficient_privilege if it would change authorize and the role may not.
--
--     SELECT trunkline.kind('task.completed', 'Task completed', '2 hours', '{actor} completed {task.title}', 'app.may');
CREATE FUNCTION trunkline.kind(name text, title text DEFAULT NULL, delay interval DEFAULT NULL, template text DEFAULT NULL,
                               "authorize" text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql
AS $$
#variable_conflict use_variable
BEGIN
    -- The caller's rights and, for authorize, the caller's search path: so everything is qualified.
    IF pg_catalog.has_table_privilege('trunkline.kind', 'INSERT')
       AND pg_catalog.has_table_privilege('trunkline.kind', 'UPDATE') THEN
        INSERT INTO trunkline.kind AS k (name, title, delay, template, authorize)
        VALUES (name, COALESCE(title, name), delay, template, "authorize")
        ON CONFLICT ON CONSTRAINT kind_pkey DO UPDATE SET
            title = excluded.title, delay = excluded.delay, template = excluded.template, authorize = excluded.authorize;
    ELSE
        PERFORM trunkline.set_kind(name, title, delay, template, "authorize");
    END IF;
END
$$;

-- set_kind is kind for roles that may notify but choose no authorize function.
CREATE FUNCTION trunkline.set_kind(name text, title text, delay interval, template text, "authorize" text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
    IF (SELECT k.authorize FROM trunkline.kind k WHERE k.name = name COLLATE "C") IS DISTINCT FROM "authorize" THEN
        RAISE EXCEPTION 'this role may not change authorize of kind "%"', left(name, 80) USING
            ERRCODE = 'insufficient_privilege', COLUMN = 'authorize',
            HINT = 'Have Trunkline''s owner register the kind, or run: SELECT trunkline.grant_admin(role). '
                   'One that stays as it is, is given as schema.name.';
    END IF;
    LOOP
        -- Without a word about authorize, which the owner might not be able to look up.
        UPDATE trunkline.kind k SET title = coalesce(title, name), delay = delay, template = template
        WHERE k.name = name COLLATE "C";
        EXIT WHEN FOUND;
        INSERT INTO trunkline.kind (name, title, delay, template) VALUES (name, coalesce(title, name), delay, template)
        ON CONFLICT DO NOTHING;
        EXIT WHEN FOUND;
    END LOOP;
END
$$;

-- remove_kind(name) forgets a kind. Its notifications stay, with the defaults of a kind that isn't registered.
--
-- Errors: 42704 undefined_object if there is none of that name; 42501 insufficient_privilege if it has an authorize function and
-- the role may not change that.
--
--     SELECT trunkline.remove_kind('task.completed');
CREATE FUNCTION trunkline.remove_kind(name text) RETURNS void
LANGUAGE plpgsql
AS $$
#variable_conflict use_variable
DECLARE
    gone pg_catalog.bool;
BEGIN
    IF pg_catalog.has_table_privilege('trunkline.kind', 'DELETE') THEN
        DELETE FROM trunkline.kind k WHERE k.name OPERATOR(pg_catalog.=) name COLLATE pg_catalog."C";
        gone := FOUND;
    ELSE
        gone := trunkline.drop_kind(name);
    END IF;
    IF NOT gone THEN
        RAISE EXCEPTION 'there is no kind "%"', COALESCE(pg_catalog.left(name, 80), 'NULL') USING
            ERRCODE = 'undefined_object', COLUMN = 'name', HINT = 'SELECT name FROM trunkline.kind lists all.';
    END IF;
END
$$;

-- drop_kind is remove_kind for roles that may notify but choose no authorize function. → whether there was such a kind.
CREATE FUNCTION trunkline.drop_kind(name text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
    DELETE FROM trunkline.kind k WHERE k.name = name COLLATE "C" AND k.authorize IS NULL;
    IF FOUND THEN
        RETURN true;
    END IF;
    IF EXISTS (SELECT FROM trunkline.kind k WHERE k.name = name COLLATE "C") THEN
        RAISE EXCEPTION 'this role may not remove kind "%", which has an authorize function', left(name, 80) USING
            ERRCODE = 'insufficient_privilege', COLUMN = 'name',
            HINT = 'Have Trunkline''s owner remove it, or run: SELECT trunkline.grant_admin(role).';
    END IF;
    RETURN false;
END
$$;

REVOKE ALL ON FUNCTION trunkline.template_rest, trunkline.check_kind, trunkline.kind, trunkline.set_kind, trunkline.remove_kind,
    trunkline.drop_kind FROM PUBLIC;
