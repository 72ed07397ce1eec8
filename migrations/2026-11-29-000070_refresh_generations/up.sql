-- A refresh token names its session and a generation under a MAC, so a session's row is all that the server keeps of its
-- tokens, and every token that was ever issued is recognised for as long as the row exists.
--
-- Earlier refresh tokens are not accepted, and their sessions end: everybody signs in once more. All nodes must be
-- stopped, since those of the earlier release read the table that goes.
DROP TABLE refresh_tokens;

ALTER TABLE sessions
    -- When the account last proved its password; the absolute life of the session counts from here.
    ADD COLUMN signed_in_at timestamptz NOT NULL DEFAULT now(),
    -- Generation of the current refresh token.
    ADD COLUMN generation bigint NOT NULL DEFAULT 1 CHECK (generation >= 1),
    -- Until when the token before the current one is accepted too. Null once the current one was used.
    ADD COLUMN predecessor_until timestamptz;
UPDATE sessions SET signed_in_at = created_at;
UPDATE sessions SET ended_at = now(), ended_reason = 'ended' WHERE ended_at IS NULL;
