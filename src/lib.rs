//! ringmq: a message broker that speaks Apache RocketMQ's protocol and keeps RocketMQ's store, on io_uring, one pinned
//! reactor per core.
//!
//! # One message's journey
//!
//! ```text
//! socket -> ring (multishot receive) -> reactor::inbox -> wire (frame, header, fields) -> broker (may it? where to?)
//!        -> store (encoded once, into the log buffer) -> group commit (one O_DIRECT write) -> device
//!        -> store (queue entry) -> reactor (acknowledgement, waiting pulls) -> ring (one send per connection) -> socket
//! ```
//!
//! Everything between the two sockets happens on one thread; where io_uring is not allowed, `portable` takes the place of `ring` and passes each group commit to
//! another thread. Arrows between the rooms point one way (`tests/tidy.rs` holds
//! the table); `ARCHITECTURE.md` gives the reasons and the figures.
//!
//! # What this crate never does
//!
//! * Acknowledge a message before it is as durable as the flush mode promises, or show it to a consumer before that.
//! * Take a lock, touch an atomic or hop between cores on a message's path.
//! * Repeat a log write that has failed: the shard is fenced instead, and goes on reading.
//! * Trust a byte from the network or the disk: each is checked, and costs at most its own connection or segment.
//! * Read a clock, a socket or a file below `reactor/`, except through the trait `io::Io`: the simulator runs the same code.

#[macro_use]
#[doc(hidden)]
pub mod mutants;

pub mod auth;
pub mod bench;
pub mod broker;
pub mod cli;
pub mod client;
pub mod config;
pub mod controller;
pub mod io;
pub mod manual;
pub mod mem;
pub mod message;
pub mod metrics;
pub mod namesrv;
pub mod parted;
pub mod portable;
pub mod quorum;
pub mod reactor;
pub mod replication;
pub mod ring;
pub mod sim;
pub mod store;
pub mod tls;
pub mod wire;
