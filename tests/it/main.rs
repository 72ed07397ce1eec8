//! Integration tests: the real server on a free port, with a real Postgres of its own. One binary, so that one cluster
//! serves all; each test gets its own database.

mod embedded;
mod harness;
mod live;
