//! Log lines about security: who got tokens, changed a password or signed out, and which requests were refused. They
//! name accounts and sessions by id, and never contain an email address, a password, a token or the path of a request.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix_web::dev::ServiceResponse;
use actix_web::web;

use crate::app::{self, App};
use crate::auth::sessions::Owned;
use crate::config::Config;
use crate::error::Code;
use crate::http::peer;
use crate::parts::Part;

/// The routes of sign-in, sessions and passwords.
const AUTHENTICATION: &str = "/api/v1/auth/";
/// Maximum lines about refusals in one [`PERIOD`], so that a stranger cannot fill a disk.
const MOST: u64 = 600;
const PERIOD: Duration = Duration::from_mins(1);

/// Logs a response, if it is about security: one line at level INFO, in the request's span. Refreshes have level DEBUG,
/// since each client refreshes every few minutes.
pub fn log<B>(response: &ServiceResponse<B>) {
    let request = response.request();
    let (refused, entered) = {
        let extensions = response.response().extensions();
        let refused = extensions.get::<Code>().copied().filter(|code| code.is_refusal());
        (refused, extensions.get::<Owned>().copied())
    };
    let acts = !request.method().is_safe() && request.path().starts_with(AUTHENTICATION);
    if refused.is_none() && entered.is_none() && !acts {
        return;
    }
    let Some(app) = request.app_data::<web::Data<App>>() else {
        return; // Conformance mode has no accounts.
    };
    let unlogged = match refused.map(|_| app.part::<Refusals>().count(Instant::now())) {
        Some(None) => return,
        Some(Some(unlogged)) => unlogged,
        None => 0,
    };
    if unlogged > 0 {
        tracing::info!(refusals = unlogged, "refused more requests than one minute's lines");
    }
    // The token that the answer carries, or else that of the request.
    let caller = || app::caller_of(request).map(|caller| Owned::of(&caller));
    let owned = entered.or_else(caller);
    let (account, gym, session) = (owned.map(|o| o.account), owned.map(|o| o.gym), owned.map(|o| o.session));
    let address = peer::address(request, &app.config);
    let route = request.match_pattern().unwrap_or_else(|| "none".to_owned());
    macro_rules! line {
        ($level:ident, $($said:tt)+) => {
            tracing::$level!(
                account.id = account.map(tracing::field::display),
                gym.id = gym.map(tracing::field::display),
                session.id = session.map(tracing::field::display),
                client.address = address.map(tracing::field::display),
                http.route = route,
                http.status = response.status().as_u16(),
                $($said)+
            )
        };
    }
    match refused {
        Some(code) => line!(info, error.code = code.name(), "refused"),
        None if route.ends_with("/auth/refresh") => line!(debug, "authentication"),
        None => line!(info, "authentication"),
    }
}

/// Counts refusals in periods, and allows [`MOST`] lines in each.
struct Refusals(Mutex<Counted>);

#[derive(Clone, Copy)]
struct Counted {
    since: Instant,
    refusals: u64,
}

impl Part for Refusals {
    fn new(_: &Config) -> Self {
        Self::from(Instant::now())
    }
}

impl From<Instant> for Refusals {
    fn from(since: Instant) -> Self {
        Self(Mutex::new(Counted { since, refusals: 0 }))
    }
}

impl Refusals {
    /// Counts a refusal. `None` if it must not be logged; else the number of those in the period before that were not.
    fn count(&self, now: Instant) -> Option<u64> {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut unlogged = 0;
        if now.saturating_duration_since(counted.since) >= PERIOD {
            unlogged = counted.refusals.saturating_sub(MOST);
            *counted = Counted {
                since: now,
                refusals: 0,
            };
        }
        counted.refusals += 1;
        (counted.refusals <= MOST).then_some(unlogged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_has_a_bounded_number_of_lines_and_the_next_one_counts_the_others() {
        let start = Instant::now();
        let refusals = Refusals::from(start);
        let logged = (0..MOST + 7).filter(|_| refusals.count(start).is_some()).count();
        assert_eq!(logged as u64, MOST);
        assert_eq!(refusals.count(start + Duration::from_millis(59_999)), None);
        assert_eq!(refusals.count(start + PERIOD), Some(8));
        assert_eq!(refusals.count(start + PERIOD), Some(0));
    }
}
