//! A channel is the log of a gym of its own, made when it is first named. So its offsets count its publications.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::app::{App, For};
use crate::auth::store::Gym;
use crate::error::Result;
use crate::events::{LoggedEvent, log};
use crate::gyms;
use crate::ids::GymId;

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

/// The gym of a channel, made where there is none.
pub(super) async fn gym(app: &App, channel: &str) -> Result<GymId> {
    let gym = GymId(id("gym", channel));
    let there = app
        .read(For::gym(gym), async |conn| Ok(log::head(conn, gym).await?))
        .await?;
    if there.is_some() {
        return Ok(gym);
    }
    let row = Gym {
        id: gym,
        slug: format!("channel-{}", gym.0.simple()),
        name: channel.to_owned(),
        time_zone: "UTC".to_owned(),
        locale: "en".to_owned(),
        day_start: 0,
    };
    let now = app.clock.now();
    app.system(async |conn| {
        if gyms::store::insert_gym(conn, &row, now).await? {
            log::create(conn, gym).await?;
        }
        Ok(gym)
    })
    .await
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
