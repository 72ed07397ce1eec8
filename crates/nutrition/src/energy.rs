//! The energy that a person uses: at rest, and in all. Amounts are thousandths of a kilocalorie a day.

use crate::body::{ADULT_YEARS, AGES, HEIGHTS_MM, Sex, WEIGHTS_G};
use crate::names::names;

names! {
    /// How much a person moves, at work and in training together.
    Activity {
        Sedentary "sedentary" "Sits most of the day, no training: 1.2 times the resting rate.";
        Light "light" "Light training 1 to 3 days a week: 1.375.";
        Moderate "moderate" "Training 3 to 5 days a week: 1.55.";
        High "high" "Hard training 6 or 7 days a week: 1.725.";
        VeryHigh "very_high" "Hard training twice a day, or heavy work: 1.9.";
    }
}

impl Activity {
    /// Total expenditure as thousandths of the resting rate. The factors that programs of diet counselling use with
    /// Mifflin–St Jeor; they go back to the Harris–Benedict tradition (McArdle, Katch & Katch, Exercise Physiology).
    #[must_use]
    pub const fn permille(self) -> i64 {
        match self {
            Self::Sedentary => 1200,
            Self::Light => 1375,
            Self::Moderate => 1550,
            Self::High => 1725,
            Self::VeryHigh => 1900,
        }
    }
}

/// An estimate of energy with the band in which the true value probably lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Estimate {
    /// The low end of the band.
    pub low_mkcal: i64,
    /// The estimate.
    pub mkcal: i64,
    /// The high end of the band.
    pub high_mkcal: i64,
}

impl Estimate {
    fn times(self, permille: i64) -> Self {
        let times = |mkcal: i64| mkcal * permille / 1000;
        Self {
            low_mkcal: times(self.low_mkcal),
            mkcal: times(self.mkcal),
            high_mkcal: times(self.high_mkcal),
        }
    }

    fn plus(self, mkcal: i64) -> Self {
        Self {
            low_mkcal: self.low_mkcal + mkcal,
            mkcal: self.mkcal + mkcal,
            high_mkcal: self.high_mkcal + mkcal,
        }
    }
}

/// Estimates resting energy expenditure; `None` if a measure is outside what the product accepts.
///
/// Adults: Mifflin–St Jeor (Am J Clin Nutr 1990;51:241–247): 10·kg + 6.25·cm − 5·years, + 5 for men, − 161 for women;
/// the mean of both if the sex is not stated. The band is 10 % either way, within which the equation comes for most
/// people (Frankenfield et al., J Am Diet Assoc 2005;105:775–789); without a sex it reaches from the low end for women
/// to the high end for men.
///
/// Minors: Schofield by weight, in the bands under 3, 3 to 10 and 10 to 18 years (Hum Nutr Clin Nutr 1985;39C:5–41; in
/// kilocalories by FAO/WHO/UNU, Human energy requirements, 2004, table 5.2), with the same band.
#[must_use]
pub fn resting_rate(years: u32, sex: Sex, weight_g: u32, height_mm: u32) -> Option<Estimate> {
    if !AGES.contains(&years) || !WEIGHTS_G.contains(&weight_g) || !HEIGHTS_MM.contains(&height_mm) {
        return None;
    }
    let (weight, height, age) = (i64::from(weight_g), i64::from(height_mm), i64::from(years));
    let (female, male) = if years < ADULT_YEARS {
        // A kilogram counts (kcal·1000), and a constant in mkcal.
        let ((fw, fc), (mw, mc)) = match years {
            ..3 => ((58_317, -31_100), (59_512, -30_400)),
            3..10 => ((20_315, 485_900), (22_706, 504_300)),
            _ => ((13_384, 692_600), (17_686, 658_200)),
        };
        (fw * weight / 1000 + fc, mw * weight / 1000 + mc)
    } else {
        let both = 10 * weight + 625 * height - 5000 * age;
        (both - 161_000, both + 5000)
    };
    let of = |low: i64, mkcal: i64, high: i64| {
        // Heavy age and light weight would take the equation below zero; the body never is.
        let (low, mkcal, high) = (low.max(0), mkcal.max(0), high.max(0));
        Estimate {
            low_mkcal: low * 9 / 10,
            mkcal,
            high_mkcal: high * 11 / 10,
        }
    };
    Some(match sex {
        Sex::Female => of(female, female, female),
        Sex::Male => of(male, male, male),
        Sex::Undisclosed => of(female.min(male), i64::midpoint(female, male), female.max(male)),
    })
}

