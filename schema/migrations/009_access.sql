-- Access: API keys, what was revoked, and what an application says to connected clients. All of it is part of the caller's
-- transaction: it takes effect on every node when that commits.

-- A key itself is seen once, by who made it. Here is its SHA-256, which is enough to know it again: a key is 190 random bits,
-- so there is nothing to guess, and no need for a slow hash.
CREATE TABLE trunkline.apikey (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name       text COLLATE "C" NOT NULL CHECK (octet_length(name) BETWEEN 1 AND 64),
    -- What a key begins with, to tell which one is meant. No part of the secret: tk_ and 8 characters.
    prefix     text COLLATE "C" NOT NULL CHECK (prefix ~ '^tk_[0-9A-Za-z]{8}$'),
    hash       bytea NOT NULL UNIQUE CHECK (octet_length(hash) = 32),
    scopes     text[] NOT NULL CHECK (cardinality(scopes) > 0 AND scopes <@ '{publish,read,admin}'),
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz CHECK (isfinite(expires_at)),
    revoked_at timestamptz
);

COMMENT ON TABLE trunkline.apikey IS 'Keys for programs, hashed. Made and revoked with trunkline apikey.';

-- A name is one key's at a time: once revoked it can be given again.
CREATE UNIQUE INDEX apikey_name ON trunkline.apikey (name) WHERE revoked_at IS NULL;

CREATE TABLE trunkline.revocation (
    -- '' where one token is revoked, whose ever it is.
    user_id text COLLATE "C" NOT NULL,
    -- '' for all channels.
    channel text COLLATE "C" NOT NULL DEFAULT '',
    -- '' for all tokens of the user.
    jti     text COLLATE "C" NOT NULL DEFAULT '',
    -- Tokens issued up to then no longer count.
    at      timestamptz NOT NULL DEFAULT clock_timestamp() CHECK (isfinite(at)),
    PRIMARY KEY (user_id, channel, jti),
    CHECK ((user_id = '') <> (jti = ''))
);

COMMENT ON TABLE trunkline.revocation IS 'What was revoked. A row can be deleted once every token issued up to its time has expired.';

CREATE TRIGGER tell_insert AFTER INSERT ON trunkline.apikey REFERENCING NEW TABLE AS changed
FOR EACH STATEMENT EXECUTE FUNCTION trunkline.tell_nodes('apikeys');
CREATE TRIGGER tell_update AFTER UPDATE ON trunkline.apikey REFERENCING NEW TABLE AS changed
FOR EACH STATEMENT EXECUTE FUNCTION trunkline.tell_nodes('apikeys');
CREATE TRIGGER tell_delete AFTER DELETE ON trunkline.apikey REFERENCING OLD TABLE AS changed
FOR EACH STATEMENT EXECUTE FUNCTION trunkline.tell_nodes('apikeys');
CREATE TRIGGER tell_truncate AFTER TRUNCATE ON trunkline.apikey
FOR EACH STATEMENT EXECUTE FUNCTION trunkline.tell_nodes('apikeys');

-- check_name(what, value, most) raises 22023 unless value is 1 to most bytes without control characters.
CREATE FUNCTION trunkline.check_name(what text, value text, most integer) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    problem text := CASE
        WHEN coalesce(value, '') = '' THEN format('the %s is missing', what)
        WHEN octet_length(value) > most THEN format('%s "%s…" is %s bytes long, more than %s', what, left(value, 40), octet_length(value), most)
        WHEN value COLLATE "C" ~ '[\u0001-\u001f\u007f-\u009f]' THEN format('%s %s contains a control character', what, to_json(left(value, 80)))
    END;
BEGIN
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION '%', problem USING
            ERRCODE = 'invalid_parameter_value', COLUMN = what,
            HINT = format('Give 1 to %s bytes without control characters.', most);
    END IF;
END
$$;

