//! The `quipu` binary, run as users run it: what it prints, how it ends, what it leaves.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::format_collect,
    reason = "a test that cannot go on panics, one that cannot run says so, and speed is no matter"
)]

mod support;

mod access;
mod append;
mod backup;
mod bad_input;
mod bench;
mod browser;
mod contract;
mod damage;
mod disk_full;
mod export;
mod first_steps;
mod group;
mod help;
mod history;
mod import;
mod limits;
mod names;
mod output;
mod postgres;
mod process_map;
mod projections;
mod read;
mod real_logs;
mod relay;
mod remote;
mod sample;
mod schemas;
mod serve;
mod stats;
mod stream;
mod tail;
