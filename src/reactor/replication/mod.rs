//! Replication: a master serves its log on its HA port (`master.rs`, `sender.rs`), a slave follows it (`slave.rs`), and takes over what is
//! not in the log (`metadata.rs`), and what it cannot read of its own (`repair.rs`). The rules are in `replication/`.
//!
//! ```text
//! master                                         slave
//! append ─► log ─► sender ──── frames ─────────► slave ─► log ─► its own group commit
//!            ▲                                                    │ persisted
//! committed ◄┴── confirm ◄──── reports ◄──────────────────────────┘
//! ```
//! Bytes of the log are sent when they are appended, while the master's own write is on its way: a send waits for the slower of the two.

mod controlled;
mod hand_over;
mod inbox;
mod link;
mod master;
mod metadata;
mod releases;
mod repair;
mod sender;
pub(super) mod setup;
mod slave;
pub(super) mod state;

use std::rc::Rc;

use super::core::Core;
use super::{ServeError, bind};
use crate::io::Io;

/// From now on readers wait for what another broker may have. Before the first of them comes: repairs begin later.
pub(super) fn await_repair<I: Io>(core: &Core<I>) {
    if let Some(replication) = &core.replication
        && !mutant!(StartPassesOver)
    {
        core.store.await_repair(replication.standing().awaits());
    }
}

/// Starts what the role needs.
pub(super) async fn start<I: Io>(
    core: &Rc<Core<I>>,
    is_first_term: bool,
) -> Result<(), ServeError> {
    let Some(replication) = &core.replication else {
        return Ok(());
    };
    core.io.spawn("repair-log", repair::run(core.clone()));
    if replication.setup.is_slave() {
        core.io.spawn("follow-master", slave::follow(core.clone()));
        core.io
            .spawn("follow-metadata", metadata::follow(core.clone()));
        return Ok(());
    }
    core.store.trust_end();
    let listen: fn(&I, _) -> _ = match replication.setup.is_secured {
        true => I::listen_remoting,
        false => I::listen,
    };
    let listener = bind(&core.io, replication.setup.listen, is_first_term, listen).await?;
    core.io
        .spawn("accept-replicas", master::accept(core.clone(), listener));
    if replication.waits_for_replicas() {
        core.io
            .spawn("release-unreplicated", releases::run(core.clone()));
    }
    Ok(())
}
