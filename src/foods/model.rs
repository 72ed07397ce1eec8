//! A food as it is read and written.

use std::collections::BTreeMap;

use diesel::QueryableByName;
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::pg::{Pg, PgValue};
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types::{Bool, Jsonb, Nullable, Text, Uuid as SqlUuid};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::db::json::Json;
use crate::ids::FoodId;
use liveplan_nutrition::nutrients::Nutrients;
use liveplan_nutrition::plausibility::CarbBasis;

/// Declares a type of names that are the same in the database and in JSON.
macro_rules! names {
    ($(#[$doc:meta])* $type:ident { $($variant:ident $name:tt $what:literal;)+ }) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
        $(#[$doc])*
        pub enum $type {
            $(#[doc = $what] #[serde(rename = $name)] $variant,)+
        }

        impl $type {
            /// Every one.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name in the database and in JSON.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// The one of this name.
            #[must_use]
            pub fn named(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.name() == name)
            }
        }
    };
}

names! {
    /// What kind of food it is.
    #[schema(as = FoodKind)]
    Kind {
        Meat "meat" "Meat and poultry.";
        Fish "fish" "Fish and seafood.";
        Egg "egg" "Eggs.";
        Dairy "dairy" "Milk and what is made of it.";
        Legume "legume" "Beans, peas, lentils, soy.";
        NutSeed "nut_seed" "Nuts and seeds.";
        Grain "grain" "Rice, pasta, flakes, flour.";
        Bread "bread" "Bread and bakery.";
        Vegetable "vegetable" "Vegetables, potatoes, mushrooms.";
        Fruit "fruit" "Fruit.";
        OilFat "oil_fat" "Oils and fats.";
        SauceSpice "sauce_spice" "Sauces, spices, condiments.";
        Sweet "sweet" "Sugar, honey, sweets.";
        Snack "snack" "Salty snacks.";
        Drink "drink" "Drinks.";
        Dish "dish" "Prepared dishes.";
        Supplement "supplement" "Powders and bars.";
        Other "other" "Anything else.";
    }
}

names! {
    /// An allergen of EU 1169/2011 Annex II.
    Allergen {
        Gluten "gluten" "Cereals containing gluten.";
        Crustaceans "crustaceans" "Crustaceans.";
        Egg "egg" "Eggs.";
        Fish "fish" "Fish.";
        Peanut "peanut" "Peanuts.";
        Soy "soy" "Soybeans.";
        Milk "milk" "Milk, with lactose.";
        Nuts "nuts" "Tree nuts.";
        Celery "celery" "Celery.";
        Mustard "mustard" "Mustard.";
        Sesame "sesame" "Sesame.";
        Sulphites "sulphites" "Sulphur dioxide and sulphites over 10 mg/kg.";
        Lupin "lupin" "Lupin.";
        Molluscs "molluscs" "Molluscs.";
    }
}

names! {
    /// Whether an allergen is in a food. One that is not named is unknown.
    Presence {
        Contains "contains" "It is in it.";
        Traces "traces" "It may be.";
        Absent "absent" "It is not.";
    }
}

names! {
    /// Whose a food is.
    Scope {
        Shared "shared" "All gyms'.";
        Gym "gym" "The gym's own.";
    }
}

/// Allergens of a food, by code.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, AsExpression, FromSqlRow)]
#[diesel(sql_type = Jsonb)]
#[serde(transparent)]
#[schema(value_type = BTreeMap<String, Presence>)]
pub struct Allergens(pub BTreeMap<Allergen, Presence>);

/// A usual amount of a food.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Portion {
    /// English name, such as `cup`.
    pub name_en: String,
    /// Spanish name, such as `taza`.
    pub name_es: String,
    /// Thousandths of a gram.
    pub grams_milli: i64,
}

/// Portions of a food.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, AsExpression, FromSqlRow)]
#[diesel(sql_type = Jsonb)]
#[serde(transparent)]
pub struct Portions(pub Vec<Portion>);

/// Lets types go through jsonb by their JSON.
macro_rules! jsonb {
    ($($type:ty),+) => {$(
        impl FromSql<Jsonb, Pg> for $type {
            fn from_sql(bytes: PgValue<'_>) -> deserialize::Result<Self> {
                Ok(serde_json::from_value(<Value as FromSql<Jsonb, Pg>>::from_sql(bytes)?)?)
            }
        }

        impl ToSql<Jsonb, Pg> for $type {
            fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
                let value = serde_json::to_value(self)?;
                <Value as ToSql<Jsonb, Pg>>::to_sql(&value, &mut out.reborrow())
            }
        }
    )+};
}

jsonb!(Allergens, Portions);

/// A food, shared or the gym's own.
#[derive(Clone, Debug, PartialEq, Eq, QueryableByName, Serialize, ToSchema)]
pub struct Food {
    /// Its identifier.
    #[diesel(sql_type = SqlUuid)]
    pub id: FoodId,
    /// Whose it is.
    #[diesel(sql_type = Text, deserialize_as = String)]
    pub scope: Scope,
    /// The table that a shared food comes from.
    #[diesel(sql_type = Nullable<Text>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub source: Option<String>,
    /// What kind of food it is.
    #[diesel(sql_type = Text, deserialize_as = String)]
    pub kind: Kind,
    /// English name.
    #[diesel(sql_type = Text)]
    pub name_en: String,
    /// Spanish name.
    #[diesel(sql_type = Text)]
    pub name_es: String,
    /// Brand, of a product.
    #[diesel(sql_type = Nullable<Text>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub brand: Option<String>,
    /// GTIN, of a product.
    #[diesel(sql_type = Nullable<Text>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub barcode: Option<String>,
    /// What 100 g of the edible part hold.
    #[diesel(sql_type = Jsonb, deserialize_as = Json<Nutrients>)]
    pub per_100g: Nutrients,
    /// Whether carbohydrate holds fibre.
    #[diesel(sql_type = Text, deserialize_as = String)]
    pub carb_basis: CarbBasis,
    /// Allergens.
    #[diesel(sql_type = Jsonb)]
    pub allergens: Allergens,
    /// Usual amounts.
    #[diesel(sql_type = Jsonb)]
    pub portions: Portions,
    /// Whether somebody who should know has checked it.
    #[diesel(sql_type = Bool)]
    pub verified: bool,
}

impl From<String> for Kind {
    fn from(name: String) -> Self {
        Self::named(&name).unwrap_or(Self::Other)
    }
}

impl From<String> for Scope {
    fn from(name: String) -> Self {
        Self::named(&name).unwrap_or(Self::Shared)
    }
}
