//! Limits and validation that apply to every plan, whoever writes it. Pure.

use chrono::{Days, NaiveDate};

use super::model::{Plan, Target};
use super::words::Kind;
use crate::error::{Error, Result};
use crate::http::names;

/// Days per plan.
pub const DAYS: std::ops::RangeInclusive<i32> = 1..=84;
/// Meals per day.
pub const MEALS_A_DAY: usize = 20;
/// Items per meal.
pub const ITEMS_A_MEAL: usize = 40;
/// Items per plan. The limit exists because every edit reads all of them.
pub const ITEMS_A_PLAN: usize = 5000;
/// The heaviest item, in thousandths of a gram.
pub const HEAVIEST: i64 = 10_000_000;
/// The highest position.
pub const LAST_POSITION: i32 = 999;
/// How far the first day of a live plan may lie from today, in either direction: five years.
const START_WITHIN: Days = Days::new(5 * 366);
/// Characters in a name or title.
const TITLE: usize = 200;
/// Characters in a description or in notes.
const TEXT: usize = 4000;
/// The highest target for any nutrient: 1,000,000 kcal, or 1,000 kg.
const HIGHEST_TARGET: i64 = 1_000_000_000;

/// Validates a name or title that must not be empty, and trims it.
pub fn title(field: &str, value: &str) -> Result<String> {
    let value = optional_title(field, value)?;
    if value.is_empty() {
        Err(Error::invalid(
            field,
            (format!("1 to {TITLE} characters"), format!("de 1 a {TITLE} caracteres")),
        ))
    } else {
        Ok(value)
    }
}

/// Validates a title that may be empty, and trims it.
pub fn optional_title(field: &str, value: &str) -> Result<String> {
    let value = value.trim();
    if value.chars().any(char::is_control) {
        return Err(Error::invalid(
            field,
            (
                "one line without control characters",
                "una línea sin caracteres de control",
            ),
        ));
    }
    names::check(field, value)?;
    if value.chars().count() > TITLE {
        return Err(Error::invalid(
            field,
            (
                format!("at most {TITLE} characters"),
                format!("como mucho {TITLE} caracteres"),
            ),
        ));
    }
    Ok(value.to_owned())
}

/// Validates a text that may span several lines.
pub fn text(field: &str, value: &str) -> Result<String> {
    if value
        .chars()
        .any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
    {
        return Err(Error::invalid(
            field,
            ("text without control characters", "texto sin caracteres de control"),
        ));
    }
    if value.chars().count() > TEXT {
        return Err(Error::invalid(
            field,
            (
                format!("at most {TEXT} characters"),
                format!("como mucho {TEXT} caracteres"),
            ),
        ));
    }
    Ok(value.to_owned())
}

/// Validates the number of days.
pub fn duration(days: i32) -> Result<i32> {
    if DAYS.contains(&days) {
        Ok(days)
    } else {
        Err(Error::invalid("duration_days", ("1 to 84", "de 1 a 84")))
    }
}

/// Validates the first day. Live plans, and only they, have one, at most five years from today: it numbers their days.
pub fn start_date(kind: Kind, date: Option<NaiveDate>, today: NaiveDate) -> Result<Option<NaiveDate>> {
    let near = today - START_WITHIN..=today + START_WITHIN;
    match (kind, date) {
        (Kind::Live, Some(date)) if !near.contains(&date) => Err(Error::invalid(
            "start_date",
            (
                format!("a date from {} to {}", near.start(), near.end()),
                format!("una fecha desde {} hasta {}", near.start(), near.end()),
            ),
        )),
        (Kind::Live, None) => Err(Error::invalid(
            "start_date",
            (
                "a live plan needs a start date",
                "un plan en vivo necesita una fecha de inicio",
            ),
        )),
        (Kind::Plan | Kind::Template, Some(_)) => Err(Error::invalid(
            "start_date",
            (
                "only a live plan has a start date",
                "solo un plan en vivo tiene fecha de inicio",
            ),
        )),
        _ => Ok(date),
    }
}

/// Validates the nutrient target of a day.
pub fn target(target: &Target) -> Result<()> {
    let fields = [
        ("target.energy_mkcal", target.energy_mkcal),
        ("target.protein_mg", target.protein_mg),
        ("target.carbohydrate_mg", target.carbohydrate_mg),
        ("target.fat_mg", target.fat_mg),
    ];
    match fields
        .iter()
        .find(|(_, value)| value.is_some_and(|v| !(1..=HIGHEST_TARGET).contains(&v)))
    {
        Some((field, _)) => Err(Error::invalid(
            field,
            (format!("1 to {HIGHEST_TARGET}"), format!("de 1 a {HIGHEST_TARGET}")),
        )),
        None => Ok(()),
    }
}

/// Validates minutes after midnight.
pub fn time(time_min: Option<i32>) -> Result<Option<i32>> {
    match time_min {
        Some(minutes) if !(0..1440).contains(&minutes) => Err(Error::invalid(
            "time_min",
            (
                "0 to 1439 minutes after midnight",
                "de 0 a 1439 minutos después de medianoche",
            ),
        )),
        time => Ok(time),
    }
}

