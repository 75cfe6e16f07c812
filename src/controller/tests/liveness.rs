use super::*;

const LIMIT: u64 = 3_000;
const BEAT: Heartbeat = Heartbeat {
    epoch: 1,
    max_offset: 5,
    priority: 0,
    stated_ms: Some(10_000),
    is_lossy: false,
    is_damaged: false,
};

struct Table {
    live: Liveness,
    now: u64,
}

impl Table {
    fn new() -> Self {
        let mut table = Self {
            live: Liveness::default(),
            now: 100_000,
        };
        table.live.pass_time(table.now);
        table
    }

    fn pass(&mut self, ms: u64) {
        let end = self.now + ms;
        while self.now < end {
            self.now = end.min(self.now + 100);
            self.live.pass_time(self.now);
        }
    }

    fn beat(&mut self, connection: u64) -> bool {
        self.live.heard("a", 1, BEAT, connection, self.now, LIMIT)
    }

    fn alive(&self) -> bool {
        self.live.is_alive("a", 1, self.now, LIMIT)
    }
}

#[test]
fn silence_counts_after_the_limit() {
    let mut table = Table::new();
    assert!(!table.alive());
    assert!(table.beat(7));
    table.pass(1_000);
    assert!(!table.beat(7));
    table.pass(LIMIT);
    assert!(table.alive());
    table.pass(1);
    assert!(!table.alive());
    assert!(table.beat(7), "it is back");
}

/// A broker that sends every 3 s may miss two heartbeats, and one that states less than the limit is dead then.
#[test]
fn the_limit_suits_the_brokers_interval() {
    let mut table = Table::new();
    for _ in 0..5 {
        table.beat(7);
        table.pass(3_000);
        assert!(table.alive());
    }
    table.pass(6_000);
    assert!(table.alive());
    table.pass(1);
    assert!(!table.alive());

    let stated = Heartbeat {
        stated_ms: Some(2_500),
        ..BEAT
    };
    for _ in 0..2 {
        table.live.heard("a", 1, stated, 7, table.now, LIMIT);
        table.pass(1_000);
    }
    table.pass(1_501);
    assert!(!table.alive());
}

/// With the defaults of both sides: neither a heartbeat that is late by less than an interval is a death, nor does it put one off.
#[test]
fn a_late_heartbeat_changes_nothing() {
    const INTERVAL: u64 = SILENCE_LIMIT_MS / MISSED_HEARTBEATS;
    let mut table = Table::new();
    let alive = |table: &Table| table.live.is_alive("a", 1, table.now, SILENCE_LIMIT_MS);
    for late in [0, 0, 0, 490, 0, 490, 0] {
        table
            .live
            .heard("a", 1, BEAT, 7, table.now, SILENCE_LIMIT_MS);
        table.pass(INTERVAL + late);
        assert!(alive(&table), "{late}");
    }
    table
        .live
        .heard("a", 1, BEAT, 7, table.now, SILENCE_LIMIT_MS);
    table.pass(SILENCE_LIMIT_MS);
    assert!(alive(&table));
    table.pass(1);
    assert!(!alive(&table));
}

/// As long as one that is not taken out, and a heartbeat was due since.
#[test]
fn a_short_pause_of_the_controller_ends_no_broker() {
    let mut table = Table::new();
    for _ in 0..3 {
        table
            .live
            .heard("a", 1, BEAT, 7, table.now, SILENCE_LIMIT_MS);
        table.pass(500);
    }
    for pause in [MAX_PAUSE_MS, 20 * MAX_PAUSE_MS] {
        table.now += pause;
        table.live.pass_time(table.now);
        let is_alive = table.live.is_alive("a", 1, table.now, SILENCE_LIMIT_MS);
        assert!(is_alive, "{pause}");
    }
}

/// RocketMQ keeps the connection whose heartbeat came first.
#[test]
fn the_newest_connection_counts() {
    let mut table = Table::new();
    table.beat(7);
    table.beat(8);
    table.live.closed(7, table.now);
    assert!(table.alive());
    table.live.closed(8, table.now);
    assert!(!table.alive());
    table.beat(9);
    assert!(table.alive());
}

