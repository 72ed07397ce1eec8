DROP TABLE daily_progress, completion_history, completions, follows;
