-- How often an account has done what has a quota, in the window that began with the first time. Counted in the transaction
-- of what is done, so that nodes agree and what is refused does not count.
CREATE TABLE quota_windows (
    gym_id uuid NOT NULL REFERENCES gyms,
    account_id uuid NOT NULL,
    operation text NOT NULL,
    began_at timestamptz NOT NULL,
    used integer NOT NULL CHECK (used > 0),
    PRIMARY KEY (gym_id, account_id, operation)
);
SELECT protect_tenant_table('quota_windows', 'gym_id');
