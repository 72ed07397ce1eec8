//! The numbers and words of the gates as data: reads and checks a gate file.

use std::collections::BTreeMap;

use super::finding::{Compared, Gate, Severity, Unit};
use super::trainer::Constraint;
use crate::Words;
use crate::sections::{Fault, Section, sections};
use crate::text::plain;

/// The words of a gate, and what it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// What a finding means at most.
    pub severity: Severity,
    /// What a trainer reads.
    pub trainer: Constraint,
    /// Where the gate comes from.
    pub source: String,
    words: Words,
    unknown: Option<Words>,
}

/// A version of the gates. Percents are thousandths (`permille`), energy thousandths of a kilocalorie, masses milligrams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Its number.
    pub version: u32,
    pub(super) minimum_mkcal: i64,
    pub(super) female_mkcal: i64,
    pub(super) male_mkcal: i64,
    pub(super) undisclosed_mkcal: i64,
    pub(super) deficit_warn_permille: i64,
    pub(super) deficit_block_permille: i64,
    pub(super) restrictive_permille: i64,
    pub(super) any_deficit_permille: i64,
    /// Thousandths of a percent.
    pub(super) loss_warn: i64,
    pub(super) loss_block: i64,
    /// Thousandths of a kilocalorie per gram of body weight.
    pub(super) mkcal_per_g: i64,
    pub(super) kidney_mg_per_kg: i64,
    pub(super) carbohydrate_mg: i64,
    pub(super) fasting_minutes: i64,
    pub(super) vitamin_k_permille: i64,
    /// Protein, carbohydrate, fat: from and to, in thousandths of the energy.
    pub(super) macros_permille: [(i64, i64); 3],
    /// Plain words of foods rich in tyramine.
    pub(super) tyramine: Vec<String>,
    about: BTreeMap<Gate, About>,
}

impl Limits {
    /// Reads a gate file. The format is described at the top of `gates-v1.ini`.
    ///
    /// # Errors
    /// The first mistake and its place: every gate has its section, its numbers and its words.
    pub fn read(version: u32, text: &str) -> Result<Self, Fault> {
        let found = sections(text)?;
        if let Some(section) = found.iter().find(|section| Gate::named(&section.name).is_none()) {
            return Err(section.fault("no such gate"));
        }
        let section = |gate: Gate| {
            let found = found.iter().find(|section| section.name == gate.name());
            found.ok_or_else(|| Fault::new(format!("[{}]", gate.name()), "the section is missing"))
        };
        let mut about = BTreeMap::new();
        for gate in Gate::ALL {
            about.insert(*gate, About::read(section(*gate)?)?);
        }
        let number = |gate: Gate, key: &str| {
            section(gate)?
                .number(key)
                .and_then(|n| positive(section(gate)?, key, n))
        };
        // Thousandths of a percent are 10 times thousandths of the whole.
        let permille = |gate: Gate, key: &str| number(gate, key).map(|thousandths| thousandths / 10 / 10);
        let share = |from: &str, to: &str| Ok((permille(Gate::MacroRange, from)?, permille(Gate::MacroRange, to)?));
        let words = section(Gate::Tyramine)?.list("words");
        Ok(Self {
            version,
            minimum_mkcal: number(Gate::EnergyMinimum, "below_kcal")?,
            female_mkcal: number(Gate::EnergyFloor, "female_kcal")?,
            male_mkcal: number(Gate::EnergyFloor, "male_kcal")?,
            undisclosed_mkcal: number(Gate::EnergyFloor, "undisclosed_kcal")?,
            deficit_warn_permille: permille(Gate::DeficitLarge, "warn_above_percent")?,
            deficit_block_permille: permille(Gate::DeficitLarge, "block_above_percent")?,
            restrictive_permille: permille(Gate::DeficitLarge, "restrictive_above_percent")?,
            any_deficit_permille: permille(Gate::AnyDeficit, "above_percent")?,
            loss_warn: number(Gate::LossFast, "warn_above_percent")?,
            loss_block: number(Gate::LossFast, "block_above_percent")?,
            mkcal_per_g: number(Gate::LossFast, "kcal_per_kg")? / 1000,
            kidney_mg_per_kg: number(Gate::ProteinKidney, "above_g_per_kg")?,
            carbohydrate_mg: number(Gate::CarbohydrateLow, "below_g")?,
            fasting_minutes: number(Gate::FastingWindow, "from_hours")? * 60 / 1000,
            vitamin_k_permille: permille(Gate::VitaminKSwing, "above_percent")?,
            macros_permille: [
                share("protein_from_percent", "protein_to_percent")?,
                share("carbohydrate_from_percent", "carbohydrate_to_percent")?,
                share("fat_from_percent", "fat_to_percent")?,
            ],
            tyramine: words.into_iter().map(plain).collect(),
            about,
        })
    }

    /// What a gate means. `None` only if the file lacked it, which [`Self::read`] refuses.
    #[must_use]
    pub fn about(&self, gate: Gate) -> Option<&About> {
        self.about.get(&gate)
    }
}

