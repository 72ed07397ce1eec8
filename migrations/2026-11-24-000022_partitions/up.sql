-- Creates the missing partitions (one per UTC day) for `days` days from `first`. Each is created as a table of its own
-- and then attached, which blocks neither reads nor writes; CREATE TABLE … PARTITION OF would block both.
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

-- The server drops old partitions. It detaches them with CONCURRENTLY, which a function cannot do.
DROP FUNCTION drop_live_event_partitions(date);
