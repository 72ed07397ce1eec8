-- When an account last had a socket. Written by the node where the socket closed, or by the nodes that saw that node
-- fail.
CREATE TABLE last_seen (
    gym_id uuid NOT NULL REFERENCES gyms,
    account_id uuid NOT NULL REFERENCES accounts,
    seen_at timestamptz NOT NULL,
    PRIMARY KEY (gym_id, account_id)
);
SELECT protect_tenant_table('last_seen', 'gym_id');
