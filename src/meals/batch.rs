//! The state of a batch of commands: the members' follows, locked, and the days that the commands name. One statement
//! per table reads and writes it for all commands; in between, the commands apply to it in memory, in order.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use chrono::{DateTime, NaiveDate, Utc};
use diesel::QueryResult;
use diesel_async::AsyncPgConnection;
use liveplan_nutrition::calendar::{Days, zone};
use liveplan_nutrition::day::NotOnDay;
use uuid::Uuid;

use super::planned::{PlanDay, PlannedDays};
use super::{Command, Completion, Kind, Outcome};
use crate::assignments;
use crate::completions::store::{self, HistoryRow, Key};
use crate::completions::write::{self, Changes};
use crate::completions::{By, Day, Progress, Tick, day_of};
use crate::error::{Code, Error, Result};
use crate::follows::rules::Status as FollowStatus;
use crate::follows::store::{self as follow_store, ScheduledFollow};
use crate::ids::{AccountId, FollowId, GymId, MealId};
use crate::plans::day;

/// A day of a follow that commands name.
pub(super) struct TouchedDay {
    /// The member.
    pub member: AccountId,
    /// The day before the commands.
    pub before: Day,
    /// The day after the commands.
    pub after: Day,
    /// Its daily progress before the commands.
    pub row_before: Option<Progress>,
    /// Its daily progress after the commands.
    pub row: Progress,
    /// The meals whose completion changed.
    pub meals: BTreeSet<MealId>,
}

/// How to treat a follow that another transaction has locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lock {
    /// Wait for the lock.
    Wait,
    /// Skip the follow (`SKIP LOCKED`).
    IfFree,
}

/// A batch's members and days.
pub(super) struct Batch {
    gym: GymId,
    now: DateTime<Utc>,
    day_start: i32,
    follows: HashMap<AccountId, ScheduledFollow>,
    /// The named days, ordered by follow and date.
    pub days: BTreeMap<(FollowId, NaiveDate), TouchedDay>,
    history: Vec<HistoryRow>,
    /// The meals that have been changed too often to be changed again.
    full: HashSet<Key>,
    /// How often a meal may be changed on one date; 0 means without limit.
    longest_history: u32,
    /// The trainers of each member, on whose rosters the member is.
    pub trainers: HashMap<AccountId, Vec<AccountId>>,
    /// The event and the actor of each member's last change.
    pub events: BTreeMap<AccountId, (&'static str, AccountId)>,
}

/// The result of a command before its day's progress is final.
pub(super) struct Applied {
    key: Key,
    completion: Option<Completion>,
}

impl Batch {
    /// Locks the follows of members in the order of their ids; with [`Lock::IfFree`] only those that are not locked.
    pub(super) async fn lock(
        conn: &AsyncPgConnection,
        gym: GymId,
        now: DateTime<Utc>,
        members: BTreeSet<AccountId>,
        lock: Lock,
    ) -> QueryResult<Self> {
        let members: Vec<_> = members.into_iter().collect();
        let follows = match lock {
            Lock::Wait => follow_store::lock_scheduled(conn, gym, &members).await?,
            Lock::IfFree => follow_store::lock_scheduled_if_free(conn, gym, &members).await?,
        };
        Ok(Self {
            gym,
            now,
            day_start: follows.first().map_or(0, |f| f.day_start),
            follows: follows.into_iter().map(|f| (f.follow.member_id, f)).collect(),
            days: BTreeMap::new(),
            history: Vec::new(),
            full: HashSet::new(),
            longest_history: 0,
            trainers: HashMap::new(),
            events: BTreeMap::new(),
        })
    }

    /// Whether this batch holds the lock on the member's follow.
    pub(super) fn has(&self, member: AccountId) -> bool {
        self.follows.contains_key(&member)
    }

