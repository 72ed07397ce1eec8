-- Foods shared by all gyms. The table has no tenant column and no policy: trigram operators are not leakproof, so under
-- row-level security a search could not use the trigram index.
CREATE TABLE foods (
    id uuid PRIMARY KEY,
    source text NOT NULL,
    source_ref text NOT NULL,
    kind text NOT NULL,
    name_en text NOT NULL,
    name_es text NOT NULL,
    brand text,
    barcode text,
    -- Amounts per 100 g of the edible part; null means unknown.
    energy_mkcal bigint CHECK (energy_mkcal >= 0),
    protein_mg bigint CHECK (protein_mg BETWEEN 0 AND 100000),
    carbohydrate_mg bigint CHECK (carbohydrate_mg BETWEEN 0 AND 100000),
    sugars_mg bigint CHECK (sugars_mg BETWEEN 0 AND 100000),
    fibre_mg bigint CHECK (fibre_mg BETWEEN 0 AND 100000),
    fat_mg bigint CHECK (fat_mg BETWEEN 0 AND 100000),
    saturated_fat_mg bigint CHECK (saturated_fat_mg BETWEEN 0 AND 100000),
    sodium_mg bigint CHECK (sodium_mg BETWEEN 0 AND 100000),
    alcohol_mg bigint CHECK (alcohol_mg BETWEEN 0 AND 100000),
    potassium_mg bigint CHECK (potassium_mg BETWEEN 0 AND 100000),
    vitamin_k_ng bigint CHECK (vitamin_k_ng >= 0),
    carb_basis text NOT NULL CHECK (carb_basis IN ('available', 'by_difference')),
    -- {"milk": "contains", …}: the allergens of EU 1169/2011 Annex II; a missing one is unknown.
    allergens jsonb NOT NULL DEFAULT '{}',
    -- [{"name_en": "cup", "name_es": "taza", "grams_milli": 240000}, …]
    portions jsonb NOT NULL DEFAULT '[]',
    verified boolean NOT NULL DEFAULT false,
    -- The names in lower case and without accents, for trigram search.
    search text NOT NULL,
    created_at timestamptz NOT NULL,
    UNIQUE (source, source_ref)
);
CREATE INDEX foods_search ON foods USING gin (search gin_trgm_ops);
CREATE INDEX foods_barcode ON foods (barcode) WHERE barcode IS NOT NULL;
-- The checksum of each embedded table of foods that was loaded. With it, a start with the same table reads one row.
CREATE TABLE food_tables (
    name text PRIMARY KEY,
    checksum bytea NOT NULL,
    loaded_at timestamptz NOT NULL
);
GRANT SELECT, INSERT, UPDATE ON food_tables TO liveplan_system;

GRANT SELECT ON foods TO liveplan_app;
GRANT SELECT, INSERT, UPDATE ON foods TO liveplan_system;

-- A gym's own foods.
CREATE TABLE gym_foods (
    id uuid PRIMARY KEY,
    gym_id uuid NOT NULL REFERENCES gyms,
    author_id uuid NOT NULL,
    kind text NOT NULL,
    name_en text NOT NULL,
    name_es text NOT NULL,
    brand text,
    barcode text,
    -- Amounts per 100 g of the edible part; null means unknown.
    energy_mkcal bigint CHECK (energy_mkcal >= 0),
    protein_mg bigint CHECK (protein_mg BETWEEN 0 AND 100000),
    carbohydrate_mg bigint CHECK (carbohydrate_mg BETWEEN 0 AND 100000),
    sugars_mg bigint CHECK (sugars_mg BETWEEN 0 AND 100000),
    fibre_mg bigint CHECK (fibre_mg BETWEEN 0 AND 100000),
    fat_mg bigint CHECK (fat_mg BETWEEN 0 AND 100000),
    saturated_fat_mg bigint CHECK (saturated_fat_mg BETWEEN 0 AND 100000),
    sodium_mg bigint CHECK (sodium_mg BETWEEN 0 AND 100000),
    alcohol_mg bigint CHECK (alcohol_mg BETWEEN 0 AND 100000),
    potassium_mg bigint CHECK (potassium_mg BETWEEN 0 AND 100000),
    vitamin_k_ng bigint CHECK (vitamin_k_ng >= 0),
    carb_basis text NOT NULL CHECK (carb_basis IN ('available', 'by_difference')),
    -- {"milk": "contains", …}: the allergens of EU 1169/2011 Annex II; a missing one is unknown.
    allergens jsonb NOT NULL DEFAULT '{}',
    -- [{"name_en": "cup", "name_es": "taza", "grams_milli": 240000}, …]
    portions jsonb NOT NULL DEFAULT '[]',
    verified boolean NOT NULL DEFAULT false,
    -- The names in lower case and without accents, for trigram search.
    search text NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE INDEX gym_foods_gym ON gym_foods (gym_id);
SELECT protect_tenant_table('gym_foods', 'gym_id');
