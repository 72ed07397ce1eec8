//! Reads a list of medicines as people type it.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use super::{Class, TABLE, Table};
use crate::Words;
use crate::text::{edits, plain};

/// Characters of a list that are read. What stands after them counts as one unrecognised name.
pub const TEXT_CHARS: usize = 2000;
/// Unrecognised names that get suggestions; a list with more has them without.
const SUGGESTED: usize = 20;
/// Suggestions for one name.
const SUGGESTIONS: usize = 3;

/// Words around the names of medicines: doses, forms, times, manufacturers.
const AROUND: &str = "mg mcg ug g gr gramos grams ml ui iu u units unidades comprimido comprimidos pastilla pastillas \
     capsula capsulas tableta tabletas tablet tablets pill pills capsule capsules gotas drops jarabe syrup inyeccion \
     inyecciones injection injections pen pens pluma plumas sobre sobres parche parches patch spray crema cream gel cada \
     hora horas hour hours h dia dias day days daily al por la el los las lo le del de the of a an una un uno dos tres \
     one two three vez veces once twice times time per week weekly semana semanal mes mensual month monthly noche \
     noches manana mananas tarde night morning evening tomo tomar toma take taking took i y e o u and or con with sin en \
     in on for para ayunas before after antes despues meals comidas comida meal desayuno cena breakfast dinner lunch \
     bedtime solo si only if needed necesario as retard forte xr er sr mr lp flas oral generico generica generic cinfa \
     normon kern stada sandoz teva mylan viatris ratiopharm pensa aurovitas zentiva mi my medicamento medicamentos \
     medicina medicinas medicine medicines medication medications ninguno ninguna ningun nada none no nothing ahora now \
     actualmente currently also tambien mas plus media medio half";

static AROUND_NAMES: LazyLock<BTreeSet<&str>> = LazyLock::new(|| AROUND.split_whitespace().collect());

/// A medicine that was recognised.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    /// What the person wrote, in lower case and without accents.
    pub wrote: String,
    /// Its classes; a combination has several.
    pub classes: BTreeSet<Class>,
    /// The substances that it stands for, by their first English name.
    pub substances: BTreeSet<String>,
}

/// A name that the table does not have.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Unrecognised {
    /// What the person wrote, in lower case and without accents.
    pub wrote: String,
    /// Names that are spelled alike, closest first. They are questions for the person; nothing is decided by them.
    pub suggestions: Vec<String>,
}

/// A list of medicines, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Medicines that were recognised, each once.
    pub found: BTreeSet<Found>,
    /// Names that were not, each once.
    pub unrecognised: Vec<Unrecognised>,
    /// What each recognised class or group means for an eating plan, each once.
    pub notes: Vec<Words>,
}

impl Reading {
    /// The classes of all medicines that were recognised.
    #[must_use]
    pub fn classes(&self) -> BTreeSet<Class> {
        self.found.iter().flat_map(|found| found.classes.clone()).collect()
    }

    /// The number of different substances of a class.
    #[must_use]
    pub fn substances(&self, class: Class) -> usize {
        let of_class = self.found.iter().filter(|found| found.classes.contains(&class));
        let substances: BTreeSet<&String> = of_class.flat_map(|found| &found.substances).collect();
        substances.len()
    }
}

/// Reads a list: names are separated by commas, lines or other marks, and may have doses and times of day around them.
/// A name matches as a whole word or not at all, whatever its case and accents.
///
/// A negation is not understood: "no insulin" is read as insulin, so that the list errs towards asking.
#[must_use]
pub fn read(list: &str) -> Reading {
    match &*TABLE {
        Ok(table) => table.reading(list),
        // Without a table every word is unrecognised.
        Err(_) => Table::default().reading(list),
    }
}

impl Table {
    fn reading(&self, list: &str) -> Reading {
        let mut reading = Reading::default();
        let mut unknown: BTreeSet<String> = BTreeSet::new();
        let mut entries: BTreeSet<usize> = BTreeSet::new();
        let end = list.char_indices().nth(TEXT_CHARS).map_or(list.len(), |(at, _)| at);
        let (list, rest) = list.split_at(end);
        for piece in list.split([',', ';', '/', '+', '&', '•', '|', '(', ')', '\n', '\r', ':']) {
            let piece = plain(piece);
            let words: Vec<&str> = piece.split(' ').filter(|word| !word.is_empty()).collect();
            let mut stray: Vec<&str> = Vec::new();
            let mut at = 0;
            while at < words.len() {
                if let Some((name, length)) = self.longest_at(&words[at..]) {
                    keep(&mut stray, &mut unknown);
                    let of_name = &self.names[&name];
                    entries.extend(of_name);
                    reading.found.insert(Found {
                        wrote: name,
                        classes: of_name.iter().map(|at| self.entries[*at].class).collect(),
                        substances: of_name.iter().map(|at| self.entries[*at].name.en.clone()).collect(),
                    });
                    at += length;
                    continue;
                }
                let word = words[at];
                // Doses are numbers, with or without a unit: 850, 850mg, 1er.
                if AROUND_NAMES.contains(word) || word.starts_with(|c: char| c.is_ascii_digit()) {
                    keep(&mut stray, &mut unknown);
                } else {
                    stray.push(word);
                }
                at += 1;
            }
            keep(&mut stray, &mut unknown);
        }
        if !plain(rest).is_empty() {
            unknown.insert("…".to_owned());
        }
        let with_suggestions = unknown.len() <= SUGGESTED;
        for wrote in unknown {
            let suggestions = if with_suggestions {
                self.alike(&wrote)
            } else {
                Vec::new()
            };
            reading.unrecognised.push(Unrecognised { wrote, suggestions });
        }
        for at in entries {
            let note = &self.entries[at].note;
            if self.entries[at].class != Class::Plain && !reading.notes.contains(note) {
                reading.notes.push(note.clone());
            }
        }
        reading
    }

