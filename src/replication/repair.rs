//! Repair of the parts of a log that cannot be read: which readers wait for the repair, which broker is asked, and when the repair is given up.
//!
//! | A broker that cannot read a part of its log | Readers of that part | The broker |
//! |---|---|---|
//! | slave whose log was compared with its master's | wait | asks the master for each record of it |
//! | slave that has no master at present | wait | asks when there is one |
//! | slave of a master that knows no epochs | skip it | nothing: it is not known that both logs are the same |
//! | master under a controller, of a group with others | wait | states it in its heartbeats: a broker that has all of the log is elected, and this one becomes its slave |
//! | any other | skip it | nothing |
//!
//! What a master could not give either for [`GIVE_UP_NS`] is lost, as far as this broker can know: its readers skip it. A broker that has it would
//! have been elected by then.

use std::collections::BTreeMap;

use super::members::{MemberId, SyncStateSet};

/// How long a master is asked again that does not have it.
pub const GIVE_UP_NS: u64 = 60_000_000_000;

/// What a slave knows of its master's log, and whether its own comes from there at present.
///
/// ```text
///                master without epochs             connection ends
///   Uncompared ------------------------> FollowsUncompared -----> Uncompared
///                epochs compared                   connection ends
///   any -------------------------------> FollowsCompared --------> Compared
/// ```
/// A comparison counts until the term ends, also for a later master without epochs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SlaveState {
    /// No master is followed, and the log was compared with none since the term began.
    #[default]
    Uncompared,
    /// The log comes from a master that knows no epochs: both logs may differ.
    FollowsUncompared,
    /// The log was found to be a beginning of a master's, by the epochs of both. No master is followed at present.
    Compared,
    /// The log was compared, and comes from a master at present.
    FollowsCompared,
}

impl SlaveState {
    /// The log comes from a master from now on, and was compared with the master's if it has epochs.
    pub fn connected(self, has_epochs: bool) -> Self {
        match has_epochs || self.is_compared() {
            true => Self::FollowsCompared,
            false => Self::FollowsUncompared,
        }
    }

    /// The connection to the master has ended, if there was one.
    pub fn disconnected(self) -> Self {
        match self.is_compared() {
            true => Self::Compared,
            false => Self::Uncompared,
        }
    }

    pub fn is_following(self) -> bool {
        matches!(self, Self::FollowsUncompared | Self::FollowsCompared)
    }

    pub fn is_compared(self) -> bool {
        matches!(self, Self::Compared | Self::FollowsCompared)
    }
}

/// A broker with a part of its log that it cannot read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Slave(SlaveState),
    Master {
        has_controller: bool,
        /// Another broker of the group is there, or was: also one that this master has not seen yet ([`had_others`]).
        has_others: bool,
    },
}

/// The number of a group's first broker.
const FIRST_ID: MemberId = 1;

/// Whether a master has not always been alone in its group, by what the controller had decided when it was elected: another broker had a number before, or the set was
/// changed more often than its master. A master that has just been elected is alone in the set, until the others have found it.
pub fn had_others(own_id: MemberId, master_epoch: i32, set: &SyncStateSet) -> bool {
    let had_others = own_id > FIRST_ID || set.epoch > master_epoch || set.members.len() > 1;
    had_others && !mutant!(OthersForgotten)
}

impl Standing {
    /// Whether another broker may have what this one cannot read, so that readers wait for it.
    pub fn awaits(self) -> bool {
        match self {
            Self::Slave(state) => state != SlaveState::FollowsUncompared,
            Self::Master {
                has_controller,
                has_others,
            } => has_controller && has_others,
        }
    }

    /// Whether the master is asked for it.
    pub fn asks_master(self) -> bool {
        matches!(self, Self::Slave(state) if state.is_compared())
    }
}

/// What a master could not give, by its position in the log, since when.
#[derive(Debug, Default)]
pub struct Refusals(BTreeMap<u64, u64>);

impl Refusals {
    /// The master was asked and does not have it. Returns whether it is given up.
    pub fn refused(&mut self, position: u64, now_ns: u64) -> bool {
        let since_ns = *self.0.entry(position).or_insert(now_ns);
        let is_over = now_ns.saturating_sub(since_ns) >= GIVE_UP_NS;
        if is_over {
            self.0.remove(&position);
        }
        is_over
    }

    pub fn repaired(&mut self, position: u64) {
        self.0.remove(&position);
    }

    /// There was no answer: the time that has passed does not count.
    pub fn unanswered(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLAVE_STATES: [SlaveState; 4] = [
        SlaveState::Uncompared,
        SlaveState::FollowsUncompared,
        SlaveState::Compared,
        SlaveState::FollowsCompared,
    ];

    fn master(has_controller: bool, has_others: bool) -> Standing {
        Standing::Master {
            has_controller,
            has_others,
        }
    }

    #[test]
    fn readers_wait_where_another_broker_may_have_it() {
        let awaits = |state| Standing::Slave(state).awaits();
        assert!(awaits(SlaveState::FollowsCompared) && awaits(SlaveState::Compared));
        assert!(awaits(SlaveState::Uncompared), "its master may return");
        assert!(
            !awaits(SlaveState::FollowsUncompared),
            "a master without epochs"
        );
        assert!(master(true, true).awaits());
        assert!(!master(true, false).awaits(), "it was always alone");
        assert!(!master(false, true).awaits(), "nobody replaces it");
    }

    #[test]
    fn a_master_that_was_elected_alone_may_have_had_others() {
        let set = |epoch| SyncStateSet {
            members: [1].into(),
            epoch,
        };
        assert!(!had_others(1, 1, &set(1)), "the first broker of its group");
        assert!(!had_others(1, 5, &set(3)), "started again and again");
        assert!(had_others(1, 3, &set(5)), "others have joined the set");
        assert!(had_others(2, 3, &set(2)), "it was not the first one");
        let both = SyncStateSet {
            members: [1, 2].into(),
            epoch: 2,
        };
        assert!(had_others(1, 2, &both));
    }

    #[test]
    fn a_master_is_asked_whose_log_was_compared() {
        for state in [SlaveState::FollowsCompared, SlaveState::Compared] {
            assert!(Standing::Slave(state).asks_master(), "{state:?}");
        }
        for standing in [
            Standing::Slave(SlaveState::FollowsUncompared),
            Standing::Slave(SlaveState::Uncompared),
            master(true, true),
        ] {
            assert!(!standing.asks_master(), "{standing:?}");
        }
    }

    #[test]
    fn a_comparison_counts_over_connections() {
        for state in SLAVE_STATES {
            let (connected, apart) = (state.connected(false), state.disconnected());
            assert!(connected.is_following() && !apart.is_following());
            assert_eq!(connected.is_compared(), state.is_compared());
            assert_eq!(apart.is_compared(), state.is_compared());
            assert_eq!(state.connected(true), SlaveState::FollowsCompared);
        }
    }

    #[test]
    fn what_a_master_does_not_have_for_a_minute_is_given_up() {
        let mut refusals = Refusals::default();
        assert!(!refusals.refused(7, 100));
        assert!(!refusals.refused(7, GIVE_UP_NS + 99));
        assert!(!refusals.refused(9, GIVE_UP_NS + 99));
        assert!(refusals.refused(7, GIVE_UP_NS + 100));
        refusals.unanswered();
        assert!(!refusals.refused(9, 3 * GIVE_UP_NS), "it was not asked");
    }
}
