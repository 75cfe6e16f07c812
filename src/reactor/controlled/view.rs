//! A term of a shard, as its manager sees it.

use std::cell::RefMut;

use super::steering::{SendGate, TermView};
use crate::io::Io;
use crate::reactor::core::Core;
use crate::replication::manager::Facts;
use crate::replication::replicas::Replicas;

impl<I: Io> TermView for Core<I> {
    fn facts(&self) -> Facts {
        let replication = self.replication.as_ref();
        Facts {
            log_end: self.store.tail(),
            committed: self.store.committed(),
            last_epoch: replication.and_then(|replication| replication.last_epoch()),
            is_fenced: self.store.fence().is_some(),
            lacks_acknowledged: false,
            has_holes: self.store.has_holes(),
            is_end_in_doubt: self.store.is_end_in_doubt(),
        }
    }

    fn persisted(&self) -> u64 {
        self.store.persisted()
    }

    fn lost_up_to(&self) -> Option<u64> {
        let replication = self.replication.as_ref();
        replication.and_then(|replication| replication.lost_up_to())
    }

    fn replicas(&self) -> Option<(i32, RefMut<'_, Replicas>)> {
        let mandate = self.term.mandate.as_ref()?;
        let replication = self.replication.as_ref()?;
        // One that ends closes the connections of its replicas: they are no reason to change the set.
        let is_master = !self.store.follows() && !self.is_stopping();
        is_master.then(|| (mandate.epoch, replication.replicas()))
    }

    fn judge(&self) {
        if let Some(replication) = &self.replication
            && !self.store.follows()
        {
            self.confirm(replication.replicas().confirm());
        }
    }

    fn set_gate(&self, gate: SendGate) {
        if let Some(replication) = &self.replication {
            replication.set_gate(gate);
        }
    }
}
