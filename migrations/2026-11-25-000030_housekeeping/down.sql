DROP INDEX sessions_expiry;
DROP INDEX sessions_ended;
DROP INDEX refresh_tokens_used;
DROP INDEX quota_windows_age;
