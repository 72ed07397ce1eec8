//! Rules of gyms: the valid values of a gym's fields, and the changes of memberships, invitations and links to set a new
//! password that a caller may make.

use chrono_tz::Tz;

use crate::auth::{Role, Roles, Status};
use crate::error::{Code, Error, Result};
use crate::http::names;

/// Roles that manage memberships.
pub const RUNS: [Role; 2] = [Role::Owner, Role::Manager];
/// Roles that only owners grant: they see or change what belongs to the whole gym.
const GRANTED_BY_OWNERS: [Role; 4] = [Role::Owner, Role::Manager, Role::Nutritionist, Role::Auditor];
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

    /// The roles in effect: none unless the membership is active.
    #[must_use]
    pub fn in_effect(&self) -> Roles {
        if self.status == Status::Active {
            self.roles
        } else {
            Roles::default()
        }
    }

    /// Whether assignments in this role continue. They survive a suspension, which is temporary, but not the end of the
    /// role or of the membership.
    #[must_use]
    pub fn keeps(&self, role: Role) -> bool {
        self.status != Status::Ended && self.roles.has(role)
    }
}

/// Refuses a caller who may not invite somebody with these roles, or give such an invitation a new link, or revoke it.
///
/// # Errors
/// 403 unless the caller is an owner, or a manager and the roles are trainer or member; 422 for an empty set of roles.
pub fn may_invite(caller: Roles, roles: Roles) -> Result<()> {
    roles_not_empty(roles)?;
    let may = caller.any(&RUNS) && may_grant(caller, roles);
    if may { Ok(()) } else { Err(Error::forbidden()) }
}

/// Whether the caller may grant the roles.
fn may_grant(caller: Roles, roles: Roles) -> bool {
    caller.has(Role::Owner) || !roles.any(&GRANTED_BY_OWNERS)
}

/// Refuses a caller who may not make a link that sets a new password for an account. Such a link opens everything that
/// the account may see, so the account must not have more than the caller controls: managers reset those who are only
/// members, owners also other staff, and nobody an account that belongs to another gym too (`elsewhere`).
///
/// # Errors
/// 403: [`Code::OperatorOnly`] if the account is an owner or belongs to another gym, [`Code::Forbidden`] otherwise.
pub fn may_reset(caller: Roles, account: Standing, elsewhere: bool) -> Result<()> {
    let only_member = account.roles == [Role::Member].into_iter().collect();
    let may = caller.has(Role::Owner) || (caller.has(Role::Manager) && only_member);
    if !may || account.status == Status::Ended {
        return Err(Error::forbidden());
    }
    if account.roles.has(Role::Owner) || elsewhere {
        return Err(Error::new(Code::OperatorOnly));
    }
    Ok(())
}

