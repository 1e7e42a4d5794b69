//! The program as a user runs it: exit codes, what it prints, signals.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

mod apps;
mod auth;
mod chat;
mod clients;
mod configuration;
mod log;
mod moving_in;
mod process;
mod webhooks;