fn positive(section: &Section, key: &str, number: i64) -> Result<i64, Fault> {
    if number < 0 {
        return Err(section.fault(format!("`{key}` is below zero")));
    }
    Ok(number)
}

impl About {
    fn read(section: &Section) -> Result<Self, Fault> {
        let severity = match section.need("severity")? {
            "clearance" => Severity::Clearance,
            name => Severity::named(name).ok_or_else(|| section.fault(format!("no severity {name}")))?,
        };
        let trainer = section.need("trainer")?;
        let unknown = section.get("en_unknown").is_some() || section.get("es_unknown").is_some();
        Ok(Self {
            severity,
            trainer: Constraint::named(trainer).ok_or_else(|| section.fault(format!("no constraint {trainer}")))?,
            source: section.need("source")?.to_owned(),
            words: section.words("")?,
            unknown: if unknown {
                Some(section.words("_unknown")?)
            } else {
                None
            },
        })
    }

    /// The words of a finding.
    pub(super) fn say(&self, unknown: bool, compared: Option<Compared>, name: Option<&Words>) -> Words {
        let template = if unknown { self.unknown.as_ref() } else { None };
        let template = template.unwrap_or(&self.words);
        let fill = |text: &str, decimal: char, name: Option<&str>| {
            let mut text = text.to_owned();
            if let Some(Compared { actual, limit, unit }) = compared {
                text = text.replace("{actual}", &amount(actual, unit, decimal));
                text = text.replace("{limit}", &amount(limit, unit, decimal));
            }
            if let Some(name) = name {
                text = text.replace("{allergen}", name).replace("{nutrient}", name);
            }
            text
        };
        Words {
            en: fill(&template.en, '.', name.map(|words| words.en.as_str())),
            es: fill(&template.es, ',', name.map(|words| words.es.as_str())),
        }
    }
}

/// An amount with its unit, as people read it.
fn amount(amount: i64, unit: Unit, decimal: char) -> String {
    let tenths = |per_tenth: i64| {
        let tenths = amount / per_tenth;
        if tenths % 10 == 0 {
            (tenths / 10).to_string()
        } else {
            format!("{}{decimal}{}", tenths / 10, (tenths % 10).abs())
        }
    };
    match unit {
        Unit::Mkcal => format!("{} kcal", amount / 1000),
        Unit::Mg => format!("{} g", tenths(100)),
        Unit::MgPerKg => format!("{} g/kg", tenths(100)),
        Unit::GPerWeek => format!("{amount} g"),
        Unit::Permille => format!("{} %", tenths(1)),
        Unit::Minutes => format!("{} h", amount / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = include_str!("gates-v1.ini");

    #[test]
    fn numbers_are_read_in_the_units_of_the_code() {
        let limits = Limits::read(1, FILE).expect("limits");
        assert_eq!(limits.minimum_mkcal, 800_000);
        assert_eq!((limits.female_mkcal, limits.male_mkcal), (1_200_000, 1_500_000));
        assert_eq!(
            (limits.deficit_warn_permille, limits.deficit_block_permille),
            (250, 350)
        );
        assert_eq!((limits.restrictive_permille, limits.any_deficit_permille), (150, 0));
        assert_eq!(
            (limits.loss_warn, limits.loss_block, limits.mkcal_per_g),
            (1000, 1500, 7700)
        );
        assert_eq!((limits.kidney_mg_per_kg, limits.carbohydrate_mg), (800, 130_000));
        assert_eq!((limits.fasting_minutes, limits.vitamin_k_permille), (840, 500));
        assert_eq!(limits.macros_permille, [(100, 350), (450, 650), (200, 350)]);
    }

    #[test]
    fn a_file_without_a_gate_a_number_or_a_word_is_refused() {
        for (from, to) in [
            ("[tyramine]", "[tyramin]"),
            ("below_kcal = 800", "below_kcal = -800"),
            ("below_kcal = 800", ""),
            ("severity = advise", "severity = perhaps"),
            ("trainer = more_energy", "trainer = energy"),
            ("en = Contains alcohol: {actual}.", ""),
            (
                "en_unknown = It is not known whether some",
                "en_unknow = It is not known whether some",
            ),
        ] {
            assert!(FILE.contains(from), "{from}");
            assert!(Limits::read(1, &FILE.replacen(from, to, 1)).is_err(), "{to}");
        }
    }

    #[test]
    fn amounts_are_written_with_their_units() {
        for (value, unit, en, es) in [
            (1_234_567, Unit::Mkcal, "1234 kcal", "1234 kcal"),
            (129_900, Unit::Mg, "129.9 g", "129,9 g"),
            (130_000, Unit::Mg, "130 g", "130 g"),
            (850, Unit::MgPerKg, "0.8 g/kg", "0,8 g/kg"),
            (251, Unit::Permille, "25.1 %", "25,1 %"),
            (-251, Unit::Permille, "-25.1 %", "-25,1 %"),
            (840, Unit::Minutes, "14 h", "14 h"),
            (750, Unit::GPerWeek, "750 g", "750 g"),
        ] {
            assert_eq!(
                (amount(value, unit, '.').as_str(), amount(value, unit, ',').as_str()),
                (en, es)
            );
        }
    }
}
