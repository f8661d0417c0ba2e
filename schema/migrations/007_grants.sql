-- Who may do what. Nothing is open to PUBLIC; grants are made by name.

-- grant_publish(role) lets an existing role publish, signal and have watches on its own tables, and nothing else: it can
-- neither read messages nor insert into Trunkline's tables. For Trunkline's owner; needs no CREATEROLE.
--
--     SELECT trunkline.grant_publish('app');
CREATE FUNCTION trunkline.grant_publish(role regrole) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA trunkline TO %s', role);
    EXECUTE format('GRANT EXECUTE ON FUNCTION trunkline.publish, trunkline.publish_many, trunkline.signal TO %s', role);
    -- Watches: what watch() and the trigger functions it writes call with the table owner's rights.
    EXECUTE format('GRANT EXECUTE ON FUNCTION trunkline.watch, trunkline.unwatch(integer), trunkline.unwatch(regclass, text), '
                   'trunkline.watch_partitions, trunkline.list_watches, trunkline.publish_watched, trunkline.max_payload, '
                   'trunkline.channel_problem, trunkline.new_watch, trunkline.forget_watch, trunkline.table_columns, '
                   'trunkline.table_name, trunkline.read_template, trunkline.mentions, trunkline.row_of, trunkline.check_predicate, '
                   'trunkline.json_of, trunkline.size_of, trunkline.channel_of, trunkline.watch_source, trunkline.truncate_source, '
                   'trunkline.keep_passage, trunkline.fill_in, trunkline.read_rule, trunkline.create_watch_trigger, '
                   'trunkline.check_watchable TO %s', role);
    EXECUTE format('GRANT SELECT ON trunkline.watches, trunkline.watch_function, trunkline.watch_trigger TO %s', role);
END
$$;

-- grant_read(role) lets an existing role read what was published: for an engine that follows but never sequences
-- (it publishes as well only with grant_publish). For Trunkline's owner.
CREATE FUNCTION trunkline.grant_read(role regrole) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA trunkline TO %s', role);
    EXECUTE format('GRANT SELECT ON trunkline.message, trunkline.channel, trunkline.log, trunkline.state, trunkline.life, trunkline.log_end, '
                   'trunkline.channels, trunkline.migration TO %s', role);
    EXECUTE format('GRANT EXECUTE ON FUNCTION trunkline.history, trunkline.seq_at, '
                   'trunkline.max_payload, trunkline.sequencer_session TO %s', role);
END
$$;

REVOKE ALL ON ALL TABLES IN SCHEMA trunkline FROM PUBLIC;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA trunkline FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA trunkline FROM PUBLIC;
