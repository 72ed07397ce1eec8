//! The foods that every installation starts with: generic rows of the USDA tables, with Spanish names added by this
//! project. `tools/foods` generates the table.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use diesel::sql_types::{Binary, Jsonb, Text, Timestamptz};
use diesel::{OptionalExtension as _, QueryDsl as _};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::model::{Allergen, Allergens, Kind, Portion, Portions, Presence};
use super::rules;
use crate::db::locks::AdvisoryLock;
use crate::db::schema::food_tables;
use crate::ids::FoodId;
use liveplan_nutrition::nutrients::Nutrients;
use liveplan_nutrition::plausibility::CarbBasis;

const TABLE: &str = include_str!("starter.csv");
/// Raise this when the loader builds different rows from the same table.
const LOADER: &[u8] = b"1";
/// The table's name in `food_tables`.
const NAME: &str = "starter";

/// A row of `foods`.
#[derive(Serialize)]
struct Row {
    id: FoodId,
    source: String,
    source_ref: String,
    kind: Kind,
    name_en: String,
    name_es: String,
    #[serde(flatten)]
    per_100g: Nutrients,
    carb_basis: CarbBasis,
    allergens: Allergens,
    portions: Portions,
    search: String,
}

/// Loads the table, unless this table was the last one loaded, and returns how many rows were written. Foods keep their
/// identifiers. Foods that the table no longer has stay, since plans may refer to them. Runs as the system, outside any
/// gym.
pub async fn load(conn: &mut AsyncPgConnection, now: DateTime<Utc>) -> anyhow::Result<usize> {
    let checksum = Sha256::new()
        .chain_update(LOADER)
        .chain_update(TABLE)
        .finalize()
        .to_vec();
    AdvisoryLock::StarterFoods.take_for_transaction(conn).await?;
    let loaded: Option<Vec<u8>> = food_tables::table
        .find(NAME)
        .select(food_tables::checksum)
        .first(conn)
        .await
        .optional()?;
    if loaded.as_ref() == Some(&checksum) {
        return Ok(0);
    }
    let rows = serde_json::to_value(parse(TABLE)?)?;
    let written = diesel::sql_query(upsert())
        .bind::<Jsonb, _>(rows)
        .bind::<Timestamptz, _>(now)
        .execute(conn)
        .await?;
    diesel::sql_query(
        "INSERT INTO food_tables (name, checksum, loaded_at) VALUES ($1, $2, $3)
         ON CONFLICT (name) DO UPDATE SET checksum = $2, loaded_at = $3",
    )
    .bind::<Text, _>(NAME)
    .bind::<Binary, _>(checksum)
    .bind::<Timestamptz, _>(now)
    .execute(conn)
    .await?;
    tracing::info!(foods = written, "starter foods loaded");
    Ok(written)
}

/// One statement for all rows; it does not write rows that have not changed.
fn upsert() -> String {
    const WRITTEN: [&str; 18] = [
        "kind",
        "name_en",
        "name_es",
        "energy_mkcal",
        "protein_mg",
        "carbohydrate_mg",
        "sugars_mg",
        "fibre_mg",
        "fat_mg",
        "saturated_fat_mg",
        "sodium_mg",
        "alcohol_mg",
        "potassium_mg",
        "vitamin_k_ng",
        "carb_basis",
        "allergens",
        "portions",
        "search",
    ];
    let columns = WRITTEN.join(", ");
    let all = |prefix: &str| WRITTEN.map(|column| format!("{prefix}.{column}")).join(", ");
    let (old, new) = (all("foods"), all("excluded"));
    format!(
        "INSERT INTO foods (id, source, source_ref, {columns}, verified, created_at)
         SELECT id, source, source_ref, {columns}, true, $2 FROM jsonb_populate_recordset(NULL::foods, $1)
         ON CONFLICT (source, source_ref) DO UPDATE SET ({columns}) = ROW ({new})
         WHERE ({old}) IS DISTINCT FROM ({new})"
    )
}

/// The identifiers of the table's foods, by English name.
///
/// # Errors
/// The table cannot be parsed.
pub fn identifiers() -> anyhow::Result<HashMap<String, FoodId>> {
    Ok(parse(TABLE)?.into_iter().map(|row| (row.name_en, row.id)).collect())
}

fn parse(table: &str) -> anyhow::Result<Vec<Row>> {
    let mut reader = csv::Reader::from_reader(table.as_bytes());
    let columns = reader.headers()?.clone();
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record?;
        let cell = |name: &str| -> anyhow::Result<&str> {
            let at = columns.iter().position(|column| column == name);
            at.and_then(|at| record.get(at))
                .ok_or_else(|| anyhow::anyhow!("the table has no column {name}"))
        };
        let row = row(&cell).map_err(|e| e.context(format!("starter.csv, {:?}", record.position())))?;
        rows.push(row);
    }
    Ok(rows)
}

