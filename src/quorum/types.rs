//! What the Raft engine (openraft) is used with.

use std::io::Cursor;

use crate::controller::{Applied, Command};

openraft::declare_raft_types!(
    /// Commands as entries, their outcomes as responses (none of an entry of the engine's own), controllers by number.
    pub Types:
        D = Command,
        R = Option<Applied>,
        NodeId = u64,
        Node = (),
        SnapshotData = Cursor<Vec<u8>>,
);

pub type Raft = openraft::Raft<Types>;
pub type Entry = openraft::Entry<Types>;
pub type LogId = openraft::LogId<u64>;
pub type Vote = openraft::Vote<u64>;
pub type Membership = openraft::StoredMembership<u64, ()>;
pub type SnapshotMeta = openraft::SnapshotMeta<u64, ()>;
pub type StorageError = openraft::StorageError<u64>;
