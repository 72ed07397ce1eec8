//! One simulated member: waits a random time, then ticks one of today's meals or undoes its tick, and repeats.

use std::time::Duration;

use anyhow::Context as _;
use liveplan_client::Session;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Options, Tally};

/// Longest wait before a member's first act in seconds. The wait is random, so that members do not all start at once.
const FIRST_WITHIN: f64 = 3.0;
/// Wait before a lost socket is reopened.
const AGAIN_AFTER: Duration = Duration::from_secs(2);

/// Simulates a member until `until`. Reopens a lost socket.
pub async fn live(options: &Options, number: u32, until: Instant) -> anyhow::Result<Tally> {
    let email = format!("member{number:02}@demo.test");
    let mut tally = Tally::default();
    let mut first = true;
    loop {
        let opened = Session::open(&options.url, &email, &options.password, "simulate").await;
        match opened {
            Ok(session) => match day(session, options, until, &mut tally).await {
                Ok(()) => return Ok(tally),
                Err(error) => tracing::debug!("{email} lost its session: {error:#}"),
            },
            Err(error) if first => return Err(error.context(format!("{email} cannot start"))),
            Err(error) => tracing::debug!("{email} cannot reconnect: {error:#}"),
        }
        first = false;
        if Instant::now() + AGAIN_AFTER >= until {
            return Ok(tally);
        }
        tally.reconnects += 1;
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

async fn day(mut session: Session, options: &Options, until: Instant, tally: &mut Tally) -> anyhow::Result<()> {
    let mut pause = rand::random_range(0.0..FIRST_WITHIN);
    loop {
        let next = Instant::now() + Duration::from_secs_f64(pause);
        tally.publications += session.read_until(next.min(until)).await?;
        if next >= until {
            return session.close().await;
        }
        session.keep_fresh().await?;
        act(&mut session, tally).await?;
        let every = f64::from(u32::try_from(options.every)?);
        pause = rand::random_range(0.3 * every..1.7 * every);
    }
}

/// Picks one of today's meals: ticks it if it is open, otherwise undoes its tick. Half of the acts use the socket, half
/// use REST.
async fn act(session: &mut Session, tally: &mut Tally) -> anyhow::Result<()> {
    let today = session.device.get("/follows/today").await?;
    let meals = today["meals"].as_array().context("/follows/today returned no meals")?;
    if meals.is_empty() {
        return Ok(());
    }
    let meal = &meals[rand::random_range(0..meals.len())];
    let (id, date) = (&meal["id"], &today["date"]);
    let mut body = json!({"meal_id": id, "date": date});
    let undo = meal["status"] != "open";
    if !undo {
        let (status, portion) = habit();
        body["status"] = status.into();
        body["portion_permille"] = portion;
    }
    let by_socket = rand::random_bool(0.5);
    let done = if by_socket {
        body["key"] = uuid::Uuid::now_v7().to_string().into();
        session
            .rpc(if undo { "meal.undo" } else { "meal.complete" }, &body)
            .await?
    } else if undo {
        session
            .device
            .delete(&format!("/meals/{}/completions/{}", text(id), text(date)))
            .await?
    } else {
        session.device.post("/meals/complete", &body).await?
    };
    match (done, by_socket) {
        (false, _) => tally.refused += 1,
        (true, true) => tally.by_socket += 1,
        (true, false) => tally.by_rest += 1,
    }
    Ok(())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Returns a random status and portion: 70 % eaten, 20 % partial, 10 % skipped.
fn habit() -> (&'static str, Value) {
    match rand::random_range(0..10) {
        0 => ("skipped", Value::Null),
        1 | 2 => ("partial", (rand::random_range(2..9) * 100).into()),
        _ => ("eaten", Value::Null),
    }
}
