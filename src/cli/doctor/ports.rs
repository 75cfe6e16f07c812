//! Ports that a broker with these settings would listen on, and who has them.

use super::finding::{Fault, Finding};

pub struct PortFacts {
    pub taken: Vec<TakenPort>,
    /// The broker whose store this is runs: the ports are its own.
    pub is_running: bool,
    /// No store and no broker.conf were named: a broker at the usual ports is the one to look at.
    pub is_guess: bool,
}

pub struct TakenPort {
    pub port: u16,
    /// Where it is set.
    pub setting: String,
    /// Process and name, if it may be known.
    pub holder: Option<String>,
    /// It answers as a broker or a name server does.
    pub speaks: bool,
}

pub fn findings(facts: &PortFacts) -> Vec<Finding> {
    if facts.is_running {
        return Vec::new();
    }
    let strangers = facts.taken.iter();
    let strangers = strangers.filter(|taken| !(facts.is_guess && taken.speaks));
    strangers
        .map(|taken| {
            let holder = taken.holder.as_deref().unwrap_or("another process");
            let what = match taken.speaks {
                true => "which answers as a broker or name server of another store",
                false => "which does not answer as a broker or name server",
            };
            Finding::new(
                Fault::PortTaken,
                format!("port {}", taken.port),
                format!("{holder} listens there, {what}"),
                format!("stop it, or choose another port ({})", taken.setting),
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(is_running: bool, is_guess: bool, speaks: bool) -> usize {
        let taken = TakenPort {
            port: 10_911,
            setting: "--port".into(),
            holder: Some("nginx, process 7".into()),
            speaks,
        };
        let facts = PortFacts {
            taken: vec![taken],
            is_running,
            is_guess,
        };
        let found = findings(&facts);
        assert!(found.iter().all(|it| it.seen.contains("nginx, process 7")));
        found.len()
    }

    #[test]
    fn a_port_is_taken_by_a_stranger() {
        assert_eq!(found(false, true, false), 1);
        assert_eq!(found(false, false, false), 1);
        assert_eq!(found(false, false, true), 1, "of another store");
    }

    #[test]
    fn a_broker_has_its_own_ports() {
        assert_eq!(found(true, false, true), 0);
        assert_eq!(found(false, true, true), 0, "found by itself");
    }
}
