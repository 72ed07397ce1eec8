//! Integration tests: the real server on a free port, with real Postgres. All tests are one binary and share one
//! Postgres server; each test gets its own database.

#![expect(clippy::expect_used, reason = "a test that lacks something it needs fails")]

mod auth;
mod budgets;
mod claims;
mod completions;
mod conformance;
mod contract;
mod database_tls;
mod demo;
mod direct;
mod documents;
mod embedded;
mod every_route;
mod face;
mod faults;
mod folding;
mod follows;
mod foods;
mod gyms;
mod hardening;
mod harness;
mod headers;
mod housekeeping;
mod keys;
mod limits;
mod live;
mod load;
mod members;
mod migrations;
mod nodes;
mod panics;
mod partitions;
mod plans;
mod privileges;
mod protobuf;
mod recovery;
mod screens;
mod sdk;
mod shape;
mod wall;
mod watching;
mod websocket;
