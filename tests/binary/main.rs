//! The built binary as a user runs it: started as a process, on a real disk, over real sockets. Each module says what it protects.
//!
//! One test binary for all of them: linking is most of what a test binary costs.

#[path = "../common/mod.rs"]
mod common;

mod app_client;
mod auth;
mod bad_input;
mod bench_command;
mod cluster;
mod commands;
mod container;
mod controller;
mod crash;
mod doctor;
mod golden;
mod image;
mod metrics;
mod overload;
mod path;
mod portable;
mod power;
mod probe;
mod proxies;
mod push;
mod readme;
mod registration;
mod replication;
mod rocketmq_names;
mod start;
mod store_tools;
mod tls;
mod tls_controller;
mod tls_enemies;
mod users_of_a_group;
