-- The cluster and timeline for which the epochs were made. On any other (a restore, a promoted replica) they are
-- rotated.
CREATE TABLE log_origin (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    system_id text NOT NULL,
    timeline text NOT NULL
);
GRANT SELECT, INSERT, UPDATE ON log_origin TO liveplan_system;

-- The head of each gym's log. A change takes the next number as its last statement; the row lock makes numbers gapless
-- and puts them in commit order.
CREATE TABLE gym_log_heads (
    gym_id uuid PRIMARY KEY REFERENCES gyms,
    epoch text NOT NULL,
    seq bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);
SELECT protect_tenant_table('gym_log_heads', 'gym_id');
REVOKE DELETE ON gym_log_heads FROM liveplan_app, liveplan_system;

CREATE TABLE live_events (
    gym_id uuid NOT NULL,
    seq bigint NOT NULL,
    channel text NOT NULL,
    type text NOT NULL,
    -- Compact JSON exactly as it is sent to clients. It is text, since jsonb would change its form.
    payload text NOT NULL,
    actor uuid,
    at timestamptz NOT NULL,
    PRIMARY KEY (gym_id, seq, channel, at)
) PARTITION BY RANGE (at);
CREATE INDEX live_events_channel ON live_events (gym_id, channel, seq);
SELECT protect_tenant_table('live_events', 'gym_id');
REVOKE UPDATE, DELETE ON live_events FROM liveplan_app;

-- Creates the missing partitions (one per UTC day) for `days` days from `first`. SECURITY DEFINER: the server creates
-- partitions at run time too, as a role that owns no tables.
CREATE FUNCTION make_live_event_partitions(first date, days integer) RETURNS integer
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
            EXECUTE format(
                'CREATE TABLE %I PARTITION OF live_events FOR VALUES FROM (%L) TO (%L)',
                part, d::timestamp AT TIME ZONE 'UTC', (d + 1)::timestamp AT TIME ZONE 'UTC');
            EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', part);
            made := made + 1;
        END IF;
    END LOOP;
    RETURN made;
END
$$;
REVOKE ALL ON FUNCTION make_live_event_partitions(date, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION make_live_event_partitions(date, integer) TO liveplan_system;

-- Drops the partitions of days before `oldest`.
CREATE FUNCTION drop_live_event_partitions(oldest date) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
    AS $$
DECLARE
    part record;
    dropped integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(7310542);
    FOR part IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'live_events'::regclass AND c.relname < 'live_events_' || to_char(oldest, 'YYYYMMDD')
    LOOP
        EXECUTE format('DROP TABLE %I', part.relname);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END
$$;
REVOKE ALL ON FUNCTION drop_live_event_partitions(date) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION drop_live_event_partitions(date) TO liveplan_system;
