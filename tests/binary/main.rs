//! The built binary as a user runs it: started as a process, on a real disk, over real sockets. Each module says what it protects.
//!
//! One test binary for all of them: linking is most of what a test binary costs.

#[path = "../common/mod.rs"]
mod common;

mod app_client;
mod bad_input;
mod bench_command;
mod cluster;
mod commands;
mod controller;
mod crash;
mod golden;
mod metrics;
mod overload;
mod path;
mod portable;
mod power;
mod probe;
mod readme;
mod registration;
mod replication;
mod rocketmq_names;
mod start;
mod store_tools;
