-- Counts an account's uses of a quota within a window that starts with the first use. The count belongs to the
-- transaction of the use, so that nodes agree and a refused request does not count.
CREATE TABLE quota_windows (
    gym_id uuid NOT NULL REFERENCES gyms,
    account_id uuid NOT NULL,
    operation text NOT NULL,
    began_at timestamptz NOT NULL,
    used integer NOT NULL CHECK (used > 0),
    PRIMARY KEY (gym_id, account_id, operation)
);
SELECT protect_tenant_table('quota_windows', 'gym_id');
