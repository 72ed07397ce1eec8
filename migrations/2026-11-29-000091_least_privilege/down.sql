-- Keeps the role, like the first migration.
REVOKE SELECT ON __diesel_schema_migrations FROM liveplan_system;
GRANT UPDATE, DELETE ON live_events, completion_history TO liveplan_system;
GRANT DELETE ON gyms, accounts, memberships TO liveplan_system;
GRANT INSERT ON gym_log_heads TO liveplan_app;
GRANT INSERT, DELETE ON sessions TO liveplan_app;
GRANT DELETE ON memberships TO liveplan_app;
REVOKE UPDATE (name, time_zone, locale, day_start, settings) ON gyms FROM liveplan_app;
GRANT INSERT, UPDATE, DELETE ON gyms TO liveplan_app;
DROP POLICY tenant ON accounts;
CREATE POLICY tenant ON accounts TO liveplan_app USING (
    EXISTS (SELECT FROM memberships m WHERE m.account_id = accounts.id AND m.gym_id = (SELECT app_gym())));
REVOKE ALL ON accounts FROM liveplan_app;
GRANT SELECT, UPDATE ON accounts TO liveplan_app;

CREATE OR REPLACE FUNCTION make_live_event_partitions(first date, days integer) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
    AS $$
DECLARE
    d date;
    made integer := 0;
    part text;
BEGIN
    PERFORM pg_advisory_xact_lock(7310542);
    FOR d IN SELECT first + n FROM generate_series(0, days - 1) AS n LOOP
        part := 'live_events_' || to_char(d, 'YYYYMMDD');
        IF to_regclass('public.' || part) IS NULL THEN
            EXECUTE format('CREATE TABLE %I (LIKE live_events INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', part);
            EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', part);
            EXECUTE format(
                'ALTER TABLE live_events ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                part, d::timestamp AT TIME ZONE 'UTC', (d + 1)::timestamp AT TIME ZONE 'UTC');
            made := made + 1;
        END IF;
    END LOOP;
    RETURN made;
END
$$;
CREATE OR REPLACE FUNCTION protect_tenant_table(tenant_table regclass, gym_column text) RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', tenant_table);
    EXECUTE format(
        'CREATE POLICY tenant ON %s TO liveplan_app USING (%2$I = (SELECT app_gym())) WITH CHECK (%2$I = (SELECT app_gym()))',
        tenant_table, gym_column);
    EXECUTE format('CREATE POLICY system ON %s TO liveplan_system USING (true) WITH CHECK (true)', tenant_table);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO liveplan_app, liveplan_system', tenant_table);
END
$$;
GRANT EXECUTE ON FUNCTION protect_tenant_table(regclass, text) TO PUBLIC;
DO $$
DECLARE
    forced regclass;
BEGIN
    FOR forced IN SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relforcerowsecurity LOOP
        EXECUTE format('DROP POLICY owner ON %s', forced);
        EXECUTE format('ALTER TABLE %s NO FORCE ROW LEVEL SECURITY', forced);
    END LOOP;
END
$$;
DROP FUNCTION force_row_level_security(regclass);
