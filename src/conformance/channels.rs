//! A channel is the log of a gym of its own, so that its offsets count its publications.
//!
//! Gyms are made ahead and kept ready. Suites measure a first subscription against the connect of the next client, as if it
//! made nothing.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use diesel::sql_types::{Array, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl as _;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::app::{App, For};
use crate::error::Result;
use crate::events::LoggedEvent;
use crate::ids::GymId;
use crate::live::sequencer::GymLog;

/// Gyms that are made at a time.
const BATCH: usize = 200;
/// With fewer left, more are made.
const FEW: usize = 50;

/// A gym whose sequencer runs.
type Ready = (GymId, Arc<GymLog>);

/// The gyms of a server.
#[derive(Default)]
struct Gyms {
    given: HashMap<String, Ready>,
    spare: Vec<Ready>,
    /// Whether more are being made.
    making: bool,
}

/// By node: the tests run several in one process.
static GYMS: LazyLock<Mutex<HashMap<String, Gyms>>> = LazyLock::new(Mutex::default);

fn lock() -> MutexGuard<'static, HashMap<String, Gyms>> {
    GYMS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bytes of a channel's name.
const NAME_BYTES: usize = 255;

/// The channel that a user is subscribed to by the server.
pub(super) fn personal(user: &str) -> String {
    format!("#{user}")
}

/// The id that a name stands for.
pub(super) fn id(kind: &str, name: &str) -> Uuid {
    let digest: [u8; 32] = Sha256::new()
        .chain_update(kind)
        .chain_update([0])
        .chain_update(name)
        .finalize()
        .into();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    Uuid::from_bytes(bytes)
}

/// The gym of a channel, made where there is none; none where the name cannot be one.
pub(super) async fn place(app: &App, name: &str) -> Result<Option<GymId>> {
    if name.is_empty() || name.len() > NAME_BYTES || name.contains(char::is_control) {
        return Ok(None);
    }
    gym(app, name).await.map(Some)
}

/// The gym of a channel; made at once where none is spare.
pub(super) async fn gym(app: &App, channel: &str) -> Result<GymId> {
    loop {
        if let Some(gym) = give(app, channel) {
            return Ok(gym);
        }
        let made = make(app, 1).await?;
        lock().entry(app.hub.node.clone()).or_default().spare.extend(made);
    }
}

/// The gym that a channel has, or a spare one.
fn give(app: &App, channel: &str) -> Option<GymId> {
    let mut all = lock();
    let gyms = all.entry(app.hub.node.clone()).or_default();
    if let Some((gym, _)) = gyms.given.get(channel) {
        return Some(*gym);
    }
    let ready = gyms.spare.pop()?;
    let gym = ready.0;
    gyms.given.insert(channel.to_owned(), ready);
    let few = gyms.spare.len() < FEW;
    drop(all);
    if few {
        stock(app);
    }
    Some(gym)
}

/// Makes gyms in the background, unless that is being done.
pub(super) fn stock(app: &App) {
    let mut all = lock();
    let gyms = all.entry(app.hub.node.clone()).or_default();
    if std::mem::replace(&mut gyms.making, true) {
        return;
    }
    drop(all);
    let app = app.clone();
    actix_web::rt::spawn(async move {
        let made = make(&app, BATCH).await;
        let mut all = lock();
        let gyms = all.entry(app.hub.node.clone()).or_default();
        gyms.making = false;
        match made {
            Ok(made) => gyms.spare.extend(made),
            Err(error) => error.log(),
        }
    });
}

/// Forgets the gyms of a server that has ended.
pub(super) fn forget(node: &str) {
    lock().remove(node);
}

async fn make(app: &App, count: usize) -> Result<Vec<Ready>> {
    let ids: Vec<GymId> = std::iter::repeat_with(GymId::new).take(count).collect();
    let now = app.clock.now();
    app.system(async |conn| {
        diesel::sql_query(
            "WITH made AS (
                 INSERT INTO gyms (id, slug, name, time_zone, locale, created_at)
                 SELECT id, 'channel-' || replace(id::text, '-', ''), 'a channel', 'UTC', 'en', $2
                 FROM unnest($1) AS id RETURNING id)
             INSERT INTO gym_log_heads (gym_id, epoch) SELECT id, substr(md5(random()::text), 1, 8) FROM made",
        )
        .bind::<Array<SqlUuid>, _>(&ids)
        .bind::<Timestamptz, _>(now)
        .execute(conn)
        .await?;
        Ok(())
    })
    .await?;
    let mut ready = Vec::with_capacity(count);
    for id in ids {
        ready.push((id, app.hub.gym(id).await?));
    }
    Ok(ready)
}

/// Publishes what a client sent, to the byte.
pub(super) async fn publish(app: &App, gym: GymId, channel: &str, payload: Bytes) -> Result<()> {
    let event = LoggedEvent {
        channel: channel.into(),
        payload,
    };
    app.change(For::gym(gym), async move |tx| {
        tx.emit_as_is(event.clone(), "published");
        Ok(())
    })
    .await
}
