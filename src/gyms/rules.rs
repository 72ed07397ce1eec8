//! Rules of gyms: the valid values of a gym's fields, and the changes of memberships that a caller may make.

use chrono_tz::Tz;

use crate::auth::{Role, Roles, Status};
use crate::error::{Error, Result};
use crate::http::names;

/// Latest start of a gym's day, in minutes after midnight: noon.
const LATEST_DAY_START: i32 = 720;

/// Roles and status of a membership. Together they determine access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Roles.
    pub roles: Roles,
    /// Status.
    pub status: Status,
}

impl Standing {
    /// Whether this is an active owner.
    #[must_use]
    pub fn owns(&self) -> bool {
        self.active(Role::Owner)
    }

    /// Whether the membership is active and has the role.
    #[must_use]
    pub fn active(&self, role: Role) -> bool {
        self.status == Status::Active && self.roles.has(role)
    }

    /// Whether assignments in this role continue. They survive a suspension, which is temporary, but not the end of the
    /// role or of the membership.
    #[must_use]
    pub fn keeps(&self, role: Role) -> bool {
        self.status != Status::Ended && self.roles.has(role)
    }
}

/// Refuses a change of a membership that the caller may not make.
///
/// # Errors
/// 403 if the change concerns ownership and the caller is not an owner; 422 for an empty set of roles, or a status that
/// cannot follow the current one.
pub fn may_change(caller: Roles, before: Standing, after: Standing) -> Result<()> {
    roles_not_empty(after.roles)?;
    let ownership = before.roles.has(Role::Owner) != after.roles.has(Role::Owner);
    let owners_status = before.roles.has(Role::Owner) && before.status != after.status;
    if (ownership || owners_status) && !caller.has(Role::Owner) {
        return Err(Error::forbidden());
    }
    let reason = match (before.status, after.status) {
        (from, to) if from == to => return Ok(()),
        (_, Status::Invited) => (
            "a membership cannot become invited; adding the person creates the invitation",
            "una membresía no puede pasar a invitada; la invitación se crea al añadir a la persona",
        ),
        (Status::Ended, _) => (
            "an ended membership stays ended; add the person again",
            "una membresía terminada no se puede reabrir; vuelve a añadir a la persona",
        ),
        (Status::Invited, Status::Active) => (
            "only the invited person can accept, by signing in to the gym",
            "solo la persona invitada puede aceptar, al iniciar sesión en el gimnasio",
        ),
        (Status::Invited, Status::Suspended) => (
            "the person has not accepted the invitation yet; end the membership instead",
            "la persona aún no ha aceptado la invitación; en lugar de suspender la membresía, termínala",
        ),
        _ => return Ok(()),
    };
    Err(Error::invalid("status", reason))
}

/// Refuses a membership without roles.
pub fn roles_not_empty(roles: Roles) -> Result<()> {
    if roles == Roles::default() {
        Err(Error::invalid(
            "roles",
            ("at least one role is needed", "se necesita al menos un rol"),
        ))
    } else {
        Ok(())
    }
}

/// Refuses an empty, overlong or unprintable name of a gym or person.
pub fn check_name(field: &str, name: &str) -> Result<()> {
    let length = name.trim().chars().count();
    if (1..=200).contains(&length) && !name.chars().any(char::is_control) {
        names::check(field, name)
    } else {
        Err(Error::invalid(
            field,
            (
                "must have 1 to 200 characters and no control characters",
                "debe tener de 1 a 200 caracteres, sin caracteres de control",
            ),
        ))
    }
}

/// Refuses a name that is not an IANA time zone.
pub fn check_time_zone(name: &str) -> Result<()> {
    match name.parse::<Tz>() {
        Ok(_) => Ok(()),
        Err(_) => Err(Error::invalid(
            "time_zone",
            (
                "must be an IANA time zone, such as Europe/Madrid",
                "debe ser una zona horaria de la IANA, como Europe/Madrid",
            ),
        )),
    }
}

