-- When an account last had a socket. Written by the node where it ended, or by those that saw the node vanish.
CREATE TABLE last_seen (
    gym_id uuid NOT NULL REFERENCES gyms,
    account_id uuid NOT NULL REFERENCES accounts,
    seen_at timestamptz NOT NULL,
    PRIMARY KEY (gym_id, account_id)
);
SELECT protect_tenant_table('last_seen', 'gym_id');
