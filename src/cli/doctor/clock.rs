//! The clock of this host: whether something keeps it right, and whether it was set while doctor looked.

use super::finding::{Fault, Finding};
use crate::ring::linux::Discipline;

pub struct ClockFacts {
    /// `None`: the kernel does not say.
    pub discipline: Option<Discipline>,
    /// How far the clock has moved against the monotonic one.
    pub stepped_ms: i64,
}

/// Room for the time between the two readings; a slew moves both clocks.
const STEP_MS: u64 = 50;

pub fn findings(facts: &ClockFacts) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Some(discipline) = facts.discipline.filter(|it| !it.is_synchronised) {
        found.push(Finding::new(
            Fault::ClockFree,
            "this host",
            format!(
                "the kernel's clock is not synchronised (it may be off by {} s)",
                discipline.max_error_us / 1_000_000
            ),
            "run chronyd, systemd-timesyncd or ptp4l (timedatectl set-ntp true)",
        ));
    }
    if facts.stepped_ms.unsigned_abs() >= STEP_MS {
        found.push(Finding::new(
            Fault::ClockStep,
            "this host",
            format!("it was moved by {} ms", facts.stepped_ms),
            "let the daemon slew (chrony: makestep 1 3), and do not set the time by hand or from the hypervisor",
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_clock_and_a_step_are_two_things() {
        let facts = |is_synchronised, stepped_ms| ClockFacts {
            discipline: Some(Discipline {
                is_synchronised,
                max_error_us: 16_000_000,
            }),
            stepped_ms,
        };
        let faults = |facts: &ClockFacts| {
            let found = findings(facts);
            found.iter().map(|found| found.fault).collect::<Vec<_>>()
        };
        assert_eq!(faults(&facts(true, 3)), []);
        assert_eq!(faults(&facts(false, 0)), [Fault::ClockFree]);
        assert_eq!(faults(&facts(true, -700)), [Fault::ClockStep]);
        let unknown = ClockFacts {
            discipline: None,
            stepped_ms: 0,
        };
        assert_eq!(faults(&unknown), []);
    }
}
