//! Medicines: what people call them, and what they mean for an eating plan. The table is a data file with its sources,
//! `medicines-v1.ini`; it classifies, and says nothing about doses.

mod reading;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

pub use self::reading::{Found, Reading, TEXT_CHARS, Unrecognised, read};

use crate::Words;
use crate::names::names;
use crate::sections::{Fault, Section, parts, sections};
use crate::text::plain;

names! {
    /// What a medicine means for an eating plan.
    Class {
        Insulin "insulin" "Insulin.";
        Sulfonylurea "sulfonylurea" "A sulfonylurea.";
        Sglt2Inhibitor "sglt2_inhibitor" "An inhibitor of the sodium-glucose cotransporter 2.";
        Type2Drug "type_2_drug" "Another medicine for type 2 diabetes, or for weight by the same substances.";
        Maoi "maoi" "An inhibitor of monoamine oxidase.";
        Lithium "lithium" "Lithium.";
        VitaminKAntagonist "vitamin_k_antagonist" "An anticoagulant that vitamin K counteracts.";
        Interacting "interacting" "Another medicine that food or a change of diet interacts with.";
        Plain "plain" "A known medicine that no rule asks about.";
    }
}

/// A substance or a group, as the table has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The first name of the substance in both languages, or the group's word.
    pub name: Words,
    /// Its code in the WHO's ATC classification; empty for the word of a group.
    pub atc: String,
    /// Its class.
    pub class: Class,
    /// What it means for an eating plan.
    pub note: Words,
}

/// The table.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub entries: Vec<Entry>,
    /// Plain names with the entries they stand for: a combination stands for several.
    pub names: BTreeMap<String, BTreeSet<usize>>,
    /// Words of the longest name.
    pub longest: usize,
}

impl Table {
    fn read(text: &str) -> Result<Self, Fault> {
        let mut table = Self::default();
        for section in sections(text)? {
            let class = section.need("class")?;
            let class = Class::named(class).ok_or_else(|| section.fault(format!("no class {class}")))?;
            let note = section.words("")?;
            section.need("source")?;
            for word in section.list("words") {
                let name = (word, word).into();
                table.add(&section, &[word], String::new(), class, name, &note)?;
            }
            for (atc, value) in &section.fields {
                if ["class", "en", "es", "source", "words"].contains(&atc.as_str()) {
                    continue;
                }
                let columns: Vec<&str> = value.split('|').collect();
                let [english, spanish, brands] = columns[..] else {
                    return Err(section.fault(format!("{atc} needs three columns")));
                };
                let (english, spanish) = (parts(english), parts(spanish));
                let (Some(en), Some(es)) = (english.first(), spanish.first()) else {
                    return Err(section.fault(format!("{atc} needs a name in each language")));
                };
                let name = (*en, *es).into();
                let all = [english, spanish, parts(brands)].concat();
                table.add(&section, &all, atc.clone(), class, name, &note)?;
            }
        }
        Ok(table)
    }

    fn add(
        &mut self,
        section: &Section,
        names: &[&str],
        atc: String,
        class: Class,
        name: Words,
        note: &Words,
    ) -> Result<(), Fault> {
        let at = self.entries.len();
        self.entries.push(Entry {
            name,
            atc,
            class,
            note: note.clone(),
        });
        for name in names {
            let plain = plain(name);
            if plain.is_empty() {
                return Err(section.fault(format!("`{name}` is no name")));
            }
            self.longest = self.longest.max(plain.split(' ').count());
            self.names.entry(plain).or_default().insert(at);
        }
        Ok(())
    }
}

/// The table of this release; a test shows that it can be read.
pub(crate) static TABLE: LazyLock<Result<Table, Fault>> =
    LazyLock::new(|| Table::read(include_str!("medicines-v1.ini")));

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> &'static Table {
        TABLE.as_ref().expect("a table")
    }

    #[test]
    fn the_table_knows_well_over_600_names_in_both_languages() {
        let table = table();
        assert!(table.names.len() > 2000, "{} names", table.names.len());
        let substances: BTreeSet<_> = table
            .entries
            .iter()
            .filter(|e| !e.atc.is_empty())
            .map(|e| &e.atc)
            .collect();
        assert!(substances.len() > 500, "{} substances", substances.len());
    }

    /// The chapters of the ATC classification that belong to a class, and to no class without a rule of its own.
    const CHAPTERS: [(Class, &[&str]); 7] = [
        (Class::Insulin, &["A10A"]),
        (Class::Sulfonylurea, &["A10BB", "A10BD02", "A10BD06"]),
        (
            Class::Sglt2Inhibitor,
            &["A10BK", "A10BD15", "A10BD16", "A10BD19", "A10BD2"],
        ),
        (Class::Type2Drug, &["A10B", "A10AE54", "A10AE56"]),
        (
            Class::Maoi,
            &["N06AF", "N06AG", "N04BD", "J01XX08", "J01XX11", "V03AB17", "L01XB01"],
        ),
        (Class::Lithium, &["N05AN"]),
        (Class::VitaminKAntagonist, &["B01AA"]),
    ];

    #[test]
    fn classes_agree_with_the_atc_classification() {
        for entry in table().entries.iter().filter(|entry| !entry.atc.is_empty()) {
            let within = |chapters: &[&str]| chapters.iter().any(|chapter| entry.atc.starts_with(chapter));
            match CHAPTERS.iter().find(|(class, _)| *class == entry.class) {
                Some((_, chapters)) => assert!(within(chapters), "{entry:?}"),
                None => assert!(CHAPTERS.iter().all(|(_, chapters)| !within(chapters)), "{entry:?}"),
            }
        }
    }

    #[test]
    fn a_name_is_never_both_plain_and_of_another_class() {
        let table = table();
        for (name, entries) in &table.names {
            let classes: BTreeSet<Class> = entries.iter().map(|at| table.entries[*at].class).collect();
            assert!(
                !classes.contains(&Class::Plain) || classes.len() == 1,
                "{name}: {classes:?}"
            );
            let one = |class| !classes.contains(&class) || classes.len() == 1;
            assert!(
                one(Class::Maoi) && one(Class::Lithium) && one(Class::VitaminKAntagonist),
                "{name}"
            );
        }
    }

    #[test]
    fn a_combination_has_the_classes_of_all_its_substances() {
        let table = table();
        for (name, expected) in [
            ("xigduo", &[Class::Sglt2Inhibitor, Class::Type2Drug][..]),
            ("xultophy", &[Class::Insulin, Class::Type2Drug]),
            ("glucovance", &[Class::Sulfonylurea, Class::Type2Drug]),
            ("metformin", &[Class::Type2Drug]),
            ("sintrom", &[Class::VitaminKAntagonist]),
            ("litio", &[Class::Lithium]),
            ("paracetamol", &[Class::Plain]),
        ] {
            let classes: BTreeSet<Class> = table.names[name].iter().map(|at| table.entries[*at].class).collect();
            assert_eq!(classes, expected.iter().copied().collect(), "{name}");
        }
    }

    #[test]
    fn a_broken_table_is_refused() {
        for text in [
            "[a]\nclass = none\nen = a\nes = a\nsource = s",
            "[a]\nclass = plain\nen = a\nes = a",
            "[a]\nclass = plain\nen = a\nes = a\nsource = s\nA01 = one | uno",
            "[a]\nclass = plain\nen = a\nes = a\nsource = s\nA01 = one | |",
            "[a]\nclass = plain\nen = a\nes = a\nsource = s\nA01 = one | uno | -",
        ] {
            assert!(Table::read(text).is_err(), "{text}");
        }
    }
}
