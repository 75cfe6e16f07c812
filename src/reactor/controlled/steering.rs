//! What the manager of a shard and the shard's present term share. It outlives the terms.

use std::cell::{Cell, RefCell, RefMut};
use std::net::SocketAddr;
use std::rc::{Rc, Weak};

use crate::io::Notify;
use crate::replication::manager::Facts;
use crate::replication::manager::ask::Decision;
use crate::replication::replicas::Replicas;

/// Why a master takes no message, if so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::reactor) enum SendGate {
    #[default]
    Open,
    /// The set has fewer members than `minInSyncReplicas`.
    TooFewInSync,
    /// No controller answers, nor does a member of the set: there may be another master.
    CutOff,
}

/// A term, as the manager sees it.
pub(in crate::reactor) trait TermView {
    fn facts(&self) -> Facts;

    /// Up to here the log is on the device.
    fn persisted(&self) -> u64;

    /// Up to where the log was acknowledged, if it ended before that when the term began.
    fn lost_up_to(&self) -> Option<u64>;

    /// Of a master: the epoch of its mandate, and its replicas.
    fn replicas(&self) -> Option<(i32, RefMut<'_, Replicas>)>;

    /// The set may have changed: what is committed is judged anew.
    fn judge(&self);

    fn set_gate(&self, gate: SendGate);
}

#[derive(Default)]
pub(in crate::reactor) struct Steering {
    /// The term has the steering, so this must not keep it: a term that is dropped before its end would never be freed.
    term: RefCell<Option<Weak<dyn TermView>>>,
    notice: RefCell<Option<Decision>>,
    /// A notice that nobody has signed.
    is_unproven: Cell<bool>,
    /// Other controllers, from now on.
    controllers: RefCell<Option<Vec<SocketAddr>>>,
    pub(super) wake: Notify,
}

impl Steering {
    pub fn term_began(&self, term: &Rc<dyn TermView>) {
        self.term.replace(Some(Rc::downgrade(term)));
        self.wake.notify();
    }

    pub fn term_ended(&self) {
        self.term.take();
    }

    pub(super) fn term(&self) -> Option<Rc<dyn TermView>> {
        self.term.borrow().as_ref()?.upgrade()
    }

    /// The controller has sent its decision. Of several the newest counts.
    pub fn notified(&self, decision: Decision) {
        let mut notice = self.notice.borrow_mut();
        if notice
            .as_ref()
            .is_none_or(|before| before.epoch <= decision.epoch)
        {
            *notice = Some(decision);
        }
        self.wake.notify();
    }

    /// Somebody says that the controller has decided.
    pub fn notified_without_proof(&self) {
        self.is_unproven.set(true);
        self.wake.notify();
    }

    /// An administrator has named other controllers.
    pub fn use_controllers(&self, addrs: Vec<SocketAddr>) {
        self.controllers.replace(Some(addrs));
        self.wake.notify();
    }

    pub(super) fn take_controllers(&self) -> Option<Vec<SocketAddr>> {
        self.controllers.take()
    }

    pub(super) fn take_unproven(&self) -> bool {
        self.is_unproven.take()
    }

    pub(super) fn take_notice(&self) -> Option<Decision> {
        self.notice.take()
    }
}
