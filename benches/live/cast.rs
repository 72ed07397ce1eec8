//! Gyms whose members tick meals, and sockets for the swarm to read.

use diesel::sql_types::Uuid as SqlUuid;
use diesel_async::RunQueryDsl as _;
use futures_util::{StreamExt as _, stream};
use liveplan::auth::Role;
use liveplan_hub::protocol::Codec;
use liveplan_load::door::{Door, Opened, Position};
use liveplan_load::swarm::Swarm;
use liveplan_load::ticks::Ticker;
use serde_json::{Value, json};

use super::stage::{Gym, Person, Stage};

/// Sockets being opened at the same time.
const AT_ONCE: usize = 64;

/// A gym with a trainer and members who follow the gym's plan today.
pub struct Troupe {
    pub gym: Gym,
    pub trainer: Person,
    pub members: Vec<(Person, Value)>,
}

impl Troupe {
    pub async fn gather(stage: &Stage, members: usize) -> Self {
        let gym = stage.gym().await;
        let trainer = stage.people(gym.id, Role::Trainer, 1).await.remove(0);
        let people = stage
            .people(gym.id, Role::Member, i64::try_from(members).expect("few"))
            .await;
        let mut conn = stage.owner().await;
        let members = stream::iter(people).then(async |member| {
            let path = format!("/plans/{}/follow", gym.plan);
            stage.post(&member, &path, &json!({}), None).await;
            let today = stage.get(&member, "/follows/today").await;
            (member, today)
        });
        let members: Vec<_> = members.collect().await;
        for (member, _) in &members {
            diesel::sql_query(
                "INSERT INTO assignments (id, gym_id, trainer_id, member_id, since) VALUES (gen_random_uuid(), $1, $2, $3, now())",
            )
            .bind::<SqlUuid, _>(gym.id)
            .bind::<SqlUuid, _>(trainer.account)
            .bind::<SqlUuid, _>(member.account)
            .execute(&mut conn)
            .await
            .expect("an assignment");
        }
        Self { gym, trainer, members }
    }

    /// The channel of the trainer's roster.
    pub fn roster(&self) -> String {
        format!("roster:{}", self.trainer.account)
    }

    /// The plan's channel.
    pub fn plan(&self) -> String {
        format!("plan:{}", self.gym.plan)
    }

    /// Opens every member's socket at a node.
    pub async fn tickers(&self, address: &str, swarm: &Swarm) -> Vec<Ticker> {
        let people: Vec<_> = self
            .members
            .iter()
            .map(|(member, _)| (member.clone(), Vec::new()))
            .collect();
        let sockets = open(address, people).await;
        let tickers = sockets.into_iter().zip(&self.members).map(|(opened, (member, today))| {
            let key = swarm.join(opened).expect("joined");
            Ticker::new(key, Codec::Json, &member.account.to_string(), today).expect("meals today")
        });
        tickers.collect()
    }
}

/// Gives these people subscriptions to these channels, without recovery.
pub fn watching(people: Vec<Person>, channels: &[String]) -> Vec<(Person, Vec<Position>)> {
    let positions: Vec<_> = channels
        .iter()
        .map(|channel| Position {
            channel: channel.clone(),
            ..Position::default()
        })
        .collect();
    people.into_iter().map(|person| (person, positions.clone())).collect()
}

/// Opens one socket per person, in their order.
pub async fn open(address: &str, people: Vec<(Person, Vec<Position>)>) -> Vec<Opened> {
    let door = Door {
        address: address.to_owned(),
        codec: Codec::Json,
    };
    stream::iter(people)
        .map(|(person, channels)| {
            let door = &door;
            async move { door.open(&person.token, &channels).await.expect("a socket") }
        })
        .buffered(AT_ONCE)
        .collect()
        .await
}
