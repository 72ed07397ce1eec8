-- Random keys that all nodes share, each encrypted with the master key. The newest that has not been retired is the
-- current one; the others that have not been retired are still accepted.
CREATE TABLE sealed_secrets (
    id uuid PRIMARY KEY,
    purpose text NOT NULL,
    sealed bytea NOT NULL,
    created_at timestamptz NOT NULL,
    retired_at timestamptz
);
GRANT SELECT, INSERT, UPDATE ON sealed_secrets TO liveplan_system;
