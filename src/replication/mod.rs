//! The rules of replication: what a replica has, what it must cut off, and what counts as acknowledged. No socket, no time, no file.
//!
//! ```text
//! master   log ───────────── frames ─────────────► log   slave
//!           ▲                                       │
//!           └───────────── reports ◄────────────────┘
//!       replicas: how far each one has the log  ->  confirm offset: what is acknowledged, and therefore visible
//! ```
//! | File | Rule |
//! |---|---|
//! | `epochs.rs` | which master wrote which part of the log; up to where two logs are the same |
//! | `members.rs` | the SyncStateSet: which brokers belong to it, and which have to leave |
//! | `replicas.rs` | how far each replica has the log; the confirm offset |
//! | `follow.rs` | where a slave goes on, and what it cuts first |
//! | `manager/` | a broker under a controller: its number, its role, the changes of the set |
//! | `frames/` | the bytes of both protocols: with epochs ("AutoSwitch") and without ("classic") |
//!
//! RocketMQ has two replication protocols on the same port. The one with epochs finds out where two logs part and cuts what only one of
//! them has. The classic one appends to whatever the slave has.

pub mod answers;
pub mod epochs;
pub mod follow;
pub mod frames;
pub mod manager;
pub mod members;
pub mod rate;
pub mod repair;
pub mod replicas;
