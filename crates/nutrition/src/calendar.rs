//! Calendar arithmetic: a member's current date, and the day of a plan that a date falls on. Instants are UTC
//! (`DateTime<Utc>`); days are dates in the member's time zone (`NaiveDate`).

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use chrono_tz::Tz;

/// A follow may start at most this many days before today.
const EARLIEST_DAYS: i64 = 31;
/// A follow may start at most this many days after today.
const LATEST_DAYS: i64 = 366;

/// A plan's length, and whether it repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Length of the plan in days.
    pub duration_days: i32,
    /// Whether day 1 follows the last day. Weekly plans repeat; fixed plans end. Plans with training and rest days
    /// repeat too, because the product does not know members' training days yet.
    pub repeats: bool,
}

impl Schedule {
    /// Returns the plan day (from 1) of `date` for a follow that started on `start`; `None` before the start and after
    /// the end.
    #[must_use]
    pub fn day(self, start: NaiveDate, date: NaiveDate) -> Option<i32> {
        let duration = i64::from(self.duration_days);
        let elapsed = (date - start).num_days();
        if elapsed < 0 || duration < 1 || (!self.repeats && elapsed >= duration) {
            return None;
        }
        i32::try_from(elapsed % duration + 1).ok()
    }

    /// Whether the plan's last day lies before `today`. A repeating plan is never over.
    #[must_use]
    pub fn is_over(self, start: NaiveDate, today: NaiveDate) -> bool {
        !self.repeats && (today - start).num_days() >= i64::from(self.duration_days)
    }
}

/// The settings that determine a member's current date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Days {
    /// The member's time zone.
    pub zone: Tz,
    /// Minutes after midnight at which the gym's day begins.
    pub day_start: i32,
}

impl Days {
    /// Returns the member's date at `now`.
    #[must_use]
    pub fn today(self, now: DateTime<Utc>) -> NaiveDate {
        local_day(now, self.zone, self.day_start)
    }

    /// Returns the last date that a member may log: tomorrow, because a member who travels east can be a day ahead of
    /// the stored time zone.
    #[must_use]
    pub fn last_loggable(self, now: DateTime<Utc>) -> NaiveDate {
        self.today(now) + TimeDelta::days(1)
    }
}

/// Whether a follow may start on `start`: at most 31 days before today and at most 366 days after it.
#[must_use]
pub fn may_begin(start: NaiveDate, today: NaiveDate) -> bool {
    (-EARLIEST_DAYS..=LATEST_DAYS).contains(&(start - today).num_days())
}

/// Parses a stored IANA zone name. A zone that no longer exists counts as UTC.
#[must_use]
pub fn zone(name: &str) -> Tz {
    name.parse().unwrap_or(Tz::UTC)
}

