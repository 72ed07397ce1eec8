//! Suggested bands of energy, protein, fat and carbohydrate for a goal. They are advice for whoever writes a plan; what
//! may not be followed is decided by [`crate::gates`].

use crate::energy::Estimate;
use crate::names::names;

names! {
    /// What a plan is for.
    Goal {
        LoseFat "lose_fat" "Lose fat.";
        Maintain "maintain" "Keep the weight.";
        GainMuscle "gain_muscle" "Gain muscle.";
        Recomposition "recomposition" "Lose fat and gain muscle at the same weight.";
        Performance "performance" "Perform in a sport.";
        Health "health" "Eat well.";
    }
}

/// A band, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Band {
    /// The low end.
    pub from: i64,
    /// The high end.
    pub to: i64,
}

/// The bands of a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Targets {
    /// Energy in thousandths of a kilocalorie.
    pub energy_mkcal: Band,
    /// Protein in milligrams.
    pub protein_mg: Band,
    /// Fat in milligrams.
    pub fat_mg: Band,
    /// Carbohydrate in milligrams.
    pub carbohydrate_mg: Band,
}

/// Suggests bands for a day.
///
/// - Energy: expenditure ± 5 %; for losing fat 10 to 25 % below it, but not below `floor_mkcal`; for gaining muscle 5 to
///   15 % above it (Iraki et al., Sports 2019;7:154). Where the floor leaves no deficit, the band is that of keeping the
///   weight.
/// - Protein first: 1.2 to 2.0 g/kg (Thomas, Erdman & Burke, J Acad Nutr Diet 2016;116:501–528); 1.6 to 2.2 for gaining
///   muscle, losing fat and recomposition (Morton et al., Br J Sports Med 2018;52:376–384).
/// - Fat: from 0.6 g/kg or 20 % of energy, whichever is more, to 35 % (AMDR, Institute of Medicine, Dietary Reference
///   Intakes for energy and macronutrients, 2005).
/// - Carbohydrate: the remaining energy.
#[must_use]
pub fn suggest(goal: Goal, expenditure: Estimate, floor_mkcal: i64, weight_g: u32) -> Targets {
    let share = |permille: i64| bounded(expenditure.mkcal) * permille / 1000;
    let keep = Band {
        from: share(950),
        to: share(1050),
    };
    let energy = match goal {
        Goal::LoseFat => {
            let from = share(750).max(floor_mkcal.max(0));
            let to = share(900);
            if from <= to { Band { from, to } } else { keep }
        }
        Goal::GainMuscle => Band {
            from: share(1050),
            to: share(1150),
        },
        Goal::Maintain | Goal::Recomposition | Goal::Performance | Goal::Health => keep,
    };
    // Grams per kilogram have the same value in milligrams per gram.
    let weight = i64::from(weight_g);
    let tenths = |from: i64, to: i64| Band {
        from: weight * from / 10,
        to: weight * to / 10,
    };
    let protein = match goal {
        Goal::LoseFat | Goal::GainMuscle | Goal::Recomposition => tenths(16, 22),
        Goal::Maintain | Goal::Performance | Goal::Health => tenths(12, 20),
    };
    // 9 kcal per gram are 9 mkcal per milligram.
    let fat_from = (weight * 6 / 10).max(energy.from / 5 / 9);
    let fat = Band {
        from: fat_from,
        to: (energy.to * 35 / 100 / 9).max(fat_from),
    };
    let rest = |energy: i64, protein: i64, fat: i64| ((energy - 4 * protein - 9 * fat) / 4).max(0);
    let carbohydrate_from = rest(energy.from, protein.to, fat.to);
    let carbohydrate = Band {
        from: carbohydrate_from,
        to: rest(energy.to, protein.from, fat.from).max(carbohydrate_from),
    };
    Targets {
        energy_mkcal: energy,
        protein_mg: protein,
        fat_mg: fat,
        carbohydrate_mg: carbohydrate,
    }
}

/// No person uses 100,000 kcal a day.
fn bounded(mkcal: i64) -> i64 {
    mkcal.clamp(0, 100_000_000)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn estimate(mkcal: i64) -> Estimate {
        Estimate {
            low_mkcal: mkcal,
            mkcal,
            high_mkcal: mkcal,
        }
    }

    fn band(from: i64, to: i64) -> Band {
        Band { from, to }
    }

    #[test]
    fn a_goal_sets_energy_and_protein_and_carbohydrate_takes_the_rest() {
        let keep = suggest(Goal::Maintain, estimate(2_400_000), 1_500_000, 75_000);
        assert_eq!(keep.energy_mkcal, band(2_280_000, 2_520_000));
        assert_eq!(keep.protein_mg, band(90_000, 150_000));
        // 20 % of 2,280 kcal are 50.6 g of fat, more than 0.6 g/kg.
        assert_eq!(keep.fat_mg, band(50_666, 98_000));
        assert_eq!(keep.carbohydrate_mg, band(199_500, 426_001));
        let lose = suggest(Goal::LoseFat, estimate(2_400_000), 1_500_000, 75_000);
        assert_eq!(lose.energy_mkcal, band(1_800_000, 2_160_000));
        let gain = suggest(Goal::GainMuscle, estimate(2_400_000), 1_500_000, 75_000);
        assert_eq!(gain.energy_mkcal, band(2_520_000, 2_760_000));
    }

    #[test]
    fn a_floor_that_leaves_no_deficit_suggests_none() {
        let targets = suggest(Goal::LoseFat, estimate(1_300_000), 1_200_000, 50_000);
        assert_eq!(targets.energy_mkcal, band(1_235_000, 1_365_000));
        let floored = suggest(Goal::LoseFat, estimate(1_500_000), 1_200_000, 50_000);
        assert_eq!(floored.energy_mkcal, band(1_200_000, 1_350_000));
    }

    proptest! {
        #[test]
        fn bands_are_ordered_whatever_comes_in(goal in 0_usize..6, mkcal: i64, floor: i64, weight: u32) {
            let targets = suggest(Goal::ALL[goal], estimate(mkcal), floor, weight);
            for band in [targets.energy_mkcal, targets.protein_mg, targets.fat_mg, targets.carbohydrate_mg] {
                prop_assert!(0 <= band.from && band.from <= band.to, "{:?}", targets);
            }
        }
    }
}
