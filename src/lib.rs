//! `liveplan`: a real-time nutrition-plan hub for gyms.
//!
//! The map, outermost first. Arrows go down only; machinery never imports a noun.
//!
//! - [`server`]: the actix app; [`channels`]: which noun answers for which channel; [`app`]: the one shared handle.
//! - [`conformance`]: the hub for the SDKs' own suites, with a table of its own.
//! - Nouns, each knowing only those before it: [`gyms`], [`accounts`], [`foods`], [`assignments`], [`plans`], [`completions`],
//!   [`follows`], [`meals`], [`rosters`], [`members`].
//! - [`demo`]: a gym to try it with; [`simulate`]: members who live in it, as clients.
//! - [`auth`]: tokens, roles, sessions. [`liveplan_hub`]: the live hub, a crate of its own.
//! - [`idempotency`] and [`quota`]: what a request may do once, or so many times, kept in its change.
//! - [`events`]: the seam between changes and screens.
//! - Machinery: [`db`], [`cache`], [`http`], [`gather`], [`parts`], [`error`], [`ids`], [`clock`], [`config`], [`telemetry`], [`turns`].

pub mod accounts;
pub mod app;
pub mod assignments;
pub mod auth;
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
