-- The owner's own role, which the policies of the owner name: a dump of one cluster then fits another whose owner has
-- another name. Only the owner is a member.
DO $$
BEGIN
    PERFORM pg_advisory_xact_lock(7310541);
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'liveplan_owner') THEN
        CREATE ROLE liveplan_owner NOLOGIN;
    END IF;
    -- An administrator may have granted it to an owner who cannot.
    IF NOT pg_has_role(current_user, 'liveplan_owner', 'USAGE') THEN
        IF current_setting('server_version_num')::integer >= 160000 THEN
            EXECUTE format('GRANT liveplan_owner TO %I WITH INHERIT TRUE', current_user);
        ELSE
            EXECUTE format('GRANT liveplan_owner TO %I', current_user);
        END IF;
    END IF;
END
$$;

-- Forces row-level security on a table, so that it holds for the owner too, and lets the owner see all rows: dumps and data
-- migrations then miss none.
CREATE FUNCTION force_row_level_security(protected regclass) RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', protected);
    EXECUTE format('CREATE POLICY owner ON %s TO liveplan_owner USING (true) WITH CHECK (true)', protected);
END
$$;

-- Puts a tenant table under row-level security: the application role sees only the gym of its transaction; the system
-- role (sign-in, sweep, jobs, trimming) and the owner see all rows.
CREATE OR REPLACE FUNCTION protect_tenant_table(tenant_table regclass, gym_column text) RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    PERFORM force_row_level_security(tenant_table);
    EXECUTE format(
        'CREATE POLICY tenant ON %s TO liveplan_app USING (%2$I = (SELECT app_gym())) WITH CHECK (%2$I = (SELECT app_gym()))',
        tenant_table, gym_column);
    EXECUTE format('CREATE POLICY system ON %s TO liveplan_system USING (true) WITH CHECK (true)', tenant_table);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO liveplan_app, liveplan_system', tenant_table);
END
$$;
REVOKE ALL ON FUNCTION force_row_level_security(regclass) FROM PUBLIC;
REVOKE ALL ON FUNCTION protect_tenant_table(regclass, text) FROM PUBLIC;

-- The tables so far, partitions included.
SELECT force_row_level_security(oid) FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND relrowsecurity;

-- Creates the missing partitions (one per UTC day) for `days` days from `first`. The bounds limit what a stolen login of the
-- server could create.
CREATE OR REPLACE FUNCTION make_live_event_partitions(first date, days integer) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
    AS $$
DECLARE
    d date;
    made integer := 0;
    part text;
BEGIN
    IF days NOT BETWEEN 0 AND 62 OR abs(first - current_date) > 400 THEN
        RAISE EXCEPTION 'partitions for % days from % are out of bounds', days, first;
    END IF;
    PERFORM pg_advisory_xact_lock(7310542);
    FOR d IN SELECT first + n FROM generate_series(0, days - 1) AS n LOOP
        part := 'live_events_' || to_char(d, 'YYYYMMDD');
        IF to_regclass('public.' || part) IS NULL THEN
            EXECUTE format('CREATE TABLE %I (LIKE live_events INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', part);
            PERFORM force_row_level_security(part);
            EXECUTE format(
                'ALTER TABLE live_events ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                part, d::timestamp AT TIME ZONE 'UTC', (d + 1)::timestamp AT TIME ZONE 'UTC');
            made := made + 1;
        END IF;
    END LOOP;
    RETURN made;
END
$$;

-- A gym sees the accounts that ever accepted a membership of it, without their password hashes, and changes none of them.
REVOKE ALL ON accounts FROM liveplan_app;
GRANT SELECT (id, email, name, locale, time_zone, created_at) ON accounts TO liveplan_app;
DROP POLICY tenant ON accounts;
CREATE POLICY tenant ON accounts FOR SELECT TO liveplan_app USING (EXISTS (
    SELECT FROM memberships m
    WHERE m.account_id = accounts.id AND m.gym_id = (SELECT app_gym()) AND m.status <> 'invited'));

-- Rights that no statement of the server uses.
REVOKE INSERT, UPDATE, DELETE ON gyms FROM liveplan_app;
GRANT UPDATE (name, time_zone, locale, day_start, settings) ON gyms TO liveplan_app;
REVOKE DELETE ON memberships FROM liveplan_app;
REVOKE INSERT, DELETE ON sessions FROM liveplan_app;
REVOKE INSERT ON gym_log_heads FROM liveplan_app;
REVOKE DELETE ON gyms, accounts, memberships FROM liveplan_system;
REVOKE UPDATE, DELETE ON live_events, completion_history FROM liveplan_system;
-- A server that does not migrate checks at start that no migration is pending.
GRANT SELECT ON __diesel_schema_migrations TO liveplan_system;