    /// Reads the days that the commands name, except those that are not open for ticks. A meal accepts no more changes
    /// on a date once its history has `longest_history` entries; 0 means without limit.
    pub(super) async fn read_days(
        &mut self,
        conn: &AsyncPgConnection,
        planned: &PlannedDays,
        commands: &[&Command],
        longest_history: u32,
    ) -> Result<()> {
        let named: BTreeMap<_, _> = commands
            .iter()
            .filter_map(|c| self.admit(c).ok().map(|f| ((f.follow.id, c.date), f.clone())))
            .collect();
        if named.is_empty() {
            return Ok(());
        }
        let number = |f: &ScheduledFollow, date| f.schedule().day(f.follow.start_date, date);
        let plan_days = named.iter().filter_map(|((_, date), f)| {
            Some(PlanDay {
                plan: f.follow.plan_id,
                version: f.plan_version,
                number: number(f, *date)?,
            })
        });
        let plan_days: BTreeSet<_> = plan_days.collect();
        let follows: Vec<_> = named.keys().map(|(follow, _)| *follow).collect();
        let dates: Vec<_> = named.keys().map(|(_, date)| *date).collect();
        let members: BTreeSet<_> = named.values().map(|f| f.follow.member_id).collect();
        let members: Vec<_> = members.into_iter().collect();
        let keys = commands.iter().filter_map(|c| {
            let follow = self.admit(c).ok()?.follow.id;
            let (date, meal) = (c.date, c.meal_id);
            Some(Key { follow, date, meal })
        });
        let keys: Vec<_> = keys.collect();

        // One round trip: the statements are pipelined.
        let (planned, ticked, mut rows, trainers, full) = tokio::try_join!(
            planned.read(conn, self.gym, &plan_days),
            store::completed(conn, self.gym, &follows, &dates),
            store::progress(conn, self.gym, &follows, &dates),
            assignments::trainers_of(conn, self.gym, &members, self.now),
            store::full(conn, self.gym, &keys, longest_history),
        )?;
        (self.full, self.longest_history) = (full, longest_history);
        self.trainers = trainers;
        let mut completed: HashMap<_, BTreeMap<_, _>> = HashMap::new();
        for (key, meal) in ticked {
            completed
                .entry((key.follow, key.date))
                .or_default()
                .insert(key.meal, meal);
        }
        for ((follow, date), named) in named {
            let meals = number(&named, date).and_then(|n| planned.get(&(named.follow.plan_id, n)));
            let meals = meals.map(AsRef::as_ref).unwrap_or_default();
            let before = day_of(0, meals, completed.remove(&(follow, date)).unwrap_or_default());
            let row_before = rows.remove(&(follow, date));
            let row = row_before.clone().unwrap_or_else(|| Progress::new(date, before.sums()));
            let member = named.follow.member_id;
            let touched = TouchedDay {
                member,
                after: before.clone(),
                before,
                row_before,
                row,
                meals: BTreeSet::new(),
            };
            self.days.insert((follow, date), touched);
        }
        Ok(())
    }

    /// The follow that a command applies to. Refuses a command whose day is not open for ticks.
    fn admit(&self, command: &Command) -> Result<&ScheduledFollow> {
        let scheduled = self
            .follows
            .get(&command.member)
            .ok_or_else(|| Error::new(Code::NotFollowing))?;
        let follow = &scheduled.follow;
        if follow.status == FollowStatus::Paused {
            return Err(Error::new(Code::FollowPaused));
        }
        let last = Days {
            zone: zone(&follow.time_zone),
            day_start: self.day_start,
        }
        .last_loggable(self.now);
        if command.date < follow.start_date || command.date > last {
            let reason = (
                format!("from {}, when the plan began, to {last}", follow.start_date),
                format!("desde {}, cuando empezó el plan, hasta {last}", follow.start_date),
            );
            return Err(Error::invalid("date", reason));
        }
        Ok(scheduled)
    }

