//! Real clients and the real RocketMQ, unmodified, with the built binary (`tests/clients/README.md`).
//!
//! `cargo test --test clients`. Not part of `cargo test`: it needs a JDK (17 or newer), Maven and Go.

#[path = "../common/mod.rs"]
mod common;

mod auth;
mod controller;
mod encrypted;
mod moves;
mod mqadmin;
mod readme;
mod replication;
mod suites;
