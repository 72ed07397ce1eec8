//! Screening rules as data: reads and checks a rule file.

use std::collections::BTreeMap;

use super::answers::{Answers, Condition};
use crate::Words;
use crate::medicines::Class;
use crate::names::names;
use crate::sections::{Fault, Section, sections, thousandths};

/// What makes a rule apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trigger {
    /// Completed years below this.
    AgeBelow(u32),
    /// Completed years above this.
    AgeAbove(u32),
    /// A condition that the person ticked.
    Condition(Condition),
    /// A question answered with yes.
    Answer(YesNo),
    /// A BMI below this, in thousandths of kg/m²; not for minors.
    BmiBelow(u32),
    /// A BMI of at least this, in thousandths of kg/m²; not for minors.
    BmiAtLeast(u32),
    /// A minor's BMI below two or three standard deviations.
    BmiZBelow(crate::body::Below),
    /// Unintended loss above this, in thousandths of a percent of the weight before.
    LossAbove(i64),
    /// At least so many screening questions on eating answered with yes.
    EatingAnswersAtLeast(u32),
    /// Fewer weeks than this since giving birth.
    PostpartumBelow(u32),
    /// A medicine of this class.
    Medicine(Class),
    /// A name of a medicine that the table does not have.
    UnrecognisedMedicine,
}

names! {
    /// A question of yes or no that a rule may name.
    YesNo {
        Pregnant "is_pregnant" "Pregnancy.";
        Breastfeeding "is_breastfeeding" "Breastfeeding.";
        EatingDisorderHistory "has_eating_disorder_history" "A history of eating disorder.";
        ChestPain "chest_pain" "Chest pain.";
        Fainting "fainting" "Fainting.";
        SelfHarm "self_harm_thoughts" "Thoughts of self-harm.";
        Dialysis "dialysis" "Dialysis.";
        Fasts "fasts" "Fasting.";
    }
}

impl YesNo {
    /// Whether the person answered yes.
    pub(super) fn is_yes(self, answers: &Answers) -> bool {
        match self {
            Self::Pregnant => &answers.is_pregnant,
            Self::Breastfeeding => &answers.is_breastfeeding,
            Self::EatingDisorderHistory => &answers.has_eating_disorder_history,
            Self::ChestPain => &answers.chest_pain,
            Self::Fainting => &answers.fainting,
            Self::SelfHarm => &answers.self_harm_thoughts,
            Self::Dialysis => &answers.dialysis,
            Self::Fasts => &answers.fasts,
        }
        .is_yes()
    }
}

impl Trigger {
    fn read(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let milli = |text: &str| u32::try_from(thousandths(text)?).ok();
        Some(match words[..] {
            ["age", "below", years] => Self::AgeBelow(years.parse().ok()?),
            ["age", "above", years] => Self::AgeAbove(years.parse().ok()?),
            ["condition", name] => Self::Condition(Condition::named(name)?),
            ["answer", name] => Self::Answer(YesNo::named(name)?),
            ["bmi", "below", bmi] => Self::BmiBelow(milli(bmi)?),
            ["bmi", "at", "least", bmi] => Self::BmiAtLeast(milli(bmi)?),
            ["bmi", "z", "below", "-2"] => Self::BmiZBelow(crate::body::Below::Two),
            ["bmi", "z", "below", "-3"] => Self::BmiZBelow(crate::body::Below::Three),
            ["loss", "above", percent] => Self::LossAbove(thousandths(percent)?),
            ["eating", "answers", "at", "least", n] => Self::EatingAnswersAtLeast(n.parse().ok()?),
            ["postpartum", "below", weeks] => Self::PostpartumBelow(weeks.parse().ok()?),
            ["medicine", class] => Self::Medicine(Class::named(class)?),
            ["unrecognised", "medicine"] => Self::UnrecognisedMedicine,
            _ => return None,
        })
    }
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The name, which stays the same in all versions.
    pub id: String,
    /// The version of this rule.
    pub version: u32,
    /// The points that it adds.
    pub points: u32,
    /// The reason that the person reads.
    pub reason: Words,
    /// Where the rule comes from.
    pub source: String,
    /// Whether the product's first release had it.
    pub seed: bool,
    /// Rules for the same cause: if one of them applies, this one adds nothing.
    pub once_with: Vec<String>,
    /// Whether these points alone never bring the level to one that may not proceed.
    pub never_blocks: bool,
    /// Whether the points count for each medicine.
    pub(super) each: bool,
    /// The name of the share, and the most that its rules add together.
    pub(super) share: Option<(String, u32)>,
    pub(super) when: Vec<Trigger>,
}

