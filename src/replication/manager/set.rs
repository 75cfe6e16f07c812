//! Which replicas belong into the SyncStateSet, and which have to leave it, as their master sees them.
//!
//! | Replica | |
//! |---|---|
//! | connected, no learner, has what is committed and the beginning of this epoch | joins |
//! | not connected, or has less than what is committed: it was emptied | leaves at once |
//! | there is log that it does not have, and its report has not moved for [`Limits::standstill_ns`] | leaves |
//! | has not had all there was for [`Limits::behind_ns`] (`haMaxTimeSlaveNotCatchup`) | leaves |
//!
//! While it is in the set each send waits for it, so a replica that hangs has to leave soon. It joins again by the first row: at once after it has hung
//! for the first time, and later each time that it hangs again within a minute. Otherwise a disk that is slow for good would stop the senders again and
//! again.

use std::collections::BTreeMap;

use crate::replication::members::MemberId;
use crate::replication::replicas::{Replica, Replicas};

/// A replica that hangs twice within this time is kept out of the set for a while.
const AGAIN_NS: u64 = 60_000_000_000;

/// How long after the second time, doubled by each further one up to the limit.
const KEPT_OUT_NS: u64 = 5_000_000_000;
const MOST_KEPT_OUT_NS: u64 = 20_000_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub standstill_ns: u64,
    pub behind_ns: u64,
}

const STANDSTILL: &str = "its reports do not advance";

/// The master's own log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnLog {
    pub end: u64,
    pub committed: u64,
    /// Where the master's epoch begins.
    pub epoch_start: u64,
}

/// What should change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub joins: Vec<MemberId>,
    /// Each with the reason.
    pub leave: Vec<(MemberId, &'static str)>,
}

/// The replicas that lack something.
#[derive(Debug, Default)]
pub struct Reports {
    lacking: BTreeMap<MemberId, Lacking>,
    hung: BTreeMap<MemberId, Hung>,
    resumed_ns: u64,
}

/// It left the set because it hung.
#[derive(Clone, Copy, Debug)]
struct Hung {
    times: u32,
    last_ns: u64,
}

impl Hung {
    fn again(before: Option<Self>, now_ns: u64) -> Self {
        let recent = before.filter(|it| now_ns.saturating_sub(it.last_ns) < AGAIN_NS);
        Self {
            times: recent.map_or(1, |it| it.times.saturating_add(1)),
            last_ns: now_ns,
        }
    }

    fn is_kept_out(&self, now_ns: u64) -> bool {
        let doubled = self.times.saturating_sub(2).min(8);
        let kept_out_ns = match self.times {
            0 | 1 => 0,
            _ => (KEPT_OUT_NS << doubled).min(MOST_KEPT_OUT_NS),
        };
        now_ns.saturating_sub(self.last_ns) < kept_out_ns
    }
}

#[derive(Clone, Copy, Debug)]
struct Lacking {
    /// Its last report, and since when it is that.
    has: u64,
    has_since_ns: u64,
    /// It has had all before that, as long as nothing was appended.
    since_ns: u64,
}

impl Reports {
    /// This process did not run for a while: what the replicas reported meanwhile has not been read.
    pub fn resume(&mut self, now_ns: u64) {
        self.lacking.clear();
        self.resumed_ns = now_ns;
    }

    pub fn changes(
        &mut self,
        replicas: &Replicas,
        own: &OwnLog,
        limits: Limits,
        now_ns: u64,
    ) -> Changes {
        let mut changes = Changes::default();
        let Some(members) = replicas.members() else {
            return changes;
        };
        self.note(replicas, own, now_ns);
        for id in members.confirmed().members.iter().copied() {
            if id == members.own_id() {
                continue;
            }
            let replica = replicas.of_member(id).filter(|it| !it.is_learner);
            let reason = match replica {
                None => Some("it is not connected"),
                Some(replica) => self.reason_to_leave(id, replica, own, limits, now_ns),
            };
            changes.leave.extend(reason.map(|reason| (id, reason)));
        }
        self.hung
            .retain(|_, hung| now_ns.saturating_sub(hung.last_ns) < AGAIN_NS);
        for (_, replica) in replicas.all() {
            let Some(id) = replica.id.filter(|id| !members.has(*id)) else {
                continue;
            };
            let has = replica.has.unwrap_or(0);
            let has_all = replica.has.is_some() && has >= own.committed && has >= own.epoch_start;
            let hung = self.hung.get(&id);
            let is_kept_out = hung.is_some_and(|hung| hung.is_kept_out(now_ns));
            let is_stalled = is_kept_out || self.is_stalled(id, limits, now_ns);
            if has_all && !replica.is_learner && !is_stalled {
                changes.joins.push(id);
            }
        }
        changes
    }

