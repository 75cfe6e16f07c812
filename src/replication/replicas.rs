//! How far each replica has the log, and what is acknowledged because of that.
//!
//! A report of a replica means its own finished write: in sync mode that the bytes are on its device for good. The *confirm offset* is the end
//! of what enough replicas have, the master's own write included. Nothing behind it is acknowledged or visible.

use std::collections::BTreeMap;

use super::members::{MemberId, Membership};

/// Number of a replica's connection.
pub type Link = u64;

/// Whose reports are needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// So many replicas in all, the master included (`inSyncReplicas` without a controller).
    Count(usize),
    /// Every member of the SyncStateSet (`allAckInSyncStateSet`).
    Members(Membership),
    /// With a controller and without `allAckInSyncStateSet`: so many replicas in all, whether members or not. **Not safe**: a member that is elected may
    /// lack what they have.
    Counted { members: Membership, count: usize },
}

/// One that is connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// With a controller: its number.
    pub id: Option<MemberId>,
    /// It gets the log and does not count.
    pub is_learner: bool,
    /// The end of what it has, once it has said so.
    pub has: Option<u64>,
    pub heard_ns: u64,
    /// When it last had all that the log had at that time.
    pub caught_up_ns: u64,
    /// The log's end when its last report came.
    end_at_report: u64,
}

impl Replica {
    fn counts(&self) -> bool {
        !self.is_learner || mutant!(LearnerCounts)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    #[error("it has the log up to {has}, and the log ends at {end}")]
    BeyondEnd { has: u64, end: u64 },
    #[error("it has the log up to {has}, and had it up to {before}")]
    Backwards { has: u64, before: u64 },
}

#[derive(Clone, Debug)]
pub struct Replicas {
    rule: Rule,
    links: BTreeMap<Link, Replica>,
    confirmed: u64,
}

impl Replicas {
    /// Of a log that is confirmed up to here.
    pub fn new(rule: Rule, confirmed: u64) -> Self {
        Self {
            rule,
            links: BTreeMap::new(),
            confirmed,
        }
    }

    pub fn rule(&self) -> &Rule {
        &self.rule
    }

    pub fn membership(&mut self) -> Option<&mut Membership> {
        match &mut self.rule {
            Rule::Members(members) | Rule::Counted { members, .. } => Some(members),
            Rule::Count(_) => None,
        }
    }

    pub fn members(&self) -> Option<&Membership> {
        match &self.rule {
            Rule::Members(members) | Rule::Counted { members, .. } => Some(members),
            Rule::Count(_) => None,
        }
    }

    pub fn all(&self) -> impl Iterator<Item = (Link, &Replica)> {
        self.links.iter().map(|(link, replica)| (*link, replica))
    }

    pub fn connected(&mut self, link: Link, id: Option<MemberId>, is_learner: bool, now_ns: u64) {
        // A replica that connects again does not count twice.
        if id.is_some() && !mutant!(ReplicaCountsTwice) {
            self.links.retain(|_, replica| replica.id != id);
        }
        let replica = Replica {
            id,
            is_learner,
            has: None,
            heard_ns: now_ns,
            caught_up_ns: now_ns,
            end_at_report: u64::MAX,
        };
        self.links.insert(link, replica);
    }

    pub fn disconnected(&mut self, link: Link) {
        if mutant!(LostReplicaCounts) {
            return;
        }
        self.links.remove(&link);
    }

    /// A report over a connection, when the log ends at `log_end`. An error: the replica's log is another one.
    pub fn reported(
        &mut self,
        link: Link,
        has: u64,
        log_end: u64,
        now_ns: u64,
    ) -> Result<(), ReportError> {
        let Some(replica) = self.links.get_mut(&link) else {
            return Ok(());
        };
        if has > log_end {
            return Err(ReportError::BeyondEnd { has, end: log_end });
        }
        if let Some(before) = replica.has.filter(|before| has < *before) {
            return Err(ReportError::Backwards { has, before });
        }
        if has >= replica.end_at_report.min(log_end) {
            replica.caught_up_ns = now_ns;
        }
        replica.has = Some(has);
        replica.heard_ns = now_ns;
        replica.end_at_report = log_end;
        Ok(())
    }

    /// What all the needed replicas have, the master's own log apart: the confirm offset is the smaller of the two. `u64::MAX`: none is
    /// needed at this time. Otherwise it never moves back, except by [`Replicas::take_back`].
    pub fn confirm(&mut self) -> u64 {
        let enough = match &self.rule {
            Rule::Count(count) | Rule::Counted { count, .. } => {
                self.had_by(count.saturating_sub(1))
            }
            Rule::Members(members) if !members.are_enough() => None,
            Rule::Members(members) => self.had_by_all(members.needed()),
        };
        // A master that is alone needs no replica, until another one joins: what it appends then is not confirmed yet.
        if enough == Some(u64::MAX) && !mutant!(AloneForever) {
            return u64::MAX;
        }
        self.confirmed = self.confirmed.max(enough.unwrap_or(0));
        self.confirmed
    }

