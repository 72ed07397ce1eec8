//! Access that ends in the very moment of a connect or a subscribe, on either side of the reading of the right: before it,
//! when the socket is entered and nothing is read yet, and after it, when the answer is still to come. The node's way to
//! Postgres is held for the first, a lock of the database for the second.

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

/// How soon after both sides are let go it must be over.
const WITHIN: Duration = Duration::from_secs(1);

/// What ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Assignment,
    Role,
    Membership,
    Session,
    Password,
}

/// On which side of the reading of the right it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Before,
    After,
}

/// A node whose way to Postgres can be held, and one at which access ends meanwhile.
pub struct Scene {
    _redis: Redis,
    pub proxy: Cuttable,
    pub held: TestApp,
    pub free: TestApp,
    pub floor: Floor,
    pub manager: Client,
    /// Keeps the gym's sequencer running at the node, so that nothing but the right is still to be read.
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

    /// Waits until the node has heard all that has been committed.
    pub async fn hears(&self) {
        let gym = self.floor.gym.id;
        let mut owner = self.free.owner().await;
        let head = liveplan::events::log::head(&mut owner, gym).await.expect("read");
        let began = Instant::now();
        while self.log.position() != head {
            assert!(began.elapsed() < Duration::from_secs(5), "the node does not hear of it");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Sockets and subscriptions that the node knows.
    fn counts(&self) -> (usize, usize) {
        self.held.app.hub.counts()
    }

    async fn until_counts(&self, what: &str, so: impl Fn((usize, usize)) -> bool) {
        until(what, async || so(self.counts())).await;
    }

    /// Somebody whose access can end by this, with the session that it ends with.
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

    /// Ends it through the other node, and waits until this one has heard of it.
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
                let roles = json!({"roles": ["trainer", "member", "nutritionist"]});
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
                assert_eq!(done.status, 204);
            }
        }
        self.hears().await;
    }

    /// Ends access while the node is held on one side of the reading of the right.
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
                self.until_counts("it is entered", entered).await;
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

    /// Holds the node on one side of the reading of the right; by a lock until it is dropped, or until the race is over.
    async fn hold(&self, side: Side) -> Option<diesel_async::AsyncPgConnection> {
        match side {
            Side::Before => {
                self.proxy.hold();
                None
            }
            Side::After => {
                let mut owner = self.free.owner().await;
                // The snapshot is read after the right, in the same transaction, and waits here.
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

/// What comes of a command: the code of an error, of the end of its channel, or of the close; in order.
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
async fn access_that_ends_while_its_owner_subscribes_leaves_nothing_open() {
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
                // Not refused: with a new token the channel is there again.
                Cause::Role => assert_eq!(codes, [3014], "{side:?}"),
                _ => assert_eq!(codes, [3503], "{side:?} {cause:?}"),
            }
            scene.until_counts("nothing is left", |counts| counts == before).await;
        }
    }
    scene.stop().await;
}

#[tokio::test]
async fn access_that_ends_while_its_owner_connects_leaves_nothing_open() {
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
                // With or without a word on the token: the client comes back with a new one.
                Cause::Role => assert!(codes == [109, 3014] || codes == [3014], "{side:?}: {codes:?}"),
                // For ever, by the connect itself or by the check after it.
                _ => assert!(codes == [3500] || codes == [3503], "{side:?} {cause:?}: {codes:?}"),
            }
            scene.until_counts("nothing is left", |counts| counts == before).await;
        }
    }
    scene.stop().await;
}

#[tokio::test]
async fn a_socket_that_ends_while_it_connects_is_not_entered_afterwards() {
    let scene = Scene::set().await;
    // A gym that has no sockets yet: its log is read before the connection is entered.
    let gym = scene.free.gym().await;
    let who = scene.free.person(gym, &[Role::Trainer]).await.at(scene.held.address);
    let before = scene.counts();
    let mut socket = who.raw_socket().await;
    scene.proxy.hold();
    let trips = scene.proxy.trips();
    socket.send("connect", json!({"token": who.token})).await;
    let began = Instant::now();
    while scene.proxy.trips() == trips {
        assert!(began.elapsed() < Duration::from_secs(5), "the connect asks nothing");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    drop(socket);
    let open = || scene.held.app.hub.counters.sockets(Codec::Json).1;
    while open() > 0 {
        assert!(began.elapsed() < Duration::from_secs(5), "the socket does not end");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    scene.proxy.release();
    // Somebody else's connect on the same way comes after it.
    let after = who.socket().await;
    assert_eq!(scene.counts(), (before.0 + 1, before.1));
    drop(after);
    scene.until_counts("nobody is left", |counts| counts == before).await;
    scene.stop().await;
}
