CREATE TABLE gyms (
    id uuid PRIMARY KEY,
    slug text NOT NULL UNIQUE CHECK (slug ~ '^[a-z0-9][a-z0-9-]{1,62}$'),
    name text NOT NULL,
    time_zone text NOT NULL,
    locale text NOT NULL CHECK (locale IN ('es', 'en')),
    day_start integer NOT NULL DEFAULT 0 CHECK (day_start BETWEEN 0 AND 720),
    settings jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL
);
SELECT protect_tenant_table('gyms', 'id');

CREATE TABLE accounts (
    id uuid PRIMARY KEY,
    -- Always lower case; the application converts it.
    email text NOT NULL UNIQUE CHECK (email = lower(email)),
    password_hash text NOT NULL,
    name text NOT NULL,
    locale text NOT NULL CHECK (locale IN ('es', 'en')),
    time_zone text,
    created_at timestamptz NOT NULL
);

CREATE TABLE memberships (
    gym_id uuid NOT NULL REFERENCES gyms,
    account_id uuid NOT NULL REFERENCES accounts,
    roles text[] NOT NULL CHECK (
        roles <@ ARRAY['owner', 'manager', 'nutritionist', 'trainer', 'member', 'auditor'] AND cardinality(roles) > 0),
    status text NOT NULL CHECK (status IN ('invited', 'active', 'suspended', 'ended')),
    -- Incremented by every change of roles or status. Access tokens carry it; a token with an older one is refused.
    access_version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (gym_id, account_id)
);
CREATE INDEX memberships_account ON memberships (account_id);
SELECT protect_tenant_table('memberships', 'gym_id');

-- An account belongs to no gym. The application role sees the accounts with a membership in the transaction's gym.
ALTER TABLE accounts ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON accounts TO liveplan_app USING (
    EXISTS (SELECT FROM memberships m WHERE m.account_id = accounts.id AND m.gym_id = (SELECT app_gym())));
CREATE POLICY system ON accounts TO liveplan_system USING (true) WITH CHECK (true);
GRANT SELECT, UPDATE ON accounts TO liveplan_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON accounts TO liveplan_system;

CREATE TABLE assignments (
    id uuid PRIMARY KEY,
    gym_id uuid NOT NULL,
    trainer_id uuid NOT NULL,
    member_id uuid NOT NULL,
    since timestamptz NOT NULL,
    -- The end of the assignment; it may lie in the future.
    until timestamptz,
    -- Whether the trainer's clients have been sent the end.
    closed boolean NOT NULL DEFAULT false,
    CHECK (trainer_id <> member_id),
    FOREIGN KEY (gym_id, trainer_id) REFERENCES memberships (gym_id, account_id),
    FOREIGN KEY (gym_id, member_id) REFERENCES memberships (gym_id, account_id)
);
CREATE INDEX assignments_trainer ON assignments (gym_id, trainer_id);
CREATE INDEX assignments_member ON assignments (gym_id, member_id);
CREATE INDEX assignments_due ON assignments (until) WHERE NOT closed;
CREATE UNIQUE INDEX assignments_open ON assignments (gym_id, trainer_id, member_id) WHERE until IS NULL;
SELECT protect_tenant_table('assignments', 'gym_id');

-- A signed-in device, and at the same time the family of its refresh tokens.
CREATE TABLE sessions (
    id uuid PRIMARY KEY,
    gym_id uuid NOT NULL,
    account_id uuid NOT NULL,
    created_at timestamptz NOT NULL,
    last_used_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    ended_at timestamptz,
    ended_reason text CHECK (ended_reason IN ('logout', 'ended', 'password', 'reuse', 'access')),
    user_agent text,
    ip_address text,
    FOREIGN KEY (gym_id, account_id) REFERENCES memberships (gym_id, account_id)
);
CREATE INDEX sessions_account ON sessions (gym_id, account_id) WHERE ended_at IS NULL;
SELECT protect_tenant_table('sessions', 'gym_id');

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

-- Ed25519 keys that sign access tokens. The private key is encrypted with the master key from the configuration.
CREATE TABLE signing_keys (
    id uuid PRIMARY KEY,
    public_key bytea NOT NULL CHECK (length(public_key) = 32),
    sealed_private_key bytea NOT NULL,
    created_at timestamptz NOT NULL,
    retired_at timestamptz
);
GRANT SELECT, INSERT, UPDATE ON signing_keys TO liveplan_system;

-- The stored answer to a POST with an Idempotency-Key, or to an rpc with a client key; written in the same transaction
-- as its effect.
CREATE TABLE idempotency_keys (
    gym_id uuid NOT NULL REFERENCES gyms,
    account_id uuid NOT NULL,
    key text NOT NULL CHECK (length(key) BETWEEN 1 AND 200),
    -- SHA-256 of the operation and its body.
    request_hash bytea NOT NULL,
    status integer NOT NULL,
    response text NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (gym_id, account_id, key)
);
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);
SELECT protect_tenant_table('idempotency_keys', 'gym_id');
