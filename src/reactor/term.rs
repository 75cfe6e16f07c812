//! The terms of a shard: what it is in its group, from one change to the next.
//!
//! A shard that becomes master or slave, or has to cut its log, ends all that it does and begins anew, without the end of its process:
//! connections are closed, tasks are dropped, the store is closed and opened again. So nothing of one role is left in the other.
//!
//! ```text
//! first term ──ask──► end: refuse, answer, close, save ──► next term: recover, cut, listen, register ──ask──► ...
//! ```

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::ShardSetup;
use super::controlled::steering::Steering;
use super::replication::setup::{MasterAddr, Role};
use crate::io::Notify;
use crate::replication::members::{MemberId, SyncStateSet};
use crate::store::Resume;

/// What came of a master's log and is no record is received again at once, and then so often: the master may be another one, or repaired.
const COPY_AGAIN_NS: u64 = 10_000_000_000;

/// What a shard is from its opening to the next change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    pub role: Role,
    /// 0 at a master.
    pub broker_id: i64,
    /// The master of a slave, for as long as the term is. `None`: as configured, or as a name server says.
    pub master: Option<MasterAddr>,
    /// `None`: no controller decides about the group.
    pub mandate: Option<Mandate>,
    /// How the log is opened.
    pub resume: Resume,
}

/// What a controller decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mandate {
    /// The master's number: the epoch of what it appends.
    pub epoch: i32,
    pub set: SyncStateSet,
    pub own_id: MemberId,
}

impl Term {
    /// As the configuration says.
    pub fn first(setup: &ShardSetup) -> Self {
        let replication = setup.replication.as_ref();
        Self {
            role: replication.map_or(Role::AsyncMaster, |replication| replication.role),
            broker_id: replication.map_or(0, |replication| replication.broker_id),
            master: None,
            mandate: None,
            resume: setup.store.resume,
        }
    }

    /// The setup of a shard in this term.
    pub(super) fn applied_to(&self, setup: &ShardSetup) -> ShardSetup {
        let mut setup = setup.clone();
        setup.store.resume = self.resume;
        if let Some(replication) = &mut setup.replication {
            setup.store.follows = self.role == Role::Slave;
            replication.role = self.role;
            replication.broker_id = self.broker_id;
            if let Some(master) = &self.master {
                replication.master = master.ha;
            }
        }
        setup
    }
}

/// What is asked for besides the present term. It outlives the terms.
#[derive(Default)]
pub struct Orders {
    /// The present term, once there is one.
    present: RefCell<Option<Term>>,
    wanted: RefCell<Option<Term>>,
    /// Terms.
    begun: Cell<u64>,
    bell: Notify,
    /// Up to here a master said that the group has the log, and this broker has it.
    confirmed: Cell<u64>,
    /// Something of the log was confirmed to this process, or by it.
    has_confirmed: Cell<bool>,
    /// A note on the disk says that nothing of the log was confirmed before.
    is_noted_unconfirmed: Cell<bool>,
    /// The last position at which the log was cut for what it had received there, and when.
    cut_for_trouble: Cell<Option<(u64, u64)>>,
    /// From here on the log of the present term is no record.
    wrong_from: Cell<Option<u64>>,
    steering: Rc<Steering>,
}

impl Orders {
    /// What the terms share with the manager of a controller's decisions.
    pub(super) fn steering(&self) -> &Rc<Steering> {
        &self.steering
    }

    /// Asks for a term: the newest order counts. One that changes nothing takes back an earlier one.
    pub fn ask_for_term(&self, term: Term) {
        let changes = {
            let present = self.present.borrow();
            let is_present = present.as_ref().is_some_and(|present| {
                let resume = Resume::AsIs;
                term == Term {
                    resume,
                    ..present.clone()
                }
            });
            !is_present
        };
        self.wanted.replace(changes.then_some(term));
        self.bell.notify();
    }

    /// Asks for the present term anew, on another log. An order for another term, which counts more, stays.
    pub fn ask_to_resume(&self, resume: Resume) {
        let present = self.present.borrow().clone();
        if let Some(present) = present.filter(|_| !self.is_asked()) {
            self.wanted.replace(Some(Term { resume, ..present }));
            self.bell.notify();
        }
    }

    /// Whether the present term is about to end.
    pub fn is_asked(&self) -> bool {
        self.wanted.borrow().is_some()
    }

    /// Whether the next term begins with another log than the present one has.
    pub(super) fn changes_log(&self) -> bool {
        let wanted = self.wanted.borrow();
        let is_cut = self.wrong_from.get().is_some();
        wanted
            .as_ref()
            .is_some_and(|term| is_cut || term.resume != Resume::AsIs)
    }

    /// What the present term has received from here on is no record: whatever term is next, it begins without that.
    pub(super) fn is_wrong_from(&self, position: u64) {
        self.wrong_from.set(Some(position));
    }

    /// What this broker has of the log up to here is in the group for good.
    pub(super) fn confirm(&self, position: u64) {
        self.confirmed.set(self.confirmed.get().max(position));
        self.note_confirmed(position);
    }

