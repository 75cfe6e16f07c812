//! A run in slots of a tenth of a second: the slowest message of each, and how long the machine stood still.

use serde::{Serialize, Serializer};

/// Of a slot.
pub const SLOT_NS: u64 = 100_000_000;

/// Times in nanoseconds, by slot; 0 where nothing was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimeLine {
    pub slowest_ns: Vec<u64>,
    pub hiccup_ns: Vec<u64>,
}

impl TimeLine {
    /// A message that was to be sent so long after the start of the window took so long.
    pub fn took(&mut self, after_ns: u64, took_ns: u64) {
        raise(&mut self.slowest_ns, after_ns, took_ns);
    }

    /// The machine stood still for so long until then.
    pub fn stood_still(&mut self, after_ns: u64, lasted_ns: u64) {
        raise(&mut self.hiccup_ns, after_ns, lasted_ns);
    }

    /// The messages of this one with the hiccups of `machine`.
    pub fn beside(self, machine: &Self) -> Self {
        Self {
            hiccup_ns: machine.hiccup_ns.clone(),
            ..self
        }
    }

    /// Another round, behind this one.
    pub fn followed_by(&mut self, next: Self) {
        let slots = self.slowest_ns.len().max(self.hiccup_ns.len());
        for (times, more) in [
            (&mut self.slowest_ns, next.slowest_ns),
            (&mut self.hiccup_ns, next.hiccup_ns),
        ] {
            times.resize(slots, 0);
            times.extend(more);
        }
    }
}

/// The slot of that time has at least this value.
fn raise(slots: &mut Vec<u64>, after_ns: u64, value: u64) {
    let slot = (after_ns / SLOT_NS) as usize;
    if slots.len() <= slot {
        slots.resize(slot + 1, 0);
    }
    slots[slot] = slots[slot].max(value);
}

/// Points of a chart: seconds, and microseconds of the slots that have a time.
pub fn points(slots: &[u64]) -> Vec<(f64, f64)> {
    let seconds = |slot: usize| slot as f64 * SLOT_NS as f64 / 1e9;
    let times = slots.iter().enumerate().filter(|(_, time)| **time > 0);
    times
        .map(|(slot, time)| (seconds(slot), *time as f64 / 1e3))
        .collect()
}

impl Serialize for TimeLine {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shown {
            slot_ms: u64,
            slowest_us: Vec<u64>,
            hiccup_us: Vec<u64>,
        }
        let us = |times: &[u64]| times.iter().map(|ns| ns / 1000).collect();
        Shown {
            slot_ms: SLOT_NS / 1_000_000,
            slowest_us: us(&self.slowest_ns),
            hiccup_us: us(&self.hiccup_ns),
        }
        .serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_of_a_slot_stands_in_it() {
        let mut line = TimeLine::default();
        line.took(1, 50_000);
        line.took(SLOT_NS - 1, 70_000);
        line.took(2 * SLOT_NS, 10_000);
        line.stood_still(SLOT_NS, 9_000_000);
        assert_eq!(line.slowest_ns, [70_000, 0, 10_000]);
        assert_eq!(points(&line.slowest_ns), [(0.0, 70.0), (0.2, 10.0)]);
        let mut next = TimeLine::default();
        next.took(0, 3_000);
        line.followed_by(next);
        assert_eq!(line.slowest_ns, [70_000, 0, 10_000, 3_000]);
        assert_eq!(line.hiccup_ns, [0, 9_000_000, 0]);
    }
}