    /// The longest name that begins with the first of these words, and its number of words.
    fn longest_at(&self, words: &[&str]) -> Option<(String, usize)> {
        let most = self.longest.min(words.len());
        (1..=most).rev().find_map(|length| {
            let name = words[..length].join(" ");
            self.names.contains_key(&name).then_some((name, length))
        })
    }

    /// Names that are spelled like `wrote`: one edit apart, or two if it is long.
    fn alike(&self, wrote: &str) -> Vec<String> {
        let at_most = match wrote.chars().count() {
            4..7 => 1,
            7..40 => 2,
            _ => return Vec::new(),
        };
        let alike = |name: &String| edits(wrote, name, at_most).map(|edits| (edits, name.clone()));
        let mut alike: Vec<_> = self.names.keys().filter_map(alike).collect();
        alike.sort();
        alike.into_iter().take(SUGGESTIONS).map(|(_, name)| name).collect()
    }
}

/// Ends a run of words that are no name.
fn keep(stray: &mut Vec<&str>, unknown: &mut BTreeSet<String>) {
    if !stray.is_empty() {
        unknown.insert(stray.join(" "));
        stray.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn unrecognised(list: &str) -> Vec<String> {
        read(list).unrecognised.into_iter().map(|u| u.wrote).collect()
    }

    #[test]
    fn names_are_found_among_doses_and_times() {
        for (list, classes) in [
            ("Metformina 850 mg, 1 comprimido cada 12 horas", &[Class::Type2Drug][..]),
            (
                "SINTROM por la noche y omeprazol en ayunas",
                &[Class::VitaminKAntagonist, Class::Plain],
            ),
            ("lantus 20ui + novorapid", &[Class::Insulin]),
            ("Ácido acetilsalicílico 100mg", &[Class::Plain]),
            ("St. John's wort", &[Class::Interacting]),
            (
                "metformin with linagliptin and empagliflozin",
                &[Class::Sglt2Inhibitor, Class::Type2Drug],
            ),
            ("insulina glargina", &[Class::Insulin]),
            ("ninguno", &[]),
            ("", &[]),
        ] {
            let reading = read(list);
            assert_eq!(reading.classes(), classes.iter().copied().collect(), "{list}");
            assert_eq!(reading.unrecognised, [], "{list}");
        }
    }

    #[test]
    fn a_spelling_mistake_is_a_question_and_no_match() {
        let reading = read("warfrina 5 mg");
        assert!(reading.found.is_empty());
        assert_eq!(reading.unrecognised.len(), 1);
        assert_eq!(reading.unrecognised[0].wrote, "warfrina");
        assert_eq!(reading.unrecognised[0].suggestions[0], "warfarina");
        assert_eq!(read("xyzzyx").unrecognised[0].suggestions, Vec::<String>::new());
    }

    #[test]
    fn what_is_left_over_is_unrecognised_once() {
        assert_eq!(unrecognised("ibuprofeno cuando duele"), ["cuando duele"]);
        assert_eq!(unrecognised("agua de rosas, agua de rosas"), ["agua", "rosas"]);
        assert_eq!(unrecognised("tisana"), ["tisana"]);
    }

    #[test]
    fn a_name_inside_another_word_does_not_match() {
        let reading = read("litiosis senado");
        assert!(reading.found.is_empty(), "{reading:?}");
    }

    #[test]
    fn a_list_is_read_up_to_its_bound() {
        let long = format!("{}, sintrom", "a ".repeat(TEXT_CHARS));
        let reading = read(&long);
        assert!(reading.found.is_empty());
        assert_eq!(reading.unrecognised[0].wrote, "…");
    }

    #[test]
    fn a_note_appears_once_for_a_group() {
        assert_eq!(read("lantus, novorapid, paracetamol").notes.len(), 1);
    }

    proptest! {
        #[test]
        fn nothing_panics(list in "\\PC{0,200}") {
            let _ = read(&list);
        }

        #[test]
        fn order_and_case_do_not_matter(mut names in proptest::collection::vec(0_usize..1000, 0..6), upper: bool) {
            let table = TABLE.as_ref().expect("a table");
            let name = |at: usize| table.names.keys().nth(at).expect("a name").clone();
            let list = |at: &[usize]| at.iter().map(|at| name(*at)).collect::<Vec<_>>().join(", ");
            let before = list(&names);
            names.reverse();
            let after = if upper { list(&names).to_uppercase() } else { list(&names) };
            prop_assert_eq!(read(&before), read(&after));
            prop_assert_eq!(read(&before).unrecognised, []);
        }
    }
}
