//! Allergens of foods and allergies of people.

use std::collections::BTreeMap;

use crate::Words;
use crate::names::names;

names! {
    /// An allergen of EU 1169/2011 Annex II.
    Allergen {
        Gluten "gluten" "Cereals containing gluten.";
        Crustaceans "crustaceans" "Crustaceans.";
        Egg "egg" "Eggs.";
        Fish "fish" "Fish.";
        Peanut "peanut" "Peanuts.";
        Soy "soy" "Soybeans.";
        Milk "milk" "Milk, with lactose.";
        Nuts "nuts" "Tree nuts.";
        Celery "celery" "Celery.";
        Mustard "mustard" "Mustard.";
        Sesame "sesame" "Sesame.";
        Sulphites "sulphites" "Sulphur dioxide and sulphites over 10 mg/kg.";
        Lupin "lupin" "Lupin.";
        Molluscs "molluscs" "Molluscs.";
    }
}

impl Allergen {
    /// The allergen as people call it.
    #[must_use]
    pub fn words(self) -> Words {
        match self {
            Self::Gluten => ("gluten", "gluten"),
            Self::Crustaceans => ("crustaceans", "crustáceos"),
            Self::Egg => ("egg", "huevo"),
            Self::Fish => ("fish", "pescado"),
            Self::Peanut => ("peanuts", "cacahuetes"),
            Self::Soy => ("soy", "soja"),
            Self::Milk => ("milk", "leche"),
            Self::Nuts => ("tree nuts", "frutos de cáscara"),
            Self::Celery => ("celery", "apio"),
            Self::Mustard => ("mustard", "mostaza"),
            Self::Sesame => ("sesame", "sésamo"),
            Self::Sulphites => ("sulphites", "sulfitos"),
            Self::Lupin => ("lupin", "altramuces"),
            Self::Molluscs => ("molluscs", "moluscos"),
        }
        .into()
    }
}

names! {
    /// Whether a food contains an allergen, from best to worst. An allergen that a food does not list is unknown.
    Presence {
        Absent "absent" "The food does not contain it.";
        Unknown "unknown" "Nobody has stated it.";
        Traces "traces" "The food may contain traces of it.";
        Contains "contains" "The food contains it.";
    }
}

names! {
    /// How strongly a person reacts.
    AllergySeverity {
        Mild "mild" "Discomfort.";
        Moderate "moderate" "Treated with medicine.";
        Severe "severe" "Anaphylaxis, or a doctor fears it.";
    }
}

/// The allergens of a food; one that is not listed is unknown.
pub type Allergens = BTreeMap<Allergen, Presence>;

/// The worse of what several statements say of an allergen, such as the food at the time an item was written and the
/// food now. A statement that does not list the allergen says that it is unknown.
#[must_use]
pub fn worst<'a>(allergen: Allergen, statements: impl IntoIterator<Item = &'a Allergens>) -> Presence {
    statements
        .into_iter()
        .map(|said| said.get(&allergen).copied().unwrap_or(Presence::Unknown))
        .max()
        .unwrap_or(Presence::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_statement_counts() {
        use Presence::{Absent, Contains, Traces, Unknown};
        let said = |presence| Allergens::from([(Allergen::Milk, presence)]);
        let nothing = Allergens::new();
        for (then, now, expected) in [
            (said(Absent), said(Contains), Contains),
            (said(Contains), said(Absent), Contains),
            (said(Absent), said(Traces), Traces),
            (said(Absent), nothing.clone(), Unknown),
            (said(Traces), nothing.clone(), Traces),
            (said(Absent), said(Absent), Absent),
        ] {
            assert_eq!(worst(Allergen::Milk, [&then, &now]), expected, "{then:?} {now:?}");
        }
        assert_eq!(worst(Allergen::Milk, []), Unknown);
    }

    #[test]
    fn names_match_json() {
        assert_eq!(Allergen::ALL.len(), 14);
        for one in Allergen::ALL {
            assert_eq!(serde_json::to_value(one).expect("json"), one.name());
            assert_eq!(Allergen::named(one.name()), Some(*one));
        }
    }
}
