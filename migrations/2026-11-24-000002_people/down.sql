DROP TABLE idempotency_keys, signing_keys, refresh_tokens, sessions, assignments, memberships, accounts, gyms;
