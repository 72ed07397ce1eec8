//! `jsonb` columns for types of crates that do not depend on diesel.

use std::fmt::Debug;

use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::pg::{Pg, PgValue};
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types::Jsonb;
use liveplan_nutrition::nutrients::{Nutrients, Totals};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A value that is stored as JSON.
#[derive(Clone, Debug, AsExpression, FromSqlRow)]
#[diesel(sql_type = Jsonb)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned> FromSql<Jsonb, Pg> for Json<T> {
    fn from_sql(bytes: PgValue<'_>) -> deserialize::Result<Self> {
        Ok(Self(serde_json::from_value(<Value as FromSql<Jsonb, Pg>>::from_sql(
            bytes,
        )?)?))
    }
}

impl<T: Debug + Serialize> ToSql<Jsonb, Pg> for Json<T> {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        let value = serde_json::to_value(&self.0)?;
        <Value as ToSql<Jsonb, Pg>>::to_sql(&value, &mut out.reborrow())
    }
}

impl From<Json<Self>> for Nutrients {
    fn from(json: Json<Self>) -> Self {
        json.0
    }
}

impl From<Json<Self>> for Totals {
    fn from(json: Json<Self>) -> Self {
        json.0
    }
}
