CREATE TABLE plans (
    id uuid PRIMARY KEY,
    gym_id uuid NOT NULL REFERENCES gyms,
    author_id uuid NOT NULL REFERENCES accounts,
    kind text NOT NULL CHECK (kind IN ('template', 'plan', 'live')),
    goal text NOT NULL CHECK (goal IN ('lose_fat', 'maintain', 'gain_muscle', 'recomposition', 'performance', 'health')),
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    description text NOT NULL DEFAULT '',
    target_energy_mkcal bigint CHECK (target_energy_mkcal > 0),
    target_protein_mg bigint CHECK (target_protein_mg >= 0),
    target_carbohydrate_mg bigint CHECK (target_carbohydrate_mg >= 0),
    target_fat_mg bigint CHECK (target_fat_mg >= 0),
    duration_days integer NOT NULL CHECK (duration_days BETWEEN 1 AND 84),
    cycle text NOT NULL CHECK (cycle IN ('fixed', 'weekly', 'training_rest')),
    status text NOT NULL CHECK (status IN ('draft', 'published', 'archived')),
    visibility text NOT NULL CHECK (visibility IN ('gym', 'trainer', 'assigned')),
    source text NOT NULL CHECK (source IN ('manual', 'ai', 'import', 'fallback')),
    -- The first day of a live plan; null for the other kinds.
    start_date date,
    -- Incremented by every write; the ETag.
    version bigint NOT NULL DEFAULT 1,
    -- The current published revision; 0 before the first publication.
    revision integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CHECK ((kind = 'live') = (start_date IS NOT NULL)),
    UNIQUE (gym_id, id)
);
CREATE INDEX plans_gym ON plans (gym_id, id);
SELECT protect_tenant_table('plans', 'gym_id');

-- The plan's own fields in each published revision. The other columns of a plan never change or are not part of a
-- revision. The tree of revision n consists of the rows below with from_rev <= n < to_rev.
CREATE TABLE plan_revisions (
    gym_id uuid NOT NULL,
    plan_id uuid NOT NULL,
    revision integer NOT NULL CHECK (revision > 0),
    -- The plan's version when this revision was made.
    version bigint NOT NULL,
    goal text NOT NULL,
    name text NOT NULL,
    description text NOT NULL,
    target_energy_mkcal bigint,
    target_protein_mg bigint,
    target_carbohydrate_mg bigint,
    target_fat_mg bigint,
    visibility text NOT NULL,
    -- The account that made it.
    author_id uuid NOT NULL REFERENCES accounts,
    published_at timestamptz NOT NULL,
    PRIMARY KEY (plan_id, revision),
    FOREIGN KEY (gym_id, plan_id) REFERENCES plans (gym_id, id)
);
SELECT protect_tenant_table('plan_revisions', 'gym_id');

-- Days, meals and items keep their id across revisions. Each row is one state, valid from revision from_rev until
-- before to_rev; a null to_rev marks the current state. A draft's rows belong to the revision that its publication will
-- make.
CREATE TABLE plan_days (
    id uuid NOT NULL,
    from_rev integer NOT NULL CHECK (from_rev > 0),
    to_rev integer CHECK (to_rev > from_rev),
    gym_id uuid NOT NULL,
    plan_id uuid NOT NULL,
    number integer NOT NULL CHECK (number BETWEEN 1 AND 84),
    title text NOT NULL DEFAULT '',
    PRIMARY KEY (id, from_rev),
    FOREIGN KEY (gym_id, plan_id) REFERENCES plans (gym_id, id)
);
CREATE INDEX plan_days_plan ON plan_days (plan_id);
CREATE UNIQUE INDEX plan_days_current ON plan_days (plan_id, number) WHERE to_rev IS NULL;
SELECT protect_tenant_table('plan_days', 'gym_id');

CREATE TABLE plan_meals (
    id uuid NOT NULL,
    from_rev integer NOT NULL CHECK (from_rev > 0),
    to_rev integer CHECK (to_rev > from_rev),
    gym_id uuid NOT NULL,
    plan_id uuid NOT NULL,
    day_id uuid NOT NULL,
    slot text NOT NULL CHECK (slot IN (
        'breakfast', 'mid_morning', 'lunch', 'snack', 'dinner', 'late', 'pre_workout', 'post_workout', 'custom')),
    title text NOT NULL CHECK (length(title) BETWEEN 1 AND 200),
    -- Minutes after midnight in the member's time zone; null if the plan sets no time.
    time_min integer CHECK (time_min BETWEEN 0 AND 1439),
    position integer NOT NULL CHECK (position BETWEEN 0 AND 999),
    notes text NOT NULL DEFAULT '',
    PRIMARY KEY (id, from_rev),
    FOREIGN KEY (gym_id, plan_id) REFERENCES plans (gym_id, id)
);
CREATE INDEX plan_meals_plan ON plan_meals (plan_id, day_id);
-- Partial index: reads of the current state must not slow down as revisions accumulate.
CREATE INDEX plan_meals_current_plan ON plan_meals (plan_id, day_id) WHERE to_rev IS NULL;
CREATE UNIQUE INDEX plan_meals_current ON plan_meals (id) WHERE to_rev IS NULL;
SELECT protect_tenant_table('plan_meals', 'gym_id');

CREATE TABLE plan_items (
    id uuid NOT NULL,
    from_rev integer NOT NULL CHECK (from_rev > 0),
    to_rev integer CHECK (to_rev > from_rev),
    gym_id uuid NOT NULL,
    plan_id uuid NOT NULL,
    meal_id uuid NOT NULL,
    position integer NOT NULL CHECK (position BETWEEN 0 AND 999),
    -- A food of foods or gym_foods. No foreign key, since a plan keeps the item when a gym deletes the food.
    food_id uuid NOT NULL,
    -- The food's names, nutrients per 100 g and allergens at the time the item was written: editing a food changes no
    -- plan.
    name_en text NOT NULL,
    name_es text NOT NULL,
    per_100g jsonb NOT NULL,
    allergens jsonb NOT NULL DEFAULT '{}',
    -- The amount as people state it: 1500 × 'cup' with grams_milli 360000 is one and a half cups.
    quantity_milli bigint NOT NULL CHECK (quantity_milli > 0),
    unit text NOT NULL CHECK (length(unit) BETWEEN 1 AND 200),
    grams_milli bigint NOT NULL CHECK (grams_milli > 0 AND grams_milli <= 10000000),
    PRIMARY KEY (id, from_rev),
    FOREIGN KEY (gym_id, plan_id) REFERENCES plans (gym_id, id)
);
CREATE INDEX plan_items_plan ON plan_items (plan_id, meal_id);
CREATE INDEX plan_items_current_plan ON plan_items (plan_id, meal_id) WHERE to_rev IS NULL;
CREATE UNIQUE INDEX plan_items_current ON plan_items (id) WHERE to_rev IS NULL;
SELECT protect_tenant_table('plan_items', 'gym_id');