impl Rule {
    fn read(section: &Section) -> Result<Self, Fault> {
        section.only(&[
            "version",
            "seed",
            "when",
            "points",
            "each",
            "share",
            "share_at_most",
            "once_with",
            "never_blocks",
            "en",
            "es",
            "source",
        ])?;
        let yes = |key: &str| match section.get(key) {
            None => Ok(false),
            Some("yes") => Ok(true),
            Some(other) => Err(section.fault(format!("`{key}` is yes or absent, not {other}"))),
        };
        let triggers = section.need("when")?.split(" or ");
        let when = triggers.map(|text| Trigger::read(text).ok_or_else(|| section.fault(format!("no trigger: {text}"))));
        let share = match section.get("share") {
            Some(share) => Some((share.to_owned(), section.whole("share_at_most")?)),
            None => None,
        };
        Ok(Self {
            id: section.name.clone(),
            version: section.whole("version")?,
            points: section.whole("points")?,
            reason: section.words("")?,
            source: section.need("source")?.to_owned(),
            seed: yes("seed")?,
            once_with: section.list("once_with").into_iter().map(str::to_owned).collect(),
            never_blocks: yes("never_blocks")?,
            each: yes("each")?,
            share,
            when: when.collect::<Result<_, _>>()?,
        })
    }
}

/// The scores from which each level begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Levels {
    /// From this score: CRITICAL.
    pub critical: u32,
    /// From this score: HIGH.
    pub high: u32,
    /// From this score: MEDIUM.
    pub medium: u32,
}

/// A version of the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Its number, which stored screenings name.
    pub version: u32,
    /// The levels.
    pub levels: Levels,
    /// The rules, in the order in which their warnings are shown.
    pub rules: Vec<Rule>,
}

impl Rules {
    /// Reads a rule file. The format is described at the top of `rules-v1.ini`.
    ///
    /// # Errors
    /// The first mistake and its place. Besides the format, the file must keep one cause from counting twice in a way
    /// that more answers could lower the score: a rule named in `once_with` has at least as many points and is not
    /// itself limited, its own `once_with` is included, and of two rules that name the same third one, one names the
    /// other.
    pub fn read(version: u32, text: &str) -> Result<Self, Fault> {
        let mut levels = None;
        let mut rules: Vec<Rule> = Vec::new();
        for section in sections(text)? {
            if section.name == "levels" {
                section.only(&["critical", "high", "medium"])?;
                let (critical, high) = (section.whole("critical")?, section.whole("high")?);
                let medium = section.whole("medium")?;
                if !(1 <= medium && medium < high && high < critical) {
                    return Err(section.fault("medium < high < critical"));
                }
                levels = Some(Levels { critical, high, medium });
            } else {
                rules.push(Rule::read(&section)?);
            }
        }
        let levels = levels.ok_or_else(|| Fault::new("[levels]", "the section is missing"))?;
        one_cause_counts_once(&rules)?;
        Ok(Self { version, levels, rules })
    }
}

