-- It duplicates the index of the UNIQUE constraint on (gym_id, id).
DROP INDEX plans_gym;
