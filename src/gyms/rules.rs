//! What a gym admits: its own fields, and who may change whose membership into what.

use chrono_tz::Tz;

use crate::auth::{Role, Roles, Status};
use crate::error::{Error, Result};

/// A gym's day begins at noon at the latest.
const LATEST_DAY_START: i32 = 720;

/// Roles and status of a membership: what of it gives access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Roles.
    pub roles: Roles,
    /// Status.
    pub status: Status,
}

impl Standing {
    /// Whether it is an owner's who can act.
    #[must_use]
    pub fn owns(&self) -> bool {
        self.active(Role::Owner)
    }

    /// Whether it is active in a role.
    #[must_use]
    pub fn active(&self, role: Role) -> bool {
        self.status == Status::Active && self.roles.has(role)
    }

    /// Whether it may be one side of an assignment: a suspension is for a time, the end of a role or membership is not.
    #[must_use]
    pub fn keeps(&self, role: Role) -> bool {
        self.status != Status::Ended && self.roles.has(role)
    }
}

/// Refuses a change of a membership that the caller may not make.
///
/// # Errors
/// 403 where it touches an owner and the caller is none, 422 for a status that cannot follow.
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
            "nobody can be invited again by this; add them again",
            "así no se puede volver a invitar a nadie; vuelve a añadir a la persona",
        ),
        (Status::Ended, _) => (
            "an ended membership stays ended; add the person again",
            "una membresía terminada no se reabre; vuelve a añadir a la persona",
        ),
        (Status::Invited, Status::Active) => (
            "the person accepts by signing in to the gym",
            "la persona acepta al iniciar sesión en el gimnasio",
        ),
        (Status::Invited, Status::Suspended) => (
            "the person has not accepted yet; end the membership instead",
            "la persona aún no ha aceptado; termina la membresía en su lugar",
        ),
        _ => return Ok(()),
    };
    Err(Error::invalid("status", reason))
}

/// Refuses a membership without roles.
pub fn roles_not_empty(roles: Roles) -> Result<()> {
    if roles == Roles::default() {
        Err(Error::invalid("roles", ("at least one role", "al menos un rol")))
    } else {
        Ok(())
    }
}

/// Refuses the name of a gym or person that says nothing or too much.
pub fn check_name(field: &str, name: &str) -> Result<()> {
    let length = name.trim().chars().count();
    if (1..=200).contains(&length) && !name.chars().any(char::is_control) {
        Ok(())
    } else {
        Err(Error::invalid(
            field,
            (
                "1 to 200 characters, without control characters",
                "de 1 a 200 caracteres, sin caracteres de control",
            ),
        ))
    }
}

/// Refuses what is no IANA time zone.
pub fn check_time_zone(name: &str) -> Result<()> {
    match name.parse::<Tz>() {
        Ok(_) => Ok(()),
        Err(_) => Err(Error::invalid(
            "time_zone",
            (
                "an IANA time zone such as Europe/Madrid",
                "una zona horaria IANA como Europe/Madrid",
            ),
        )),
    }
}

/// Refuses a day that begins in the afternoon.
pub fn check_day_start(minutes: i32) -> Result<()> {
    if (0..=LATEST_DAY_START).contains(&minutes) {
        Ok(())
    } else {
        Err(Error::invalid(
            "day_start",
            (
                format!("0 to {LATEST_DAY_START} minutes after midnight"),
                format!("de 0 a {LATEST_DAY_START} minutos después de medianoche"),
            ),
        ))
    }
}

/// Refuses what cannot be a gym's name in addresses.
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
                "2 to 63 of a-z, 0-9 and -, not beginning with -",
                "de 2 a 63 caracteres de a-z, 0-9 y -, sin empezar por -",
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
    fn only_an_owner_touches_ownership() {
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
    fn a_status_follows_from_the_one_before() {
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
    fn a_membership_has_a_role() {
        let member = standing(&[Role::Member], Status::Active);
        assert_eq!(
            change(&[Role::Owner], member, standing(&[], Status::Active)),
            Err(Code::Invalid)
        );
    }

    #[test]
    fn a_gyms_fields_are_checked() {
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
    }
}
