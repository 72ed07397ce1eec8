DROP TABLE gym_foods, foods;