/// The whole process may be stopped: the heartbeats that it missed meanwhile count for no broker's silence.
#[test]
fn a_pause_of_the_controller_is_no_silence_of_the_brokers() {
    let mut table = Table::new();
    table.beat(7);
    table.pass(1_000);
    table.beat(7);
    table.now += 60_000;
    table.live.pass_time(table.now);
    assert!(table.alive());
    table.pass(LIMIT + 1);
    assert!(!table.alive());
}

#[test]
fn a_new_leader_waits_for_those_whom_it_could_not_hear() {
    let mut table = Table::new();
    table.live.became_leader(table.now, LIMIT);
    assert!(table.alive(), "never heard");
    table.pass(GRACE_MS);
    assert!(!table.alive());

    // Cut off from the broker for a minute, then leader: it waits.
    table.beat(7);
    table.live.closed(7, table.now);
    table.live.ceased_to_lead();
    table.pass(60_000);
    assert!(!table.alive());
    table.live.became_leader(table.now, LIMIT);
    assert!(table.alive());
    table.pass(GRACE_MS);
    assert!(!table.alive());

    // Heard until just before: its silence and its closed connection count as ever.
    table.live.ceased_to_lead();
    table.beat(8);
    table.pass(1_000);
    table.beat(8);
    table.pass(500);
    table.live.became_leader(table.now, LIMIT);
    table.live.closed(8, table.now);
    assert!(!table.alive());
}

/// The election of a leader among the controllers takes its time. A follower that heard the others of the group knows which are dead.
#[test]
fn a_new_leader_that_heard_the_others_knows_who_is_dead() {
    let mut table = Table::new();
    table.beat(7);
    table.live.closed(7, table.now);
    table.pass(LIMIT + 500);
    table.live.heard("a", 2, BEAT, 8, table.now, LIMIT);
    table.live.became_leader(table.now, LIMIT);
    assert!(!table.alive());
    assert!(table.live.is_alive("a", 3, table.now, LIMIT), "never heard");
}

#[test]
fn what_a_broker_says_last_counts() {
    let mut table = Table::new();
    table.beat(7);
    // Restarted with a shorter log: RocketMQ keeps the longer one.
    let shorter = Heartbeat {
        max_offset: 2,
        ..BEAT
    };
    table.live.heard("a", 1, shorter, 8, table.now, LIMIT);
    let mut group = Group::new("c");
    let replica = crate::controller::Replica {
        address: "x".into(),
        check_code: "y".into(),
    };
    group.replicas.insert(1, replica);
    let candidates = table.live.candidates("a", &group, false, table.now, LIMIT);
    assert_eq!(
        candidates
            .iter()
            .map(|it| it.max_offset)
            .collect::<Vec<_>>(),
        [2]
    );
}

/// A master and a member that were cut off together: the member's time is over a little later than the master's.
#[test]
fn a_member_whose_heartbeats_stay_away_is_silent_before_it_is_dead() {
    let mut table = Table::new();
    let mut group = Group::new("c");
    for id in 1..=3 {
        let replica = crate::controller::Replica {
            address: id.to_string(),
            check_code: "y".into(),
        };
        group.replicas.insert(id, replica);
    }
    group.set = [1, 2].into();
    for _ in 0..2 {
        for id in 1..=3 {
            let connection = id as u64;
            table
                .live
                .heard("a", id, BEAT, connection, table.now, LIMIT);
        }
        table.pass(1_000);
    }
    let silent = |table: &Table| -> Vec<i64> {
        let all = table.live.candidates("a", &group, false, table.now, LIMIT);
        assert_eq!(all.len(), 3, "all are alive");
        let silent = all.iter().filter(|it| it.is_silent);
        silent.map(|it| it.id).collect()
    };
    assert_eq!(silent(&table), [0; 0]);
    table.live.heard("a", 2, BEAT, 2, table.now, LIMIT);
    table.pass(600);
    assert_eq!(silent(&table), [1], "3 is outside the set");
}

#[test]
fn what_is_long_dead_or_removed_is_dropped() {
    let mut table = Table::new();
    table.beat(7);
    table.live.prune(|_, _| true, table.now);
    assert_eq!(table.live.brokers.len(), 1);
    table.live.prune(|_, _| false, table.now);
    assert!(table.live.brokers.is_empty());
    table.beat(7);
    table.live.prune(|_, _| true, table.now + KEPT_MS);
    assert!(table.live.brokers.is_empty());
}