    /// The controller is asked for a set without these.
    pub fn asked_without(&mut self, leave: &[(MemberId, &'static str)], now_ns: u64) {
        for (id, _) in leave.iter().filter(|(_, reason)| *reason == STANDSTILL) {
            let hung = Hung::again(self.hung.get(id).copied(), now_ns);
            self.hung.insert(*id, hung);
        }
    }

    fn note(&mut self, replicas: &Replicas, own: &OwnLog, now_ns: u64) {
        self.lacking
            .retain(|id, _| replicas.of_member(*id).is_some());
        for (_, replica) in replicas.all() {
            let Some(id) = replica.id else { continue };
            let has = replica.has.unwrap_or(0);
            if has >= own.end {
                self.lacking.remove(&id);
                continue;
            }
            let lacking = self.lacking.entry(id).or_insert(Lacking {
                has,
                has_since_ns: now_ns,
                since_ns: now_ns,
            });
            if lacking.has != has {
                (lacking.has, lacking.has_since_ns) = (has, now_ns);
            }
        }
    }

    fn reason_to_leave(
        &self,
        id: MemberId,
        replica: &Replica,
        own: &OwnLog,
        limits: Limits,
        now_ns: u64,
    ) -> Option<&'static str> {
        let has_less = replica.has.is_some_and(|has| has < own.committed);
        match () {
            () if has_less => Some("it does not have what it had"),
            () if self.is_stalled(id, limits, now_ns) => Some(STANDSTILL),
            () if self.is_behind(id, replica, limits, now_ns) => Some("it does not catch up"),
            () => None,
        }
    }

    fn is_behind(&self, id: MemberId, replica: &Replica, limits: Limits, now_ns: u64) -> bool {
        let lacking = self.lacking.get(&id);
        lacking.is_some_and(|lacking| {
            let since_ns = lacking
                .since_ns
                .max(replica.caught_up_ns)
                .max(self.resumed_ns);
            now_ns.saturating_sub(since_ns) > limits.behind_ns
        })
    }

    fn is_stalled(&self, id: MemberId, limits: Limits, now_ns: u64) -> bool {
        let lacking = self.lacking.get(&id);
        lacking.is_some_and(|lacking| {
            now_ns.saturating_sub(lacking.has_since_ns) > limits.standstill_ns
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replication::members::{Membership, SyncStateSet};
    use crate::replication::replicas::Rule;

    const LIMITS: Limits = Limits {
        standstill_ns: 1_500,
        behind_ns: 15_000,
    };

    fn own(end: u64) -> OwnLog {
        OwnLog {
            end,
            committed: 100,
            epoch_start: 50,
        }
    }

    fn replicas(ids: impl IntoIterator<Item = MemberId>) -> Replicas {
        let set = SyncStateSet {
            members: ids.into_iter().collect(),
            epoch: 1,
        };
        Replicas::new(Rule::Members(Membership::new(1, set)), 0)
    }

    fn leave(changes: &Changes) -> Vec<MemberId> {
        changes.leave.iter().map(|(id, _)| *id).collect()
    }

    #[test]
    fn who_has_all_that_is_committed_joins() {
        let mut replicas = replicas([1]);
        let mut reports = Reports::default();
        let joins = |replicas: &Replicas, reports: &mut Reports, own: OwnLog| {
            reports.changes(replicas, &own, LIMITS, 0).joins
        };
        replicas.connected(1, Some(2), false, 0);
        replicas.connected(2, Some(3), true, 0);
        replicas.connected(3, None, false, 0);
        assert!(joins(&replicas, &mut reports, own(200)).is_empty());
        for link in [1, 2, 3] {
            replicas.reported(link, 99, 200, 0).unwrap();
        }
        assert!(joins(&replicas, &mut reports, own(200)).is_empty());
        for link in [1, 2, 3] {
            replicas.reported(link, 100, 200, 0).unwrap();
        }
        let later = OwnLog {
            epoch_start: 101,
            ..own(200)
        };
        assert!(joins(&replicas, &mut reports, later).is_empty());
        assert_eq!(joins(&replicas, &mut reports, own(200)), [2], "no learner");
    }

    #[test]
    fn who_is_not_connected_leaves_at_once() {
        let mut replicas = replicas([1, 2]);
        let mut reports = Reports::default();
        let changes = reports.changes(&replicas, &own(100), LIMITS, 0);
        assert_eq!(leave(&changes), [2]);
        replicas.connected(1, Some(2), false, 0);
        let changes = reports.changes(&replicas, &own(100), LIMITS, 0);
        assert!(leave(&changes).is_empty(), "it has the time to report");
        replicas.reported(1, 99, 100, 0).unwrap();
        let changes = reports.changes(&replicas, &own(100), LIMITS, 0);
        assert_eq!(leave(&changes), [2], "it was emptied");
    }

    #[test]
    fn who_has_something_to_report_and_does_not_leaves() {
        let mut replicas = replicas([1, 2]);
        let mut reports = Reports::default();
        replicas.connected(1, Some(2), false, 0);
        replicas.reported(1, 100, 100, 0).unwrap();
        let changes = reports.changes(&replicas, &own(100), LIMITS, 50_000);
        assert_eq!(changes, Changes::default(), "nothing to report");
        let changes = reports.changes(&replicas, &own(200), LIMITS, 60_000);
        assert_eq!(changes, Changes::default(), "just appended");
        replicas.reported(1, 150, 200, 61_000).unwrap();
        let changes = reports.changes(&replicas, &own(200), LIMITS, 61_000);
        assert_eq!(changes, Changes::default());
        let changes = reports.changes(&replicas, &own(200), LIMITS, 62_500);
        assert!(leave(&changes).is_empty());
        let changes = reports.changes(&replicas, &own(200), LIMITS, 62_501);
        assert_eq!(leave(&changes), [2]);
    }

    #[test]
    fn a_pause_of_the_master_is_no_standstill() {
        let mut replicas = replicas([1, 2]);
        let mut reports = Reports::default();
        replicas.connected(1, Some(2), false, 0);
        replicas.reported(1, 100, 200, 0).unwrap();
        reports.changes(&replicas, &own(200), LIMITS, 0);
        reports.resume(90_000);
        let changes = reports.changes(&replicas, &own(200), LIMITS, 90_000);
        assert_eq!(changes, Changes::default());
        let changes = reports.changes(&replicas, &own(200), LIMITS, 91_501);
        assert_eq!(leave(&changes), [2]);
    }

    #[test]
    fn a_stalled_replica_does_not_join() {
        let mut replicas = replicas([1]);
        let mut reports = Reports::default();
        replicas.connected(1, Some(2), false, 0);
        replicas.reported(1, 100, 200, 0).unwrap();
        let joins = |reports: &mut Reports, now_ns| {
            let changes = reports.changes(&replicas, &own(200), LIMITS, now_ns);
            changes.joins
        };
        assert_eq!(joins(&mut reports, 0), [2]);
        assert!(joins(&mut reports, 1_501).is_empty());
    }

    /// Each message would wait for it, then it leaves, catches up, and joins for the next message.
    #[test]
    fn who_hangs_again_and_again_is_kept_out_for_longer_each_time() {
        const S: u64 = 1_000_000_000;
        let (mut reports, mut now_ns) = (Reports::default(), 100 * S);
        let mut kept_out_s = Vec::new();
        for _ in 0..5 {
            let mut replicas = replicas([1, 2]);
            replicas.connected(1, Some(2), false, now_ns);
            replicas.reported(1, 100, 200, now_ns).unwrap();
            reports.changes(&replicas, &own(200), LIMITS, now_ns);
            now_ns += 2_000;
            let changes = reports.changes(&replicas, &own(200), LIMITS, now_ns);
            assert_eq!(leave(&changes), [2]);
            reports.asked_without(&changes.leave, now_ns);
            let mut replicas = self::replicas([1]);
            replicas.connected(1, Some(2), false, now_ns);
            replicas.reported(1, 200, 200, now_ns).unwrap();
            let left_ns = now_ns;
            while reports
                .changes(&replicas, &own(200), LIMITS, now_ns)
                .joins
                .is_empty()
            {
                now_ns += S;
            }
            kept_out_s.push((now_ns - left_ns) / S);
        }
        assert_eq!(kept_out_s, [0, 5, 10, 20, 20]);
        now_ns += 60 * S;
        let mut replicas = replicas([1, 2]);
        replicas.connected(1, Some(2), false, now_ns);
        replicas.reported(1, 100, 200, now_ns).unwrap();
        reports.changes(&replicas, &own(200), LIMITS, now_ns);
        let changes = reports.changes(&replicas, &own(200), LIMITS, now_ns + 2_000);
        reports.asked_without(&changes.leave, now_ns + 2_000);
        let mut replicas = self::replicas([1]);
        replicas.connected(1, Some(2), false, now_ns);
        replicas.reported(1, 200, 200, now_ns).unwrap();
        let changes = reports.changes(&replicas, &own(200), LIMITS, now_ns + 2_000);
        assert_eq!(changes.joins, [2], "that was long ago");
    }

    #[test]
    fn who_reports_and_never_has_all_leaves() {
        let mut replicas = replicas([1, 2]);
        let mut reports = Reports::default();
        replicas.connected(1, Some(2), false, 0);
        let mut left_ns = None;
        for step in 0..200 {
            let now_ns = step * 100;
            let end = 1_000 + step * 100;
            replicas.reported(1, 100 + step * 50, end, now_ns).unwrap();
            let changes = reports.changes(&replicas, &own(end), LIMITS, now_ns);
            if !changes.leave.is_empty() {
                left_ns = left_ns.or(Some(now_ns));
            }
        }
        assert_eq!(left_ns, Some(15_100));
    }
}
