//! Bounds of dates and instants from clients. `chrono` parses years up to ±262,000: arithmetic on such a date panics,
//! and Postgres refuses many of them. Handlers therefore check each date here before arithmetic, a query or a hash uses
//! it; nouns apply narrower ranges of their own.

use chrono::{DateTime, NaiveDate, Utc};

use crate::error::{Error, Result};

/// The first valid date.
pub const FIRST: NaiveDate = day(1900);
/// The last valid date. No plan reaches further, and arithmetic has centuries of margin on either side.
pub const LAST: NaiveDate = day(2200);

const fn day(year: i32) -> NaiveDate {
    match NaiveDate::from_ymd_opt(year, 1, 1) {
        Some(day) => day,
        None => NaiveDate::MIN,
    }
}

/// Checks that a date is between [`FIRST`] and [`LAST`], inclusive.
///
/// # Errors
/// 422 on `field` for any other date.
pub fn date(field: &str, date: NaiveDate) -> Result<NaiveDate> {
    if (FIRST..=LAST).contains(&date) {
        Ok(date)
    } else {
        Err(Error::invalid(
            field,
            (
                format!("a date from {FIRST} to {LAST}"),
                format!("una fecha desde {FIRST} hasta {LAST}"),
            ),
        ))
    }
}

/// Checks that an instant's UTC date is between [`FIRST`] and [`LAST`], inclusive.
///
/// # Errors
/// As [`date`].
pub fn instant(field: &str, instant: DateTime<Utc>) -> Result<DateTime<Utc>> {
    date(field, instant.date_naive()).map(|_| instant)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_out_of_bounds_is_refused_with_its_field() {
        for taken in ["1900-01-01", "2026-06-10", "2200-01-01"] {
            let taken = taken.parse().expect("a date");
            assert_eq!(date("from", taken).expect("taken"), taken);
        }
        for refused in [NaiveDate::MIN, NaiveDate::MAX]
            .into_iter()
            .chain(["1899-12-31", "2200-01-02"].map(|text| text.parse().expect("a date")))
        {
            let error = date("from", refused).expect_err("refused");
            assert!(error.to_string().contains("from"), "{error}");
        }
        assert!(instant("until", DateTime::<Utc>::MAX_UTC).is_err());
        assert!(instant("until", DateTime::UNIX_EPOCH).is_ok());
    }
}
