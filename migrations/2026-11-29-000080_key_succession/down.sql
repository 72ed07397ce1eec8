ALTER TABLE sealed_secrets DROP active_from;
ALTER TABLE signing_keys DROP active_from;
