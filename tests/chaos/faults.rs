//! Carries out the schedule. Faults of the same component run one after the other; faults of different components may
//! overlap.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Uuid as SqlUuid};
use diesel_async::{RunQueryDsl as _, SimpleAsyncConnection as _};
use reqwest::Method;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::client::{Client, Order};
use crate::load::Rest;
use crate::schedule::{Fault, Kind};
use crate::world::{GIVEN_UP, SWITCHERS, World};

/// Makes the COMMIT of every completion wait while another session holds an advisory lock.
const HOLD_COMMIT: &str = "
    CREATE FUNCTION hold_commit() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN PERFORM pg_advisory_xact_lock_shared(4711); RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER hold_commit AFTER INSERT OR UPDATE ON completions
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION hold_commit()";

pub struct Faults {
    world: Arc<World>,
    clients: Vec<Arc<Client>>,
    rest: Arc<Rest>,
    /// The number of faults that took place, by kind.
    pub done: Mutex<BTreeMap<Kind, usize>>,
    /// A counter that makes the ticks with a cancelled request distinct.
    portion: Mutex<usize>,
    one_at_a_time: BTreeMap<&'static str, tokio::sync::Mutex<()>>,
}

impl Faults {
    pub async fn prepare(world: Arc<World>, clients: Vec<Arc<Client>>, rest: Arc<Rest>) -> Arc<Self> {
        let mut owner = liveplan::db::establish(&world.database.url)
            .await
            .expect("a connection");
        owner.batch_execute(HOLD_COMMIT).await.expect("a trigger");
        let things = [
            "node 0",
            "node 1",
            "redis",
            "postgres",
            "way to postgres",
            "way to redis",
            "commit",
            "head",
        ];
        Arc::new(Self {
            world,
            clients,
            rest,
            done: Mutex::default(),
            portion: Mutex::new(0),
            one_at_a_time: things
                .into_iter()
                .map(|thing| (thing, tokio::sync::Mutex::default()))
                .collect(),
        })
    }

    /// Runs every fault at its time and waits until all are over.
    pub async fn run(self: Arc<Self>, schedule: Vec<Fault>) {
        let began = Instant::now();
        let mut running = Vec::new();
        for fault in schedule {
            tokio::time::sleep_until(began + fault.at).await;
            let faults = self.clone();
            running.push(tokio::spawn(async move {
                let thing = Self::thing(fault);
                let _turn = match thing.and_then(|thing| faults.one_at_a_time.get(thing)) {
                    Some(turn) => Some(turn.lock().await),
                    None => None,
                };
                if faults.carry_out(fault).await {
                    *faults.done.lock().expect("no panic").entry(fault.kind).or_default() += 1;
                }
            }));
        }
        for fault in running {
            fault.await.expect("no panic");
        }
    }

