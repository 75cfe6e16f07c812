//! What a broker asks its controllers, and what they answer.

use std::net::SocketAddr;

use super::identity::Claim;
use crate::replication::members::{MemberId, SyncStateSet};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// 1005: the leader of the controllers. Any of them answers; all else is asked of the leader.
    Leader,
    /// 1010: whether it knows that a broker may have lost acknowledged messages or cannot read some, as ringmq's controller does.
    KnowsLoss,
    /// 1012
    NextId,
    /// 1013
    Apply(Claim),
    /// 1003
    Register(MemberId),
    /// 1002
    Elect(MemberId),
    /// 1004: the master, and which brokers are in the set.
    Decision,
    /// 1001, of the master of this epoch.
    Alter {
        master: MemberId,
        master_epoch: i32,
        set: SyncStateSet,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Leader {
        /// The one that answers.
        is_leader: bool,
        /// As it says.
        leader: Option<SocketAddr>,
    },
    KnowsLoss(bool),
    NextId(MemberId),
    Applied,
    /// `None`: no master is alive.
    Registered(Option<Decision>),
    Elected(Decision),
    Decision(Decision),
    Altered(SyncStateSet),
}

/// What a controller has decided about a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub master: Option<Master>,
    /// Rises with each change of the master, to none as well.
    pub epoch: i32,
    pub set: SyncStateSet,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Master {
    pub id: MemberId,
    /// For requests.
    pub addr: SocketAddr,
}

/// Why there is no answer, or not the one that was hoped for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It is not known whether the controller has done what it was asked for.
    #[error("no answer: {0}")]
    NoAnswer(String),
    #[error("{1}")]
    Refused(Refusal, String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 2007
    NotLeader,
    /// 2008: no broker of this name is registered.
    UnknownGroup,
    /// 2010
    NotRegistered,
    /// 2014
    IdTaken,
    /// 2000, 2002: the broker is not the master, or not of this epoch.
    OtherMaster,
    /// 2001: the set has changed.
    OtherSet,
    /// 2003, 2006, 2013: a member is not registered or not alive, or it is the present set.
    Members,
    /// Such as a group of controllers that did not agree in time. It may still come about.
    Other,
}
