//! The end of fixed plans: a follow whose plan's last day is over is completed, and the screens hear of it.

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

/// How long a follow goes on after its plan's last day, so that a phone that was offline that evening can still say what
/// was eaten.
const LATE: TimeDelta = TimeDelta::days(1);
/// How often ends are looked for. A day that is over is over for ever, so nothing is missed between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Follows completed in one change. Their members' ticks wait for it, so it is short.
const AT_ONCE: usize = 50;

/// Completes follows that have come to their end, for ever. To be spawned where changes can be made: on an actix runtime.
pub async fn tend(app: App) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if let Err(error) = complete_due(&app).await {
            tracing::warn!(error.cause = ?error, "cannot look for follows that have ended; trying again");
        }
    }
}

/// Completes the running follows of fixed plans whose last day, and a day for late ticks, is over where the member is, paused ones too, since a
/// pause does not move the plan's days. Returns how many. Nodes that do it at the same time complete each once: a follow
/// is locked and looked at again in the change that completes it.
///
/// # Errors
/// Where they cannot be looked for. A gym whose change fails is logged and left for the next time.
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
                    tracing::warn!(gym.id = %gym, error.cause = ?error, "cannot complete follows that have ended");
                    break;
                }
            }
        }
    }
    Ok(completed)
}

/// Completes a member's running follow at once where its plan's last day is over, so that the next can begin.
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

/// Completes those of the follows that are still running.
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
