//! The SyncStateSet of a master: the replicas without whose acknowledgement nothing is acknowledged, and one of which becomes the
//! next master.
//!
//! The controller decides about the set; the master asks it for changes. While a change is on its way it is not known which of the two sets
//! the controller has, so the members of *both* count (RocketMQ's #5663; its 5.5.0 removes a lost replica from its own set first,
//! which loses acknowledged messages when that replica is elected).

use std::collections::BTreeSet;

/// The controller's number of a broker in its group. Never used for another one.
pub type MemberId = i64;

/// A set, and its version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyncStateSet {
    pub members: BTreeSet<MemberId>,
    pub epoch: i32,
}

/// What a master knows of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    own_id: MemberId,
    /// As the controller said last.
    confirmed: SyncStateSet,
    /// What it was asked for, and has neither granted nor refused for certain.
    asked: Option<BTreeSet<MemberId>>,
    /// With fewer members nothing is acknowledged (`minInSyncReplicas`).
    least: usize,
}

impl Membership {
    /// Of a broker that has become master with this set.
    pub fn new(own_id: MemberId, set: SyncStateSet) -> Self {
        Self {
            own_id,
            confirmed: set,
            asked: None,
            least: 1,
        }
    }

    /// With fewer members than `least` nothing is acknowledged.
    pub fn with_least(self, least: usize) -> Self {
        Self { least, ..self }
    }

    pub fn are_enough(&self) -> bool {
        self.replicas() >= self.least
    }

    pub fn confirmed(&self) -> &SyncStateSet {
        &self.confirmed
    }

    pub fn is_asking(&self) -> bool {
        self.asked.is_some()
    }

    /// What it was asked for, to ask once more: the answer was lost.
    pub fn pending(&self) -> Option<SyncStateSet> {
        let members = self.asked.clone()?;
        Some(SyncStateSet {
            members,
            epoch: self.confirmed.epoch,
        })
    }

    pub fn has(&self, id: MemberId) -> bool {
        self.confirmed.members.contains(&id)
    }

    pub fn own_id(&self) -> MemberId {
        self.own_id
    }

    /// Whose acknowledgements are needed, besides the master's own.
    pub fn needed(&self) -> impl Iterator<Item = MemberId> {
        let asked = self.asked.iter().flatten();
        let mut all: BTreeSet<_> = self
            .confirmed
            .members
            .iter()
            .chain(asked)
            .copied()
            .collect();
        if let Some(asked) = self.asked.as_ref().filter(|_| mutant!(SetShrinksAtOnce)) {
            all.clone_from(asked);
        }
        all.into_iter().filter(|id| *id != self.own_id)
    }

    /// How many replicas the smaller of the sets has, this one included: with fewer than `minInSyncReplicas` nothing is taken.
    pub fn replicas(&self) -> usize {
        let asked = self.asked.as_ref().map_or(usize::MAX, BTreeSet::len);
        self.confirmed.members.len().min(asked)
    }

    /// The set to ask for, so that `joins` are in it and `leave` are not. None: nothing changes, or an earlier question is open.
    pub fn ask(
        &mut self,
        joins: impl IntoIterator<Item = MemberId>,
        leave: impl IntoIterator<Item = MemberId>,
    ) -> Option<SyncStateSet> {
        if self.asked.is_some() {
            return None;
        }
        let mut wanted = self.confirmed.members.clone();
        for id in leave {
            wanted.remove(&id);
        }
        wanted.extend(joins);
        wanted.insert(self.own_id);
        if wanted == self.confirmed.members {
            return None;
        }
        self.asked = Some(wanted.clone());
        Some(SyncStateSet {
            members: wanted,
            epoch: self.confirmed.epoch,
        })
    }

    /// The controller said what the set is: as the answer, or when it was asked for it. A set of the present epoch is the present one, and no
    /// answer: the change may be on its way to the controller.
    pub fn learned(&mut self, set: SyncStateSet) {
        if set.epoch > self.confirmed.epoch {
            self.confirmed = set;
            self.asked = None;
        }
    }

    /// It refused the change, and so the set is what it was. Only of a change that was sent once, or can no longer be granted: one that is sent again
    /// may be granted by its first copy.
    pub fn refused(&mut self) {
        self.asked = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(members: impl IntoIterator<Item = MemberId>, epoch: i32) -> SyncStateSet {
        SyncStateSet {
            members: members.into_iter().collect(),
            epoch,
        }
    }

    fn needed(membership: &Membership) -> Vec<MemberId> {
        membership.needed().collect()
    }

    #[test]
    fn both_sets_count_until_the_controller_has_answered() {
        let mut members = Membership::new(1, set([1, 2], 7));
        let asked = members.ask([3], [2]).unwrap();
        assert_eq!(asked, set([1, 3], 7));
        assert_eq!(needed(&members), [2, 3]);
        assert_eq!(members.ask([4], []), None, "one question at a time");
        members.learned(set([1, 3], 8));
        assert_eq!(needed(&members), [3]);
    }

    #[test]
    fn a_refused_change_leaves_the_set() {
        let mut members = Membership::new(1, set([1, 2], 7));
        members.ask([], [2]).unwrap();
        assert_eq!((needed(&members), members.replicas()), (vec![2], 1));
        members.refused();
        assert_eq!((needed(&members), members.replicas()), (vec![2], 2));
    }

    #[test]
    fn an_old_answer_changes_nothing() {
        let mut members = Membership::new(1, set([1, 2], 7));
        members.learned(set([1], 6));
        assert_eq!(needed(&members), [2]);
    }

    #[test]
    fn the_present_set_is_no_answer() {
        let mut members = Membership::new(1, set([1, 2], 7));
        members.ask([3], [2]).unwrap();
        members.learned(set([1, 2], 7));
        assert_eq!(needed(&members), [2, 3], "the change may come about");
        assert_eq!(members.pending(), Some(set([1, 3], 7)));
        members.learned(set([1, 3], 8));
        assert_eq!((needed(&members), members.pending()), (vec![3], None));
    }

    #[test]
    fn the_master_never_leaves() {
        let mut members = Membership::new(1, set([1, 2], 7));
        assert_eq!(members.ask([], [1, 2]).unwrap(), set([1], 7));
        members.refused();
        assert_eq!(members.ask([2], []), None, "no change");
    }
}
