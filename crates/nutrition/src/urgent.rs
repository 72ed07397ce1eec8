//! Whom to call at once, by country: for chest pain, fainting and thoughts of self-harm. The numbers are a data file with
//! its sources, `urgent-v1.ini`.

use std::sync::LazyLock;

use serde::Serialize;

use crate::Words;
use crate::names::names;
use crate::screening::{Answers, Fault};
use crate::sections::{Section, sections};

names! {
    /// A sign that does not wait for a plan.
    Sign {
        ChestPain "chest_pain" "Pain or pressure in the chest.";
        Fainting "fainting" "Fainting.";
        SelfHarm "self_harm" "Thoughts of self-harm.";
    }
}

impl Sign {
    /// The signs that answers show.
    #[must_use]
    pub fn of(answers: &Answers) -> Vec<Self> {
        let said = [
            (Self::ChestPain, &answers.chest_pain),
            (Self::Fainting, &answers.fainting),
            (Self::SelfHarm, &answers.self_harm_thoughts),
        ];
        said.into_iter()
            .filter(|(_, answer)| answer.is_yes())
            .map(|(sign, _)| sign)
            .collect()
    }
}

/// Whom to call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Call {
    /// The number to dial.
    pub number: String,
    /// Who answers, and when to call.
    pub words: Words,
    /// Where the number comes from.
    pub source: String,
}

/// A country's numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Country {
    code: String,
    emergency: Call,
    /// Lines for thoughts of self-harm, in the order in which they are shown.
    self_harm: Vec<Call>,
}

/// Whom to call for these signs in a country (ISO 3166-1 alpha-2 code, in any case): ES, MX, AR, CO, CL, PE, US, GB (also
/// as UK), and for every other code the European 112 with the words that it may be another number there. Each number
/// once, lines for self-harm before the emergency service; empty without signs.
#[must_use]
pub fn whom_to_call(country: &str, signs: &[Sign]) -> Vec<Call> {
    let Ok(countries) = &*COUNTRIES else { return Vec::new() };
    let code = match country.trim().to_ascii_uppercase() {
        code if code == "UK" => "GB".to_owned(),
        code => code,
    };
    let find = |code: &str| countries.iter().find(|country| country.code == code);
    let Some(country) = find(&code).or_else(|| find("EU")) else {
        return Vec::new();
    };
    let mut calls = Vec::new();
    if signs.contains(&Sign::SelfHarm) {
        calls.extend(country.self_harm.clone());
    }
    if !signs.is_empty() {
        calls.push(country.emergency.clone());
    }
    calls
}

fn call(section: &Section, prefix: &str) -> Result<Call, Fault> {
    let key = |name: &str| format!("{prefix}{name}");
    Ok(Call {
        number: section.need(&key("number"))?.to_owned(),
        words: (section.need(&key("en"))?, section.need(&key("es"))?).into(),
        source: section.need(&key("source"))?.to_owned(),
    })
}

fn read(text: &str) -> Result<Vec<Country>, Fault> {
    let country = |section: Section| {
        let emergency = call(&section, "emergency_")?;
        let mut self_harm = vec![call(&section, "self_harm_")?];
        if section.get("self_harm_2_number").is_some() {
            self_harm.push(call(&section, "self_harm_2_")?);
        }
        // Where one service answers both, it is shown once.
        self_harm.retain(|line| line.number != emergency.number);
        Ok(Country {
            code: section.name.clone(),
            emergency,
            self_harm,
        })
    };
    sections(text)?.into_iter().map(country).collect()
}

static COUNTRIES: LazyLock<Result<Vec<Country>, Fault>> = LazyLock::new(|| read(include_str!("urgent-v1.ini")));

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(country: &str, signs: &[Sign]) -> Vec<String> {
        whom_to_call(country, signs)
            .into_iter()
            .map(|call| call.number)
            .collect()
    }

    #[test]
    fn each_country_has_its_numbers() {
        for (country, emergency, self_harm) in [
            ("ES", "112", &["024"][..]),
            ("MX", "911", &["800 911 2000"]),
            ("AR", "107", &["0800 999 0091", "135"]),
            ("CO", "123", &["106"]),
            ("CL", "131", &["*4141"]),
            ("PE", "106", &["113"]),
            ("US", "911", &["988"]),
            ("GB", "999", &["116 123", "111"]),
            ("UK", "999", &["116 123", "111"]),
            ("de", "112", &[]),
            ("", "112", &[]),
        ] {
            assert_eq!(numbers(country, &[Sign::ChestPain]), [emergency], "{country}");
            assert_eq!(numbers(country, &[Sign::Fainting]), [emergency], "{country}");
            let both = [self_harm, &[emergency]].concat();
            assert_eq!(numbers(country, &[Sign::SelfHarm]), both, "{country}");
        }
        assert_eq!(numbers("ES", &[]), Vec::<String>::new());
    }

    #[test]
    fn answers_show_their_signs() {
        let answers = Answers {
            fainting: true.into(),
            self_harm_thoughts: true.into(),
            chest_pain: false.into(),
            ..Answers::default()
        };
        assert_eq!(Sign::of(&answers), [Sign::Fainting, Sign::SelfHarm]);
        assert_eq!(Sign::of(&Answers::all_refused()), []);
    }
}
