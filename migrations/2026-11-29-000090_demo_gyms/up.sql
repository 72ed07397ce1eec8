-- Marks the gyms that the command `demo` created: everybody knows the password of their accounts, so only the demo itself
-- lets anybody into them.
ALTER TABLE gyms ADD COLUMN demo boolean NOT NULL DEFAULT false;
-- Earlier versions created the demo's gym without a mark, in any database.
UPDATE gyms SET demo = true
WHERE slug = 'demo' AND EXISTS (
    SELECT FROM memberships m JOIN accounts a ON a.id = m.account_id
    WHERE m.gym_id = gyms.id AND a.email = 'owner@demo.test');
