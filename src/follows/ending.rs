//! The end of fixed plans: completes a follow after its plan's last day, and publishes an event.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::TimeDelta;
use liveplan_nutrition::calendar::{Days, zone};

use super::rules::Status;
use super::{live, store};
use crate::app::{App, For};
use crate::error::Result;
use crate::events::Tx;
use crate::ids::{AccountId, FollowId, GymId};

/// Grace period after a plan's last day, so that a phone that was offline that evening can still send its ticks.
const LATE: TimeDelta = TimeDelta::days(1);
/// Interval at which [`tend`] looks for follows that have ended. A follow stays ended, so none is missed in between.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Follows completed in one transaction. The number is small, because ticks of these members wait for the transaction.
const AT_ONCE: usize = 50;

/// Completes follows that have ended, in an endless loop. Spawn it on an actix runtime, which changes need.
pub async fn tend(app: App) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if let Err(error) = complete_due(&app).await {
            tracing::warn!(error.cause = ?error, "looking for ended follows failed; retrying");
        }
    }
}

/// Completes the running follows of fixed plans whose last day and grace period are over in the member's time zone.
/// Paused follows are included, because a pause does not move the plan's days. Returns the number of completed follows.
/// If several nodes do this at once, each follow is completed once: the transaction locks it and checks that it is
/// still running.
///
/// # Errors
/// If the search fails. A gym whose transaction fails is logged and left for the next run.
pub async fn complete_due(app: &App) -> Result<usize> {
    let now = app.clock.now();
    let ending = app
        .read(For::SYSTEM, async |conn| Ok(store::ending(conn, now).await?))
        .await?;
    let mut due: BTreeMap<GymId, Vec<FollowId>> = BTreeMap::new();
    for follow in ending {
        let days = Days {
            zone: zone(&follow.time_zone),
            day_start: follow.day_start,
        };
        let schedule = follow.cycle.schedule(follow.duration_days);
        if schedule.is_over(follow.start_date, days.today(now) - LATE) {
            due.entry(follow.gym_id).or_default().push(follow.id);
        }
    }
    let mut completed = 0;
    for (gym, follows) in due {
        for part in follows.chunks(AT_ONCE) {
            let part = part.to_vec();
            let done = app
                .change(For::gym(gym), async move |tx| complete(tx, &part).await)
                .await;
            match done {
                Ok(n) => completed += n,
                Err(error) => {
                    tracing::warn!(gym.id = %gym, error.cause = ?error, "completing ended follows failed; retrying");
                    break;
                }
            }
        }
    }
    Ok(completed)
}

/// Completes a member's running follow if its plan's last day is over, without the grace period, so that the next
/// follow can start.
pub(super) async fn make_way(tx: &mut Tx, member: AccountId) -> Result<()> {
    let (gym, now) = (tx.gym, tx.now);
    for running in store::lock_scheduled(tx, gym, &[member]).await? {
        let days = Days {
            zone: zone(&running.follow.time_zone),
            day_start: running.day_start,
        };
        if running.schedule().is_over(running.follow.start_date, days.today(now)) {
            complete(tx, &[running.follow.id]).await?;
        }
    }
    Ok(())
}

/// Completes those of the follows that are still running. Returns their number.
async fn complete(tx: &mut Tx, follows: &[FollowId]) -> Result<usize> {
    let (gym, now) = (tx.gym, tx.now);
    let running = store::lock_running_by_id(tx, gym, follows).await?;
    for follow in &running {
        let before = live::member_snapshot(tx, gym, follow.member_id, now).await?;
        store::set_status(tx, gym, follow.id, Status::Completed, Some(now)).await?;
        live::tell(tx, follow.member_id, "follow.completed", &before).await?;
    }
    Ok(running.len())
}
