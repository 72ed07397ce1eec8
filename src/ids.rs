//! Typed identifiers. Each is a UUIDv7 with its own type, so that the compiler refuses a plan's id in place of a
//! meal's.

/// Declares identifier types that are plain UUIDs in JSON, Postgres and OpenAPI.
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
            /// Creates an identifier. Identifiers sort by time of creation.
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
    /// A gym: the tenant.
    GymId;
    /// A person's account, shared by all gyms.
    AccountId;
    /// A trainer's assignment to a member.
    AssignmentId;
    /// A session: one signed-in device.
    SessionId;
    /// An invitation to a gym.
    InvitationId;
    /// A deployment: the issuer of access tokens.
    DeploymentId;
    /// A key that signs access tokens.
    KeyId;
    /// A food, either shared or a gym's own.
    FoodId;
    /// A plan.
    PlanId;
    /// A day of a plan. It keeps its identifier across revisions.
    DayId;
    /// A meal of a plan. It keeps its identifier across revisions.
    MealId;
    /// An item of a meal. It keeps its identifier across revisions.
    ItemId;
    /// A follow: a member on a plan.
    FollowId;
    /// An event in a gym's log.
    EventId;
}
