//! A connection between a master and a replica: its protocol, and why it ends.

use std::io;

use crate::replication::frames::FrameError;
use crate::replication::replicas::ReportError;
use crate::store::ReadError;

/// RocketMQ's two protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Classic,
    Epochs,
}

/// Why a replica is disconnected.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error(transparent)]
    Connection(#[from] io::Error),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Report(#[from] ReportError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(
        "it wants the log from {wanted}, and the log is {min}..{end}: empty the store of that slave to copy this one"
    )]
    OutOfLog { wanted: u64, min: u64, end: u64 },
    #[error("no epoch has position {0}")]
    NoEpoch(u64),
}
