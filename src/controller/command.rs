//! What the controllers agree on, one entry of their log each, and what came of it.
//!
//! A command has all that its outcome depends on, next to the agreed state itself: which brokers are alive is known to the leader only, so the leader
//! writes it into the command. Every controller that applies the same commands in the same order has the same state.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::group::Group;
use crate::wire::codes::response;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Nothing: once it is applied, the leader that proposed it has applied all that was agreed on before.
    Begin,
    /// 1013: gives an id to a broker.
    ApplyId {
        cluster: String,
        name: String,
        id: i64,
        check_code: String,
        address: String,
    },
    /// 1003: a registered broker has another address.
    SetAddress {
        name: String,
        id: i64,
        address: String,
    },
    /// 1001: the master asks for another SyncStateSet.
    AlterSet {
        name: String,
        master: i64,
        master_epoch: i32,
        set_epoch: i32,
        set: BTreeSet<i64>,
        /// Which of `set` are alive.
        live: BTreeSet<i64>,
    },
    /// 1002, or the leader itself because the master is gone.
    Elect {
        name: String,
        asked: AskedBy,
        /// Brokers that may be elected, the best first.
        candidates: Vec<i64>,
        /// Whether a broker outside the set may be elected if there is none inside.
        unclean: bool,
    },
    /// 1011: removes brokers; without ids, all of the group.
    Clean {
        name: String,
        ids: Option<BTreeSet<i64>>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AskedBy {
    /// The controller itself, of the master of this epoch. Once there is another epoch it is out of date.
    Controller {
        master_epoch: i32,
    },
    /// The choice is the controller's.
    Anyone,
    Broker(i64),
    /// An operator: this one or none.
    Operator(i64),
}

/// What came of a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    pub code: i32,
    pub remark: Option<String>,
    /// The group afterwards, if there is one.
    pub group: Option<Group>,
    /// The master is another one than before, or has a new epoch.
    pub is_elected: bool,
}

impl Applied {
    pub(super) fn ok(group: Option<&Group>) -> Self {
        Self {
            code: response::SUCCESS,
            remark: None,
            group: group.cloned(),
            is_elected: false,
        }
    }

    pub(super) fn refused(code: i32, remark: impl Into<String>, group: Option<&Group>) -> Self {
        Self {
            code,
            remark: Some(remark.into()),
            group: group.cloned(),
            is_elected: false,
        }
    }

    pub fn is_ok(&self) -> bool {
        self.code == response::SUCCESS
    }
}
