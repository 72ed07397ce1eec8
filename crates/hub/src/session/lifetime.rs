//! The remaining time of tokens, as sent to clients.

use std::time::Duration;

use tokio::time::Instant;

/// How long an expired token may still be refreshed before its connection or subscription ends.
pub(crate) const REFRESH_GRACE: Duration = Duration::from_secs(25);

/// Returns the seconds until the client must refresh, at least 1; 0 if the token does not expire.
pub(crate) fn ttl(expires_at: Option<Instant>) -> u32 {
    expires_at.map_or(0, |at| {
        let left = at.saturating_duration_since(Instant::now()).as_secs();
        u32::try_from(left.max(1)).unwrap_or(u32::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiring_token_leaves_its_client_at_least_one_second() {
        assert_eq!(ttl(None), 0);
        assert_eq!(ttl(Some(Instant::now())), 1);
        assert_eq!(ttl(Some(Instant::now() + Duration::from_millis(60_500))), 60);
    }
}
