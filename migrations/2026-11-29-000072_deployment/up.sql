-- The deployment that this database belongs to, as access tokens name it. A restored copy gets another identifier.
CREATE TABLE deployment (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    id uuid NOT NULL,
    made_at timestamptz NOT NULL
);
GRANT SELECT, INSERT, UPDATE ON deployment TO liveplan_system;

-- So that a copy within the same cluster is recognised, too. Null until the next start.
ALTER TABLE log_origin ADD COLUMN database_oid bigint;
