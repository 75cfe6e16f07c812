//! Why messages are not taken, or not acknowledged in time: what the remarks of answers call each cause, and `ringmq doctor` too.

use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// No write has completed for a while.
    DeviceStalled,
    /// Writes complete, later than they are wanted.
    DeviceSlow,
    /// A write or a flush has failed.
    Fenced,
    NoSpace,
    ReplicasAway,
    ReplicasBehind,
}

impl Cause {
    pub const fn words(self) -> &'static str {
        match self {
            Self::DeviceStalled => "the device completes no write",
            Self::DeviceSlow => "the device is slow",
            Self::Fenced => "the store is fenced",
            Self::NoSpace => "no space for messages",
            Self::ReplicasAway => "replicas are away",
            Self::ReplicasBehind => "replicas are behind",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}