/// Returns the date that `instant` belongs to in `zone`, if a day begins `day_start` minutes after midnight. In a gym
/// whose day begins at 04:00, a snack at 01:30 belongs to the previous date.
#[must_use]
pub fn local_day(instant: DateTime<Utc>, zone: Tz, day_start: i32) -> NaiveDate {
    let local = instant.with_timezone(&zone).naive_local();
    (local - TimeDelta::minutes(day_start.into())).date()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn date(text: &str) -> NaiveDate {
        text.parse().expect("a date")
    }

    fn once(duration_days: i32) -> Schedule {
        Schedule {
            duration_days,
            repeats: false,
        }
    }

    #[test]
    fn a_day_begins_at_the_gyms_hour_in_the_members_zone() {
        let zone: Tz = "Europe/Madrid".parse().expect("a zone");
        let instant = "2026-06-10T00:30:00Z".parse().expect("an instant"); // 02:30 in Madrid
        assert_eq!(local_day(instant, zone, 0).to_string(), "2026-06-10");
        assert_eq!(local_day(instant, zone, 240).to_string(), "2026-06-09");
    }

    #[test]
    fn a_day_of_25_hours_is_one_date() {
        let zone: Tz = "Europe/Madrid".parse().expect("a zone");
        for instant in ["2026-10-24T22:00:00Z", "2026-10-25T00:30:00Z", "2026-10-25T22:59:00Z"] {
            assert_eq!(
                local_day(instant.parse().expect("an instant"), zone, 0).to_string(),
                "2026-10-25"
            );
        }
    }

    #[test]
    fn a_fixed_plan_has_days_only_between_start_and_end() {
        let plan = once(7);
        let start = date("2026-03-02");
        assert_eq!(plan.day(start, date("2026-03-01")), None);
        assert_eq!(plan.day(start, start), Some(1));
        assert_eq!(plan.day(start, date("2026-03-08")), Some(7));
        assert_eq!(plan.day(start, date("2026-03-09")), None);
    }

    #[test]
    fn a_fixed_plan_is_over_after_its_last_day_and_a_repeating_plan_never() {
        let start = date("2026-03-02");
        for (repeats, today, over) in [
            (false, "2026-03-01", false),
            (false, "2026-03-08", false),
            (false, "2026-03-09", true),
            (true, "2027-03-09", false),
        ] {
            let plan = Schedule {
                duration_days: 7,
                repeats,
            };
            assert_eq!(plan.is_over(start, date(today)), over, "{repeats} {today}");
        }
    }

    #[test]
    fn a_repeating_plan_begins_again_after_its_last_day() {
        let plan = Schedule {
            duration_days: 7,
            repeats: true,
        };
        let start = date("2026-03-02");
        assert_eq!(plan.day(start, date("2026-03-01")), None);
        assert_eq!(plan.day(start, date("2026-03-09")), Some(1));
        assert_eq!(plan.day(start, date("2026-03-22")), Some(7));
    }

    #[test]
    fn a_clock_change_neither_skips_nor_repeats_a_plan_day() {
        let days = Days {
            zone: zone("Europe/Madrid"),
            day_start: 240,
        };
        let plan = once(14);
        let mut instant: DateTime<Utc> = "2026-03-26T12:00:00Z".parse().expect("an instant");
        let start = days.today(instant);
        for number in 1..=14 {
            assert_eq!(plan.day(start, days.today(instant)), Some(number));
            instant += TimeDelta::days(1);
        }
    }

    #[test]
    fn the_hours_before_the_gyms_day_start_belong_to_the_previous_date() {
        let days = Days {
            zone: zone("Europe/Madrid"),
            day_start: 240,
        };
        let at = |text: &str| days.today(text.parse().expect("an instant"));
        // On 29 March 2026 clocks go from 02:00 to 03:00 in Madrid.
        assert_eq!(at("2026-03-29T01:59:00Z"), date("2026-03-28"));
        assert_eq!(at("2026-03-29T02:00:00Z"), date("2026-03-29"));
        // On 25 October they go from 03:00 back to 02:00.
        assert_eq!(at("2026-10-25T02:59:00Z"), date("2026-10-24"));
        assert_eq!(at("2026-10-25T03:00:00Z"), date("2026-10-25"));
    }

    #[test]
    fn a_follow_starts_at_most_31_days_before_and_366_days_after_today() {
        let today = date("2026-06-10");
        for (days, may) in [(-32, false), (-31, true), (0, true), (366, true), (367, false)] {
            assert_eq!(may_begin(today + TimeDelta::days(days), today), may, "{days}");
        }
    }

    #[test]
    fn an_unknown_zone_is_utc() {
        assert_eq!(zone("Mars/Olympus"), Tz::UTC);
    }

    proptest! {
        #[test]
        fn consecutive_dates_have_consecutive_plan_days(duration in 1_i32..=84, repeats: bool, offset in -40_i64..400) {
            let plan = Schedule { duration_days: duration, repeats };
            let start = date("2026-01-01");
            let day = |n: i64| plan.day(start, start + TimeDelta::days(n));
            match day(offset) {
                None => prop_assert!(offset < 0 || (!repeats && offset >= i64::from(duration))),
                Some(number) => {
                    prop_assert!((1..=duration).contains(&number));
                    let next = if number < duration { Some(number + 1) } else { repeats.then_some(1) };
                    prop_assert_eq!(day(offset + 1), next);
                }
            }
        }
    }
}
