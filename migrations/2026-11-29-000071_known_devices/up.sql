-- Devices that signed in to an account before. Wrong passwords of each are counted apart from those of strangers.
CREATE TABLE known_devices (
    account_id uuid NOT NULL REFERENCES accounts ON DELETE CASCADE,
    -- SHA-256 of the secret that the device holds; the secret itself is never stored.
    secret_hash bytea NOT NULL CHECK (length(secret_hash) = 32),
    created_at timestamptz NOT NULL,
    last_used_at timestamptz NOT NULL,
    PRIMARY KEY (account_id, secret_hash)
);
CREATE INDEX known_devices_age ON known_devices (last_used_at);
-- Like an account, a device belongs to no gym.
GRANT SELECT, INSERT, UPDATE, DELETE ON known_devices TO liveplan_system;
