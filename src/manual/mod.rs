//! The manual: what is promised, what is compatible, how it is operated, what was measured, and what was tried and rejected.
//!
//! `ARCHITECTURE.md` explains how the broker works; these pages are for looking things up.

#[doc = include_str!("compatibility.md")]
pub mod compatibility {}
#[doc = include_str!("durability.md")]
pub mod durability {}
#[doc = include_str!("measurements.md")]
pub mod measurements {}
#[doc = include_str!("metrics.md")]
pub mod metrics {}
#[doc = include_str!("moving.md")]
pub mod moving {}
#[doc = include_str!("operations.md")]
pub mod operations {}
#[doc = include_str!("rejected.md")]
pub mod rejected {}
#[doc = include_str!("replication.md")]
pub mod replication {}
#[doc = include_str!("security.md")]
pub mod security {}
#[doc = include_str!("threats.md")]
pub mod threats {}
