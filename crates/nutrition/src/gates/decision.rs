//! Whether a person may follow a plan: the stricter of the questionnaire's level and the gates' findings.

use std::collections::BTreeSet;

use super::finding::{Finding, Severity};
use crate::Words;
use crate::names::names;
use crate::screening::Level;

names! {
    /// Why a person may not follow a plan now, by the code of the problem that the API answers.
    Refusal {
        ReviewPending "review-pending" "Staff have not yet reviewed what the person prefers not to say, or a drop in level.";
        GuardianConsentRequired "guardian-consent-required" "A minor without a guardian's consent.";
        RiskBlocked "risk-blocked" "CRITICAL, and the plan restricts, or no clearance covers its causes.";
        ClearanceRequired "clearance-required" "HIGH, or a finding that needs a clearance, without one that covers it.";
        PlanIncompatible "plan-incompatible" "A finding blocks, whatever a clearance says.";
    }
}

impl Refusal {
    /// The next step for the person.
    #[must_use]
    pub fn next_step(self) -> Words {
        match self {
            Self::ReviewPending => (
                "Your gym's nutritionist is looking at your answers. You will hear here when they are done.",
                "El nutricionista de tu gimnasio está revisando tus respuestas. Te avisaremos aquí cuando termine.",
            ),
            Self::GuardianConsentRequired => (
                "Ask your mother, father or guardian to give consent at the front desk.",
                "Pide a tu madre, padre o tutor que dé su consentimiento en recepción.",
            ),
            Self::RiskBlocked => (
                "Please see a doctor first. With their written word you can follow a plan that restricts nothing.",
                "Por favor, acude antes a un médico. Con su autorización escrita podrás seguir un plan que no restrinja nada.",
            ),
            Self::ClearanceRequired => (
                "Please talk to a doctor or dietitian, and hand their written word to your gym's nutritionist.",
                "Por favor, habla con un médico o dietista y entrega su autorización escrita al nutricionista de tu gimnasio.",
            ),
            Self::PlanIncompatible => (
                "This plan does not suit you as it is. Choose another, or ask the nutritionist to change it.",
                "Este plan no te conviene tal como está. Elige otro o pide al nutricionista que lo cambie.",
            ),
        }
        .into()
    }
}

/// A clearance that is in force: not expired, not revoked, and not granted by the plan's author, the assigned trainer or
/// the person. Whoever calls has checked that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clearance {
    /// The causes that it names: rules of the questionnaire and gates, by name.
    pub covers: BTreeSet<String>,
}

/// What is known of a person besides the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing<'a> {
    /// The level of the latest screening.
    pub level: Level,
    /// The causes of that level, as [`crate::screening::Evaluation::causes`] names them.
    pub causes: BTreeSet<&'a str>,
    /// Whether staff have still to review the answers.
    pub review_pending: bool,
    /// Whether the person is a minor, or may be.
    pub minor: bool,
    /// Whether a guardian's consent is in force.
    pub guardian_consent: bool,
    /// The clearance in force, if there is one.
    pub clearance: Option<&'a Clearance>,
}

/// Decides. Empty means that the person may follow the plan, with the warnings among the findings. `restrictive` is
/// [`super::restrictive`].
#[must_use]
pub fn decide<M, I>(standing: &Standing<'_>, findings: &[Finding<M, I>], restrictive: bool) -> BTreeSet<Refusal> {
    let covers = |cause: &str| {
        standing
            .clearance
            .is_some_and(|clearance| clearance.covers.contains(cause))
    };
    // A level without a cause, as of a screening that could not be read, is covered by nothing.
    let level_covered = !standing.causes.is_empty() && standing.causes.iter().all(|cause| covers(cause));
    let needs = |severity: Severity| findings.iter().filter(move |finding| finding.severity == severity);
    let mut refusals = BTreeSet::new();
    let mut refuse = |refusal: Refusal, so: bool| {
        if so {
            refusals.insert(refusal);
        }
    };
    refuse(Refusal::ReviewPending, standing.review_pending);
    refuse(
        Refusal::GuardianConsentRequired,
        standing.minor && !standing.guardian_consent,
    );
    refuse(
        Refusal::RiskBlocked,
        standing.level == Level::Critical && (restrictive || !level_covered),
    );
    refuse(
        Refusal::ClearanceRequired,
        standing.level == Level::High && !level_covered,
    );
    refuse(
        Refusal::ClearanceRequired,
        needs(Severity::Clearance).any(|finding| !covers(finding.gate.name())),
    );
    refuse(Refusal::PlanIncompatible, needs(Severity::Block).next().is_some());
    refusals
}
