//! What is different where a controller decides about the roles.

use std::cell::RefMut;

use super::state::Replication;
use crate::broker::Refusal;
use crate::broker::store_view::EpochsView;
use crate::io::Io;
use crate::reactor::controlled::steering::SendGate;
use crate::replication::epochs::Epoch;
use crate::replication::replicas::{Replicas, Rule};
use crate::wire::codes::response;

impl<I: Io> Replication<I> {
    pub fn last_epoch(&self) -> Option<Epoch> {
        self.epochs.borrow().last()
    }

    pub fn replicas(&self) -> RefMut<'_, Replicas> {
        self.replicas.borrow_mut()
    }

    /// Up to where the log was acknowledged, if it ended before that when the term began.
    pub fn lost_up_to(&self) -> Option<u64> {
        self.lost_up_to
    }

    pub fn set_gate(&self, gate: SendGate) {
        self.gate.set(gate);
    }

    /// Why a send is not taken, if so. `waits`: it waits for replicas.
    pub fn refuses_send(&self, waits: bool) -> Option<Refusal> {
        match self.gate.get() {
            // As RocketMQ: a message with `WAIT=false` is taken.
            SendGate::TooFewInSync if waits => {
                let remark = "in-sync replicas not enough";
                Some(Refusal::new(response::SYSTEM_ERROR, remark))
            }
            SendGate::CutOff => {
                let remark = "no controller answers, nor does a broker of the in-sync set: there may be another master";
                Some(Refusal::new(response::SERVICE_NOT_AVAILABLE, remark))
            }
            SendGate::Open | SendGate::TooFewInSync => None,
        }
    }

    /// Whether what replicas lack is visible to no client, whatever was answered to its sender: an elected broker may not have it.
    pub(super) fn waits_for_all_members(&self) -> bool {
        matches!(self.replicas.borrow().rule(), Rule::Members(_))
    }

    /// Whether consumers may read from this slave. Under a controller not before its log was compared with the master's: what is acknowledged is not
    /// known from the log alone.
    pub fn serves_reads(&self) -> bool {
        self.setup.slave_reads
            && (self.setup.controller.is_none() || self.slave_state().is_compared())
    }

    pub fn epochs_view(&self, log_end: u64) -> Option<EpochsView> {
        self.setup.controller.as_ref()?;
        let epochs = self.epochs.borrow();
        let reigns = epochs.reigns(log_end);
        Some(EpochsView {
            broker_id: self.setup.broker_id,
            epochs: reigns
                .map(|reign| (reign.epoch.number, reign.epoch.start, reign.end))
                .collect(),
        })
    }
}
