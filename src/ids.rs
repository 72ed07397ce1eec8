//! Typed identifiers: a UUIDv7 each, so that a plan's id cannot be passed where a meal's is meant.

/// Declares identifier types that go through JSON, Postgres and OpenAPI as plain UUIDs.
macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)+) => {$(
        $(#[$doc])*
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
            diesel::expression::AsExpression, diesel::deserialize::FromSqlRow,
        )]
        #[diesel(sql_type = diesel::sql_types::Uuid)]
        #[serde(transparent)]
        #[schema(value_type = uuid::Uuid)]
        pub struct $name(pub uuid::Uuid);

        impl $name {
            /// A new identifier, ordered by time of creation.
            #[must_use]
            #[allow(clippy::new_without_default, reason = "two calls differ, so a default would mislead")]
            pub fn new() -> Self {
                Self(uuid::Uuid::now_v7())
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(&self.0, f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }

        impl diesel::serialize::ToSql<diesel::sql_types::Uuid, diesel::pg::Pg> for $name {
            fn to_sql<'b>(
                &'b self,
                out: &mut diesel::serialize::Output<'b, '_, diesel::pg::Pg>,
            ) -> diesel::serialize::Result {
                <uuid::Uuid as diesel::serialize::ToSql<diesel::sql_types::Uuid, diesel::pg::Pg>>::to_sql(&self.0, out)
            }
        }

        impl diesel::deserialize::FromSql<diesel::sql_types::Uuid, diesel::pg::Pg> for $name {
            fn from_sql(bytes: diesel::pg::PgValue<'_>) -> diesel::deserialize::Result<Self> {
                uuid::Uuid::from_sql(bytes).map(Self)
            }
        }
    )+};
}

ids! {
    /// A gym, the tenant of everything.
    GymId;
    /// A person's account, over all gyms.
    AccountId;
    /// A trainer's assignment to a member.
    AssignmentId;
    /// A signed-in device.
    SessionId;
    /// A key that signs access tokens.
    KeyId;
    /// A food, shared or a gym's own.
    FoodId;
    /// A plan.
    PlanId;
    /// A day of a plan, the same over revisions.
    DayId;
    /// A meal of a plan, the same over revisions.
    MealId;
    /// An item of a meal, the same over revisions.
    ItemId;
    /// A member's following of a plan.
    FollowId;
    /// An event in a gym's log.
    EventId;
}
