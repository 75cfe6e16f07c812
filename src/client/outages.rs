//! Which peers cannot be reached: each outage is logged once, however often it is met.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;

use super::ClientError;

/// By address.
#[derive(Debug, Default)]
pub struct Outages(RefCell<BTreeSet<String>>);

impl Outages {
    /// Whether it was reachable until now.
    pub fn begin(&self, addr: &str) -> bool {
        self.0.borrow_mut().insert(addr.to_owned())
    }

    /// Whether it was not reachable until now.
    pub fn end(&self, addr: &str) -> bool {
        self.0.borrow_mut().remove(addr)
    }
}

/// A failure of something that is tried again. An unreachable peer is logged by its outage.
pub fn log_failure(error: &ClientError, what: fmt::Arguments<'_>) {
    if error.is_of_connection() {
        tracing::debug!("{what}: {error}");
    } else {
        tracing::warn!("{what}: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_begins_and_ends_once() {
        let outages = Outages::default();
        assert!(!outages.end("a"), "it was never out");
        assert!(outages.begin("a") && !outages.begin("a"));
        assert!(outages.begin("b"), "another one");
        assert!(outages.end("a") && !outages.end("a"));
        assert!(outages.begin("a"), "the next outage");
    }
}
