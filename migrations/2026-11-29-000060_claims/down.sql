-- Fails while two accounts have the same email.
ALTER TABLE memberships DROP CONSTRAINT memberships_status_check,
    ADD CONSTRAINT memberships_status_check CHECK (status IN ('invited', 'active', 'suspended', 'ended'));
DROP TABLE password_resets, invitations;
DROP INDEX accounts_email;
ALTER TABLE accounts ADD CONSTRAINT accounts_email_key UNIQUE (email);