/// Validates the requested position; without one, the position after the last.
pub fn position(field: &str, asked: Option<i32>, last: Option<i32>) -> Result<i32> {
    match asked {
        Some(position) if (0..=LAST_POSITION).contains(&position) => Ok(position),
        Some(_) => Err(Error::invalid(
            field,
            (format!("0 to {LAST_POSITION}"), format!("de 0 a {LAST_POSITION}")),
        )),
        // At the highest position several share it; identifiers sort them, so the newest comes last.
        None => Ok(last.map_or(0, |last| (last + 1).min(LAST_POSITION))),
    }
}

/// Validates a weight in thousandths of a gram.
pub fn weight(field: &str, grams_milli: i64) -> Result<i64> {
    if (1..=HEAVIEST).contains(&grams_milli) {
        Ok(grams_milli)
    } else {
        Err(Error::invalid(
            field,
            ("more than 0 and at most 10 kg", "más de 0 y como mucho 10 kg"),
        ))
    }
}

/// Checks the plan against the size limits.
pub fn size(plan: &Plan) -> Result<()> {
    if plan.days.iter().any(|day| day.meals.len() > MEALS_A_DAY) {
        return Err(Error::invalid(
            "meals",
            (
                format!("at most {MEALS_A_DAY} meals a day"),
                format!("como mucho {MEALS_A_DAY} comidas por día"),
            ),
        ));
    }
    if plan.meals().any(|meal| meal.items.len() > ITEMS_A_MEAL) {
        return Err(Error::invalid(
            "items",
            (
                format!("at most {ITEMS_A_MEAL} items a meal"),
                format!("como mucho {ITEMS_A_MEAL} ingredientes por comida"),
            ),
        ));
    }
    if plan.meals().map(|meal| meal.items.len()).sum::<usize>() > ITEMS_A_PLAN {
        return Err(Error::invalid(
            "items",
            (
                format!("at most {ITEMS_A_PLAN} items a plan"),
                format!("como mucho {ITEMS_A_PLAN} ingredientes por plan"),
            ),
        ));
    }
    Ok(())
}

/// Whether the plan has no items, and so nothing to follow.
#[must_use]
pub fn is_empty(plan: &Plan) -> bool {
    plan.meals().all(|meal| meal.items.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn titles_are_trimmed_and_have_one_to_200_characters() {
        assert_eq!(title("name", "  Día de fuerza ").expect("a title"), "Día de fuerza");
        assert!(title("name", &"ñ".repeat(200)).is_ok());
        for bad in [
            "",
            "   ",
            "a\0b",
            "two\nlines",
            "a\u{2066}b",
            "\u{200B}",
            &"x".repeat(201),
        ] {
            assert!(title("name", bad).is_err(), "{bad:?}");
        }
        assert_eq!(optional_title("title", " ").expect("none"), "");
        assert!(optional_title("title", "a\u{200F}").is_err());
        assert!(text("notes", "two\nlines").is_ok());
        assert!(text("notes", "a\0b").is_err());
    }

    #[test]
    fn only_a_live_plan_has_a_start_date() {
        let today = NaiveDate::from_ymd_opt(2026, 6, 1).expect("a date");
        let start_date = |kind, date| start_date(kind, date, today);
        assert!(start_date(Kind::Live, Some(today)).is_ok());
        assert!(start_date(Kind::Plan, None).is_ok());
        assert!(start_date(Kind::Live, None).is_err());
        assert!(start_date(Kind::Template, Some(today)).is_err());
    }

    #[test]
    fn a_live_plan_starts_within_five_years_of_today() {
        let today = NaiveDate::from_ymd_opt(2026, 6, 1).expect("a date");
        for (date, taken) in [
            (today - START_WITHIN, true),
            (today + START_WITHIN, true),
            (today - START_WITHIN - Days::new(1), false),
            (today + START_WITHIN + Days::new(1), false),
            (NaiveDate::MIN, false),
            (NaiveDate::MAX, false),
        ] {
            assert_eq!(start_date(Kind::Live, Some(date), today).is_ok(), taken, "{date}");
        }
    }

    #[test]
    fn a_target_is_positive() {
        assert!(
            target(&Target {
                energy_mkcal: Some(2_000_000),
                ..Target::default()
            })
            .is_ok()
        );
        for bad in [0, -1, i64::MAX] {
            let refused = target(&Target {
                fat_mg: Some(bad),
                ..Target::default()
            })
            .expect_err("refused");
            assert!(refused.to_string().contains("target.fat_mg"), "{refused}");
        }
    }

    proptest! {
        #[test]
        fn ranges_equal_the_database_checks(minutes in -5000_i32..5000, grams in -20_000_000_i64..20_000_000, days in -200_i32..200) {
            prop_assert_eq!(time(Some(minutes)).is_ok(), (0..=1439).contains(&minutes));
            prop_assert_eq!(weight("grams_milli", grams).is_ok(), grams > 0 && grams <= 10_000_000);
            prop_assert_eq!(duration(days).is_ok(), (1..=84).contains(&days));
            prop_assert_eq!(position("position", Some(minutes), None).is_ok(), (0..=999).contains(&minutes));
        }

        #[test]
        fn an_added_entry_sorts_last(last in proptest::option::of(0_i32..=999)) {
            let next = position("position", None, last).expect("a position");
            prop_assert!((0..=999).contains(&next) && last.is_none_or(|last| next >= last));
        }
    }
}