    /// A replica is to be needed from now on that has the log up to `committed` at least. What others have behind that, and the master's own device has
    /// not, was neither acknowledged nor shown: it waits for the new one, too.
    pub fn take_back(&mut self, committed: u64) {
        if mutant!(JoinerNotAwaited) {
            return;
        }
        self.confirmed = self.confirmed.min(committed);
    }

    /// The log counts as confirmed up to `position`, however many replicas have it: the replies to the senders stated that replicas are missing.
    pub fn waive(&mut self, position: u64) {
        self.confirmed = self.confirmed.max(position);
    }

    /// Replicas that are not more than `gap_bytes` behind, the master included.
    pub fn in_sync(&self, log_end: u64, gap_bytes: u64) -> usize {
        let near = self.links.values().filter(|replica| {
            let has = replica.has.unwrap_or(0);
            replica.counts() && replica.has.is_some() && log_end.saturating_sub(has) <= gap_bytes
        });
        1 + near.count()
    }

    /// The connection of a member.
    pub fn of_member(&self, id: MemberId) -> Option<&Replica> {
        self.links.values().find(|replica| replica.id == Some(id))
    }

    /// What the `count` replicas that have most all have. None: there are fewer.
    fn had_by(&self, count: usize) -> Option<u64> {
        if count == 0 {
            return Some(u64::MAX);
        }
        let counted = self.links.values().filter(|replica| replica.counts());
        let mut ends: Vec<u64> = counted.filter_map(|replica| replica.has).collect();
        ends.sort_unstable_by(|one, other| other.cmp(one));
        ends.get(count - 1).copied()
    }

    /// What all of these have. None: one of them has not said.
    fn had_by_all(&self, ids: impl Iterator<Item = MemberId>) -> Option<u64> {
        let mut least = u64::MAX;
        for id in ids {
            let replica = self.of_member(id);
            let has = replica
                .filter(|replica| replica.counts())
                .and_then(|replica| replica.has);
            least = least.min(has?);
        }
        Some(least)
    }
}

#[cfg(test)]
mod tests {
    use super::super::members::SyncStateSet;
    use super::*;

    fn count(replicas: usize) -> Replicas {
        Replicas::new(Rule::Count(replicas), 0)
    }

    fn members(ids: impl IntoIterator<Item = MemberId>) -> Replicas {
        let set = SyncStateSet {
            members: ids.into_iter().collect(),
            epoch: 1,
        };
        Replicas::new(Rule::Members(Membership::new(1, set)), 0)
    }

    #[test]
    fn one_replica_waits_for_nobody() {
        let mut replicas = count(1);
        assert_eq!(replicas.confirm(), u64::MAX);
    }

    #[test]
    fn as_many_as_the_count_have_what_is_confirmed() {
        let mut replicas = count(3);
        assert_eq!(replicas.confirm(), 0, "nobody is connected");
        replicas.connected(1, None, false, 0);
        replicas.connected(2, None, false, 0);
        replicas.reported(1, 90, 100, 0).unwrap();
        assert_eq!(replicas.confirm(), 0, "one of two");
        replicas.reported(2, 70, 100, 0).unwrap();
        assert_eq!(replicas.confirm(), 70);
        replicas.reported(2, 100, 100, 0).unwrap();
        assert_eq!(replicas.confirm(), 90);
        replicas.disconnected(1);
        assert_eq!(replicas.confirm(), 90, "never back");
    }

    #[test]
    fn every_member_has_what_is_confirmed() {
        let mut replicas = members([1, 2, 3]);
        for (link, id) in [(10, 2), (11, 3), (12, 4)] {
            replicas.connected(link, Some(id), false, 0);
        }
        replicas.reported(10, 50, 100, 0).unwrap();
        replicas.reported(12, 100, 100, 0).unwrap();
        assert_eq!(replicas.confirm(), 0, "3 has said nothing");
        replicas.reported(11, 60, 100, 0).unwrap();
        assert_eq!(replicas.confirm(), 50, "4 is no member");
        replicas.disconnected(10);
        replicas.reported(11, 100, 100, 0).unwrap();
        assert_eq!(
            replicas.confirm(),
            50,
            "a member without a connection holds it"
        );
    }

    #[test]
    fn a_member_that_joins_is_waited_for_from_then_on() {
        let mut replicas = members([1]);
        replicas.connected(10, Some(2), false, 0);
        replicas.reported(10, 100, 100, 0).unwrap();
        assert_eq!(replicas.confirm(), u64::MAX, "nobody else is needed");
        let membership = replicas.membership().unwrap();
        let asked = membership.ask([2], []).unwrap();
        assert_eq!(replicas.confirm(), 100, "it counts while it is asked for");
        let set = SyncStateSet { epoch: 2, ..asked };
        replicas.membership().unwrap().learned(set);
        assert_eq!(replicas.confirm(), 100);
    }

