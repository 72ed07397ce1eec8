// @generated automatically by Diesel CLI.

diesel::table! {
    accounts (id) {
        id -> Uuid,
        email -> Text,
        password_hash -> Text,
        name -> Text,
        locale -> Text,
        time_zone -> Nullable<Text>,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    assignments (id) {
        id -> Uuid,
        gym_id -> Uuid,
        trainer_id -> Uuid,
        member_id -> Uuid,
        since -> Timestamptz,
        until -> Nullable<Timestamptz>,
        closed -> Bool,
    }
}

diesel::table! {
    completion_history (id) {
        id -> Uuid,
        gym_id -> Uuid,
        follow_id -> Uuid,
        date -> Date,
        meal_id -> Uuid,
        action -> Text,
        portion_permille -> Int4,
        client_key -> Nullable<Text>,
        source -> Text,
        actor_id -> Uuid,
        at -> Timestamptz,
    }
}

diesel::table! {
    completions (follow_id, date, meal_id) {
        gym_id -> Uuid,
        follow_id -> Uuid,
        date -> Date,
        meal_id -> Uuid,
        status -> Text,
        portion_permille -> Int4,
        title -> Text,
        planned -> Jsonb,
        plan_revision -> Int4,
        actor_id -> Uuid,
        on_behalf -> Bool,
        at -> Timestamptz,
    }
}

diesel::table! {
    daily_progress (follow_id, date) {
        gym_id -> Uuid,
        follow_id -> Uuid,
        member_id -> Uuid,
        date -> Date,
        meals_planned -> Int4,
        meals_done -> Int4,
        meals_skipped -> Int4,
        planned -> Jsonb,
        eaten -> Jsonb,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    deployment (only_row) {
        only_row -> Bool,
        id -> Uuid,
        made_at -> Timestamptz,
    }
}

diesel::table! {
    follows (id) {
        id -> Uuid,
        gym_id -> Uuid,
        member_id -> Uuid,
        plan_id -> Uuid,
        revision -> Int4,
        status -> Text,
        start_date -> Date,
        time_zone -> Text,
        created_at -> Timestamptz,
        ended_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    food_tables (name) {
        name -> Text,
        checksum -> Bytea,
        loaded_at -> Timestamptz,
    }
}

diesel::table! {
    foods (id) {
        id -> Uuid,
        source -> Text,
        source_ref -> Text,
        kind -> Text,
        name_en -> Text,
        name_es -> Text,
        brand -> Nullable<Text>,
        barcode -> Nullable<Text>,
        energy_mkcal -> Nullable<Int8>,
        protein_mg -> Nullable<Int8>,
        carbohydrate_mg -> Nullable<Int8>,
        sugars_mg -> Nullable<Int8>,
        fibre_mg -> Nullable<Int8>,
        fat_mg -> Nullable<Int8>,
        saturated_fat_mg -> Nullable<Int8>,
        sodium_mg -> Nullable<Int8>,
        alcohol_mg -> Nullable<Int8>,
        potassium_mg -> Nullable<Int8>,
        vitamin_k_ng -> Nullable<Int8>,
        carb_basis -> Text,
        allergens -> Jsonb,
        portions -> Jsonb,
        verified -> Bool,
        search -> Text,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    gym_foods (id) {
        id -> Uuid,
        gym_id -> Uuid,
        author_id -> Uuid,
        kind -> Text,
        name_en -> Text,
        name_es -> Text,
        brand -> Nullable<Text>,
        barcode -> Nullable<Text>,
        energy_mkcal -> Nullable<Int8>,
        protein_mg -> Nullable<Int8>,
        carbohydrate_mg -> Nullable<Int8>,
        sugars_mg -> Nullable<Int8>,
        fibre_mg -> Nullable<Int8>,
        fat_mg -> Nullable<Int8>,
        saturated_fat_mg -> Nullable<Int8>,
        sodium_mg -> Nullable<Int8>,
        alcohol_mg -> Nullable<Int8>,
        potassium_mg -> Nullable<Int8>,
        vitamin_k_ng -> Nullable<Int8>,
        carb_basis -> Text,
        allergens -> Jsonb,
        portions -> Jsonb,
        verified -> Bool,
        search -> Text,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    gym_log_heads (gym_id) {
        gym_id -> Uuid,
        epoch -> Text,
        seq -> Int8,
    }
}

diesel::table! {
    gyms (id) {
        id -> Uuid,
        slug -> Text,
        name -> Text,
        time_zone -> Text,
        locale -> Text,
        day_start -> Int4,
        settings -> Jsonb,
        created_at -> Timestamptz,
        demo -> Bool,
    }
}

diesel::table! {
    idempotency_keys (gym_id, account_id, key) {
        gym_id -> Uuid,
        account_id -> Uuid,
        key -> Text,
        request_hash -> Bytea,
        status -> Int4,
        response -> Text,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    invitations (id) {
        id -> Uuid,
        gym_id -> Uuid,
        email -> Text,
        name -> Text,
        locale -> Text,
        roles -> Array<Nullable<Text>>,
        secret_hash -> Bytea,
        invited_by -> Nullable<Uuid>,
        created_at -> Timestamptz,
        expires_at -> Timestamptz,
        ended_at -> Nullable<Timestamptz>,
        accepted_by -> Nullable<Uuid>,
    }
}

diesel::table! {
    known_devices (account_id, secret_hash) {
        account_id -> Uuid,
        secret_hash -> Bytea,
        created_at -> Timestamptz,
        last_used_at -> Timestamptz,
    }
}

diesel::table! {
    last_seen (gym_id, account_id) {
        gym_id -> Uuid,
        account_id -> Uuid,
        seen_at -> Timestamptz,
    }
}

diesel::table! {
    live_events (gym_id, seq, channel, at) {
        gym_id -> Uuid,
        seq -> Int8,
        channel -> Text,
        #[sql_name = "type"]
        type_ -> Text,
        payload -> Text,
        actor -> Nullable<Uuid>,
        at -> Timestamptz,
    }
}

diesel::table! {
    log_origin (only_row) {
        only_row -> Bool,
        system_id -> Text,
        timeline -> Text,
        database_oid -> Nullable<Int8>,
    }
}

diesel::table! {
    memberships (gym_id, account_id) {
        gym_id -> Uuid,
        account_id -> Uuid,
        roles -> Array<Nullable<Text>>,
        status -> Text,
        access_version -> Int8,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    password_resets (id) {
        id -> Uuid,
        gym_id -> Uuid,
        account_id -> Uuid,
        secret_hash -> Bytea,
        made_by -> Nullable<Uuid>,
        created_at -> Timestamptz,
        expires_at -> Timestamptz,
        used_at -> Nullable<Timestamptz>,
        revoked_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    plan_days (id, from_rev) {
        id -> Uuid,
        from_rev -> Int4,
        to_rev -> Nullable<Int4>,
        gym_id -> Uuid,
        plan_id -> Uuid,
        number -> Int4,
        title -> Text,
    }
}

diesel::table! {
    plan_items (id, from_rev) {
        id -> Uuid,
        from_rev -> Int4,
        to_rev -> Nullable<Int4>,
        gym_id -> Uuid,
        plan_id -> Uuid,
        meal_id -> Uuid,
        position -> Int4,
        food_id -> Uuid,
        name_en -> Text,
        name_es -> Text,
        per_100g -> Jsonb,
        allergens -> Jsonb,
        quantity_milli -> Int8,
        unit -> Text,
        grams_milli -> Int8,
    }
}

diesel::table! {
    plan_meals (id, from_rev) {
        id -> Uuid,
        from_rev -> Int4,
        to_rev -> Nullable<Int4>,
        gym_id -> Uuid,
        plan_id -> Uuid,
        day_id -> Uuid,
        slot -> Text,
        title -> Text,
        time_min -> Nullable<Int4>,
        position -> Int4,
        notes -> Text,
    }
}

diesel::table! {
    plan_revisions (plan_id, revision) {
        gym_id -> Uuid,
        plan_id -> Uuid,
        revision -> Int4,
        version -> Int8,
        goal -> Text,
        name -> Text,
        description -> Text,
        target_energy_mkcal -> Nullable<Int8>,
        target_protein_mg -> Nullable<Int8>,
        target_carbohydrate_mg -> Nullable<Int8>,
        target_fat_mg -> Nullable<Int8>,
        visibility -> Text,
        author_id -> Uuid,
        published_at -> Timestamptz,
    }
}

diesel::table! {
    plans (id) {
        id -> Uuid,
        gym_id -> Uuid,
        author_id -> Uuid,
        kind -> Text,
        goal -> Text,
        name -> Text,
        description -> Text,
        target_energy_mkcal -> Nullable<Int8>,
        target_protein_mg -> Nullable<Int8>,
        target_carbohydrate_mg -> Nullable<Int8>,
        target_fat_mg -> Nullable<Int8>,
        duration_days -> Int4,
        cycle -> Text,
        status -> Text,
        visibility -> Text,
        source -> Text,
        start_date -> Nullable<Date>,
        version -> Int8,
        revision -> Int4,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    quota_windows (gym_id, account_id, operation) {
        gym_id -> Uuid,
        account_id -> Uuid,
        operation -> Text,
        began_at -> Timestamptz,
        used -> Int4,
    }
}

diesel::table! {
    sealed_secrets (id) {
        id -> Uuid,
        purpose -> Text,
        sealed -> Bytea,
        created_at -> Timestamptz,
        retired_at -> Nullable<Timestamptz>,
        active_from -> Timestamptz,
    }
}

diesel::table! {
    sessions (id) {
        id -> Uuid,
        gym_id -> Uuid,
        account_id -> Uuid,
        created_at -> Timestamptz,
        last_used_at -> Timestamptz,
        expires_at -> Timestamptz,
        ended_at -> Nullable<Timestamptz>,
        ended_reason -> Nullable<Text>,
        user_agent -> Nullable<Text>,
        ip_address -> Nullable<Text>,
        signed_in_at -> Timestamptz,
        generation -> Int8,
        predecessor_until -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    signing_keys (id) {
        id -> Uuid,
        public_key -> Bytea,
        sealed_private_key -> Bytea,
        created_at -> Timestamptz,
        retired_at -> Nullable<Timestamptz>,
        active_from -> Timestamptz,
    }
}

diesel::joinable!(gym_foods -> gyms (gym_id));
diesel::joinable!(gym_log_heads -> gyms (gym_id));
diesel::joinable!(idempotency_keys -> gyms (gym_id));
diesel::joinable!(invitations -> gyms (gym_id));
diesel::joinable!(known_devices -> accounts (account_id));
diesel::joinable!(last_seen -> accounts (account_id));
diesel::joinable!(last_seen -> gyms (gym_id));
diesel::joinable!(memberships -> accounts (account_id));
diesel::joinable!(memberships -> gyms (gym_id));
diesel::joinable!(password_resets -> accounts (account_id));
diesel::joinable!(password_resets -> gyms (gym_id));
diesel::joinable!(plan_revisions -> accounts (author_id));
diesel::joinable!(plans -> accounts (author_id));
diesel::joinable!(plans -> gyms (gym_id));
diesel::joinable!(quota_windows -> gyms (gym_id));

diesel::allow_tables_to_appear_in_same_query!(
    accounts,
    assignments,
    completion_history,
    completions,
    daily_progress,
    deployment,
    follows,
    food_tables,
    foods,
    gym_foods,
    gym_log_heads,
    gyms,
    idempotency_keys,
    invitations,
    known_devices,
    last_seen,
    live_events,
    log_origin,
    memberships,
    password_resets,
    plan_days,
    plan_items,
    plan_meals,
    plan_revisions,
    plans,
    quota_windows,
    sealed_secrets,
    sessions,
    signing_keys,
);