/// Refuses a start of the day before midnight or after noon.
pub fn check_day_start(minutes: i32) -> Result<()> {
    if (0..=LATEST_DAY_START).contains(&minutes) {
        Ok(())
    } else {
        Err(Error::invalid(
            "day_start",
            (
                format!("must be 0 to {LATEST_DAY_START} minutes after midnight"),
                format!("debe estar entre 0 y {LATEST_DAY_START} minutos después de medianoche"),
            ),
        ))
    }
}

/// Refuses a slug that does not have 2 to 63 lower-case letters, digits and hyphens, or starts with a hyphen.
pub fn check_slug(slug: &str) -> Result<()> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let good = (2..=63).contains(&slug.len())
        && slug.bytes().all(|b| plain(b) || b == b'-')
        && slug.bytes().next().is_some_and(plain);
    if good {
        Ok(())
    } else {
        Err(Error::invalid(
            "slug",
            (
                "must have 2 to 63 characters of a-z, 0-9 and -, and not start with -",
                "debe tener de 2 a 63 caracteres de a-z, 0-9 y -, y no empezar por -",
            ),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    fn standing(roles: &[Role], status: Status) -> Standing {
        Standing {
            roles: roles.iter().copied().collect(),
            status,
        }
    }

    fn change(caller: &[Role], before: Standing, after: Standing) -> Result<(), Code> {
        may_change(caller.iter().copied().collect(), before, after).map_err(|e| e.code)
    }

    #[test]
    fn only_an_owner_changes_ownership() {
        use Role::{Manager, Member, Owner};
        let member = standing(&[Member], Status::Active);
        let owner = standing(&[Owner], Status::Active);
        for (before, after) in [
            (member, standing(&[Member, Owner], Status::Active)),
            (owner, standing(&[Manager], Status::Active)),
            (owner, standing(&[Owner], Status::Suspended)),
            (owner, standing(&[Owner], Status::Ended)),
        ] {
            assert_eq!(change(&[Manager], before, after), Err(Code::Forbidden));
            assert_eq!(change(&[Owner], before, after), Ok(()));
        }
        assert_eq!(
            change(&[Manager], owner, standing(&[Owner, Member], Status::Active)),
            Ok(())
        );
        assert_eq!(change(&[Manager], member, standing(&[Manager], Status::Active)), Ok(()));
    }

    #[test]
    fn a_status_may_follow_only_certain_others() {
        use Status::{Active, Ended, Invited, Suspended};
        let may = |from, to| {
            change(
                &[Role::Manager],
                standing(&[Role::Member], from),
                standing(&[Role::Member], to),
            )
            .is_ok()
        };
        for (from, to) in [
            (Active, Suspended),
            (Suspended, Active),
            (Active, Ended),
            (Suspended, Ended),
            (Invited, Ended),
        ] {
            assert!(may(from, to), "{from:?} {to:?}");
        }
        for (from, to) in [
            (Invited, Active),
            (Invited, Suspended),
            (Ended, Active),
            (Ended, Suspended),
            (Active, Invited),
        ] {
            assert!(!may(from, to), "{from:?} {to:?}");
        }
    }

    #[test]
    fn a_membership_needs_a_role() {
        let member = standing(&[Role::Member], Status::Active);
        assert_eq!(
            change(&[Role::Owner], member, standing(&[], Status::Active)),
            Err(Code::Invalid)
        );
    }

    #[test]
    fn invalid_fields_of_a_gym_are_refused() {
        assert!(check_time_zone("America/Argentina/Buenos_Aires").is_ok());
        assert!(check_time_zone("Madrid").is_err());
        assert!(check_day_start(0).is_ok() && check_day_start(720).is_ok());
        assert!(check_day_start(-1).is_err() && check_day_start(721).is_err());
        assert!(check_slug("norte-2").is_ok());
        for slug in ["n", "-norte", "Norte", "nor te", "ñu", ""] {
            assert!(check_slug(slug).is_err(), "{slug}");
        }
        assert!(check_name("name", "Gimnasio Ñandú").is_ok());
        assert!(check_name("name", " ").is_err() && check_name("name", "a\nb").is_err());
        assert!(check_name("name", "Ana\u{202E}").is_err() && check_name("name", "A\u{200B}na").is_err());
    }
}
