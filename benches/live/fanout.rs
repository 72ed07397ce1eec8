//! CPU time of the server per delivery at 1,000 subscribers, one message at a time and in bursts of ten, next to other
//! servers on the same machine within the same minute.
//!
//! The hub's messages are real changes (plan edits, and ten members who tick at once) with authorisation, the log in
//! Postgres and the gym's sequencer. The cost of the changes themselves is subtracted; it is measured with the same
//! changes in a gym with one subscriber. Rounds alternate between all servers, and one process reads all sockets.
//!
//! The other servers make no changes. Before each of their messages, the hub therefore makes the same change in the gym
//! with one subscriber: on an otherwise idle machine the caches would stay filled with what sending needs, and sending
//! would cost less.

use std::time::Duration;

use liveplan::auth::Role;
use liveplan_load::process::cpu;
use liveplan_load::swarm::{Answered, Swarm};
use liveplan_load::ticks::{FIRST_ID, Ticker};
use serde_json::{Value, json};

use super::cast::{self, Troupe};
use super::node::Redis;
use super::peers::{self, Kind, Peer, WITHIN};
use super::plot::{self, Bar};
use super::results::Results;
use super::stage::Stage;
use super::stats::{micros, spread};
use super::wire::Socket;

const SOCKETS: usize = 1_000;
const ROUNDS: usize = 5;
const EDITS: usize = 200;
const BURSTS: usize = 60;
const BURST: usize = 10;
/// Targets: the hub's cost over the floor's, one at a time and in bursts.
const AIMS: [f64; 2] = [1.2, 1.25];
const NAMES: [&str; 2] = ["one at a time", "bursts of ten"];

/// One gym of the hub: a plan to edit, ten members, and subscribers of both channels.
struct Hub {
    troupe: Troupe,
    tickers: Vec<Ticker>,
    watchers: usize,
    meal: String,
    version: Value,
    edits: usize,
}

pub async fn run(stage: &Stage, results: &mut Results) {
    let (sockets, rounds) = (results.many(SOCKETS), results.rounds(ROUNDS));
    let (edits, bursts) = (results.many(EDITS), results.many(BURSTS));
    results.say(format!(
        "\nfan-out: {sockets} subscribers, {rounds} rounds of {edits} single messages and {bursts} bursts of {BURST}"
    ));
    let mut swarm = Swarm::start().expect("a swarm");
    let mut many = Hub::open(stage, &swarm, sockets).await;
    let mut one = Hub::open(stage, &swarm, 1).await;
    let texts = [many.edit_text(stage).await, many.tick_text(stage, &mut swarm).await];
    let lengths: Vec<_> = texts.iter().map(String::len).collect();
    results.say(format!(
        "  messages of {} and {} bytes, the same for all servers",
        lengths[0], lengths[1]
    ));
    let file = tempfile::NamedTempFile::new().expect("a file");
    serde_json::to_writer(&file, &texts).expect("written");
    let redis = Redis::start().await;
    let mut peers = Vec::new();
    for kind in [Kind::Floor, Kind::Ws, Kind::SocketIo] {
        let url = redis
            .as_ref()
            .map(|r| r.url.as_str())
            .filter(|_| kind == Kind::SocketIo);
        match Peer::start(kind, file.path(), url).filter(|_| kind != Kind::SocketIo || url.is_some()) {
            Some(peer) => {
                peer.connect(sockets, &swarm).await;
                peers.push(peer);
            }
            None => results.say(format!(
                "  {} cannot run here: Node, its packages or Redis is missing",
                kind.name()
            )),
        }
    }
    // Warm up caches and JIT compilers.
    round(
        stage,
        &mut swarm,
        &mut many,
        &mut one,
        &mut peers,
        (edits.div_ceil(4), bursts.div_ceil(4)),
    )
    .await;
    let mut costs: Vec<[Vec<f64>; 2]> = Vec::new();
    for number in 1..=rounds {
        let costs_now = round(stage, &mut swarm, &mut many, &mut one, &mut peers, (edits, bursts)).await;
        costs.resize_with(costs_now.len(), Default::default);
        let names = std::iter::once("liveplan").chain(peers.iter().map(|p| p.kind.name()));
        let said: Vec<_> = names
            .zip(&costs_now)
            .map(|(name, [one, ten])| format!("{name} {one:.2} / {ten:.2}"))
            .collect();
        results.say(format!(
            "  round {number}: CPU in µs a delivery, single / burst: {}",
            said.join("; ")
        ));
        for (all, now) in costs.iter_mut().zip(costs_now) {
            all[0].push(now[0]);
            all[1].push(now[1]);
        }
    }
    let verdict = swarm.judge().await.expect("a verdict");
    assert!(verdict.faults.none(), "{}", verdict.faults);
    assert_eq!(swarm.lost(), 0, "{:?}", verdict.ends);
    say(results, &peers, &costs);
}

