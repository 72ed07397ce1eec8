//! Members tick today's meals over their own sockets. Each waits for a reply before the next tick and changes the
//! status of a meal every time.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::Context as _;
use prost::Message as _;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::audit::Audit;
use super::cast::Cast;
use super::swarm::Swarm;
use super::{Changes, Options, Seat};
use crate::wire::{Codec, Command, RpcRequest};

/// Timeout of a reply, and of the arrival of a tick at every subscriber.
const WITHIN: Duration = Duration::from_secs(5);
/// The first id of tick commands; smaller ids belong to the commands that opened the socket.
pub const FIRST_ID: u32 = 1000;

/// A member with a socket.
pub struct Ticker {
    /// The socket's key.
    pub key: usize,
    codec: Codec,
    /// The member's own channel.
    pub channel: String,
    account: String,
    date: String,
    /// Meals, and whether each was last set to eaten.
    meals: Vec<(String, bool)>,
    turn: usize,
}

impl Ticker {
    /// Creates it from the answer to `GET /follows/today`.
    ///
    /// # Errors
    /// There are no meals today.
    pub fn new(key: usize, codec: Codec, account: &str, today: &Value) -> anyhow::Result<Self> {
        let meals: Vec<_> = today["meals"]
            .as_array()
            .context("no meals today")?
            .iter()
            .filter_map(|meal| Some((meal["id"].as_str()?.to_owned(), meal["status"] == "eaten")))
            .collect();
        anyhow::ensure!(!meals.is_empty(), "no meals today");
        Ok(Self {
            key,
            codec,
            channel: format!("member:{account}"),
            account: account.to_owned(),
            date: today["date"].as_str().context("no date")?.to_owned(),
            meals,
            turn: 0,
        })
    }

    /// Sends the next meal's completion with a status that differs from the last one.
    ///
    /// # Errors
    /// The swarm has ended.
    pub fn tick(&mut self, swarm: &Swarm) -> anyhow::Result<()> {
        let at = self.turn % self.meals.len();
        let (meal, eaten) = &mut self.meals[at];
        *eaten = !*eaten;
        let data = json!({
            "key": format!("load-{}-{}", self.account, uuid::Uuid::now_v7()),
            "meal_id": meal,
            "date": self.date,
            "status": if *eaten { "eaten" } else { "skipped" },
        });
        self.turn += 1;
        let id = FIRST_ID + u32::try_from(self.turn % 1_000_000_000)?;
        let payload = match self.codec {
            Codec::Json => json!({"id": id, "rpc": {"method": "meal.complete", "data": data}})
                .to_string()
                .into_bytes(),
            Codec::Protobuf => {
                let rpc = RpcRequest {
                    data: data.to_string().into(),
                    method: "meal.complete".into(),
                };
                let command = Command {
                    id,
                    rpc: Some(rpc),
                    ..Command::default()
                };
                command.encode_length_delimited_to_vec()
            }
        };
        swarm.write(self.key, self.codec, &payload)
    }
}

/// The members who tick; `idle` holds those without a command in flight.
struct Tickers {
    all: Vec<Ticker>,
    idle: VecDeque<usize>,
}

/// Ticks until the given time.
pub(super) async fn run(
    options: &Options,
    cast: &Cast,
    swarm: &mut Swarm,
    seats: &[Seat],
    audit: &Audit,
    until: Instant,
) -> anyhow::Result<Changes> {
    let mut all = Vec::new();
    for seat in seats
        .iter()
        .filter(|s| s.watches.iter().any(|w| w.channel.starts_with("member:")))
    {
        let person = &cast.people[seat.person];
        let today = person.device.get("/follows/today").await?;
        all.push(Ticker::new(seat.key, seat.codec, &person.account, &today)?);
    }
    anyhow::ensure!(!all.is_empty(), "no socket belongs to a member");
    let idle = (0..all.len()).collect();
    let mut tickers = Tickers { all, idle };
    let watching = seats
        .iter()
        .filter(|s| s.watches.iter().any(|w| w.channel == cast.watched));
    let watching = watching.count() as u64;
    let mut changes = Changes::default();
    let began = Instant::now();
    while Instant::now() < until && swarm.lost() == 0 {
        let accepted = changes.accepted;
        if let Some(rate) = options.rate {
            let due = began.elapsed().as_millis() * u128::from(rate) / 1000;
            let count = u64::try_from(due)?.saturating_sub(changes.sent);
            tickers.send(count, &cast.watched, swarm, &mut changes)?;
            tickers
                .hear(&cast.watched, swarm, &mut changes, Duration::from_millis(1))
                .await?;
        } else {
            let before = swarm.deliveries();
            tickers.send(options.burst.into(), &cast.watched, swarm, &mut changes)?;
            let answered = Instant::now() + WITHIN;
            while tickers.idle.len() < tickers.all.len() && Instant::now() < answered {
                tickers.hear(&cast.watched, swarm, &mut changes, WITHIN).await?;
            }
            let arrived = (changes.accepted - accepted) * (watching + 1);
            swarm.reached(before + arrived, WITHIN).await;
        }
        audit.changed(changes.accepted - accepted, swarm).await?;
    }
    let answered = Instant::now() + WITHIN;
    while tickers.idle.len() < tickers.all.len() && Instant::now() < answered {
        tickers.hear(&cast.watched, swarm, &mut changes, WITHIN).await?;
    }
    Ok(changes)
}

impl Tickers {
    /// Lets this many idle members tick.
    fn send(&mut self, count: u64, watched: &str, swarm: &Swarm, changes: &mut Changes) -> anyhow::Result<()> {
        for _ in 0..count {
            let Some(at) = self.idle.pop_front() else { break };
            let ticker = &mut self.all[at];
            swarm.sent(&ticker.channel)?;
            swarm.sent(watched)?;
            ticker.tick(swarm)?;
            changes.sent += 1;
        }
        Ok(())
    }

    /// Processes the available replies, waiting for the first one.
    async fn hear(
        &mut self,
        watched: &str,
        swarm: &mut Swarm,
        changes: &mut Changes,
        within: Duration,
    ) -> anyhow::Result<()> {
        let first = tokio::time::timeout(within, swarm.answers.recv()).await;
        let mut next = first.ok().flatten();
        while let Some(answered) = next {
            // Ignore replies to the commands that opened the socket.
            let of = self.all.iter().position(|t| t.key == answered.key);
            if let Some(at) = of.filter(|_| answered.id > FIRST_ID) {
                self.idle.push_back(at);
                let channels = [self.all[at].channel.as_str(), watched];
                if answered.accepted {
                    changes.accept(&channels);
                } else {
                    changes.refused += 1;
                    channels.iter().try_for_each(|channel| swarm.unsent(channel))?;
                }
            }
            next = swarm.answers.try_recv().ok();
        }
        Ok(())
    }
}
