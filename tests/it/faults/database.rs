//! The database is unreachable while sockets are open and changes run.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use diesel_async::AsyncPgConnection;
use tokio::task::JoinHandle;

use super::screen::Screen;
use super::{Floor, effects};
use crate::harness::TestApp;
use crate::harness::proxy::Cuttable;

/// Ticks continuously until it is stopped; each tick is repeated until it is acknowledged.
struct Ticking {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
    task: JoinHandle<(Vec<String>, usize)>,
}

impl Ticking {
    fn begin(floor: &Floor, member: usize, node: SocketAddr) -> Self {
        let (stop, acknowledged) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let (stopped, count) = (stop.clone(), acknowledged.clone());
        let ticks: Vec<_> = (1..1000).map(|portion| floor.tick(member, portion)).collect();
        let task = tokio::spawn(async move {
            let (mut keys, mut refused) = (Vec::new(), 0);
            for tick in ticks {
                let mut attempts = 0;
                while !tick.send(node).await {
                    (attempts, refused) = (attempts + 1, refused + 1);
                    assert!(attempts < 400, "a tick is never acknowledged");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                keys.push(tick.key);
                count.fetch_add(1, Ordering::SeqCst);
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
            }
            (keys, refused)
        });
        Self {
            stop,
            acknowledged,
            task,
        }
    }

    /// Waits until `more` further ticks are acknowledged.
    async fn goes_on(&self, more: usize) {
        let until = self.acknowledged.load(Ordering::SeqCst) + more;
        let wait = async {
            while self.acknowledged.load(Ordering::SeqCst) < until {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(15), wait)
            .await
            .expect("ticks are acknowledged");
    }

    /// Stops, and returns the keys of the acknowledged ticks and the number of refused attempts.
    async fn end(self) -> (Vec<String>, usize) {
        self.stop.store(true, Ordering::SeqCst);
        self.task.await.expect("no panic")
    }
}

async fn screens(floor: &Floor, node: SocketAddr) -> Vec<Screen> {
    let own = format!("member:{}", floor.members[0].account);
    vec![
        Screen::open(&floor.members[0], node, own.clone()).await,
        Screen::open(&floor.trainer, node, own).await,
        Screen::open(&floor.trainer, node, floor.roster()).await,
    ]
}

/// Ends every other session of the database and returns their number.
async fn end_sessions(owner: &mut AsyncPgConnection) -> usize {
    use diesel_async::RunQueryDsl as _;
    diesel::sql_query(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    .execute(owner)
    .await
    .expect("ended")
}

#[tokio::test]
async fn sessions_that_postgres_ends_lose_no_acknowledged_change() {
    let app = TestApp::start().await;
    let floor = Floor::make(&app, 1).await;
    let screens = screens(&floor, app.address).await;
    let ticking = Ticking::begin(&floor, 0, app.address);
    let mut owner = app.owner().await;
    let mut ended = 0;
    for _ in 0..5 {
        ticking.goes_on(3).await;
        ended += end_sessions(&mut owner).await;
    }
    assert!(ended >= 5, "too few sessions were ended: {ended}");
    ticking.goes_on(3).await;
    let (keys, refused) = ticking.end().await;
    println!(
        "{ended} sessions ended: {} acknowledged, {refused} attempts refused",
        keys.len()
    );
    for screen in &screens {
        screen.becomes_right(app.address).await;
    }
    assert_eq!(effects(&app.database, &keys).await, vec![1; keys.len()]);
    app.stop().await;
}

#[tokio::test]
async fn connections_cut_while_idle_fail_no_request() {
    let app = TestApp::start().await;
    let floor = Floor::make(&app, 1).await;
    let reads = (0..40).map(|_| floor.trainer.get("/auth/me"));
    for answer in futures_util::future::join_all(reads).await {
        answer.ok();
    }
    let ended = end_sessions(&mut app.owner().await).await;
    assert!(ended > 3, "only {ended} connections were idle");
    for portion in 1..=ended {
        assert!(floor.tick(0, portion).send(app.address).await, "{portion}");
    }
    app.stop().await;
}

#[tokio::test]
async fn an_outage_of_the_database_for_two_seconds_loses_no_acknowledged_change() {
    // One database, two nodes: one behind the proxy, and one with a direct connection.
    let direct = TestApp::start().await;
    let proxy = Cuttable::before_postgres(&direct.database).await;
    let app = TestApp::node(&proxy.url(&direct.database), |_| {}).await;
    let floor = Floor::make(&direct, 1).await;
    let screens = screens(&floor, app.address).await;
    let ticking = Ticking::begin(&floor, 0, app.address);
    ticking.goes_on(3).await;
    proxy.cut();
    // A change that another node commits meanwhile arrives when the database is back.
    assert!(floor.tick(0, 999).send(direct.address).await);
    // The length of the outage.
    tokio::time::sleep(Duration::from_secs(2)).await;
    proxy.mend();
    ticking.goes_on(3).await;
    let (keys, refused) = ticking.end().await;
    println!(
        "away for two seconds: {} acknowledged, {refused} attempts refused",
        keys.len()
    );
    for screen in &screens {
        screen.becomes_right(app.address).await;
        assert_eq!(screen.seen().subscribed, 1, "{} needed a new snapshot", screen.channel);
    }
    assert_eq!(effects(&app.database, &keys).await, vec![1; keys.len()]);

    // In a quiet gym only the sweep finds what was committed meanwhile.
    proxy.cut();
    assert!(floor.tick(0, 998).send(direct.address).await);
    tokio::time::sleep(Duration::from_secs(2)).await;
    proxy.mend();
    for screen in &screens {
        screen.becomes_right(direct.address).await;
    }
    app.stop().await;
    direct.stop().await;
}
