//! What a name server does not know yet, and when it is told. No I/O.
//!
//! ```text
//!          topic changed              all changed, or too many topics
//!   Told -----------------> Changed --------------------------------> Everything
//!    ^  '---------------------------- all changed ----------------------^ |
//!    '---------- told; what changed meanwhile is kept for the next time --'
//! ```

use std::collections::BTreeSet;

/// One request each, in a row.
const MOST_TOPICS: usize = 1_000;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Pending {
    #[default]
    Told,
    /// These topics were made or changed.
    Changed(BTreeSet<String>),
    Everything,
}

impl Pending {
    pub fn topic_changed(&mut self, topic: String) {
        match self {
            Pending::Told => *self = Pending::Changed(BTreeSet::from([topic])),
            Pending::Changed(topics) if topics.len() < MOST_TOPICS => drop(topics.insert(topic)),
            Pending::Changed(_) | Pending::Everything => *self = Pending::Everything,
        }
    }

    pub fn all_changed(&mut self) {
        *self = Pending::Everything;
    }

    /// What to tell now. What changes while it is told is pending again.
    pub fn take(&mut self) -> Pending {
        std::mem::take(self)
    }

    /// It could not be told.
    pub fn give_back(&mut self, untold: Pending) {
        match untold {
            Pending::Told => {}
            Pending::Everything => self.all_changed(),
            Pending::Changed(topics) => {
                topics
                    .into_iter()
                    .for_each(|topic| self.topic_changed(topic));
            }
        }
    }
}

/// Every so many intervals everything is told whatever the name server says that it knows: somebody may have deleted a route
/// there by hand.
const UNASKED_EVERY: u64 = 10;

/// After so long for each topic, everything may be told again because topics were deleted.
const PAUSE_NS_PER_TOPIC: u64 = 1_000_000;

/// When everything is due.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    interval_ns: u64,
    due_ns: u64,
    told_ns: Option<u64>,
    intervals: u64,
    /// The name server may have routes of a topic that was deleted.
    has_deleted: bool,
}

impl Schedule {
    pub fn new(interval_ns: u64) -> Self {
        Self {
            interval_ns,
            due_ns: 0,
            told_ns: None,
            intervals: 0,
            has_deleted: false,
        }
    }

    pub fn due_ns(&self) -> u64 {
        self.due_ns
    }

    pub fn told(&mut self, now_ns: u64) {
        self.told_ns = Some(now_ns);
        self.has_deleted = false;
        self.due_ns = now_ns + self.interval_ns;
    }

    /// The interval is over: whether the name server is asked first.
    pub fn is_asked_first(&mut self, now_ns: u64) -> bool {
        self.due_ns = now_ns + self.interval_ns;
        self.intervals += 1;
        !self.has_deleted && !self.intervals.is_multiple_of(UNASKED_EVERY)
    }

    /// A topic was deleted: everything is told soon, but not as often as topics may be deleted.
    pub fn topic_deleted(&mut self, topics: usize, now_ns: u64) {
        let pause_ns = (topics as u64).saturating_mul(PAUSE_NS_PER_TOPIC);
        self.has_deleted = true;
        let soon_ns = self.told_ns.map_or(0, |told_ns| told_ns + pause_ns);
        self.due_ns = self.due_ns.min(soon_ns.max(now_ns));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(topics: &[&str]) -> Pending {
        Pending::Changed(topics.iter().map(|topic| (*topic).to_owned()).collect())
    }

    #[test]
    fn what_changes_while_it_is_told_is_told_next() {
        let mut pending = Pending::Everything;
        assert_eq!(pending.take(), Pending::Everything);
        pending.all_changed();
        assert_eq!(pending.take(), Pending::Everything, "once more");
        assert_eq!(pending.take(), Pending::Told);
        pending.topic_changed("a".into());
        pending.topic_changed("a".into());
        let told = pending.take();
        assert_eq!(told, changed(&["a"]));
        pending.topic_changed("b".into());
        assert_eq!(pending, changed(&["b"]));
        pending.give_back(told);
        assert_eq!(pending, changed(&["a", "b"]));
        pending.give_back(Pending::Told);
        assert_eq!(pending, changed(&["a", "b"]));
        pending.give_back(Pending::Everything);
        pending.topic_changed("c".into());
        assert_eq!(pending, Pending::Everything);
    }

    #[test]
    fn very_many_topics_are_everything() {
        let mut pending = Pending::default();
        for topic in 0..MOST_TOPICS {
            pending.topic_changed(topic.to_string());
        }
        assert_ne!(pending, Pending::Everything);
        pending.topic_changed("one more".into());
        assert_eq!(pending, Pending::Everything);
    }

    #[test]
    fn deletions_are_told_at_a_pace() {
        let mut schedule = Schedule::new(30_000);
        schedule.told(100_000_000);
        assert_eq!(schedule.due_ns(), 100_030_000);
        let mut schedule = Schedule::new(30_000_000_000);
        schedule.told(1_000_000_000);
        schedule.topic_deleted(2_000, 1_000_000_007);
        assert_eq!(schedule.due_ns(), 3_000_000_000);
        schedule.topic_deleted(9_000, 1_000_000_008);
        assert_eq!(
            schedule.due_ns(),
            3_000_000_000,
            "not later for more of them"
        );
        schedule.told(3_000_000_000);
        schedule.topic_deleted(2_000, 9_000_000_000);
        assert_eq!(
            schedule.due_ns(),
            9_000_000_000,
            "at once, after a long time"
        );
        assert!(!schedule.is_asked_first(9_000_000_000), "whatever it knows");
    }

    #[test]
    fn mostly_the_name_server_is_asked_what_it_knows() {
        let mut schedule = Schedule::new(30);
        let asked = (0..20).filter(|n| schedule.is_asked_first(n * 30));
        assert_eq!(asked.count(), 18);
        assert_eq!(schedule.due_ns(), 600);
    }
}