    #[test]
    fn mutant_alone_forever() {
        use crate::mutants::{Mutant, fails};
        fails(
            Mutant::AloneForever,
            a_member_that_joins_is_waited_for_from_then_on,
        );
    }

    /// Else a message that was sent while two had to have it would be acknowledged when one is left.
    #[test]
    fn with_too_few_members_nothing_is_confirmed() {
        let mut replicas = members([1, 2]);
        let membership = replicas.membership().unwrap().clone().with_least(2);
        replicas.rule = Rule::Members(membership);
        replicas.connected(10, Some(2), false, 0);
        replicas.reported(10, 50, 100, 0).unwrap();
        assert_eq!(replicas.confirm(), 50);
        let asked = replicas.membership().unwrap().ask([], [2]).unwrap();
        replicas.reported(10, 60, 100, 0).unwrap();
        assert_eq!(replicas.confirm(), 50, "it may be the only one left");
        let set = SyncStateSet { epoch: 2, ..asked };
        replicas.membership().unwrap().learned(set);
        assert_eq!(replicas.confirm(), 50);
        let asked = replicas.membership().unwrap().ask([2], []).unwrap();
        assert_eq!(replicas.confirm(), 50);
        let set = SyncStateSet { epoch: 3, ..asked };
        replicas.membership().unwrap().learned(set);
        assert_eq!(replicas.confirm(), 60);
    }

    #[test]
    fn without_all_members_so_many_replicas_count() {
        let set = SyncStateSet {
            members: [1, 2, 3].into(),
            epoch: 1,
        };
        let members = Membership::new(1, set);
        let mut replicas = Replicas::new(Rule::Counted { members, count: 2 }, 0);
        replicas.connected(10, Some(2), false, 0);
        replicas.reported(10, 100, 100, 0).unwrap();
        assert_eq!(replicas.confirm(), 100, "3 has said nothing");
    }

    #[test]
    fn a_member_counts_once() {
        let mut replicas = members([1, 2]);
        replicas.connected(10, Some(2), false, 0);
        replicas.reported(10, 100, 100, 0).unwrap();
        replicas.connected(11, Some(2), false, 0);
        assert_eq!(replicas.confirm(), 0, "it may have lost what it had before");
        assert_eq!(replicas.all().count(), 1);
        replicas.reported(10, 100, 100, 0).unwrap();
        assert_eq!(replicas.confirm(), 0, "the former connection is gone");
    }

    #[test]
    fn a_member_that_joins_a_master_alone_is_waited_for() {
        let mut replicas = members([1]);
        assert_eq!(replicas.confirm(), u64::MAX);
        replicas.connected(10, Some(2), false, 0);
        replicas.reported(10, 100, 100, 0).unwrap();
        let membership = replicas.membership().unwrap();
        membership.ask([2], []).unwrap();
        assert_eq!(replicas.confirm(), 100);
    }

    #[test]
    fn learners_do_not_count() {
        let mut replicas = count(2);
        replicas.connected(1, None, true, 0);
        replicas.reported(1, 100, 100, 0).unwrap();
        assert_eq!(replicas.confirm(), 0);
        let mut replicas = members([1, 2]);
        replicas.connected(1, Some(2), true, 0);
        replicas.reported(1, 100, 100, 0).unwrap();
        assert_eq!(replicas.confirm(), 0);
    }

    #[test]
    fn a_report_of_another_log_is_an_error() {
        let mut replicas = count(2);
        replicas.connected(1, None, false, 0);
        assert_eq!(
            replicas.reported(1, 101, 100, 0),
            Err(ReportError::BeyondEnd { has: 101, end: 100 })
        );
        replicas.reported(1, 50, 100, 0).unwrap();
        assert_eq!(
            replicas.reported(1, 49, 100, 0),
            Err(ReportError::Backwards {
                has: 49,
                before: 50
            })
        );
        assert_eq!(replicas.confirm(), 50);
    }

    #[test]
    fn caught_up_is_what_had_all_there_was_at_the_last_report() {
        let mut replicas = count(2);
        replicas.connected(1, None, false, 5);
        replicas.reported(1, 50, 100, 10).unwrap();
        let caught_up = |replicas: &Replicas| replicas.all().next().unwrap().1.caught_up_ns;
        assert_eq!(caught_up(&replicas), 5);
        replicas.reported(1, 100, 150, 20).unwrap();
        assert_eq!(
            caught_up(&replicas),
            20,
            "it had 100 when the log ended there"
        );
        replicas.reported(1, 120, 200, 30).unwrap();
        assert_eq!(caught_up(&replicas), 20);
    }

    #[test]
    fn what_the_senders_were_told_counts_as_confirmed() {
        let mut replicas = count(2);
        replicas.waive(70);
        assert_eq!(replicas.confirm(), 70);
    }
}
