-- Indexes for the hourly deletes. (idempotency_keys already has one on created_at.)
CREATE INDEX quota_windows_age ON quota_windows (began_at);
CREATE INDEX refresh_tokens_used ON refresh_tokens (used_at) WHERE used_at IS NOT NULL;
CREATE INDEX sessions_ended ON sessions (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX sessions_expiry ON sessions (expires_at);
