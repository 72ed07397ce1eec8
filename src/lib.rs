//! `liveplan`: a real-time nutrition-plan hub for gyms.
//!
//! The modules, outermost first. A module imports only those below it; machinery never imports a noun.
//!
//! - [`server`]: the actix app; [`channels`]: routes each channel to its noun; [`app`]: the shared handle.
//! - [`conformance`]: the hub with logs in memory, for the SDKs' own test suites.
//! - Nouns, each importing only those before it: [`gyms`], [`accounts`], [`foods`], [`assignments`], [`plans`],
//!   [`completions`], [`follows`], [`meals`], [`rosters`], [`members`].
//! - [`demo`]: a gym with sample data; [`simulate`]: simulated members of that gym, as clients.
//! - [`auth`]: tokens, roles, sessions. [`liveplan_hub`]: the live hub, a separate crate.
//! - [`idempotency`] and [`quota`]: idempotency keys and limits per account, stored in the transaction of the change.
//!   [`budget`]: limits per account on everything that it asks for, before anything is read.
//! - [`events`]: live events, from a change to the hub.
//! - Machinery: [`db`], [`cache`], [`http`], [`gather`], [`parts`], [`error`], [`ids`], [`clock`], [`config`],
//!   [`telemetry`], [`turns`].

pub mod accounts;
pub mod app;
pub mod assignments;
pub mod auth;
pub mod budget;
pub mod cache;
pub mod channels;
pub mod clock;
pub mod completions;
pub mod config;
pub mod conformance;
pub mod db;
pub mod demo;
pub mod error;
pub mod events;
pub mod follows;
pub mod foods;
pub mod gather;
pub mod gyms;
pub mod http;
pub mod idempotency;
pub mod ids;
pub mod meals;
pub mod members;
pub mod parts;
pub mod plans;
pub mod quota;
pub mod rosters;
pub mod server;
pub mod simulate;
pub mod telemetry;
pub mod turns;
