//! The accounts of a run: those of the demo gym, or the ones given; and what each of their sockets subscribes to.

use anyhow::Context as _;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use liveplan_client::Device;
use serde_json::Value;

use super::door::Position;
use super::{Mode, Options};

/// Concurrent sign-ins. The server hashes a password for each.
const AT_ONCE: usize = 4;

/// Members in the demo gym.
const DEMO_MEMBERS: usize = 24;

/// A signed-in account.
pub(super) struct Person {
    pub device: Device,
    pub account: String,
    roles: Vec<String>,
}

impl Person {
    fn is(&self, role: &str) -> bool {
        self.roles.iter().any(|r| r == role)
    }
}

/// All accounts of a run.
pub(super) struct Cast {
    pub people: Vec<Person>,
    members: Vec<usize>,
    staff: Vec<usize>,
    /// The channel that subscribers watch: the plan or the roster.
    pub watched: String,
    /// The plan to edit.
    pub plan: Option<String>,
}

impl Cast {
    pub(super) async fn sign_in(options: &Options) -> anyhow::Result<Self> {
        let emails = if options.email.is_empty() {
            demo(options.mode)
        } else {
            options.email.clone()
        };
        let people: Vec<Person> = stream::iter(emails)
            .map(|email| async move { person(options, &email).await.context(email) })
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        let of = |yes: bool| (0..people.len()).filter(|at| people[*at].is("member") == yes).collect();
        let (members, staff): (Vec<usize>, Vec<usize>) = (of(true), of(false));
        let plan = plan(options, &people, &members).await?;
        let watched = match options.mode {
            Mode::Fanout | Mode::Idle => format!("plan:{}", plan.as_deref().context("name a plan with --plan")?),
            Mode::Ticks => {
                let trainer = people.iter().find(|p| p.is("trainer"));
                format!(
                    "roster:{}",
                    trainer
                        .context("no account is a trainer's, so there is no roster to watch")?
                        .account
                )
            }
        };
        if options.mode == Mode::Ticks && members.is_empty() {
            anyhow::bail!("no account is a member's, so nobody can tick");
        }
        Ok(Self {
            people,
            members,
            staff,
            watched,
            plan,
        })
    }

    /// The account of a socket and its subscriptions. For ticks, every member gets one socket and staff get the others.
    pub(super) fn place(&self, mode: Mode, number: usize) -> (usize, Vec<Position>) {
        let watch = vec![Position {
            channel: self.watched.clone(),
            ..Position::default()
        }];
        match mode {
            Mode::Fanout | Mode::Idle => (number % self.people.len(), watch),
            // The server subscribes members to their own channel by itself.
            Mode::Ticks if number < self.members.len() || self.staff.is_empty() => {
                (self.members[number % self.members.len()], Vec::new())
            }
            Mode::Ticks => (self.staff[number % self.staff.len()], watch),
        }
    }

    pub(super) fn token(&self, person: usize) -> &str {
        self.people[person].device.token()
    }

    /// The account that edits: the first one of staff.
    pub(super) fn editor(&self) -> anyhow::Result<&Device> {
        let editor = self.staff.first().context("no account is staff, so nobody may edit")?;
        Ok(&self.people[*editor].device)
    }

    /// The token of an account that may read the watched channel.
    pub(super) fn watcher(&self) -> &str {
        self.token(self.staff.first().copied().unwrap_or_default())
    }
}

/// A trainer (the author of plan A), other staff who may watch it, and the trainer's members, who follow it.
fn demo(mode: Mode) -> Vec<String> {
    let members = (1..=DEMO_MEMBERS).step_by(2).map(|n| format!("member{n:02}"));
    let staff = match mode {
        Mode::Fanout | Mode::Idle => &["trainer1", "nutritionist", "manager"][..],
        Mode::Ticks => &["trainer1", "manager"],
    };
    let staff = staff.iter().map(ToString::to_string);
    staff.chain(members).map(|local| format!("{local}@demo.test")).collect()
}

async fn person(options: &Options, email: &str) -> anyhow::Result<Person> {
    let url = options.url.first().context("no --url")?;
    let device = Device::sign_in(url, email, &options.password).await?;
    let me = device.get("/auth/me").await?;
    let roles = me["roles"].as_array().into_iter().flatten();
    Ok(Person {
        account: me["account"]["id"].as_str().context("no account")?.to_owned(),
        roles: roles.filter_map(Value::as_str).map(str::to_owned).collect(),
        device,
    })
}

/// The given plan, or else the one that the first member follows today.
async fn plan(options: &Options, people: &[Person], members: &[usize]) -> anyhow::Result<Option<String>> {
    if options.plan.is_some() || options.mode == Mode::Ticks {
        return Ok(options.plan.clone());
    }
    let Some(first) = members.first() else {
        return Ok(None);
    };
    let today = people[*first].device.get("/follows/today").await?;
    Ok(today["plan_id"].as_str().map(str::to_owned))
}
