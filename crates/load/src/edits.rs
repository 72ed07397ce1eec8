//! Renames one meal of the plan repeatedly, and restores its title at the end.

use std::time::Duration;

use anyhow::{Context as _, bail};
use liveplan_client::{Device, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::audit::Audit;
use super::cast::Cast;
use super::swarm::Swarm;
use super::{Changes, Options};

/// How long to wait for every subscriber to get an edit before the next one is sent anyway.
const ARRIVES_WITHIN: Duration = Duration::from_secs(5);

struct Meal<'a> {
    editor: &'a Device,
    plan: &'a str,
    path: String,
    title: String,
    version: Value,
}

/// Edits until the given time.
pub(super) async fn run(
    options: &Options,
    cast: &Cast,
    swarm: &Swarm,
    audit: &Audit,
    until: Instant,
) -> anyhow::Result<Changes> {
    let plan = cast.plan.as_deref().context("name a plan with --plan")?;
    let mut meal = Meal::find(cast.editor()?, plan).await?;
    let mut changes = Changes::default();
    let other = format!("{} *", meal.title);
    let own = meal.title.clone();
    let began = Instant::now();
    let mut is_own = true;
    while Instant::now() < until && swarm.lost() == 0 {
        let (mut done, before) = (0, swarm.deliveries());
        for _ in 0..options.burst {
            let title = if is_own { &other } else { &own };
            swarm.sent(&cast.watched)?;
            changes.sent += 1;
            if meal.rename(title).await? {
                is_own = !is_own;
                done += 1;
                changes.accept(&[&cast.watched]);
            } else {
                swarm.unsent(&cast.watched)?;
                changes.refused += 1;
            }
        }
        if let Some(rate) = options.rate {
            let due = began + Duration::from_secs(1) * u32::try_from(changes.sent)? / rate;
            tokio::time::sleep_until(due.min(until)).await;
        } else {
            let arrived = before + done * u64::from(options.connections);
            swarm.reached(arrived, ARRIVES_WITHIN).await;
        }
        audit.changed(done, swarm).await?;
    }
    if !is_own {
        swarm.sent(&cast.watched)?;
        changes.sent += 1;
        if !meal.rename(&own).await? {
            bail!("the meal's title could not be restored to {own:?}");
        }
        changes.accept(&[&cast.watched]);
    }
    Ok(changes)
}

impl<'a> Meal<'a> {
    /// Finds the first meal of the plan.
    async fn find(editor: &'a Device, plan: &'a str) -> anyhow::Result<Self> {
        let tree = editor.get(&format!("/plans/{plan}")).await?;
        let days = tree["days"].as_array().context("the plan has no days")?;
        let found = days
            .iter()
            .find_map(|day| Some((&day["number"], day["meals"].as_array()?.first()?)));
        let (day, meal) = found.context("the plan has no meals")?;
        let id = meal["id"].as_str().context("no meal")?;
        Ok(Self {
            editor,
            plan,
            path: format!("/plans/{plan}/days/{day}/meals/{id}"),
            title: meal["title"].as_str().context("no title")?.to_owned(),
            version: tree["version"].clone(),
        })
    }

    /// Renames the meal. False if somebody else has changed the plan in the meantime.
    async fn rename(&mut self, title: &str) -> anyhow::Result<bool> {
        let (status, body) = self
            .editor
            .patch(&self.path, &json!({"title": title}), &self.version)
            .await?;
        match status {
            status if status.is_success() => {
                self.version = body["version"].clone();
                Ok(true)
            }
            StatusCode::PRECONDITION_FAILED => {
                self.version = self.editor.get(&format!("/plans/{}", self.plan)).await?["version"].clone();
                Ok(false)
            }
            status => bail!(
                "an edit was refused: {status} {}",
                body["detail"].as_str().unwrap_or_default()
            ),
        }
    }
}