fn row<'a>(cell: &impl Fn(&str) -> anyhow::Result<&'a str>) -> anyhow::Result<Row> {
    let amount = |name: &str| -> anyhow::Result<Option<i64>> {
        let text = cell(name)?;
        if text.is_empty() {
            Ok(None)
        } else {
            Ok(Some(text.parse()?))
        }
    };
    let (source, source_ref) = (cell("source")?.to_owned(), cell("source_ref")?.to_owned());
    let (name_en, name_es) = (cell("name_en")?.to_owned(), cell("name_es")?.to_owned());
    Ok(Row {
        id: identifier(&source, &source_ref),
        kind: Kind::named(cell("kind")?).ok_or_else(|| anyhow::anyhow!("unknown kind"))?,
        per_100g: Nutrients {
            energy_mkcal: amount("energy_mkcal")?,
            protein_mg: amount("protein_mg")?,
            carbohydrate_mg: amount("carbohydrate_mg")?,
            sugars_mg: amount("sugars_mg")?,
            fibre_mg: amount("fibre_mg")?,
            fat_mg: amount("fat_mg")?,
            saturated_fat_mg: amount("saturated_fat_mg")?,
            sodium_mg: amount("sodium_mg")?,
            alcohol_mg: amount("alcohol_mg")?,
            potassium_mg: amount("potassium_mg")?,
            vitamin_k_ng: amount("vitamin_k_ng")?,
            ..Nutrients::default()
        },
        carb_basis: CarbBasis::from(cell("carb_basis")?.to_owned()),
        allergens: allergens(cell("allergens")?)?,
        portions: portions(cell("portions")?)?,
        search: rules::searched(&name_en, &name_es, None),
        source,
        source_ref,
        name_en,
        name_es,
    })
}

/// Derived from the source's name for the food, so that a food has the same identifier in every installation.
fn identifier(source: &str, source_ref: &str) -> FoodId {
    let hash = Sha256::new()
        .chain_update(source)
        .chain_update([0])
        .chain_update(source_ref)
        .finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    FoodId(uuid::Builder::from_custom_bytes(bytes).into_uuid())
}

/// Parses `gluten=contains;milk=traces`.
fn allergens(cell: &str) -> anyhow::Result<Allergens> {
    let pairs = cell.split(';').filter(|pair| !pair.is_empty()).map(|pair| {
        let (code, presence) = pair.split_once('=').unwrap_or_default();
        Allergen::named(code)
            .zip(Presence::named(presence))
            .ok_or_else(|| anyhow::anyhow!("unknown allergen {pair}"))
    });
    pairs.collect::<anyhow::Result<_>>().map(Allergens)
}

/// Parses `cup|taza|240;tablespoon|cucharada|12.5`; weights are in grams.
fn portions(cell: &str) -> anyhow::Result<Portions> {
    let portions = cell.split(';').filter(|portion| !portion.is_empty()).map(|portion| {
        let mut parts = portion.split('|');
        let (Some(name_en), Some(name_es), Some(grams), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            anyhow::bail!("{portion} is not name_en|name_es|grams");
        };
        Ok(Portion {
            name_en: name_en.into(),
            name_es: name_es.into(),
            grams_milli: milli(grams)?,
        })
    });
    portions.collect::<anyhow::Result<_>>().map(Portions)
}

/// Parses a decimal number with at most three decimal places into thousandths.
fn milli(decimal: &str) -> anyhow::Result<i64> {
    let (whole, part) = decimal.split_once('.').unwrap_or((decimal, ""));
    anyhow::ensure!(part.len() <= 3, "{decimal} has more than three decimal places");
    let part: i64 = format!("{part:0<3}").parse()?;
    Ok(whole.parse::<i64>()? * 1000 + part)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_row_parses_and_is_plausible() {
        let rows = parse(TABLE).expect("the table");
        assert!(rows.len() > 1000, "{}", rows.len());
        let ids: HashSet<uuid::Uuid> = rows.iter().map(|row| row.id.0).collect();
        assert_eq!(ids.len(), rows.len());
        for row in &rows {
            let wrong = liveplan_nutrition::plausibility::plausible(&row.per_100g, row.carb_basis);
            assert!(wrong.is_empty(), "{} {}: {wrong:?}", row.source, row.source_ref);
            assert!(
                row.portions.0.iter().all(|portion| portion.grams_milli > 0),
                "{}",
                row.source_ref
            );
        }
    }

    #[test]
    fn an_identifier_depends_on_source_and_name_only() {
        assert_eq!(identifier("usda_sr", "Rice"), identifier("usda_sr", "Rice"));
        assert_ne!(identifier("usda_sr", "Rice"), identifier("usda_fndds", "Rice"));
        assert_eq!(identifier("usda_sr", "Rice").0.get_version_num(), 8);
    }

    #[test]
    fn cells_parse_into_lists() {
        let portions = portions("cup|taza|240;tablespoon|cucharada|12.5").expect("portions").0;
        assert_eq!(portions[1].grams_milli, 12_500);
        assert!(super::portions("cup|240").is_err());
        let allergens = allergens("gluten=contains;milk=traces").expect("allergens").0;
        assert_eq!(allergens.get(&Allergen::Milk), Some(&Presence::Traces));
        assert!(super::allergens("gluten=perhaps").is_err());
        assert_eq!(
            (milli("0.001").ok(), milli("7").ok(), milli("1.2345").ok()),
            (Some(1), Some(7000), None)
        );
    }
}
