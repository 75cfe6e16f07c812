//! The ConsumeQueues: their entries in memory, in the journal and in files, and what is saved of them.

pub(in crate::store) mod cadence;
pub(in crate::store) mod checkpoint;
mod entries;
pub(in crate::store) mod entry;
pub(in crate::store) mod evict;
pub(in crate::store) mod files;
pub(in crate::store) mod journal;
mod ledger;
pub(in crate::store) mod memory;
pub(in crate::store) mod repair;
pub(in crate::store) mod saver;
pub(in crate::store) mod search;
