DROP TABLE plan_items, plan_meals, plan_days, plan_revisions, plans;
