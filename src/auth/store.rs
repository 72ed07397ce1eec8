//! Sessions in the database.