/// CPU time per delivery, single and in bursts: the hub's first, then those of the peers.
async fn round(
    stage: &Stage,
    swarm: &mut Swarm,
    many: &mut Hub,
    one: &mut Hub,
    peers: &mut [Peer],
    (edits, bursts): (usize, usize),
) -> Vec<[f64; 2]> {
    let mut costs = vec![[0.0; 2]];
    let before = cpu(stage.pid()).expect("it runs");
    one.edit(stage, swarm, edits).await;
    let middle = cpu(stage.pid()).expect("it runs");
    many.edit(stage, swarm, edits).await;
    let after = cpu(stage.pid()).expect("it runs");
    let deliveries = edits * (many.watchers - one.watchers);
    costs[0][0] = micros(more([before, middle, after]), deliveries);
    for peer in &mut *peers {
        let change = async |swarm: &mut Swarm| one.edit(stage, swarm, 1).await;
        let single = peer.window(swarm, many.watchers, [edits, 1, 0], change).await;
        costs.push([single, 0.0]);
    }
    let before = cpu(stage.pid()).expect("it runs");
    one.tick(swarm, bursts).await;
    let middle = cpu(stage.pid()).expect("it runs");
    many.tick(swarm, bursts).await;
    let after = cpu(stage.pid()).expect("it runs");
    let deliveries = bursts * BURST * (many.watchers - one.watchers);
    costs[0][1] = micros(more([before, middle, after]), deliveries);
    for (peer, cost) in peers.iter_mut().zip(&mut costs[1..]) {
        let change = async |swarm: &mut Swarm| one.tick(swarm, 1).await;
        cost[1] = peer.window(swarm, many.watchers, [bursts, BURST, 1], change).await;
    }
    costs
}

/// The difference between two consecutive durations, second minus first.
fn more([before, middle, after]: [Duration; 3]) -> Duration {
    after
        .saturating_sub(middle)
        .saturating_sub(middle.saturating_sub(before))
}

impl Hub {
    async fn open(stage: &Stage, swarm: &Swarm, watchers: usize) -> Self {
        let troupe = Troupe::gather(stage, BURST).await;
        let count = i64::try_from(watchers).expect("fits");
        let people = stage.people(troupe.gym.id, Role::Manager, count).await;
        let channels = [troupe.plan(), troupe.roster()];
        for opened in cast::open(&stage.address, cast::watching(people, &channels)).await {
            swarm.join(opened).expect("joined");
        }
        let tickers = troupe.tickers(&stage.address, swarm).await;
        let plan = stage
            .get(&troupe.gym.author, &format!("/plans/{}", troupe.gym.plan))
            .await;
        let meal = plan["days"][0]["meals"][0]["id"].as_str().expect("a meal");
        Self {
            meal: format!("/plans/{}/days/1/meals/{meal}", troupe.gym.plan),
            version: plan["version"].clone(),
            troupe,
            tickers,
            watchers,
            edits: 0,
        }
    }

    /// Edits the plan; each edit waits until every subscriber has the previous one.
    async fn edit(&mut self, stage: &Stage, swarm: &Swarm, edits: usize) {
        for _ in 0..edits {
            let wanted = swarm.deliveries() + self.watchers as u64;
            self.edit_once(stage).await;
            assert!(swarm.reached(wanted, WITHIN).await, "every subscriber gets an edit");
        }
    }

    async fn edit_once(&mut self, stage: &Stage) {
        self.edits += 1;
        let title = ["Lunch one", "Lunch two"][self.edits % 2];
        let title = json!({"title": title});
        let written = stage.patch(&self.troupe.gym.author, &self.meal, &title, &self.version);
        self.version = written.await["version"].clone();
    }

