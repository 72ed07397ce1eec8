//! The food as the API and the database represent it.

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

/// Declares an enum whose variants have one name, used both in the database and in JSON.
macro_rules! names {
    ($(#[$doc:meta])* $type:ident { $($variant:ident $name:tt $what:literal;)+ }) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
        $(#[$doc])*
        pub enum $type {
            $(#[doc = $what] #[serde(rename = $name)] $variant,)+
        }

        impl $type {
            /// All variants.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name in the database and in JSON.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// The variant with this name.
            #[must_use]
            pub fn named(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.name() == name)
            }
        }
    };
}

names! {
    /// The kind of a food.
    #[schema(as = FoodKind)]
    Kind {
        Meat "meat" "Meat and poultry.";
        Fish "fish" "Fish and seafood.";
        Egg "egg" "Eggs.";
        Dairy "dairy" "Milk and dairy products.";
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
    /// Whether a food contains an allergen. An allergen that is not listed is unknown.
    Presence {
        Contains "contains" "The food contains it.";
        Traces "traces" "The food may contain traces of it.";
        Absent "absent" "The food does not contain it.";
    }
}

names! {
    /// The owner of a food.
    Scope {
        Shared "shared" "Shared by all gyms.";
        Gym "gym" "Owned by one gym.";
    }
}

/// The allergens of a food, by allergen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, AsExpression, FromSqlRow)]
#[diesel(sql_type = Jsonb)]
#[serde(transparent)]
#[schema(value_type = BTreeMap<String, Presence>)]
pub struct Allergens(pub BTreeMap<Allergen, Presence>);

/// A household measure of a food.
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

/// The portions of a food.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, AsExpression, FromSqlRow)]
#[diesel(sql_type = Jsonb)]
#[serde(transparent)]
pub struct Portions(pub Vec<Portion>);

/// Stores types as `jsonb` in their JSON form.
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

/// A food: shared, or the gym's own.
#[derive(Clone, Debug, PartialEq, Eq, QueryableByName, Serialize, ToSchema)]
pub struct Food {
    /// Identifier.
    #[diesel(sql_type = SqlUuid)]
    pub id: FoodId,
    /// Whether the food is shared or the gym's own.
    #[diesel(sql_type = Text, deserialize_as = String)]
    pub scope: Scope,
    /// The table that a shared food comes from.
    #[diesel(sql_type = Nullable<Text>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub source: Option<String>,
    /// The kind of food.
    #[diesel(sql_type = Text, deserialize_as = String)]
    pub kind: Kind,
    /// English name.
    #[diesel(sql_type = Text)]
    pub name_en: String,
    /// Spanish name.
    #[diesel(sql_type = Text)]
    pub name_es: String,
    /// Brand, for a product.
    #[diesel(sql_type = Nullable<Text>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub brand: Option<String>,
    /// GTIN, for a product.
    #[diesel(sql_type = Nullable<Text>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub barcode: Option<String>,
    /// Nutrients per 100 g of the edible part.
    #[diesel(sql_type = Jsonb, deserialize_as = Json<Nutrients>)]
    pub per_100g: Nutrients,
    /// Whether `carbohydrate_mg` includes fibre.
    #[diesel(sql_type = Text, deserialize_as = String)]
    pub carb_basis: CarbBasis,
    /// Allergens.
    #[diesel(sql_type = Jsonb)]
    pub allergens: Allergens,
    /// Household measures.
    #[diesel(sql_type = Jsonb)]
    pub portions: Portions,
    /// Whether an expert has checked the food.
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
