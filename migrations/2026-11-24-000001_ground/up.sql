-- The roles that every transaction switches to. Roles belong to the whole cluster, so another database may have created
-- them already.
DO $$
BEGIN
    PERFORM pg_advisory_xact_lock(7310541);
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'liveplan_app') THEN
        CREATE ROLE liveplan_app NOLOGIN;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'liveplan_system') THEN
        CREATE ROLE liveplan_system NOLOGIN;
    END IF;
    EXECUTE format('GRANT liveplan_app, liveplan_system TO %I', current_user);
END
$$;
GRANT USAGE ON SCHEMA public TO liveplan_app, liveplan_system;

CREATE EXTENSION IF NOT EXISTS pg_trgm;

-- The gym of the running transaction; null outside of one, so that no row matches it.
CREATE FUNCTION app_gym() RETURNS uuid
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT nullif(current_setting('app.gym', true), '')::uuid $$;

-- Puts a tenant table under row-level security: the application role sees only the gym of its transaction; the system
-- role (sign-in, sweep, jobs, trimming) and the owner see all rows.
CREATE FUNCTION protect_tenant_table(tenant_table regclass, gym_column text) RETURNS void
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
