//! Body measures: body mass index, and for minors the WHO's reference of BMI for age.

use std::sync::LazyLock;

use crate::names::names;

/// People below this age in years are minors.
pub const ADULT_YEARS: u32 = 18;
/// The ages in years that the product accepts.
pub const AGES: std::ops::RangeInclusive<u32> = 1..=120;
/// The body weights in grams that the product accepts.
pub const WEIGHTS_G: std::ops::RangeInclusive<u32> = 20_000..=500_000;
/// The heights in millimetres that the product accepts.
pub const HEIGHTS_MM: std::ops::RangeInclusive<u32> = 500..=2_720;

names! {
    /// The sex that formulas of energy and growth ask for.
    Sex {
        Female "female" "Female.";
        Male "male" "Male.";
        Undisclosed "undisclosed" "Not stated: formulas take a middle value and a wider band.";
    }
}

/// Body mass index in thousandths of kg/m², rounded down: weight divided by the square of height. `None` if a measure
/// is outside what the product accepts.
#[must_use]
pub fn bmi_milli(weight_g: u32, height_mm: u32) -> Option<u32> {
    if !WEIGHTS_G.contains(&weight_g) || !HEIGHTS_MM.contains(&height_mm) {
        return None;
    }
    // g/mm² are 1,000 kg/m², thus 1,000,000 thousandths of kg/m².
    let height = u64::from(height_mm);
    u32::try_from(u64::from(weight_g) * 1_000_000 / (height * height)).ok()
}

/// Months, and thousandths of kg/m² at -3 and -2 standard deviations for boys and for girls.
static BMI_FOR_AGE: LazyLock<Vec<[u32; 5]>> = LazyLock::new(|| {
    let rows = include_str!("bmi-for-age.csv").lines().filter(|l| !l.starts_with('#'));
    rows.filter_map(|line| {
        let mut row = [0; 5];
        let mut cells = line.split(',');
        for cell in &mut row {
            *cell = cells.next()?.parse().ok()?;
        }
        Some(row)
    })
    .collect()
});

/// How many standard deviations below the median of the WHO's reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Below {
    /// Two: thinness.
    Two,
    /// Three: severe thinness.
    Three,
}

/// The BMI in thousandths of kg/m² that lies that many standard deviations below the median for a minor of this age,
/// by the WHO growth reference for 5 to 19 years (2007; de Onis et al., Bull World Health Organ 2007;85:660–667).
///
/// Where the month of age or the sex is not known, the highest value of those possible, so that a missing answer never
/// hides a low weight. Children under 5 get the reference's first value.
#[must_use]
pub fn minor_bmi_milli(below: Below, years: u32, months: Option<u32>, sex: Sex) -> Option<u32> {
    let first = years.saturating_mul(12);
    let (from, to) = match months {
        Some(months) if months / 12 == years => (months, months),
        _ => (first, first.saturating_add(11)),
    };
    let (lowest, highest) = (BMI_FOR_AGE.first()?[0], BMI_FOR_AGE.last()?[0]);
    let months = from.clamp(lowest, highest)..=to.clamp(lowest, highest);
    let of = |row: &[u32; 5]| {
        let (boys, girls) = match below {
            Below::Three => (row[1], row[3]),
            Below::Two => (row[2], row[4]),
        };
        match sex {
            Sex::Male => boys,
            Sex::Female => girls,
            Sex::Undisclosed => boys.max(girls),
        }
    };
    BMI_FOR_AGE.iter().filter(|row| months.contains(&row[0])).map(of).max()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bmi_is_weight_by_the_square_of_height() {
        assert_eq!(bmi_milli(75_000, 1750), Some(24_489));
        assert_eq!(bmi_milli(0, 1750), None);
        assert_eq!(bmi_milli(75_000, 0), None);
        assert_eq!(bmi_milli(u32::MAX, u32::MAX), None);
    }

    #[test]
    fn the_reference_has_every_month_and_the_published_values() {
        assert_eq!(BMI_FOR_AGE.len(), 156);
        // The published tables, in tenths of kg/m²: https://www.who.int/tools/growth-reference-data-for-5to19-years
        for (years, months, sex, three, two) in [
            (5, 61, Sex::Male, 121, 130),
            (5, 61, Sex::Female, 118, 127),
            (10, 120, Sex::Male, 128, 137),
            (10, 120, Sex::Female, 124, 135),
            (15, 180, Sex::Male, 147, 160),
            (15, 180, Sex::Female, 144, 159),
            (16, 192, Sex::Male, 151, 165),
            (16, 192, Sex::Female, 146, 162),
        ] {
            let tenths = |below| minor_bmi_milli(below, years, Some(months), sex).map(|bmi| (bmi + 50) / 100);
            assert_eq!(
                (tenths(Below::Three), tenths(Below::Two)),
                (Some(three), Some(two)),
                "{months} {sex:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_not_known_counts_as_the_highest(years in 0_u32..18, month in 0_u32..12, male: bool) {
            let sex = if male { Sex::Male } else { Sex::Female };
            for below in [Below::Two, Below::Three] {
                let known = minor_bmi_milli(below, years, Some(years * 12 + month), sex).expect("a value");
                for (months, sex) in [(None, sex), (Some(years * 12 + month), Sex::Undisclosed), (None, Sex::Undisclosed)] {
                    prop_assert!(minor_bmi_milli(below, years, months, sex).expect("a value") >= known);
                }
            }
        }

        #[test]
        fn nothing_panics(years: u32, months: Option<u32>, weight: u32, height: u32) {
            let _ = bmi_milli(weight, height);
            let _ = minor_bmi_milli(Below::Two, years, months, Sex::Undisclosed);
        }
    }
}
