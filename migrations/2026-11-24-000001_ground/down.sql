-- Keeps the two roles: they belong to the whole cluster, and other databases may use them.
DROP FUNCTION protect_tenant_table(regclass, text);
DROP FUNCTION app_gym();
DROP EXTENSION pg_trgm;
REVOKE USAGE ON SCHEMA public FROM liveplan_app, liveplan_system;
