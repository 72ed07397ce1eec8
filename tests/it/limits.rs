//! What a client, an account, a gym or a node may use, and what happens beyond: each bound has its code, nobody else is held up,
//! and who comes back within it is served again.

mod abuse;
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

/// Waits until nothing is left of any socket: no place and so no file, no subscription, no account. Who holds its connection keeps it.
async fn nothing_is_left(app: &TestApp) {
    let hub = &app.app.hub;
    until("the sockets are gone", async || hub.door().counts() == (0, 0, 0)).await;
    until("the registry is empty", async || hub.counts() == (0, 0)).await;
    until("every reader has ended", async || {
        Codec::ALL.iter().all(|codec| hub.counters.sockets(*codec).1 == 0)
    })
    .await;
}

/// The server's side of somebody's only socket.
fn side_of(app: &TestApp, gym: Gym, who: &Client) -> Arc<Connection> {
    let mut all = app.app.hub.connections().of_user(log_of(gym.id), user_of(who.account));
    assert_eq!(all.len(), 1);
    all.remove(0)
}
