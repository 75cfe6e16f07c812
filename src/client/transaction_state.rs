//! How a transaction of the application ended.

use std::sync::Arc;

use super::received::Received;
use crate::wire::transaction::{
    TRANSACTION_COMMIT_TYPE, TRANSACTION_NOT_TYPE, TRANSACTION_ROLLBACK_TYPE,
};

/// How the application's transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionState {
    /// Consumers get the message.
    Commit,
    /// No consumer ever gets it.
    Rollback,
    /// Not known yet: the broker checks again later.
    Unknown,
}

impl TransactionState {
    pub(super) fn commit_or_rollback(self) -> i32 {
        match self {
            Self::Commit => TRANSACTION_COMMIT_TYPE,
            Self::Rollback => TRANSACTION_ROLLBACK_TYPE,
            Self::Unknown => TRANSACTION_NOT_TYPE,
        }
    }
}

/// Returns the state of a half message's transaction, on one of the client's threads for the application's code.
pub(super) type Checker = Arc<dyn Fn(&Received) -> TransactionState + Send + Sync>;
