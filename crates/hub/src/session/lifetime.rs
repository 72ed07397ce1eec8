//! How long tokens last, as clients are told.

use std::time::Duration;

use tokio::time::Instant;

/// How long after the end of a token it may still be refreshed.
pub(crate) const REFRESH_GRACE: Duration = Duration::from_secs(25);

/// Seconds that a client has left before it must refresh, at least one; 0 where the token has no end.
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
    fn a_token_that_ends_leaves_its_client_at_least_a_second() {
        assert_eq!(ttl(None), 0);
        assert_eq!(ttl(Some(Instant::now())), 1);
        assert_eq!(ttl(Some(Instant::now() + Duration::from_millis(60_500))), 60);
    }
}
