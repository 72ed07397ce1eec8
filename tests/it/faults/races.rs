//! Access that ends exactly during a connect or a subscribe, before or after the right is read: before, when the socket
//! is registered and nothing is read yet, and after, when the reply is still to be sent. The first is timed by holding
//! the node's connection to Postgres, the second by a database lock.

use std::sync::Arc;
use std::time::{Duration, Instant};

use diesel_async::SimpleAsyncConnection as _;
use liveplan::auth::Role;
use liveplan::events::log_of;
use liveplan_hub::log::sequencer::SequencedLog;
use liveplan_hub::protocol::Codec;
use serde_json::{Value, json};

use super::Floor;
use super::access::until_waiting;
use crate::harness::proxy::Cuttable;
use crate::harness::redis::Redis;
use crate::harness::{Client, PASSWORD, Socket, TestApp, until};

/// The time within which a race must be over once both sides are released.
const WITHIN: Duration = Duration::from_secs(1);

/// The cause of the revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Assignment,
    Role,
    Membership,
    Session,
    Password,
}

/// Whether access ends before or after the right is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Before,
    After,
}

/// A node whose connection to Postgres can be held, and a second node through which access ends meanwhile.
pub struct Scene {
    _redis: Redis,
    pub proxy: Cuttable,
    pub held: TestApp,
    pub free: TestApp,
    pub floor: Floor,
    pub manager: Client,
    /// Keeps the gym's sequencer running at the node, so that only the right is still to be read.
    log: Arc<SequencedLog>,
}

impl Scene {
    pub async fn set() -> Self {
        let redis = Redis::start().await;
        let with_redis = |config: &mut liveplan::config::Config| config.redis_url = Some(redis.url());
        let free = TestApp::start_with(with_redis).await;
        let proxy = Cuttable::before_postgres(&free.database).await;
        let held = TestApp::node(&proxy.url(&free.database), with_redis).await;
        let floor = Floor::make(&free, 1).await;
        let manager = free.person(floor.gym, &[Role::Manager]).await;
        let log = held
            .app
            .hub
            .log(&held.product, log_of(floor.gym.id))
            .await
            .expect("a log");
        let scene = Self {
            _redis: redis,
            proxy,
            held,
            free,
            floor,
            manager,
            log,
        };
        scene.hears().await;
        scene
    }

