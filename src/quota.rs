//! Quotas: how often an account may perform an operation in a time window. The transaction of the operation counts it,
//! so all nodes agree, and an operation that fails for another reason or repeats an idempotency key does not count.
//! [`crate::auth::guesses`] counts attempts that fail, such as wrong passwords.

use actix_web::HttpResponse;
use chrono::{DateTime, TimeDelta, Utc};
use diesel::QueryableByName;
use diesel::sql_types::{Integer, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl as _;

use crate::error::{Code, Error, Result};
use crate::events::Tx;
use crate::http::rate::Rest;

/// A quota per gym and account.
#[derive(Clone, Copy, Debug)]
pub struct Quota {
    /// The operation's name, in the database and in headers.
    pub operation: &'static str,
    /// Number of times per window.
    pub times: i32,
    /// Length of the window, which begins with the first time.
    pub window: TimeDelta,
}

/// The rest of a quota in its current window.
#[derive(Clone, Copy, Debug)]
pub struct Left {
    quota: Quota,
    times: i32,
    seconds: i64,
}

impl Quota {
    /// Counts one use in a change. Returns `None` for a change without an actor, which has no quota.
    ///
    /// # Errors
    /// [`Code::TooMany`] with the seconds to wait, if the quota is used up.
    pub async fn take(self, tx: &mut Tx) -> Result<Option<Left>> {
        #[derive(QueryableByName)]
        struct Window {
            #[diesel(sql_type = Timestamptz)]
            began_at: DateTime<Utc>,
            #[diesel(sql_type = Integer)]
            used: i32,
        }
        let (gym, now) = (tx.gym, tx.now);
        let Some(account) = tx.actor else { return Ok(None) };
        let window: Window = diesel::sql_query(
            "INSERT INTO quota_windows AS w (gym_id, account_id, operation, began_at, used) VALUES ($1, $2, $3, $4, 1)
             ON CONFLICT (gym_id, account_id, operation) DO UPDATE SET
                 used = CASE WHEN w.began_at <= $5 THEN 1 ELSE w.used + 1 END,
                 began_at = CASE WHEN w.began_at <= $5 THEN $4 ELSE w.began_at END
             RETURNING began_at, used",
        )
        .bind::<SqlUuid, _>(gym)
        .bind::<SqlUuid, _>(account)
        .bind::<Text, _>(self.operation)
        .bind::<Timestamptz, _>(now)
        .bind::<Timestamptz, _>(now - self.window)
        .get_result(&mut **tx)
        .await?;
        let left = Left {
            quota: self,
            times: (self.times - window.used).max(0),
            seconds: (window.began_at + self.window - now).num_seconds() + 1,
        };
        if window.used <= self.times {
            return Ok(Some(left));
        }
        let refused = Error::new(Code::TooMany).with("seconds", left.seconds);
        let [(policy, told), (state, is)] = left.rest().headers();
        Err(refused.header(policy, told).header(state, is))
    }
}

impl Left {
    fn rest(self) -> Rest {
        Rest {
            name: self.quota.operation,
            times: self.quota.times.into(),
            window: self.quota.window.num_seconds(),
            left: self.times.into(),
            seconds: self.seconds,
        }
    }

    /// Adds the headers `RateLimit-Policy` and `RateLimit` to a response.
    pub fn tell(self, response: &mut HttpResponse) {
        self.rest().tell(response.headers_mut());
    }
}
