DROP FUNCTION drop_live_event_partitions(date);
DROP FUNCTION make_live_event_partitions(date, integer);
DROP TABLE live_events, gym_log_heads, log_origin;