    fn thing(fault: Fault) -> Option<&'static str> {
        Some(match fault.kind {
            Kind::NodeKilled | Kind::NodePaused => ["node 0", "node 1"][fault.which % 2],
            Kind::RedisKilled | Kind::RedisFlushed | Kind::RedisPaused => "redis",
            Kind::PostgresRestarted => "postgres",
            Kind::RedisSilent => "way to redis",
            Kind::PostgresCutOff | Kind::PostgresSilent => "way to postgres",
            Kind::CommitCancelled => "commit",
            Kind::TransactionHeld => "head",
            Kind::SocketCut | Kind::ClientOffline => return None,
        })
    }

    /// Carries out a fault and returns whether it took place.
    async fn carry_out(&self, fault: Fault) -> bool {
        let world = &self.world;
        let (lasts, which) = (fault.lasts, fault.which);
        match fault.kind {
            Kind::NodeKilled => world.nodes[which % 2].kill(lasts).await,
            Kind::NodePaused => world.nodes[which % 2].pause(lasts).await,
            Kind::RedisKilled => {
                let mut redis = world.redis.lock().await;
                redis.kill();
                tokio::time::sleep(lasts).await;
                redis.restart().await;
            }
            Kind::RedisFlushed => {
                world.redis.lock().await.ask(&["FLUSHALL"]).await;
            }
            Kind::RedisPaused => {
                let redis = world.redis.lock().await;
                redis.pause();
                tokio::time::sleep(lasts).await;
                redis.resume();
            }
            Kind::PostgresRestarted => world.database.restart(which % 2 == 0, lasts).await,
            Kind::PostgresCutOff => {
                world.postgres_proxy.cut();
                tokio::time::sleep(lasts).await;
                world.postgres_proxy.mend();
            }
            Kind::RedisSilent => {
                world.redis_proxy.silence(true);
                tokio::time::sleep(lasts).await;
                world.redis_proxy.silence(false);
            }
            Kind::PostgresSilent => {
                world.postgres_proxy.silence(true);
                tokio::time::sleep(lasts).await;
                world.postgres_proxy.silence(false);
            }
            Kind::SocketCut => self.clients[which % self.clients.len()].order(Order::Cut),
            Kind::ClientOffline => self.clients[which % self.clients.len()].order(Order::Offline(lasts)),
            Kind::CommitCancelled => return self.cancel_in_commit(which).await.is_some(),
            Kind::TransactionHeld => return self.hold_head(lasts).await.is_some(),
        }
        true
    }

    /// Sends a tick and disconnects while its COMMIT waits, then sends it again under the same key. Returns `None` if
    /// the tick did not reach COMMIT because of another fault.
    async fn cancel_in_commit(&self, which: usize) -> Option<()> {
        #[derive(QueryableByName)]
        struct Count {
            #[diesel(sql_type = BigInt)]
            n: i64,
        }
        let world = &self.world;
        let index = SWITCHERS + which % GIVEN_UP;
        let member = &world.members[index];
        let portion = {
            let mut portion = self.portion.lock().expect("no panic");
            *portion += 1;
            *portion
        };
        let key = format!("given-up-{portion}");
        let body = json!({
            "meal_id": world.plans[index % 2].meal, "date": world.today, "status": "partial",
            "portion_permille": portion % 999 + 1, "key": key,
        });
        let mut owner = liveplan::db::establish(&world.database.url).await.ok()?;
        owner.batch_execute("SELECT pg_advisory_lock(4711)").await.ok()?;
        let text = body.to_string();
        let node = world.nodes[which / 2 % 2].address;
        let mut request = TcpStream::connect(node).await.ok()?;
        let head = format!(
            "POST /api/v1/meals/complete HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{text}",
            member.token.as_deref().unwrap_or_default(),
            text.len()
        );
        request.write_all(head.as_bytes()).await.ok()?;
        self.rest
            .book
            .ticks
            .lock()
            .expect("no panic")
            .insert(key.clone(), false);
        let began = Instant::now();
        let mut reached = None;
        while reached.is_none() && began.elapsed() < Duration::from_secs(2) {
            let waiting = diesel::sql_query(
                "SELECT count(*) AS n FROM pg_stat_activity
                 WHERE wait_event = 'advisory' AND query ILIKE 'COMMIT%'",
            );
            let waiting: Count = waiting.get_result(&mut owner).await.ok()?;
            if waiting.n > 0 {
                reached = Some(());
            } else {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        drop(request);
        drop(owner);
        let (status, answer) = self
            .rest
            .ask(member, &Method::POST, "/meals/complete", Some(&body), &[])
            .await;
        if status == 200 || status == 201 {
            self.rest.book.ticks.lock().expect("no panic").insert(key, true);
        } else {
            self.rest
                .book
                .violated(format!("a tick given up in COMMIT was refused: {status} {answer}"));
        }
        reached
    }

    /// Holds a transaction that locks the gym's log head, so that every change of the gym waits.
    async fn hold_head(&self, lasts: Duration) -> Option<()> {
        let mut owner = liveplan::db::establish(&self.world.database.url).await.ok()?;
        owner.batch_execute("BEGIN").await.ok()?;
        diesel::sql_query("SELECT 1 FROM gym_log_heads WHERE gym_id = $1 FOR UPDATE")
            .bind::<SqlUuid, _>(self.world.gym.id)
            .execute(&mut owner)
            .await
            .ok()?;
        tokio::time::sleep(lasts).await;
        owner.batch_execute("ROLLBACK").await.ok()
    }
}
