-- Namespaces: the settings of channels, by what stands before the first ':' of their names. A namespace without a row has no
-- settings: messages are kept for ever, and clients may do only what their token says.
--
-- Every node holds all rows in memory. What changes them says so in the log, on trunkline:control, so that a node that was
-- away learns of it when it resumes.

-- control(payload) tells all nodes something, when the calling transaction commits. publish refuses that channel, so that
-- nobody else can. Not granted to anybody.
CREATE FUNCTION trunkline.control(payload json) RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO trunkline.message (channel, payload) VALUES ('trunkline:control', payload)
$$;

-- tell_nodes(type) is the statement trigger that tells all nodes to read a table anew: {"type": type}. Where the trigger has a
-- transition table it is called changed, and a statement that changed nothing tells nothing. Definer's rights: who changes a
-- setting need not be able to write messages.
CREATE FUNCTION trunkline.tell_nodes() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF TG_OP <> 'TRUNCATE' THEN
        IF NOT EXISTS (SELECT FROM changed) THEN
            RETURN NULL;
        END IF;
    END IF;
    PERFORM trunkline.control(json_build_object('type', TG_ARGV[0]));
    RETURN NULL;
END
$$;

CREATE TABLE trunkline.namespace (
    name              text COLLATE "C" PRIMARY KEY
                      CONSTRAINT namespace_name CHECK (octet_length(name) BETWEEN 1 AND 64 AND name !~ '[:\u0001-\u001f\u007f-\u009f]'),
    -- The application's function (user_id text, channel text, action text) → boolean, stored as schema.name.
    authorize         text,
    -- How long its answer is believed (0: it is asked each time), and how long it may take.
    authorize_cache   interval NOT NULL DEFAULT '10 s'
                      CONSTRAINT namespace_authorize_cache CHECK (authorize_cache BETWEEN '0' AND '1 hour'),
    authorize_timeout interval NOT NULL DEFAULT '1 s'
                      CONSTRAINT namespace_authorize_timeout CHECK (authorize_timeout BETWEEN '10 ms' AND '30 s'),
    -- Whether users without a token may ask it; their user_id is ''.
    anonymous         boolean NOT NULL DEFAULT false,
    -- How long messages are kept; NULL: for ever.
    retention         interval CONSTRAINT namespace_retention CHECK (retention BETWEEN '1 s' AND '36500 days'),
    -- Whether clients may publish: NULL only those whose token says so, true also those whom authorize allows, false nobody.
    publish           boolean,
    -- Whether there is presence, and join and leave events: NULL for those whose token says so, true for all, false for nobody.
    presence          boolean,
    join_leave        boolean,
    -- At most one message is delivered in this time, the last always; NULL: every message is.
    conflate          interval CONSTRAINT namespace_conflate CHECK (conflate BETWEEN '1 ms' AND '1 hour'),
    -- How many recent messages of a channel a node keeps in memory; NULL: as it is configured.
    ring              integer CONSTRAINT namespace_ring CHECK (ring BETWEEN 1 AND 100000),
    -- How many messages a user may publish per second, over all connections to a node; NULL: as it is configured.
    publish_rate      double precision CONSTRAINT namespace_publish_rate CHECK (publish_rate > 0 AND publish_rate <= 1000000),
    created_at        timestamptz NOT NULL DEFAULT now(),
    updated_at        timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE trunkline.namespace IS 'Settings of the channels that begin with name and a colon. Changes take effect on all nodes.';

-- find_authorize() is the row trigger that stores authorize with its schema. It has no SET search_path, because the name is
-- looked up as whoever writes it would; so it qualifies what it uses. It judges nothing: check_namespace does.
CREATE FUNCTION trunkline.find_authorize() RETURNS trigger
LANGUAGE plpgsql
AS $$
DECLARE
    signature pg_catalog.regprocedure;
    stored pg_catalog.text;
BEGIN
    IF NEW.authorize IS NOT NULL THEN
        signature := pg_catalog.to_regprocedure(pg_catalog.concat(NEW.authorize, '(pg_catalog.text,pg_catalog.text,pg_catalog.text)'));
        SELECT pg_catalog.format('%I.%I', n.nspname, p.proname) INTO stored
        FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace
        WHERE p.oid OPERATOR(pg_catalog.=) signature::pg_catalog.oid;
        NEW.authorize := COALESCE(stored, NEW.authorize);
    END IF;
    RETURN NEW;
EXCEPTION
    WHEN syntax_error OR invalid_name OR invalid_text_representation OR undefined_object OR invalid_schema_name OR feature_not_supported THEN
        RETURN NEW;
    WHEN insufficient_privilege THEN
        RAISE EXCEPTION 'role "%" may not use the schema of the function % of namespace "%"', CURRENT_USER, NEW.authorize, NEW.name USING
            ERRCODE = 'invalid_parameter_value', COLUMN = 'authorize',
            HINT = 'Have the schema''s owner run: GRANT USAGE ON SCHEMA … TO …, also for the role that serves.';
END
$$;

-- check_namespace() is the row trigger that refuses, in a sentence, what the table can't hold. What the table's constraints
-- refuse by themselves is repeated here because they can't say what would be right. The error's COLUMN is the setting.
--
-- Errors: 22023 invalid_parameter_value.
--
--     INSERT INTO trunkline.namespace (name, authorize, retention) VALUES ('project', 'app.may', '90 days');
CREATE FUNCTION trunkline.check_namespace() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    setting text;
    problem text;
    fix text;
    found record;
BEGIN
    IF TG_OP <> 'INSERT' AND OLD.name = 'trunkline' AND (TG_OP = 'DELETE' OR NEW.name IS DISTINCT FROM OLD.name) THEN
        RAISE EXCEPTION 'the namespace "trunkline" can''t be removed: it is Trunkline''s own' USING
            ERRCODE = 'invalid_parameter_value', COLUMN = 'name', HINT = 'Its retention can be changed.';
    ELSIF TG_OP = 'DELETE' THEN
        RETURN OLD;
    END IF;

    CASE
    WHEN coalesce(NEW.name, '') = '' THEN
        setting := 'name'; problem := 'the name of a namespace is missing';
        fix := 'It is what stands before the first ":" of its channels, such as project; default for channels without one.';
    WHEN octet_length(NEW.name) > 64 THEN
        setting := 'name'; problem := format('the name of namespace "%s…" is %s bytes long, more than 64', left(NEW.name, 40), octet_length(NEW.name));
        fix := 'Choose a shorter one.';
    WHEN NEW.name ~ '[:\u0001-\u001f\u007f-\u009f]' THEN
        setting := 'name'; problem := format('the name of namespace %s contains a ":" or a control character', to_json(NEW.name));
        fix := 'It is what stands before the first ":" of its channels, such as project for project:42.';
    WHEN NEW.name = 'trunkline' AND (NEW.authorize IS NOT NULL OR NEW.anonymous OR NEW.publish IS NOT NULL OR NEW.presence IS NOT NULL
                                     OR NEW.join_leave IS NOT NULL OR NEW.conflate IS NOT NULL) THEN
        setting := 'name'; problem := 'the namespace "trunkline" is Trunkline''s own and closed to clients';
        fix := 'Only its retention and ring can be changed.';
    WHEN NEW.authorize_cache IS NULL OR NEW.authorize_cache NOT BETWEEN '0' AND '1 hour' THEN
        setting := 'authorize_cache'; problem := coalesce(NEW.authorize_cache::text, 'NULL');
        fix := 'Choose between 0 (the function is asked each time) and 1 hour.';
    WHEN NEW.authorize_timeout IS NULL OR NEW.authorize_timeout NOT BETWEEN '10 ms' AND '30 s' THEN
        setting := 'authorize_timeout'; problem := coalesce(NEW.authorize_timeout::text, 'NULL');
        fix := 'Choose between 10 ms and 30 s.';
    WHEN NEW.anonymous IS NULL THEN
        setting := 'anonymous'; problem := 'NULL';
        fix := 'Choose true or false.';
    WHEN NEW.anonymous AND NEW.authorize IS NULL THEN
        setting := 'anonymous'; problem := 'true without a function that could allow anything';
        fix := 'Set authorize too: users without a token are asked about there.';
    WHEN NEW.retention NOT BETWEEN '1 s' AND '36500 days' THEN
        setting := 'retention'; problem := NEW.retention::text;
        fix := 'Choose between 1 s and 36500 days, or none (NULL) to keep messages for ever.';
    WHEN NEW.conflate NOT BETWEEN '1 ms' AND '1 hour' THEN
        setting := 'conflate'; problem := NEW.conflate::text;
        fix := 'Choose between 1 ms and 1 hour, or none (NULL) to deliver every message.';
    WHEN NEW.ring NOT BETWEEN 1 AND 100000 THEN
        setting := 'ring'; problem := NEW.ring::text;
        fix := 'Choose between 1 and 100000 messages, or none (NULL) for the node''s own size.';
    WHEN NOT (NEW.publish_rate > 0 AND NEW.publish_rate <= 1000000) THEN
        setting := 'publish_rate'; problem := NEW.publish_rate::text;
        fix := 'Choose more than 0 and at most 1000000 messages per second, or none (NULL) for the node''s own limit.';
    WHEN NEW.authorize IS NOT NULL THEN
        setting := 'authorize';
        SELECT p.oid, p.prokind, p.proretset, p.prorettype, n.nspname INTO found
        FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE format('%I.%I', n.nspname, p.proname) = NEW.authorize
          AND p.pronargs = 3 AND oidvectortypes(p.proargtypes) = 'text, text, text';
        fix := 'Create it first: CREATE FUNCTION app.may(user_id text, channel text, action text) RETURNS boolean …, and write '
               'authorize as app.may.';
        IF found.oid IS NULL THEN
            problem := format('there is no function %s(text, text, text) for authorize of namespace "%s"', left(NEW.authorize, 140), NEW.name);
        ELSIF found.prokind <> 'f' OR found.proretset OR found.prorettype <> 'boolean'::regtype THEN
            problem := format('the function %s(text, text, text) for authorize of namespace "%s" returns %s%s, not boolean', NEW.authorize, NEW.name,
                              CASE WHEN found.prokind <> 'f' THEN 'no plain value, ' WHEN found.proretset THEN 'a set of ' ELSE '' END,
                              coalesce(format_type(found.prorettype, NULL), 'nothing'));
        ELSIF starts_with(found.nspname, 'pg_temp') THEN
            problem := format('the function %s for authorize of namespace "%s" is temporary', NEW.authorize, NEW.name);
        END IF;
    ELSE
    END CASE;
    IF problem IS NOT NULL THEN
        IF setting NOT IN ('name', 'authorize') THEN
            problem := format('%s of namespace "%s" cannot be %s', setting, NEW.name, problem);
        END IF;
        RAISE EXCEPTION '%', problem USING ERRCODE = 'invalid_parameter_value', COLUMN = setting, HINT = fix;
    END IF;
    IF TG_OP = 'UPDATE' THEN
        NEW.updated_at := clock_timestamp();
    END IF;
    RETURN NEW;
END
$$;

-- Before triggers fire in the order of their names.
CREATE TRIGGER a_find_authorize BEFORE INSERT OR UPDATE ON trunkline.namespace
FOR EACH ROW EXECUTE FUNCTION trunkline.find_authorize();
CREATE TRIGGER b_check_namespace BEFORE INSERT OR UPDATE OR DELETE ON trunkline.namespace
FOR EACH ROW EXECUTE FUNCTION trunkline.check_namespace();

-- Its messages are about the moment; a node that was away for longer reads the tables.
INSERT INTO trunkline.namespace (name, retention) VALUES ('trunkline', '7 days');

CREATE TRIGGER tell_insert AFTER INSERT ON trunkline.namespace REFERENCING NEW TABLE AS changed
FOR EACH STATEMENT EXECUTE FUNCTION trunkline.tell_nodes('namespaces');
CREATE TRIGGER tell_update AFTER UPDATE ON trunkline.namespace REFERENCING NEW TABLE AS changed
FOR EACH STATEMENT EXECUTE FUNCTION trunkline.tell_nodes('namespaces');
CREATE TRIGGER tell_delete AFTER DELETE ON trunkline.namespace REFERENCING OLD TABLE AS changed
FOR EACH STATEMENT EXECUTE FUNCTION trunkline.tell_nodes('namespaces');
CREATE TRIGGER tell_truncate AFTER TRUNCATE ON trunkline.namespace
FOR EACH STATEMENT EXECUTE FUNCTION trunkline.tell_nodes('namespaces');

-- grant_read(role), as before, and namespaces: what an engine delivers depends on their settings. A role that was granted
-- before this version needs the call again.
CREATE OR REPLACE FUNCTION trunkline.grant_read(role regrole) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA trunkline TO %s', role);
    EXECUTE format('GRANT SELECT ON trunkline.message, trunkline.channel, trunkline.log, trunkline.state, trunkline.life, trunkline.log_end, '
                   'trunkline.channels, trunkline.migration, trunkline.namespace TO %s', role);
    EXECUTE format('GRANT EXECUTE ON FUNCTION trunkline.history, trunkline.seq_at, '
                   'trunkline.max_payload, trunkline.sequencer_session TO %s', role);
END
$$;

REVOKE ALL ON trunkline.namespace FROM PUBLIC;
REVOKE ALL ON FUNCTION trunkline.control, trunkline.tell_nodes, trunkline.find_authorize, trunkline.check_namespace FROM PUBLIC;