/// Refuses a change of a membership that the caller may not make. `own` says that the membership is the caller's.
///
/// # Errors
/// 403 if the caller changes their own roles, or is not an owner and the change concerns ownership or gives somebody a
/// role that only owners grant; 422 for an empty set of roles, or a status that cannot follow the current one.
pub fn may_change(caller: Roles, own: bool, before: Standing, after: Standing) -> Result<()> {
    roles_not_empty(after.roles)?;
    if own && before.roles != after.roles {
        return Err(Error::forbidden());
    }
    let ownership = before.roles.has(Role::Owner) != after.roles.has(Role::Owner);
    let owners_status = before.roles.has(Role::Owner) && before.status != after.status;
    if (ownership || owners_status) && !caller.has(Role::Owner) {
        return Err(Error::forbidden());
    }
    // A suspended membership has no roles in effect. So neither adding a role to one nor reinstating one is a way around.
    let granted = after
        .roles
        .without(before.roles)
        .with(after.in_effect().without(before.in_effect()));
    if !may_grant(caller, granted) {
        return Err(Error::forbidden());
    }
    let reason = match (before.status, after.status) {
        (from, to) if from == to => return Ok(()),
        (Status::Ended, _) => (
            "an ended membership stays ended; invite the person again",
            "una membresía terminada no se puede reabrir; vuelve a invitar a la persona",
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
    use proptest::prelude::*;

    use super::*;

    fn standing(roles: &[Role], status: Status) -> Standing {
        Standing {
            roles: roles.iter().copied().collect(),
            status,
        }
    }

    fn change(caller: &[Role], before: Standing, after: Standing) -> Result<(), Code> {
        may_change(caller.iter().copied().collect(), false, before, after).map_err(|e| e.code)
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
    }

    #[test]
    fn a_status_may_follow_only_certain_others() {
        use Status::{Active, Ended, Suspended};
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
        ] {
            assert!(may(from, to), "{from:?} {to:?}");
        }
        for (from, to) in [(Ended, Active), (Ended, Suspended)] {
            assert!(!may(from, to), "{from:?} {to:?}");
        }
    }

    fn any_roles() -> impl Strategy<Value = Roles> {
        proptest::sample::subsequence(Role::ALL.to_vec(), 0..=Role::ALL.len())
            .prop_map(|roles| roles.into_iter().collect())
    }

    fn any_standing() -> impl Strategy<Value = Standing> {
        let status = prop_oneof![Just(Status::Active), Just(Status::Suspended), Just(Status::Ended)];
        (any_roles(), status).prop_map(|(roles, status)| Standing { roles, status })
    }

    proptest! {
        #[test]
        fn nobody_changes_their_own_roles(caller in any_roles(), before in any_standing(), after in any_standing()) {
            if before.roles != after.roles {
                prop_assert!(may_change(caller, true, before, after).is_err());
            }
        }

        /// Through any chain of changes and an invitation, people who are not owners hand out trainer and member only.
        #[test]
        fn without_an_owner_nobody_gains_a_role_that_only_owners_grant(
            callers in proptest::collection::vec(any_roles(), 1..6),
            standings in proptest::collection::vec(any_standing(), 7),
        ) {
            let mut now = standings[0];
            let at_first = now;
            for (caller, next) in callers.into_iter().zip(standings.into_iter().skip(1)) {
                let caller = caller.without([Role::Owner].into_iter().collect());
                if may_change(caller, false, now, next).is_ok() {
                    now = next;
                }
                if may_invite(caller, next.roles).is_ok() {
                    prop_assert!(!next.roles.any(&GRANTED_BY_OWNERS));
                }
            }
            for role in GRANTED_BY_OWNERS {
                prop_assert!(!now.active(role) || at_first.active(role), "{role:?}: {at_first:?} became {now:?}");
                prop_assert!(!now.roles.has(role) || at_first.roles.has(role), "{role:?}: {at_first:?} became {now:?}");
            }
        }

        #[test]
        fn who_may_invite_manages_the_gym_and_may_grant_each_role(caller in any_roles(), roles in any_roles()) {
            let each = roles.iter().all(|role| may_invite(caller, [role].into_iter().collect()).is_ok());
            let expected = roles != Roles::default() && caller.any(&RUNS) && each;
            prop_assert_eq!(may_invite(caller, roles).is_ok(), expected);
        }

        /// A link to set a new password never opens more than its maker controls.
        #[test]
        fn a_reset_link_opens_no_role_that_its_maker_could_not_grant(
            caller in any_roles(), account in any_standing(), elsewhere in any::<bool>(),
        ) {
            if may_reset(caller, account, elsewhere).is_ok() {
                prop_assert!(caller.any(&RUNS) && may_grant(caller, account.roles));
                prop_assert!(!account.roles.has(Role::Owner) && !elsewhere && account.status != Status::Ended);
                prop_assert!(caller.has(Role::Owner) || account.roles == [Role::Member].into_iter().collect());
            }
        }
    }

    #[test]
    fn managers_reset_members_and_owners_reset_other_staff() {
        use Role::{Manager, Member, Owner, Trainer};
        let of = |roles: &[Role]| standing(roles, Status::Active);
        let reset = |caller: &[Role], account, elsewhere| {
            may_reset(caller.iter().copied().collect(), account, elsewhere).map_err(|e| e.code)
        };
        assert_eq!(reset(&[Manager], of(&[Member]), false), Ok(()));
        assert_eq!(reset(&[Manager], of(&[Member]), true), Err(Code::OperatorOnly));
        assert_eq!(reset(&[Manager], of(&[Member, Trainer]), false), Err(Code::Forbidden));
        assert_eq!(reset(&[Manager], of(&[Owner]), false), Err(Code::Forbidden));
        assert_eq!(reset(&[Owner], of(&[Manager]), false), Ok(()));
        assert_eq!(reset(&[Owner], of(&[Member]), false), Ok(()));
        assert_eq!(reset(&[Owner], of(&[Owner]), false), Err(Code::OperatorOnly));
        assert_eq!(reset(&[Trainer], of(&[Member]), false), Err(Code::Forbidden));
        assert_eq!(
            reset(&[Owner], standing(&[Member], Status::Ended), false),
            Err(Code::Forbidden)
        );
    }

    #[test]
    fn managers_grant_trainer_and_member_only() {
        let member = standing(&[Role::Member], Status::Active);
        for role in Role::ALL {
            let more = standing(&[Role::Member, role], Status::Active);
            let granted = change(&[Role::Manager], member, more).is_ok();
            assert_eq!(granted, matches!(role, Role::Member | Role::Trainer), "{role:?}");
            assert_eq!(change(&[Role::Owner], member, more), Ok(()), "{role:?}");
        }
        // A suspended manager comes back by an owner's hand only; a manager may take the role away.
        let suspended = standing(&[Role::Manager], Status::Suspended);
        let back = standing(&[Role::Manager], Status::Active);
        assert_eq!(change(&[Role::Manager], suspended, back), Err(Code::Forbidden));
        assert_eq!(change(&[Role::Owner], suspended, back), Ok(()));
        assert_eq!(change(&[Role::Manager], back, member), Ok(()));
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
