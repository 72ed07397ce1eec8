ALTER TABLE sessions DROP COLUMN signed_in_at, DROP COLUMN generation, DROP COLUMN predecessor_until;
UPDATE sessions SET ended_at = now(), ended_reason = 'ended' WHERE ended_at IS NULL;

CREATE TABLE refresh_tokens (
    -- SHA-256 of the token; the token itself is never stored.
    token_hash bytea PRIMARY KEY CHECK (length(token_hash) = 32),
    gym_id uuid NOT NULL REFERENCES gyms,
    session_id uuid NOT NULL REFERENCES sessions ON DELETE CASCADE,
    issued_at timestamptz NOT NULL,
    used_at timestamptz
);
CREATE INDEX refresh_tokens_session ON refresh_tokens (session_id);
SELECT protect_tenant_table('refresh_tokens', 'gym_id');
CREATE INDEX refresh_tokens_used ON refresh_tokens (used_at) WHERE used_at IS NOT NULL;
