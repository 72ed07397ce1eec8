//! The bounds on a client, an account, a gym and a node, and what happens beyond them: each bound has an error code, no
//! other client is delayed, and a client that returns within the bound is served again.

mod abuse;
mod attack;
mod bodies;
mod connections;
mod door;
mod drain;
mod fuzz;
mod leaks;
mod rates;
mod rolling;
mod slow;

use std::sync::Arc;

use liveplan::events::{log_of, user_of};
use liveplan_hub::protocol::Codec;
use liveplan_hub::session::connection::Connection;

use crate::harness::{Client, Gym, TestApp, until};

/// Waits until the server has released everything of every socket: places (and so files), subscriptions, accounts and
/// readers. A test that holds an `Arc<Connection>` keeps it alive.
async fn nothing_is_left(app: &TestApp) {
    let hub = &app.app.hub;
    until("every socket's place is released", async || {
        hub.door().counts() == (0, 0, 0)
    })
    .await;
    until("the registry is empty", async || hub.counts() == (0, 0)).await;
    until("every reader has ended", async || {
        Codec::ALL.iter().all(|codec| hub.counters.sockets(*codec).1 == 0)
    })
    .await;
}

/// The server's side of this person's only socket.
fn side_of(app: &TestApp, gym: Gym, who: &Client) -> Arc<Connection> {
    let mut all = app.app.hub.connections().of_user(log_of(gym.id), user_of(who.account));
    assert_eq!(all.len(), 1);
    all.remove(0)
}
