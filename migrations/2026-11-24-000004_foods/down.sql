DROP TABLE food_tables, gym_foods, foods;