-- check_channel(channel) raises 22023 for what is no channel of an application's.
CREATE FUNCTION trunkline.check_channel(channel text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    problem text := trunkline.channel_problem(channel);
BEGIN
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION '%', problem USING
            ERRCODE = 'invalid_parameter_value', COLUMN = 'channel',
            HINT = 'A channel is 1 to 255 bytes without control characters, such as project:42.';
    END IF;
END
$$;

-- revoke(user_id, channel) takes away what a user was allowed: in one channel, or in all of them without one.
--
-- Tokens of the user's that were issued up to now no longer count for the channel, or for anything, and the namespace's function
-- is asked anew. Connected clients are unsubscribed, or disconnected where no channel is given. What the application's
-- function still allows stays allowed, so change the data it looks at first, in the same transaction.
--
-- Callers that revoke the same thing wait for each other until they commit. Errors: 22023 invalid_parameter_value.
--
--     SELECT trunkline.revoke('ann', 'project:42');
CREATE FUNCTION trunkline.revoke(user_id text, channel text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    PERFORM trunkline.check_name('user', revoke.user_id, 255);
    IF revoke.channel IS NOT NULL THEN
        PERFORM trunkline.check_channel(revoke.channel);
    END IF;
    INSERT INTO trunkline.revocation AS r (user_id, channel) VALUES (revoke.user_id, coalesce(revoke.channel, ''))
    ON CONFLICT (user_id, channel, jti) DO UPDATE SET at = greatest(r.at, clock_timestamp());
    PERFORM trunkline.control(json_build_object('type', 'revoke', 'user', revoke.user_id, 'channel', coalesce(revoke.channel, ''), 'jti', ''));
END
$$;

-- revoke_token(jti) makes one token worthless, by its jti claim; connections made with it are closed.
--
-- Errors: 22023 invalid_parameter_value.
--
--     SELECT trunkline.revoke_token('6f1c0d52-4f0e-4d0e-9f34-7d3b6a1f2c11');
CREATE FUNCTION trunkline.revoke_token(jti text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    PERFORM trunkline.check_name('jti', revoke_token.jti, 255);
    INSERT INTO trunkline.revocation AS r (user_id, jti) VALUES ('', revoke_token.jti)
    ON CONFLICT (user_id, channel, jti) DO UPDATE SET at = greatest(r.at, clock_timestamp());
    PERFORM trunkline.control(json_build_object('type', 'revoke', 'user', '', 'channel', '', 'jti', revoke_token.jti));
END
$$;

-- disconnect(user_id, client) closes a user's connections, or the one of that client id. It forbids nothing: whose token is
-- still good can connect again.
--
-- Errors: 22023 invalid_parameter_value.
--
--     SELECT trunkline.disconnect('ann');
CREATE FUNCTION trunkline.disconnect(user_id text, client text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM trunkline.check_name('user', user_id, 255);
    IF client IS NOT NULL THEN
        PERFORM trunkline.check_name('client', client, 255);
    END IF;
    PERFORM trunkline.control(json_build_object('type', 'disconnect', 'user', user_id, 'client', coalesce(client, '')));
END
$$;

-- unsubscribe(user_id, channel) ends a user's subscriptions to a channel. It forbids nothing: revoke does.
--
-- Errors: 22023 invalid_parameter_value.
--
--     SELECT trunkline.unsubscribe('ann', 'project:42');
CREATE FUNCTION trunkline.unsubscribe(user_id text, channel text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM trunkline.check_name('user', user_id, 255);
    PERFORM trunkline.check_channel(channel);
    PERFORM trunkline.control(json_build_object('type', 'unsubscribe', 'user', user_id, 'channel', channel));
END
$$;

-- create_apikey(name, prefix, hash, scopes, expires_at) → the id of a new API key. The caller made the key: its first 11
-- characters are the prefix, its SHA-256 the hash. scopes are of publish, read and admin; without expires_at it holds until
-- it is revoked.
--
-- Errors: 22023 invalid_parameter_value; 42710 duplicate_object if a key of that name is not revoked.
--
--     SELECT trunkline.create_apikey('billing', left(:'key', 11), sha256(:'key'), '{publish}', now() + interval '1 year');
CREATE FUNCTION trunkline.create_apikey(name text, prefix text, hash bytea, scopes text[], expires_at timestamptz DEFAULT NULL)
RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    created bigint;
BEGIN
    PERFORM trunkline.check_name('name', name, 64);
    IF prefix IS NULL OR prefix COLLATE "C" !~ '^tk_[0-9A-Za-z]{8}$' OR octet_length(hash) IS DISTINCT FROM 32 THEN
        RAISE EXCEPTION 'API key "%" has no prefix of tk_ and 8 letters or digits, or no SHA-256 of 32 bytes', name USING
            ERRCODE = 'invalid_parameter_value', COLUMN = 'hash', HINT = 'Make it with: trunkline apikey create NAME --scope …';
    ELSIF coalesce(cardinality(scopes), 0) = 0 OR NOT scopes <@ '{publish,read,admin}' OR array_position(scopes, NULL) IS NOT NULL THEN
        RAISE EXCEPTION 'API key "%" cannot have the scopes %', name, coalesce(left(scopes::text, 80), 'NULL') USING
            ERRCODE = 'invalid_parameter_value', COLUMN = 'scopes', HINT = 'Name at least one of publish, read and admin.';
    ELSIF expires_at <= clock_timestamp() OR NOT isfinite(expires_at) THEN
        RAISE EXCEPTION 'API key "%" cannot expire at %', name, expires_at USING
            ERRCODE = 'invalid_parameter_value', COLUMN = 'expires_at', HINT = 'Give a time to come, or none (NULL) for a key that holds until it is revoked.';
    END IF;
    INSERT INTO trunkline.apikey (name, prefix, hash, scopes, expires_at)
    VALUES (name, prefix, hash, ARRAY(SELECT DISTINCT s FROM unnest(scopes) s ORDER BY s), expires_at)
    ON CONFLICT DO NOTHING RETURNING id INTO created;
    IF created IS NULL THEN
        RAISE EXCEPTION 'there is an API key "%" already', name USING
            ERRCODE = 'duplicate_object', COLUMN = 'name',
            HINT = 'Choose another name, or revoke that one first: trunkline apikey revoke NAME.';
    END IF;
    RETURN created;
END
$$;

-- revoke_apikey(name) makes an API key worthless; its name can be given again.
--
-- Errors: 42704 undefined_object if there is none of that name, or it is revoked already.
--
--     SELECT trunkline.revoke_apikey('billing');
CREATE FUNCTION trunkline.revoke_apikey(name text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
    UPDATE trunkline.apikey k SET revoked_at = clock_timestamp() WHERE k.name = name COLLATE "C" AND k.revoked_at IS NULL;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no API key "%" that could be revoked', coalesce(left(name, 80), 'NULL') USING
            ERRCODE = 'undefined_object', COLUMN = 'name', HINT = 'trunkline apikey list shows all.';
    END IF;
END
$$;

-- grant_admin(role) lets an existing role change namespaces, revoke, disconnect and unsubscribe users, and make and revoke API
-- keys: what an application's own role needs to call these in its transactions, and a server's for its administration over
-- REST. It includes the choice of authorize functions, which servers call with their rights: grant it to nobody whom you would not let act
-- as the server. For Trunkline's owner.
--
--     SELECT trunkline.grant_admin('app');
CREATE FUNCTION trunkline.grant_admin(role regrole) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA trunkline TO %s', role);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON trunkline.namespace TO %s', role);
    EXECUTE format('GRANT SELECT (id, name, prefix, scopes, created_at, expires_at, revoked_at) ON trunkline.apikey TO %s', role);
    EXECUTE format('GRANT SELECT, DELETE ON trunkline.revocation TO %s', role);
    EXECUTE format('GRANT EXECUTE ON FUNCTION trunkline.revoke, trunkline.revoke_token, trunkline.disconnect, trunkline.unsubscribe, '
                   'trunkline.create_apikey, trunkline.revoke_apikey TO %s', role);
END
$$;

-- grant_serve(role) lets an existing role that doesn't own the schema run a server: grant_read, and what it decides by. It also
-- needs EXECUTE on the authorize functions (and USAGE on their schemas), from their owner; grant_publish if clients or REST
-- publish; grant_admin if REST administers. For Trunkline's owner.
--
--     SELECT trunkline.grant_serve('live');
CREATE FUNCTION trunkline.grant_serve(role regrole) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM trunkline.grant_read(role);
    EXECUTE format('GRANT SELECT ON trunkline.apikey, trunkline.revocation TO %s', role);
END
$$;

REVOKE ALL ON trunkline.apikey, trunkline.revocation FROM PUBLIC;
REVOKE ALL ON SEQUENCE trunkline.apikey_id_seq FROM PUBLIC;
REVOKE ALL ON FUNCTION trunkline.check_name, trunkline.check_channel, trunkline.revoke, trunkline.revoke_token, trunkline.disconnect,
    trunkline.unsubscribe, trunkline.create_apikey, trunkline.revoke_apikey, trunkline.grant_admin, trunkline.grant_serve FROM PUBLIC;
