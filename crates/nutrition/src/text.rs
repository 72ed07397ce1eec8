//! Text as people type it, made comparable.

/// Lower case, without accents; letters and digits stay, every run of other characters becomes one space.
pub(crate) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars().flat_map(char::to_lowercase) {
        let c = match c {
            'á' | 'à' | 'â' | 'ä' | 'ã' => 'a',
            'é' | 'è' | 'ê' | 'ë' => 'e',
            'í' | 'ì' | 'î' | 'ï' => 'i',
            'ó' | 'ò' | 'ô' | 'ö' | 'õ' => 'o',
            'ú' | 'ù' | 'û' | 'ü' => 'u',
            'ñ' => 'n',
            'ç' => 'c',
            // Combining accents, of which a decomposed `é` has one.
            '\u{300}'..='\u{36f}' => continue,
            c => c,
        };
        if c.is_alphanumeric() {
            plain.push(c);
        } else if !plain.is_empty() && !plain.ends_with(' ') {
            plain.push(' ');
        }
    }
    plain.truncate(plain.trim_end().len());
    plain
}

/// Whether `words` occur in `text` as whole words. Both must be [`plain`].
pub(crate) fn has_words(text: &str, words: &str) -> bool {
    !words.is_empty() && format!(" {text} ").contains(&format!(" {words} "))
}

/// The number of single-character edits (insert, delete, replace, swap neighbours) between two words, if it is at most
/// `at_most`.
pub(crate) fn edits(a: &str, b: &str, at_most: usize) -> Option<usize> {
    if a.chars().count().abs_diff(b.chars().count()) > at_most {
        return None;
    }
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, to) in b.iter().enumerate() {
            let replaced = last[j] + usize::from(from != to);
            let mut least = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *from == b[j - 1] && a[i - 1] == *to {
                least = least.min(before[j - 1] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().filter(|edits| *edits <= at_most)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn case_accents_and_punctuation_do_not_matter() {
        for (text, expected) in [
            ("  Ácido  Fólico ", "acido folico"),
            ("St. John's-wort", "st john s wort"),
            ("e\u{301}l", "el"),
            ("Ñandú", "nandu"),
            ("--", ""),
        ] {
            assert_eq!(plain(text), expected, "{text}");
        }
    }

    #[test]
    fn words_match_whole() {
        assert!(has_words("pan de centeno", "pan"));
        assert!(!has_words("pan de centeno", "cent"));
        assert!(!has_words("pan", ""));
    }

    #[test]
    fn edits_are_counted() {
        for (a, b, expected) in [
            ("warfarina", "warfarina", Some(0)),
            ("warfarina", "warfrina", Some(1)),
            ("warfarina", "wafrarina", Some(1)),
            ("warfarina", "insulina", None),
        ] {
            assert_eq!(edits(a, b, 2), expected, "{a} {b}");
        }
    }

    proptest! {
        #[test]
        fn any_text_becomes_plain_once(text in "\\PC{0,40}") {
            let once = plain(&text);
            prop_assert_eq!(plain(&once), once);
        }

        #[test]
        fn edits_are_symmetric(a in "[a-e]{0,8}", b in "[a-e]{0,8}") {
            prop_assert_eq!(edits(&a, &b, 8), edits(&b, &a, 8));
            prop_assert_eq!(edits(&a, &b, 8) == Some(0), a == b);
        }
    }
}