    /// Waits until the held node has received everything that was committed.
    pub async fn hears(&self) {
        let gym = self.floor.gym.id;
        let mut owner = self.free.owner().await;
        let head = liveplan::events::log::head(&mut owner, gym).await.expect("read");
        let began = Instant::now();
        while self.log.position() != head {
            assert!(
                began.elapsed() < Duration::from_secs(5),
                "the node does not receive the change"
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// The numbers of sockets and subscriptions at the held node.
    fn counts(&self) -> (usize, usize) {
        self.held.app.hub.counts()
    }

    async fn until_counts(&self, what: &str, so: impl Fn((usize, usize)) -> bool) {
        until(what, async || so(self.counts())).await;
    }

    /// A person whose access can end by this cause, and the session that it ends.
    async fn person(&self, cause: Cause, role: Role) -> (Client, Value) {
        let who = self.free.person(self.floor.gym, &[role]).await;
        if role == Role::Trainer {
            self.free.assign(self.floor.gym, &who, &self.floor.members[0]).await;
        }
        let session = who.login(PASSWORD, None).await.ok();
        let phone = match cause {
            Cause::Session | Cause::Password => who.with(&session),
            _ => who.clone(),
        };
        (phone.at(self.held.address), session)
    }

    /// Ends access through the other node, and waits until the held node has received it.
    async fn end(&self, cause: Cause, who: &Client, session: &Value) {
        let free = who.at(self.free.address);
        let membership = format!("/memberships/{}", who.account);
        match cause {
            Cause::Assignment => {
                let path = format!("/assignments?trainer={}", who.account);
                let found = self.manager.get(&path).await.ok();
                let id = found["items"][0]["id"].as_str().expect("an assignment");
                assert_eq!(self.manager.delete(&format!("/assignments/{id}")).await.status, 204);
            }
            Cause::Role => {
                let roles = json!({"roles": ["trainer", "member"]});
                self.manager.patch(&membership, &roles).await.ok();
            }
            Cause::Membership => {
                let suspended = json!({"status": "suspended"});
                self.manager.patch(&membership, &suspended).await.ok();
            }
            Cause::Session => {
                let path = format!("/auth/sessions/{}", session["session_id"].as_str().expect("an id"));
                assert_eq!(free.delete(&path).await.status, 204);
            }
            Cause::Password => {
                let other = free.login(PASSWORD, None).await.ok();
                let body = json!({"current_password": PASSWORD, "new_password": "another horse"});
                let done = free.with(&other).post("/auth/password", &body).await;
                assert_eq!(done.status, 200);
            }
        }
        self.hears().await;
    }

    /// Ends access while the node is held before or after the read of the right.
    async fn race(
        &self,
        side: Side,
        cause: Cause,
        who: &Client,
        session: &Value,
        entered: impl Fn((usize, usize)) -> bool,
    ) {
        match side {
            Side::Before => {
                self.until_counts("the socket or subscription is registered", entered)
                    .await;
                self.end(cause, who, session).await;
                self.proxy.release();
            }
            Side::After => {
                let mut owner = self.free.owner().await;
                until_waiting(&mut owner, "relation").await;
                self.end(cause, who, session).await;
            }
        }
    }

    /// Holds the node: before the read with the proxy, until the race releases it; after it with a lock, until it is
    /// dropped.
    async fn hold(&self, side: Side) -> Option<diesel_async::AsyncPgConnection> {
        match side {
            Side::Before => {
                self.proxy.hold();
                None
            }
            Side::After => {
                let mut owner = self.free.owner().await;
                // The snapshot is read after the right, in the same transaction, and waits for this lock.
                let lock = "BEGIN; LOCK TABLE completions IN ACCESS EXCLUSIVE MODE";
                owner.batch_execute(lock).await.expect("the lock");
                Some(owner)
            }
        }
    }

    pub async fn stop(self) {
        self.held.stop().await;
        self.free.stop().await;
    }
}

/// The codes that follow a command, in order: of its error, of the channel's end, or of the close.
async fn outcome(socket: &mut Socket, id: u32, channel: &str) -> Vec<u64> {
    let mut codes = Vec::new();
    loop {
        match socket.next().await {
            Err(close) => {
                codes.push(close.into());
                return codes;
            }
            Ok(message) => {
                let push = &message["push"];
                if let Some(code) = message["error"]["code"].as_u64().filter(|_| message["id"] == id) {
                    codes.push(code);
                    if code == 103 {
                        return codes;
                    }
                } else if push["channel"] == channel && push["unsubscribe"]["code"] == 2000 {
                    codes.push(2000);
                    return codes;
                }
            }
        }
    }
}

#[tokio::test]
async fn access_that_ends_during_a_subscribe_leaves_nothing_open() {
    let scene = Scene::set().await;
    let channel = format!("member:{}", scene.floor.members[0].account);
    for side in [Side::Before, Side::After] {
        for cause in [
            Cause::Assignment,
            Cause::Role,
            Cause::Membership,
            Cause::Session,
            Cause::Password,
        ] {
            let before = scene.counts();
            let (who, session) = scene.person(cause, Role::Trainer).await;
            let mut socket = who.socket().await;
            let lock = scene.hold(side).await;
            let id = socket.send("subscribe", json!({"channel": channel})).await;
            scene
                .race(side, cause, &who, &session, |(_, subscriptions)| {
                    subscriptions > before.1
                })
                .await;
            let since = Instant::now();
            drop(lock);
            let codes = outcome(&mut socket, id, &channel).await;
            println!(
                "subscribe, {cause:?} ends {side:?}: {codes:?} after {:.0?}",
                since.elapsed()
            );
            assert!(since.elapsed() < WITHIN, "{side:?} {cause:?}: {:?}", since.elapsed());
            match cause {
                // The channel is refused or ends; the socket stays.
                Cause::Assignment => {
                    assert!([103, 2000].contains(&codes[0]), "{side:?}: {codes:?}");
                    let again = socket.subscribe(&channel).await;
                    assert_eq!(again["error"]["code"], 103, "{again}");
                    drop(socket);
                }
                // The channel is not refused: with a new token the client may subscribe again.
                Cause::Role => assert_eq!(codes, [3014], "{side:?}"),
                _ => assert_eq!(codes, [3503], "{side:?} {cause:?}"),
            }
            scene
                .until_counts("no socket or subscription is left", |counts| counts == before)
                .await;
        }
    }
    scene.stop().await;
}

#[tokio::test]
async fn access_that_ends_during_a_connect_leaves_nothing_open() {
    let scene = Scene::set().await;
    for side in [Side::Before, Side::After] {
        for cause in [Cause::Role, Cause::Membership, Cause::Session, Cause::Password] {
            let before = scene.counts();
            let (who, session) = scene.person(cause, Role::Member).await;
            let path = format!("/plans/{}/follow", scene.floor.plan.id);
            who.at(scene.free.address).post(&path, &json!({})).await.ok();
            scene.hears().await;
            let mut socket = who.raw_socket().await;
            let lock = scene.hold(side).await;
            let id = socket.send("connect", json!({"token": who.token})).await;
            scene
                .race(side, cause, &who, &session, |(sockets, _)| sockets > before.0)
                .await;
            let since = Instant::now();
            drop(lock);
            let codes = outcome(&mut socket, id, "").await;
            println!(
                "connect, {cause:?} ends {side:?}: {codes:?} after {:.0?}",
                since.elapsed()
            );
            assert!(since.elapsed() < WITHIN, "{side:?} {cause:?}: {:?}", since.elapsed());
            match cause {
                // The client returns with a new token; an error about the old one may come first.
                Cause::Role => assert!(codes == [109, 3014] || codes == [3014], "{side:?}: {codes:?}"),
                // Closed permanently, by the connect itself or by the check that follows.
                _ => assert!(codes == [3500] || codes == [3503], "{side:?} {cause:?}: {codes:?}"),
            }
            scene
                .until_counts("no socket or subscription is left", |counts| counts == before)
                .await;
        }
    }
    scene.stop().await;
}

#[tokio::test]
async fn a_socket_that_ends_during_its_connect_is_not_registered_afterwards() {
    let scene = Scene::set().await;
    // The gym has no socket yet, so its log is read before the connection is registered.
    let gym = scene.free.gym().await;
    let who = scene.free.person(gym, &[Role::Trainer]).await.at(scene.held.address);
    let before = scene.counts();
    let mut socket = who.raw_socket().await;
    scene.proxy.hold();
    let trips = scene.proxy.trips();
    socket.send("connect", json!({"token": who.token})).await;
    let began = Instant::now();
    while scene.proxy.trips() == trips {
        assert!(began.elapsed() < Duration::from_secs(5), "the connect sends no query");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    drop(socket);
    let open = || scene.held.app.hub.counters.sockets(Codec::Json).1;
    while open() > 0 {
        assert!(began.elapsed() < Duration::from_secs(5), "the socket does not end");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    scene.proxy.release();
    // Another connect over the same database connection comes after the first.
    let after = who.socket().await;
    assert_eq!(scene.counts(), (before.0 + 1, before.1));
    drop(after);
    scene.until_counts("no socket is left", |counts| counts == before).await;
    scene.stop().await;
}
