//! What a controller shows of itself.

use openraft::ServerState;

use super::access::denied;
use super::counts::Page;
use super::desk::Desk;
use crate::metrics::families::*;
use crate::metrics::{Family, NodeLabels};

impl Desk {
    /// All samples of this controller, by family.
    pub fn figures(&self, extra: &[(String, String)]) -> Vec<(&'static Family, String)> {
        let own = self.setup.own();
        let labels = [
            ("address", &*own.address),
            ("group", &*self.setup.group),
            ("peer_id", &*own.id),
        ];
        let node = NodeLabels::of(&labels, extra);
        let mut page = Page::new(&node);
        let (role, term) = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow();
            (role(metrics.state), metrics.current_term)
        };
        page.gauge(&CONTROLLER_ROLE, role);
        page.gauge(&CONTROLLER_DISK, self.disk_bytes());
        self.write_brokers(&mut page);
        self.counts.write(&mut page);
        for (reason, count) in denied(self.access.as_deref()) {
            page.sample(&CONTROLLER_DENIED, &[("reason", reason)], count);
        }
        page.gauge(&CONTROLLER_TERM, term);
        let applied = self.machine.state().applied;
        page.gauge(&CONTROLLER_APPLIED, applied.map_or(0, |id| id.index));
        page.into_texts()
    }

    fn write_brokers(&self, page: &mut Page<'_>) {
        for group in self.brokers_alive() {
            let labels = [("cluster", &*group.cluster), ("broker_set", &*group.name)];
            page.sample(&CONTROLLER_BROKERS, &labels, group.brokers as u64);
        }
    }

    /// Files that cannot be read count nothing.
    fn disk_bytes(&self) -> u64 {
        let Ok(entries) = std::fs::read_dir(&self.setup.dir) else {
            return 0;
        };
        let files = entries.filter_map(|entry| entry.ok()?.metadata().ok());
        files.map(|file| file.len()).sum()
    }
}

/// As RocketMQ numbers the roles.
fn role(state: ServerState) -> u64 {
    match state {
        ServerState::Learner | ServerState::Shutdown => 0,
        ServerState::Candidate => 1,
        ServerState::Follower => 2,
        ServerState::Leader => 3,
    }
}
