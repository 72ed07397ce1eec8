//! Roles of a membership. A membership has a set of roles: in a small gym the owner may be a trainer too.

use serde::{Deserialize, Serialize};

/// A role in a gym.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Owns the gym.
    Owner,
    /// Runs the gym.
    Manager,
    /// Writes plans and grants clearance to follow them.
    Nutritionist,
    /// Watches assigned members and acts for them.
    Trainer,
    /// Follows a plan.
    Member,
    /// Reads the audit log.
    Auditor,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 6] = [
        Self::Owner,
        Self::Manager,
        Self::Nutritionist,
        Self::Trainer,
        Self::Member,
        Self::Auditor,
    ];

    /// The name in the database and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Manager => "manager",
            Self::Nutritionist => "nutritionist",
            Self::Trainer => "trainer",
            Self::Member => "member",
            Self::Auditor => "auditor",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A set of roles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Roles(u8);

impl Roles {
    /// Whether the role is in the set.
    #[must_use]
    pub const fn has(self, role: Role) -> bool {
        self.0 & role.bit() != 0
    }

    /// Whether any of the roles is in the set.
    #[must_use]
    pub fn any(self, roles: &[Role]) -> bool {
        roles.iter().any(|r| self.has(*r))
    }

    /// The roles of both sets.
    #[must_use]
    pub const fn with(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// The roles that are not in the other set.
    #[must_use]
    pub const fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// The roles in the set.
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |r| self.has(*r))
    }

    /// The names of the roles, as the database stores them.
    #[must_use]
    pub fn names(self) -> Vec<&'static str> {
        self.iter().map(Role::name).collect()
    }
}

impl FromIterator<Role> for Roles {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> Self {
        Self(roles.into_iter().fold(0, |set, role| set | role.bit()))
    }
}

impl From<Vec<Option<String>>> for Roles {
    /// Reads a `text[]` column. Ignores unknown names.
    fn from(names: Vec<Option<String>>) -> Self {
        names
            .iter()
            .flatten()
            .filter_map(|name| Role::ALL.into_iter().find(|r| r.name() == name))
            .collect()
    }
}

impl Serialize for Roles {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for Roles {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::<Role>::deserialize(deserializer).map(|roles| roles.into_iter().collect())
    }
}

impl utoipa::PartialSchema for Roles {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::schema::ArrayBuilder::new()
            .items(utoipa::openapi::Ref::from_schema_name(
                <Role as utoipa::ToSchema>::name(),
            ))
            .description(Some("A set of roles."))
            .into()
    }
}

impl utoipa::ToSchema for Roles {
    /// Registers the schema of [`Role`] as well: query parameters refer to it by name, and do not register it.
    fn schemas(schemas: &mut Vec<(String, utoipa::openapi::RefOr<utoipa::openapi::schema::Schema>)>) {
        use utoipa::{PartialSchema, ToSchema};
        schemas.push((<Role as ToSchema>::name().into(), <Role as PartialSchema>::schema()));
    }
}