    /// Lets all members tick at once; each burst waits until every subscriber has the previous one.
    async fn tick(&mut self, swarm: &mut Swarm, bursts: usize) {
        for _ in 0..bursts {
            // Each tick reaches the subscribers and the member.
            let wanted = swarm.deliveries() + ((self.watchers + 1) * BURST) as u64;
            self.tickers
                .iter_mut()
                .for_each(|ticker| ticker.tick(swarm).expect("sent"));
            let mut waiting = BURST;
            while waiting > 0 {
                let Answered { accepted, id, .. } = swarm.answers.recv().await.expect("an answer");
                assert!(accepted, "a tick is accepted");
                waiting -= usize::from(id > FIRST_ID);
            }
            assert!(swarm.reached(wanted, WITHIN).await, "every subscriber gets the ticks");
        }
    }

    /// The message of an edit, as sent on the wire.
    async fn edit_text(&mut self, stage: &Stage) -> String {
        let mut socket = self.screen(stage, &self.troupe.plan()).await;
        self.edit_once(stage).await;
        socket.next().await.remove(0).to_string()
    }

    /// The roster's message of a tick, as sent on the wire.
    async fn tick_text(&mut self, stage: &Stage, swarm: &mut Swarm) -> String {
        let mut socket = self.screen(stage, &self.troupe.roster()).await;
        self.tick(swarm, 1).await;
        loop {
            let message = socket.next().await.remove(0);
            // Presence changes arrive on this channel, too, but without an offset.
            if message["push"]["pub"]["offset"].is_number() {
                return message.to_string();
            }
        }
    }

    async fn screen(&self, stage: &Stage, channel: &str) -> Socket {
        let person = stage.people(self.troupe.gym.id, Role::Manager, 1).await.remove(0);
        let mut socket = Socket::connect(&stage.address, &person).await;
        socket.send(&json!({"id": 2, "subscribe": {"channel": channel}})).await;
        let reply = socket.next().await.remove(0);
        assert!(reply["subscribe"].is_object(), "{reply}");
        socket
    }
}

fn say(results: &mut Results, peers: &[Peer], costs: &[[Vec<f64>; 2]]) {
    let floor = &costs[1];
    let names: Vec<_> = std::iter::once("liveplan")
        .chain(peers.iter().map(|p| p.kind.name()))
        .collect();
    let mut groups = Vec::new();
    for (way, name) in NAMES.iter().enumerate() {
        let mut bars = Vec::new();
        for (server, cost) in names.iter().zip(costs) {
            let mut ratios: Vec<_> = cost[way].iter().zip(&floor[way]).map(|(c, f)| c / f).collect();
            ratios.sort_by(f64::total_cmp);
            if *server != Kind::Floor.name() {
                let aim = if *server == "liveplan" {
                    format!("; aim <= {}", AIMS[way])
                } else {
                    String::new()
                };
                results.say(format!(
                    "  {name}: {server} / bare epoll loop {}{aim}",
                    spread(ratios.clone())
                ));
            }
            let mut each = cost[way].clone();
            each.sort_by(f64::total_cmp);
            let (value, each) = (ratios[ratios.len() / 2], each[each.len() / 2]);
            results.number(
                &format!("{name}: {server}"),
                json!({"over_floor": ratios, "cpu_us": each}),
            );
            bars.push(Bar {
                name: (*server).into(),
                value,
                low: ratios[0],
                high: ratios[ratios.len() - 1],
                label: format!("{value:.2} × ({each:.2} µs)"),
                ours: *server == "liveplan",
            });
        }
        if let (Some(socketio), true) = (costs.get(3), peers::packages().is_some()) {
            let ratios = socketio[way]
                .iter()
                .zip(&costs[0][way])
                .map(|(s, ours)| s / ours)
                .collect();
            results.say(format!(
                "  {name}: Socket.IO / liveplan {}; aim >= {}",
                spread(ratios),
                [2, 10][way]
            ));
        }
        groups.push(((*name).to_owned(), bars));
    }
    let below = "Processor time for each delivery, as a multiple of a bare epoll loop that writes the same bytes; lines are the range over the rounds.";
    results.plot(
        "fanout.svg",
        &plot::bars("What a delivery costs at 1,000 subscribers", below, &groups),
    );
}
