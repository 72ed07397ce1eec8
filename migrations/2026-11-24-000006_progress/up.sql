CREATE TABLE follows (
    id uuid PRIMARY KEY,
    gym_id uuid NOT NULL,
    member_id uuid NOT NULL,
    plan_id uuid NOT NULL,
    -- The revision that was current when the follow started.
    revision integer NOT NULL,
    status text NOT NULL CHECK (status IN ('active', 'paused', 'completed', 'abandoned', 'blocked')),
    -- The date of the plan's first day for this member, in time_zone.
    start_date date NOT NULL,
    time_zone text NOT NULL,
    created_at timestamptz NOT NULL,
    ended_at timestamptz,
    FOREIGN KEY (gym_id, member_id) REFERENCES memberships (gym_id, account_id),
    FOREIGN KEY (gym_id, plan_id) REFERENCES plans (gym_id, id),
    UNIQUE (gym_id, id)
);
CREATE UNIQUE INDEX follows_primary ON follows (gym_id, member_id) WHERE status IN ('active', 'paused');
CREATE INDEX follows_plan ON follows (gym_id, plan_id);
SELECT protect_tenant_table('follows', 'gym_id');

CREATE TABLE completions (
    gym_id uuid NOT NULL,
    follow_id uuid NOT NULL,
    date date NOT NULL,
    meal_id uuid NOT NULL,
    status text NOT NULL CHECK (status IN ('eaten', 'partial', 'skipped')),
    portion_permille integer NOT NULL CHECK (portion_permille BETWEEN 0 AND 3000),
    -- The meal's title and nutrients at full portion, at the time of the tick.
    title text NOT NULL,
    planned jsonb NOT NULL,
    plan_revision integer NOT NULL,
    actor_id uuid NOT NULL,
    on_behalf boolean NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (follow_id, date, meal_id),
    FOREIGN KEY (gym_id, follow_id) REFERENCES follows (gym_id, id)
);
SELECT protect_tenant_table('completions', 'gym_id');

-- Every tick and undo, in order of arrival. The row in completions reflects the last one.
CREATE TABLE completion_history (
    id uuid PRIMARY KEY,
    gym_id uuid NOT NULL,
    follow_id uuid NOT NULL,
    date date NOT NULL,
    meal_id uuid NOT NULL,
    action text NOT NULL CHECK (action IN ('eaten', 'partial', 'skipped', 'undone')),
    portion_permille integer NOT NULL,
    client_key text,
    source text NOT NULL,
    actor_id uuid NOT NULL,
    at timestamptz NOT NULL,
    FOREIGN KEY (gym_id, follow_id) REFERENCES follows (gym_id, id)
);
CREATE INDEX completion_history_follow ON completion_history (follow_id, date);
SELECT protect_tenant_table('completion_history', 'gym_id');
REVOKE UPDATE, DELETE ON completion_history FROM liveplan_app;

-- Read model, updated in the transaction of the completion.
CREATE TABLE daily_progress (
    gym_id uuid NOT NULL,
    follow_id uuid NOT NULL,
    member_id uuid NOT NULL,
    date date NOT NULL,
    meals_planned integer NOT NULL,
    meals_done integer NOT NULL,
    meals_skipped integer NOT NULL,
    planned jsonb NOT NULL,
    eaten jsonb NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (follow_id, date),
    FOREIGN KEY (gym_id, follow_id) REFERENCES follows (gym_id, id)
);
CREATE INDEX daily_progress_member ON daily_progress (gym_id, member_id, date);
SELECT protect_tenant_table('daily_progress', 'gym_id');