    /// Applies a command to its day.
    pub(super) fn apply(&mut self, command: &Command) -> Result<Applied> {
        let portion_permille = match command.kind {
            Kind::Complete {
                status,
                portion_permille,
            } => status
                .portion(portion_permille)
                .map_err(|reason| Error::invalid("portion_permille", reason))?,
            Kind::Undo => 0,
        };
        let follow = self.admit(command)?.follow.id;
        let key = Key {
            follow,
            date: command.date,
            meal: command.meal_id,
        };
        if self.full.contains(&key) {
            let most = self.longest_history;
            return Err(Error::conflict((
                format!("This meal was changed {most} times on this day, so it can no longer be changed."),
                format!("Esta comida se ha cambiado {most} veces en este día, así que ya no se puede cambiar."),
            )));
        }
        let day = self
            .days
            .get_mut(&(follow, command.date))
            .ok_or_else(|| Error::new(Code::Internal))?;
        let changed = match command.kind {
            Kind::Complete { status, .. } => {
                let (actor, on_behalf, at) = (command.actor, command.on_behalf, self.now);
                day.after.tick(
                    command.meal_id,
                    Tick {
                        status,
                        portion_permille,
                        by: By { actor, on_behalf, at },
                    },
                )
            }
            Kind::Undo => day.after.undo(command.meal_id),
        };
        let changed = changed.map_err(|NotOnDay| Error::new(Code::MealNotOnDay).with("date", command.date))?;
        if changed {
            day.meals.insert(command.meal_id);
            day.row = Progress::new(command.date, day.after.sums());
            self.events
                .insert(command.member, (command.kind.event(), command.actor));
            self.history.push(HistoryRow {
                id: Uuid::now_v7(),
                gym_id: self.gym,
                follow_id: follow,
                date: command.date,
                meal_id: command.meal_id,
                action: command.kind.action(),
                portion_permille,
                client_key: command.key.clone(),
                source: command.source.name(),
                actor_id: command.actor,
                at: self.now,
            });
        }
        let completion = day
            .after
            .completed
            .get(&command.meal_id)
            .map(|c| Completion::new(key, c));
        Ok(Applied { key, completion })
    }

    /// Whether no command changed anything.
    pub(super) fn is_unchanged(&self) -> bool {
        self.history.is_empty()
    }

    /// Writes the changes of all commands.
    pub(super) async fn write(&self, conn: &AsyncPgConnection) -> Result<()> {
        if self.is_unchanged() {
            return Ok(());
        }
        let mut changes = Changes {
            history: &self.history,
            ..Changes::default()
        };
        for ((follow, date), day) in self.days.iter().filter(|(_, day)| !day.meals.is_empty()) {
            for meal in &day.meals {
                let key = Key {
                    follow: *follow,
                    date: *date,
                    meal: *meal,
                };
                match day.after.completed.get(meal) {
                    Some(completed) => changes.there.push((key, completed)),
                    None => changes.gone.push(key),
                }
            }
            changes.days.push((*follow, day.member, &day.row));
        }
        write::write(conn, self.gym, &changes, self.now).await?;
        Ok(())
    }

    /// The answer to a command, with its day as it is after the whole batch.
    pub(super) fn outcome(&self, applied: Applied) -> Result<Outcome> {
        let day = self
            .days
            .get(&(applied.key.follow, applied.key.date))
            .ok_or_else(|| Error::new(Code::Internal))?;
        Ok(Outcome {
            completion: applied.completion,
            progress: day.row.clone(),
        })
    }

    /// Replaces the refusal of a meal that is on no day of the member's plan by 404, so that it does not reveal whether
    /// the meal exists.
    pub(super) async fn name_strangers<T>(
        &self,
        conn: &AsyncPgConnection,
        commands: &[&Command],
        results: &mut [Result<T>],
    ) -> Result<()> {
        let off_day = |result: &Result<T>| matches!(result, Err(e) if e.code == Code::MealNotOnDay);
        let plan_of = |c: &Command| self.follows.get(&c.member).map(|f| f.follow.plan_id);
        let asked: Vec<_> = commands
            .iter()
            .zip(&*results)
            .filter(|(_, r)| off_day(r))
            .map(|(c, _)| *c)
            .collect();
        if asked.is_empty() {
            return Ok(());
        }
        let plans: Vec<_> = asked.iter().filter_map(|c| plan_of(c)).collect();
        let meals: Vec<_> = asked.iter().map(|c| c.meal_id).collect();
        let known: BTreeSet<_> = day::of_plans(conn, self.gym, &plans, &meals)
            .await?
            .into_iter()
            .collect();
        for (command, result) in commands.iter().zip(results) {
            if off_day(result) && plan_of(command).is_none_or(|plan| !known.contains(&(plan, command.meal_id))) {
                *result = Err(Error::not_found("meal"));
            }
        }
        Ok(())
    }
}
