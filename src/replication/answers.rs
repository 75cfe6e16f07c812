//! What a send is answered that waits for its commit: by what it lacks, the own disk or the replicas.
//!
//! | It lacks | answered with | when |
//! |---|---|---|
//! | its own write | [`Answer::DiskLate`] | after the time for the disk |
//! | replicas, too few of which are connected or near | [`Answer::NoReplicas`] | at once |
//! | replicas that are there | [`Answer::ReplicasLate`] | after the time for replicas |
//!
//! The time for replicas has no part in what the disk lacks, nor the other way round.

/// A send that is in the log and not committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// It is on this broker's disk, as durable as its acknowledgement promises.
    pub is_persisted: bool,
    /// Since it was appended.
    pub age_ns: u64,
}

/// What a send may wait for, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Copies of a message that a send waits for, this broker's own included; and those that can be had now.
    pub needed: usize,
    pub in_sync: usize,
    pub disk_ns: u64,
    pub replicas_ns: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// FLUSH_DISK_TIMEOUT
    DiskLate,
    /// SLAVE_NOT_AVAILABLE
    NoReplicas,
    /// FLUSH_SLAVE_TIMEOUT
    ReplicasLate,
}

impl Rules {
    /// Of the disk alone: sends that wait for replicas are answered elsewhere.
    pub fn of_disk(disk_ns: u64) -> Self {
        Self {
            needed: 1,
            in_sync: 1,
            disk_ns,
            replicas_ns: u64::MAX,
        }
    }

    /// `None`: it waits on.
    pub fn answer(&self, send: Waiting) -> Option<Answer> {
        if !send.is_persisted {
            return (send.age_ns > self.disk_ns).then_some(Answer::DiskLate);
        }
        if self.in_sync < self.needed {
            return Some(Answer::NoReplicas);
        }
        // What is persisted and needs no replica is committed: its answer is on its way.
        let is_late = self.needed > 1 && send.age_ns > self.replicas_ns;
        is_late.then_some(Answer::ReplicasLate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules {
        needed: 2,
        in_sync: 2,
        disk_ns: 5,
        replicas_ns: 30,
    };

    fn answer(rules: Rules, is_persisted: bool, age_ns: u64) -> Option<Answer> {
        rules.answer(Waiting {
            is_persisted,
            age_ns,
        })
    }

    #[test]
    fn a_late_slave_is_not_taken_for_a_late_disk() {
        for age_ns in 0..100 {
            let expected = (age_ns > 30).then_some(Answer::ReplicasLate);
            assert_eq!(answer(RULES, true, age_ns), expected, "{age_ns}");
            let expected = (age_ns > 5).then_some(Answer::DiskLate);
            assert_eq!(answer(RULES, false, age_ns), expected, "{age_ns}");
        }
    }

    #[test]
    fn replicas_that_are_not_there_are_not_awaited() {
        let rules = Rules {
            in_sync: 1,
            ..RULES
        };
        assert_eq!(answer(rules, true, 0), Some(Answer::NoReplicas));
        assert_eq!(answer(rules, false, 5), None, "its own write comes first");
        assert_eq!(answer(rules, false, 6), Some(Answer::DiskLate));
    }

    #[test]
    fn without_replicas_only_the_disk_can_be_late() {
        let alone = Rules {
            needed: 1,
            in_sync: 1,
            ..RULES
        };
        assert_eq!(answer(alone, true, 1_000), None);
        assert_eq!(answer(alone, false, 6), Some(Answer::DiskLate));
    }
}
