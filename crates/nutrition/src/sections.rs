//! The data files of rules, which people without programming read and change. A file consists of sections; a section is
//! its name in brackets, and then one `key = value` per line. An indented line continues the value above it. Lines that
//! begin with `#` are remarks. A key may occur several times.

use std::fmt;

use crate::Words;

/// Error: what is wrong with a data file, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The section or line.
    pub place: String,
    /// What is wrong with it.
    pub what: String,
}

impl Fault {
    pub(crate) fn new(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            what: what.into(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

impl std::error::Error for Fault {}

/// A section of a data file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Section {
    /// The name in brackets.
    pub name: String,
    /// Keys with their values, in the order of the file.
    pub fields: Vec<(String, String)>,
}

impl Section {
    pub(crate) fn fault(&self, what: impl Into<String>) -> Fault {
        Fault::new(format!("[{}]", self.name), what)
    }

    /// The value of a key that may be absent.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.fields.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// The value of a key that must be present.
    pub(crate) fn need(&self, key: &str) -> Result<&str, Fault> {
        self.get(key)
            .filter(|value| !value.is_empty())
            .ok_or_else(|| self.fault(format!("`{key}` is missing")))
    }

    /// A number, in thousandths.
    pub(crate) fn number(&self, key: &str) -> Result<i64, Fault> {
        let text = self.need(key)?;
        thousandths(text).ok_or_else(|| self.fault(format!("`{key}` is no number with at most 3 decimals: {text}")))
    }

    /// A whole number from 0.
    pub(crate) fn whole(&self, key: &str) -> Result<u32, Fault> {
        let text = self.need(key)?;
        text.parse()
            .map_err(|_| self.fault(format!("`{key}` is no whole number: {text}")))
    }

    /// A text in both languages, from the keys `en` and `es`, or with a suffix from `en_<suffix>` and `es_<suffix>`.
    pub(crate) fn words(&self, suffix: &str) -> Result<Words, Fault> {
        Ok((self.need(&format!("en{suffix}"))?, self.need(&format!("es{suffix}"))?).into())
    }

    /// The comma-separated parts of a value; none if the key is absent.
    pub(crate) fn list(&self, key: &str) -> Vec<&str> {
        parts(self.get(key).unwrap_or_default())
    }

    /// Checks that the section has no other keys, so that a misspelled key is found.
    pub(crate) fn only(&self, keys: &[&str]) -> Result<(), Fault> {
        match self.fields.iter().find(|(key, _)| !keys.contains(&key.as_str())) {
            Some((key, _)) => Err(self.fault(format!("`{key}` is not known here"))),
            None => Ok(()),
        }
    }
}

/// The comma-separated parts of a text.
pub(crate) fn parts(text: &str) -> Vec<&str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect()
}

/// Reads the sections of a file.
pub(crate) fn sections(text: &str) -> Result<Vec<Section>, Fault> {
    let mut sections: Vec<Section> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let fault = |what: &str| Fault::new(format!("line {}", number + 1), what);
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix('[') {
            let name = name
                .trim_end()
                .strip_suffix(']')
                .ok_or_else(|| fault("`]` is missing"))?;
            if sections.iter().any(|section| section.name == name) {
                return Err(fault("a second section of this name"));
            }
            sections.push(Section {
                name: name.to_owned(),
                fields: Vec::new(),
            });
            continue;
        }
        let section = sections.last_mut().ok_or_else(|| fault("no section yet"))?;
        if line.starts_with([' ', '\t']) {
            let (_, value) = section.fields.last_mut().ok_or_else(|| fault("nothing to continue"))?;
            value.push(' ');
            value.push_str(line.trim());
        } else {
            let (key, value) = line.split_once('=').ok_or_else(|| fault("`=` is missing"))?;
            section.fields.push((key.trim().to_owned(), value.trim().to_owned()));
        }
    }
    Ok(sections)
}

/// A decimal number with at most three decimals, in thousandths; between -1,000,000 and 1,000,000.
pub(crate) fn thousandths(text: &str) -> Option<i64> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, "0"));
    let numeric = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !numeric(whole) || !numeric(decimals) || whole.len() > 6 || decimals.len() > 3 {
        return None;
    }
    let amount: i64 = format!("{whole}{decimals:0<3}").parse().ok()?;
    Some(if negative { -amount } else { amount })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_in_sections() {
        let read =
            sections("# a remark\n[one]\na = 1\nb = two\n  lines\n\n[two]\na = x = y\na = z\n").expect("sections");
        assert_eq!(read.len(), 2);
        assert_eq!(read[0].get("b"), Some("two lines"));
        assert_eq!(read[0].whole("a"), Ok(1));
        assert_eq!(read[1].fields.len(), 2);
        assert_eq!(read[1].get("a"), Some("x = y"));
    }

    #[test]
    fn a_broken_file_names_the_place() {
        for (text, place) in [
            ("a = 1", "line 1"),
            ("[one\na = 1", "line 1"),
            ("[one]\n\nnothing", "line 3"),
            ("[one]\n  early", "line 2"),
            ("[one]\n[one]", "line 2"),
        ] {
            assert_eq!(sections(text).expect_err("a fault").place, place, "{text}");
        }
        let one = &sections("[one]\na = x").expect("sections")[0];
        assert_eq!(one.whole("a").expect_err("a fault").place, "[one]");
        assert!(one.number("b").is_err());
        assert!(one.only(&["b"]).is_err());
    }

    #[test]
    fn numbers_have_at_most_three_decimals() {
        for (text, number) in [
            ("18.5", Some(18_500)),
            ("-2", Some(-2000)),
            ("0.125", Some(125)),
            ("800", Some(800_000)),
            ("1.2345", None),
            ("1.", None),
            (".5", None),
            ("", None),
            ("-", None),
            ("9999999", None),
            ("1e3", None),
        ] {
            assert_eq!(thousandths(text), number, "{text}");
        }
    }
}
