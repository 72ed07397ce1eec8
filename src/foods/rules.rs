//! Barcode checks and the normalised names that search compares. Pure.

/// Whether the digits are a GTIN-8, -12, -13 or -14 with a correct check digit.
#[must_use]
pub fn is_gtin(digits: &str) -> bool {
    if !matches!(digits.len(), 8 | 12 | 13 | 14) || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return false;
    }
    // Weights alternate 1, 3, 1 … from the right; the check digit has weight 1.
    let sum: u32 = digits
        .bytes()
        .rev()
        .zip([1, 3].iter().cycle())
        .map(|(b, w)| u32::from(b - b'0') * w)
        .sum();
    sum.is_multiple_of(10)
}

/// Every length in which a GTIN may be written: a longer form is a shorter one padded with leading zeros.
#[must_use]
pub fn gtin_spellings(gtin: &str) -> Vec<String> {
    let significant = gtin.trim_start_matches('0');
    [8, 12, 13, 14]
        .into_iter()
        .filter(|length| significant.len() <= *length)
        .map(|length| format!("{significant:0>length$}"))
        .collect()
}

/// A name normalised for comparison: lower case, no accents, one space between words.
#[must_use]
pub fn search_text(name: &str) -> String {
    let mut words = String::with_capacity(name.len());
    for c in name.chars().flat_map(char::to_lowercase) {
        match c {
            // Combining accents, in decomposed text.
            '\u{300}'..='\u{36f}' => {}
            'á' | 'à' | 'â' | 'ä' | 'ã' | 'å' => words.push('a'),
            'é' | 'è' | 'ê' | 'ë' => words.push('e'),
            'í' | 'ì' | 'î' | 'ï' => words.push('i'),
            'ó' | 'ò' | 'ô' | 'ö' | 'õ' | 'ø' => words.push('o'),
            'ú' | 'ù' | 'û' | 'ü' => words.push('u'),
            'ñ' => words.push('n'),
            'ç' => words.push('c'),
            'ý' | 'ÿ' => words.push('y'),
            'æ' => words.push_str("ae"),
            'œ' => words.push_str("oe"),
            'ß' => words.push_str("ss"),
            c if c.is_alphanumeric() => words.push(c),
            // An apostrophe does not split a word: "McDonald's", "l’escalivada".
            '\'' | '’' => {}
            _ if words.ends_with(' ') || words.is_empty() => {}
            _ => words.push(' '),
        }
    }
    words.truncate(words.trim_end().len());
    words
}

/// The text that search matches: the normalised names, one per line.
#[must_use]
pub fn searched(name_en: &str, name_es: &str, brand: Option<&str>) -> String {
    let lines: Vec<String> = [Some(name_en), Some(name_es), brand]
        .into_iter()
        .flatten()
        .map(search_text)
        .collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gtin_needs_its_check_digit() {
        for good in ["96385074", "036000291452", "4006381333931", "10012345678902"] {
            assert!(is_gtin(good), "{good}");
        }
        for bad in [
            "4006381333932",
            "400638133393",
            "400638133393a",
            "",
            "1234567",
            "123456789",
        ] {
            assert!(!is_gtin(bad), "{bad}");
        }
    }

    #[test]
    fn a_gtin_matches_its_zero_padded_forms() {
        assert_eq!(
            gtin_spellings("036000291452"),
            ["036000291452", "0036000291452", "00036000291452"]
        );
        assert_eq!(
            gtin_spellings("96385074"),
            ["96385074", "000096385074", "0000096385074", "00000096385074"]
        );
    }

    #[test]
    fn names_are_compared_without_case_accents_and_punctuation() {
        assert_eq!(search_text("  Piña  en ALMÍBAR (light)"), "pina en almibar light");
        assert_eq!(search_text("Pin\u{303}a cru\u{301}da"), "pina cruda");
        assert_eq!(search_text("Crème brûlée, 30 %"), "creme brulee 30");
        assert_eq!(search_text("Kellogg's"), "kelloggs");
        assert_eq!(search_text("¡¿?!"), "");
        assert_eq!(searched("Rice", "Arroz", Some("SOS")), "rice\narroz\nsos");
    }
}
