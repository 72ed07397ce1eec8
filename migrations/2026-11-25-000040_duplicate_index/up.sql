-- The UNIQUE constraint on (gym_id, id) has the same index.
DROP INDEX plans_gym;
