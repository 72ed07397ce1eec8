-- A new key is accepted by all nodes before one of them uses it: nodes load their keys every few seconds, and use a key
-- from this time on, by the clock of this server.
ALTER TABLE signing_keys ADD active_from timestamptz;
UPDATE signing_keys SET active_from = created_at;
ALTER TABLE signing_keys ALTER active_from SET DEFAULT now(), ALTER active_from SET NOT NULL;

ALTER TABLE sealed_secrets ADD active_from timestamptz;
UPDATE sealed_secrets SET active_from = created_at;
ALTER TABLE sealed_secrets ALTER active_from SET DEFAULT now(), ALTER active_from SET NOT NULL;