fn one_cause_counts_once(rules: &[Rule]) -> Result<(), Fault> {
    let by_id: BTreeMap<&str, &Rule> = rules.iter().map(|rule| (rule.id.as_str(), rule)).collect();
    for rule in rules {
        let fault = |what: String| Fault::new(format!("[{}]", rule.id), what);
        let limited = |rule: &Rule| rule.each || rule.share.is_some() || rule.never_blocks;
        for id in &rule.once_with {
            let other = by_id.get(id.as_str()).ok_or_else(|| fault(format!("no rule {id}")))?;
            if other.points < rule.points || limited(other) || limited(rule) {
                return Err(fault(format!("{id} does not outweigh it")));
            }
            if other.id == rule.id || other.once_with.contains(&rule.id) {
                return Err(fault(format!("{id} and it name each other")));
            }
            if let Some(missing) = other.once_with.iter().find(|third| !rule.once_with.contains(third)) {
                return Err(fault(format!("{missing} is missing in once_with, as {id} names it")));
            }
            for rival in rules.iter().filter(|r| r.id != rule.id && r.once_with.contains(id)) {
                if !rule.once_with.contains(&rival.id) && !rival.once_with.contains(&rule.id) {
                    return Err(fault(format!(
                        "{} names {id} too, and neither names the other",
                        rival.id
                    )));
                }
            }
        }
        if let Some((share, at_most)) = &rule.share {
            let agree = |other: &Rule| {
                other
                    .share
                    .as_ref()
                    .is_none_or(|(name, most)| name != share || most == at_most)
            };
            if !rules.iter().all(agree) {
                return Err(fault(format!("the share {share} has two limits")));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEVELS: &str = "[levels]\ncritical = 8\nhigh = 5\nmedium = 3\n";

    fn rule(id: &str, points: u32, more: &str) -> String {
        format!("[{id}]\nversion = 1\nwhen = age below 18\npoints = {points}\nen = a\nes = a\nsource = s\n{more}\n")
    }

    fn fault(rules: &[String]) -> Option<String> {
        Rules::read(1, &format!("{LEVELS}{}", rules.concat()))
            .err()
            .map(|fault| fault.to_string())
    }

    #[test]
    fn a_sound_file_is_read() {
        assert_eq!(
            fault(&[
                rule("a", 5, ""),
                rule("b", 5, "once_with = a"),
                rule("c", 2, "once_with = a, b")
            ]),
            None
        );
    }

    #[test]
    fn a_file_that_could_count_a_cause_wrongly_is_refused() {
        for (rules, what) in [
            (vec![rule("a", 5, "once_with = b")], "[a]: no rule b"),
            (
                vec![rule("a", 1, ""), rule("b", 5, "once_with = a")],
                "[b]: a does not outweigh it",
            ),
            (
                vec![rule("a", 5, "once_with = b"), rule("b", 5, "once_with = a")],
                "[a]: b and it name each other",
            ),
            (vec![rule("a", 5, "once_with = a")], "[a]: a and it name each other"),
            (
                vec![
                    rule("a", 5, ""),
                    rule("b", 5, "once_with = a"),
                    rule("c", 5, "once_with = b"),
                ],
                "[c]: a is missing in once_with, as b names it",
            ),
            (
                vec![
                    rule("a", 5, ""),
                    rule("b", 5, "once_with = a"),
                    rule("c", 5, "once_with = a"),
                ],
                "[b]: c names a too, and neither names the other",
            ),
            (
                vec![
                    rule("a", 1, "share = s\nshare_at_most = 2"),
                    rule("b", 1, "share = s\nshare_at_most = 3"),
                ],
                "[a]: the share s has two limits",
            ),
        ] {
            assert_eq!(fault(&rules).as_deref(), Some(what));
        }
    }

    #[test]
    fn a_file_with_a_mistake_is_refused() {
        for (from, to) in [
            ("age below 18", "age under 18"),
            ("age below 18", "condition flu"),
            ("age below 18", "answer age"),
            ("age below 18", "medicine none"),
            ("points = 5", "point = 5"),
            ("points = 5", "points = -5"),
            ("version = 1", "version = one"),
            ("source = s", "source ="),
            ("es = a", "each = no"),
        ] {
            assert!(fault(&[rule("a", 5, "").replace(from, to)]).is_some(), "{to}");
        }
        assert!(Rules::read(1, &rule("a", 5, "")).is_err(), "no levels");
        assert!(Rules::read(1, "[levels]\ncritical = 5\nhigh = 8\nmedium = 3\n").is_err());
    }
}
