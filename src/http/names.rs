//! Characters that a name may not contain, of whatever it is a name: those that nobody sees, and those that turn the
//! direction of the text around them. With them, two names could look the same, or one name could rearrange the line
//! that it stands in.

use unicode_properties::{GeneralCategory, UnicodeEmoji as _, UnicodeGeneralCategory as _};

use crate::error::{Error, Result};

/// Joins two emoji into one, as in a family.
const JOINER: char = '\u{200D}';
/// Selects the coloured form of a character that has two, as in a red heart.
const COLOURED: char = '\u{FE0F}';
/// Draws a key around a digit, `#` or `*`.
const KEY: char = '\u{20E3}';

/// Refuses a name with an invisible character or one that changes the direction of text.
///
/// # Errors
/// 422 on `field`.
pub fn check(field: &str, name: &str) -> Result<()> {
    if is_visible(name) {
        Ok(())
    } else {
        Err(Error::invalid(
            field,
            (
                "no invisible characters, and none that change the direction of text",
                "sin caracteres invisibles ni caracteres que cambien la dirección del texto",
            ),
        ))
    }
}

/// Whether a text has no invisible character and none that changes the direction of text.
///
/// Inside emoji, the joiner between two of them and the selector of the coloured form are allowed, because they change
/// what is drawn. Elsewhere a joiner is refused, also in the few words of Persian and of Indic scripts that are usually
/// written with one; these words can be read without it. The flags of England, Scotland and Wales are refused too,
/// since invisible letters spell them.
#[must_use]
pub fn is_visible(text: &str) -> bool {
    let mut before = None;
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let next = rest.peek().copied();
        let allowed = match c {
            JOINER => before.is_some_and(|b| is_picture(b) || b == COLOURED) && next.is_some_and(is_picture),
            COLOURED => before.is_some_and(|b| is_picture(b) || (is_on_keys(b) && next == Some(KEY))),
            c => !is_hidden(c),
        };
        if !allowed {
            return false;
        }
        before = Some(c);
    }
    true
}

/// An emoji, but none of the ASCII characters that only a key around them makes one.
fn is_picture(c: char) -> bool {
    !c.is_ascii() && c.is_emoji_char()
}

fn is_on_keys(c: char) -> bool {
    c.is_ascii_digit() || matches!(c, '#' | '*')
}

/// Control and format characters (all of the Unicode property `Bidi_Control`, the zero-width spaces and joiners, tags),
/// separators of lines, and the letters and marks that Unicode defines to be drawn as nothing.
fn is_hidden(c: char) -> bool {
    let by_category = matches!(
        c.general_category(),
        GeneralCategory::Control
            | GeneralCategory::Format
            | GeneralCategory::LineSeparator
            | GeneralCategory::ParagraphSeparator
    );
    by_category
        || matches!(
            c,
            // Combining grapheme joiner, Hangul fillers, inherent vowels of Khmer, Mongolian selectors, the empty
            // Braille pattern, variation selectors.
            '\u{034F}'
                | '\u{115F}'..='\u{1160}'
                | '\u{17B4}'..='\u{17B5}'
                | '\u{180B}'..='\u{180F}'
                | '\u{2800}'
                | '\u{3164}'
                | '\u{FE00}'..='\u{FE0F}'
                | '\u{FFA0}'
                | '\u{E0000}'..='\u{E0FFF}'
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The characters of the Unicode property `Bidi_Control`.
    const DIRECTION: [char; 12] = [
        '\u{061C}', '\u{200E}', '\u{200F}', '\u{202A}', '\u{202B}', '\u{202C}', '\u{202D}', '\u{202E}', '\u{2066}',
        '\u{2067}', '\u{2068}', '\u{2069}',
    ];
    /// Characters without width, or without anything drawn.
    const INVISIBLE: [char; 17] = [
        '\u{00AD}',
        '\u{034F}',
        '\u{115F}',
        '\u{17B4}',
        '\u{180E}',
        '\u{200B}',
        '\u{200C}',
        '\u{200D}',
        '\u{2028}',
        '\u{2060}',
        '\u{2064}',
        '\u{2800}',
        '\u{3164}',
        '\u{FE0F}',
        '\u{FEFF}',
        '\u{FFF9}',
        '\u{E0061}',
    ];

    #[test]
    fn names_of_many_scripts_and_emoji_are_allowed() {
        for name in [
            "",
            "José Ñandú",
            "Muñoz-O’Brien, 2.º",
            "Cafe\u{301}",
            "عَلِيّ",
            "חַיִּים",
            "王小明",
            "ऋषि",
            "🥗 Comida ❤\u{FE0F}",
            "👩\u{200D}⚕\u{FE0F}",
            "👨\u{200D}👩\u{200D}👧\u{200D}👦",
            "👩🏽\u{200D}🍳",
            "🏳\u{FE0F}\u{200D}🌈",
            "1\u{FE0F}\u{20E3}",
            "🇪🇸",
        ] {
            assert!(is_visible(name), "{name:?}");
        }
    }

    #[test]
    fn what_is_invisible_or_turns_the_text_is_refused_with_its_field() {
        for c in DIRECTION.into_iter().chain(INVISIBLE) {
            for name in [format!("A{c}na"), format!("{c}Ana"), format!("Ana{c}"), c.to_string()] {
                let error = check("name", &name).expect_err("refused");
                assert!(error.to_string().contains("name"), "{name:?}");
            }
        }
    }

    #[test]
    fn a_joiner_and_a_selector_belong_between_and_behind_emoji() {
        for name in [
            "👩\u{200D}",
            "\u{200D}👩",
            "👩\u{200D}\u{200D}⚕",
            "👩\u{200D}a",
            "a\u{200D}👩",
            "1\u{200D}2",
            "👩\u{200B}⚕",
            "❤\u{FE0F}\u{FE0F}",
            "❤\u{FE0E}",
            "1\u{FE0F}",
            "1\u{FE0F}a",
            "a\u{FE0F}",
        ] {
            assert!(!is_visible(name), "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn one_such_character_anywhere_spoils_any_name(
            start in "\\PC{0,20}",
            end in "\\PC{0,20}",
            at in 0..DIRECTION.len() + INVISIBLE.len(),
        ) {
            let c = DIRECTION.into_iter().chain(INVISIBLE).nth(at).unwrap_or(DIRECTION[0]);
            let whole = format!("{start}{c}{end}");
            let in_emoji = (c == JOINER || c == COLOURED)
                && start.chars().next_back().is_some_and(|b| is_picture(b) || b == COLOURED || is_on_keys(b));
            prop_assert!(in_emoji || !is_visible(&whole), "{whole:?}");
        }

        #[test]
        fn what_is_allowed_has_no_direction_marks_and_joins_only_pictures(name in "(\\PC|[👩⚕❤🏽1#\u{200D}\u{FE0F}\u{20E3}\u{202E}\u{200B}]){0,12}") {
            if is_visible(&name) {
                let turns = name.chars().any(|c| DIRECTION.contains(&c) || c == '\u{200B}');
                prop_assert!(!turns);
                let chars: Vec<char> = name.chars().collect();
                for (at, c) in chars.iter().enumerate() {
                    if *c == JOINER {
                        prop_assert!(chars.get(at + 1).copied().is_some_and(is_picture));
                    }
                }
                // Without the two characters that emoji need, nothing invisible is left.
                let bare: String = name.chars().filter(|c| ![JOINER, COLOURED].contains(c)).collect();
                prop_assert!(!bare.chars().any(is_hidden));
            }
        }
    }
}