    /// The group has a log up to here.
    pub(super) fn note_confirmed(&self, position: u64) {
        self.has_confirmed
            .set(self.has_confirmed.get() || position > 0);
    }

    pub(super) fn has_confirmed(&self) -> bool {
        self.has_confirmed.get()
    }

    pub(super) fn noted_unconfirmed(&self, is_noted: bool) {
        self.is_noted_unconfirmed.set(is_noted);
    }

    pub(super) fn is_noted_unconfirmed(&self) -> bool {
        self.is_noted_unconfirmed.get()
    }

    /// Whether it is known that nothing of the log was ever confirmed.
    pub(super) fn was_never_confirmed(&self) -> bool {
        self.is_noted_unconfirmed() && !self.has_confirmed()
    }

    pub(super) fn confirmed(&self) -> u64 {
        self.confirmed.get()
    }

    /// Whether another copy of what stands at `position` may help: none was taken in the last time.
    pub(super) fn may_copy_again(&self, position: u64, now_ns: u64) -> bool {
        let last = self.cut_for_trouble.get();
        let is_early = last.is_some_and(|(cut, cut_ns)| {
            cut == position && now_ns.saturating_sub(cut_ns) < COPY_AGAIN_NS
        });
        if !is_early {
            self.cut_for_trouble.set(Some((position, now_ns)));
        }
        !is_early
    }

    /// The term that was asked for, or else `first`. It is the present one from now on.
    pub(super) fn begin(&self, first: impl FnOnce() -> Term) -> Term {
        let mut term = self.wanted.take().unwrap_or_else(first);
        if let Some(position) = self.wrong_from.take()
            && term.resume == Resume::AsIs
        {
            term.resume = Resume::CutAt(position);
        }
        self.begun.set(self.begun.get() + 1);
        self.present.replace(Some(term.clone()));
        term
    }

    pub(super) fn is_first_term(&self) -> bool {
        self.begun.get() == 1
    }

    /// Done when another term is asked for.
    pub(super) async fn asked(&self) {
        while !self.is_asked() {
            self.bell.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn term(broker_id: i64, resume: Resume) -> Term {
        Term {
            role: Role::Slave,
            broker_id,
            master: None,
            mandate: None,
            resume,
        }
    }

    fn orders(present: Term) -> Orders {
        let orders = Orders::default();
        orders.begin(|| present);
        orders
    }

    fn next(orders: &Orders) -> Option<Term> {
        orders.is_asked().then(|| orders.begin(|| unreachable!()))
    }

    #[test]
    fn the_newest_order_counts() {
        let orders = orders(term(1, Resume::AsIs));
        orders.ask_for_term(term(2, Resume::AsIs));
        orders.ask_for_term(term(3, Resume::AsIs));
        assert_eq!(next(&orders), Some(term(3, Resume::AsIs)));
        assert_eq!(next(&orders), None);
        orders.ask_for_term(term(4, Resume::AsIs));
        orders.ask_for_term(term(3, Resume::AsIs));
        assert_eq!(next(&orders), None, "back to what it is");
    }

    #[test]
    fn the_present_term_is_no_change_unless_the_log_is_taken_up_otherwise() {
        let orders = orders(term(1, Resume::CutAt(7)));
        orders.ask_for_term(term(1, Resume::AsIs));
        assert_eq!(next(&orders), None);
        orders.ask_for_term(term(1, Resume::CutAt(7)));
        assert_eq!(next(&orders), Some(term(1, Resume::CutAt(7))));
        orders.ask_to_resume(Resume::CutAt(7));
        assert_eq!(next(&orders), Some(term(1, Resume::CutAt(7))));
    }

    #[test]
    fn whatever_follows_begins_without_what_is_no_record() {
        let orders = orders(term(1, Resume::AsIs));
        orders.is_wrong_from(7);
        orders.ask_for_term(term(2, Resume::AsIs));
        assert!(orders.changes_log());
        assert_eq!(next(&orders), Some(term(2, Resume::CutAt(7))));
        orders.ask_for_term(term(3, Resume::AsIs));
        assert!(!orders.changes_log());
        assert_eq!(next(&orders), Some(term(3, Resume::AsIs)));
    }

    #[test]
    fn what_is_no_record_is_copied_again_at_once_and_then_after_a_while() {
        let orders = orders(term(1, Resume::AsIs));
        let may = |position, s: u64| orders.may_copy_again(position, s * 1_000_000_000);
        assert!(may(7, 1) && !may(7, 2) && !may(7, 10));
        assert!(may(7, 11) && !may(7, 20));
        assert!(may(9, 20), "another place");
    }

    #[test]
    fn a_cut_does_not_take_back_a_change_of_the_role() {
        let orders = orders(term(1, Resume::AsIs));
        orders.ask_for_term(term(2, Resume::AsIs));
        orders.ask_to_resume(Resume::CutAt(7));
        assert_eq!(next(&orders), Some(term(2, Resume::AsIs)));
    }
}
