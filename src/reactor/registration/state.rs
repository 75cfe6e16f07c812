//! Which topics have to be registered with a name server, and when. No I/O.
//!
//! ```text
//!             topic changed              all changed, or too many topics
//!   Nothing -----------------> Changed --------------------------------> Everything
//!    ^   '---------------------------- all changed -----------------------^  |
//!    '------ registered; what changed meanwhile is pending for the next time -'
//! ```

use std::collections::BTreeSet;

/// Each takes one request; with more of them, everything is registered in few requests.
const MOST_TOPICS: usize = 1_000;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Pending {
    #[default]
    Nothing,
    /// These topics were made or changed.
    Changed(BTreeSet<String>),
    Everything,
}

impl Pending {
    pub fn topic_changed(&mut self, topic: String) {
        match self {
            Pending::Nothing => *self = Pending::Changed(BTreeSet::from([topic])),
            Pending::Changed(topics) if topics.len() < MOST_TOPICS => drop(topics.insert(topic)),
            Pending::Changed(_) | Pending::Everything => *self = Pending::Everything,
        }
    }

    pub fn all_changed(&mut self) {
        *self = Pending::Everything;
    }

    /// What to register now. A change while that is under way is pending again.
    pub fn take(&mut self) -> Pending {
        std::mem::take(self)
    }

    /// It could not be registered.
    pub fn give_back(&mut self, unregistered: Pending) {
        match unregistered {
            Pending::Nothing => {}
            Pending::Everything => self.all_changed(),
            Pending::Changed(topics) => {
                topics
                    .into_iter()
                    .for_each(|topic| self.topic_changed(topic));
            }
        }
    }
}

/// Every so many intervals everything is registered without asking for the name server's version first: a route may have been
/// deleted there by hand.
const UNASKED_EVERY: u64 = 10;

/// Registrations of everything because of deleted topics are so far apart, for each topic that there is.
const PAUSE_NS_PER_TOPIC: u64 = 1_000_000;

/// When everything has to be registered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    interval_ns: u64,
    due_ns: u64,
    registered_ns: Option<u64>,
    intervals: u64,
    /// The name server may have routes of a topic that was deleted.
    has_deleted: bool,
}

impl Schedule {
    pub fn new(interval_ns: u64) -> Self {
        Self {
            interval_ns,
            due_ns: 0,
            registered_ns: None,
            intervals: 0,
            has_deleted: false,
        }
    }

    pub fn due_ns(&self) -> u64 {
        self.due_ns
    }

    pub fn registered(&mut self, now_ns: u64) {
        self.registered_ns = Some(now_ns);
        self.has_deleted = false;
        self.due_ns = now_ns + self.interval_ns;
    }

    /// The interval is over: whether the name server is asked for its version first.
    pub fn is_asked_first(&mut self, now_ns: u64) -> bool {
        self.due_ns = now_ns + self.interval_ns;
        self.intervals += 1;
        !self.has_deleted && !self.intervals.is_multiple_of(UNASKED_EVERY)
    }

    /// A topic was deleted: everything is registered soon, but at a limited rate, however many topics are deleted.
    pub fn topic_deleted(&mut self, topics: usize, now_ns: u64) {
        let pause_ns = (topics as u64).saturating_mul(PAUSE_NS_PER_TOPIC);
        self.has_deleted = true;
        let soon_ns = self
            .registered_ns
            .map_or(0, |registered_ns| registered_ns + pause_ns);
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
    fn a_change_during_a_registration_is_registered_next() {
        let mut pending = Pending::Everything;
        assert_eq!(pending.take(), Pending::Everything);
        pending.all_changed();
        assert_eq!(pending.take(), Pending::Everything, "once more");
        assert_eq!(pending.take(), Pending::Nothing);
        pending.topic_changed("a".into());
        pending.topic_changed("a".into());
        let taken = pending.take();
        assert_eq!(taken, changed(&["a"]));
        pending.topic_changed("b".into());
        assert_eq!(pending, changed(&["b"]));
        pending.give_back(taken);
        assert_eq!(pending, changed(&["a", "b"]));
        pending.give_back(Pending::Nothing);
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
    fn deletions_cause_registrations_at_a_limited_rate() {
        let mut schedule = Schedule::new(30_000);
        schedule.registered(100_000_000);
        assert_eq!(schedule.due_ns(), 100_030_000);
        let mut schedule = Schedule::new(30_000_000_000);
        schedule.registered(1_000_000_000);
        schedule.topic_deleted(2_000, 1_000_000_007);
        assert_eq!(schedule.due_ns(), 3_000_000_000);
        schedule.topic_deleted(9_000, 1_000_000_008);
        assert_eq!(
            schedule.due_ns(),
            3_000_000_000,
            "not later for more of them"
        );
        schedule.registered(3_000_000_000);
        schedule.topic_deleted(2_000, 9_000_000_000);
        assert_eq!(
            schedule.due_ns(),
            9_000_000_000,
            "at once, after a long time"
        );
        assert!(
            !schedule.is_asked_first(9_000_000_000),
            "it has routes of a deleted topic"
        );
    }

    #[test]
    fn mostly_the_name_server_is_asked_for_its_version() {
        let mut schedule = Schedule::new(30);
        let asked = (0..20).filter(|n| schedule.is_asked_first(n * 30));
        assert_eq!(asked.count(), 18);
        assert_eq!(schedule.due_ns(), 600);
    }
}