/// Estimates total energy expenditure: resting rate times activity, plus what pregnancy or breastfeeding adds
/// ([`added_mkcal`]).
#[must_use]
pub fn expenditure(resting: Estimate, activity: Activity, added_mkcal: i64) -> Estimate {
    resting.times(activity.permille()).plus(added_mkcal)
}

/// The energy that pregnancy and breastfeeding add a day: 70, 260 and 500 kcal in the three trimesters, and 500 kcal
/// while breastfeeding (EFSA Journal 2013;11(1):3005). A trimester that is not known counts as the third.
#[must_use]
pub fn added_mkcal(pregnant: bool, trimester: Option<u32>, breastfeeding: bool) -> i64 {
    let pregnancy = match (pregnant, trimester) {
        (false, _) => 0,
        (true, Some(1)) => 70_000,
        (true, Some(2)) => 260_000,
        (true, _) => 500_000,
    };
    pregnancy + if breastfeeding { 500_000 } else { 0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn mifflin_st_jeor_for_adults() {
        // 10·75 + 6.25·175 − 5·30 = 1693.75.
        for (sex, mkcal, low, high) in [
            (Sex::Male, 1_698_750, 1_528_875, 1_868_625),
            (Sex::Female, 1_532_750, 1_379_475, 1_686_025),
            (Sex::Undisclosed, 1_615_750, 1_379_475, 1_868_625),
        ] {
            let rate = resting_rate(30, sex, 75_000, 1750).expect("a rate");
            assert_eq!(
                (rate.mkcal, rate.low_mkcal, rate.high_mkcal),
                (mkcal, low, high),
                "{sex:?}"
            );
        }
    }

    #[test]
    fn schofield_for_minors() {
        // 17.686·50 + 658.2 = 1542.5; 13.384·50 + 692.6 = 1361.8.
        for (years, sex, mkcal) in [
            (16, Sex::Male, 1_542_500),
            (16, Sex::Female, 1_361_800),
            (16, Sex::Undisclosed, 1_452_150),
            (9, Sex::Male, 1_639_600),
        ] {
            let rate = resting_rate(years, sex, 50_000, 1650).expect("a rate");
            assert_eq!(rate.mkcal, mkcal, "{years} {sex:?}");
        }
    }

    #[test]
    fn expenditure_is_the_resting_rate_times_activity() {
        let rate = resting_rate(30, Sex::Male, 75_000, 1750).expect("a rate");
        for (activity, mkcal) in [
            (Activity::Sedentary, 2_038_500),
            (Activity::Light, 2_335_781),
            (Activity::Moderate, 2_633_062),
            (Activity::High, 2_930_343),
            (Activity::VeryHigh, 3_227_625),
        ] {
            assert_eq!(expenditure(rate, activity, 0).mkcal, mkcal, "{activity:?}");
        }
    }

    #[test]
    fn pregnancy_and_breastfeeding_add_energy() {
        for (pregnant, trimester, breastfeeding, added) in [
            (false, Some(3), false, 0),
            (true, Some(1), false, 70_000),
            (true, Some(2), false, 260_000),
            (true, Some(3), false, 500_000),
            (true, None, false, 500_000),
            (true, Some(9), false, 500_000),
            (false, None, true, 500_000),
            (true, Some(1), true, 570_000),
        ] {
            assert_eq!(added_mkcal(pregnant, trimester, breastfeeding), added, "{trimester:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics_and_bands_are_ordered(years: u32, weight: u32, height: u32) {
            prop_assert!(resting_rate(years, Sex::Male, weight, height).is_none() || AGES.contains(&years));
        }

        #[test]
        fn a_missing_sex_widens_the_band(years in AGES, weight in WEIGHTS_G, height in HEIGHTS_MM) {
            let unknown = resting_rate(years, Sex::Undisclosed, weight, height).expect("a rate");
            for sex in [Sex::Male, Sex::Female] {
                let known = resting_rate(years, sex, weight, height).expect("a rate");
                prop_assert!(0 <= known.low_mkcal && known.low_mkcal <= known.mkcal && known.mkcal <= known.high_mkcal);
                prop_assert!(unknown.low_mkcal <= known.low_mkcal && known.high_mkcal <= unknown.high_mkcal);
            }
        }
    }
}
