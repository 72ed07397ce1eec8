-- Accounts are claimed by one-time links, and an email identifies nobody across gyms: several accounts may have the
-- same one. Within a gym at most one account whose membership has not ended has it; the code that accepts an invitation
-- checks this under a lock of the gym's row.
ALTER TABLE accounts DROP CONSTRAINT accounts_email_key;
CREATE INDEX accounts_email ON accounts (email);

CREATE TABLE invitations (
    id uuid PRIMARY KEY,
    gym_id uuid NOT NULL REFERENCES gyms,
    -- Email, name and language as the inviter wrote them. Whoever opens the link decides which account joins.
    email text NOT NULL,
    name text NOT NULL,
    locale text NOT NULL CHECK (locale IN ('es', 'en')),
    roles text[] NOT NULL CHECK (
        roles <@ ARRAY['owner', 'manager', 'nutritionist', 'trainer', 'member', 'auditor'] AND cardinality(roles) > 0),
    -- SHA-256 of the link's secret; the secret itself is never stored.
    secret_hash bytea NOT NULL UNIQUE CHECK (length(secret_hash) = 32),
    -- Null if the operator made the invitation on the command line.
    invited_by uuid REFERENCES accounts,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    -- When it was accepted or revoked.
    ended_at timestamptz,
    accepted_by uuid REFERENCES accounts,
    CHECK (accepted_by IS NULL OR ended_at IS NOT NULL)
);
CREATE UNIQUE INDEX invitations_open ON invitations (gym_id, email) WHERE ended_at IS NULL;
CREATE INDEX invitations_expiry ON invitations (expires_at);
SELECT protect_tenant_table('invitations', 'gym_id');

-- One-time links with which the holder sets a new password for an account.
CREATE TABLE password_resets (
    id uuid PRIMARY KEY,
    -- The gym whose staff made the link, or that the operator named.
    gym_id uuid NOT NULL REFERENCES gyms,
    account_id uuid NOT NULL REFERENCES accounts,
    secret_hash bytea NOT NULL UNIQUE CHECK (length(secret_hash) = 32),
    -- Null if the operator made the link on the command line.
    made_by uuid REFERENCES accounts,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at timestamptz,
    revoked_at timestamptz
);
CREATE INDEX password_resets_account ON password_resets (account_id, created_at);
CREATE INDEX password_resets_expiry ON password_resets (expires_at);
SELECT protect_tenant_table('password_resets', 'gym_id');

-- Invitations that were memberships until now: whoever had an account with the email could accept them by signing in.
-- One that was never accepted disappears; one that follows an ended membership is that ended membership again.
DELETE FROM memberships m WHERE status = 'invited'
    AND NOT EXISTS (SELECT FROM sessions s WHERE s.gym_id = m.gym_id AND s.account_id = m.account_id)
    AND NOT EXISTS (SELECT FROM follows f WHERE f.gym_id = m.gym_id AND f.member_id = m.account_id)
    AND NOT EXISTS (SELECT FROM assignments a
                    WHERE a.gym_id = m.gym_id AND m.account_id IN (a.trainer_id, a.member_id));
UPDATE memberships SET status = 'ended', access_version = access_version + 1 WHERE status = 'invited';
ALTER TABLE memberships DROP CONSTRAINT memberships_status_check,
    ADD CONSTRAINT memberships_status_check CHECK (status IN ('active', 'suspended', 'ended'));
