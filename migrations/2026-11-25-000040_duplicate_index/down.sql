CREATE INDEX plans_gym ON plans (gym_id, id);
