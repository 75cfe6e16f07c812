//! What is known so far. It is written down at once, as the time may be over before all is known.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::cli::doctor::broker::BrokerFacts;
use crate::cli::doctor::groups::GroupFacts;
use crate::cli::doctor::routes::NameServerFacts;

#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub servers: Vec<NameServerFacts>,
    pub brokers: Vec<BrokerFacts>,
    pub groups: BTreeMap<String, GroupFacts>,
    /// Guesses that answered as a name server or a broker.
    pub speaking: BTreeSet<String>,
    pub left_out: Vec<String>,
}

impl Seen {
    /// Groups are put together from all brokers.
    pub fn group(&mut self, name: &str) -> &mut GroupFacts {
        let new = || GroupFacts {
            group: name.to_owned(),
            ..GroupFacts::default()
        };
        self.groups.entry(name.to_owned()).or_insert_with(new)
    }
}

/// Shared by the thread that asks, and the one that waits no longer.
#[derive(Clone, Default)]
pub struct Notes(Arc<Mutex<Seen>>);

impl Notes {
    pub fn write(&self) -> MutexGuard<'_, Seen> {
        // What is in it is whole even if a holder panics.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn left_out(&self, what: String) {
        self.write().left_out.push(what);
    }
}
