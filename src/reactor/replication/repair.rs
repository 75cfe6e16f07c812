//! A slave asks its master for the records that it cannot read, and puts them into their places. The rules are in `replication/repair.rs`.
//!
//! It asks with VIEW_MESSAGE_BY_ID (33): the master checks the record before it gives it, and learns by that of damage of its own.

use std::net::SocketAddr;
use std::rc::Rc;

use tracing::{info, warn};

use super::state::Replication;
use crate::io::{Io, select};
use crate::reactor::core::Core;
use crate::reactor::remoting_client::{AskError, RemotingClient};
use crate::replication::repair::{Refusals, Standing};
use crate::store::{Hole, StoreError};
use crate::wire::codes::request;
use crate::wire::exchange::Answer;
use crate::wire::query::{ViewAgain, ViewMessage};

/// How often the task looks for damage, and for a master to ask.
const LOOK_NS: u64 = 200_000_000;

/// Pause before what was refused is asked for again.
const AGAIN_NS: u64 = 1_000_000_000;

const PATIENCE_NS: u64 = 3_000_000_000;

#[derive(Debug, thiserror::Error)]
enum RepairError {
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Repairs until the shard stops.
pub(super) async fn run<I: Io>(core: Rc<Core<I>>) {
    let Some(replication) = &core.replication else {
        return;
    };
    let mut refusals = Refusals::default();
    let mut last_error = String::new();
    while !core.is_stopping() {
        replication.look_for_others();
        let standing = replication.standing();
        core.store.await_repair(standing.awaits());
        let mut pause_ns = LOOK_NS;
        if core.store.has_holes() {
            core.store.keep_holes().await;
            let master = replication.master.borrow().remoting;
            let is_repaired = standing.asks_master() && !mutant!(HolesStay);
            if let Some(master) = master.filter(|_| is_repaired) {
                match repair_some(&core, master, &mut refusals).await {
                    Ok(()) => last_error.clear(),
                    Err(error) => {
                        pause_ns = AGAIN_NS;
                        let text = error.to_string();
                        if text != last_error {
                            warn!(%master, error = text, "a part of the log cannot be read, and cannot be repaired yet");
                            last_error = text;
                        }
                    }
                }
            }
        }
        let later = core.io.sleep_until(core.io.now().mono_ns + pause_ns);
        select(core.store.hole_found(), later).await;
    }
}

/// Asks for the records of some holes. An error: one of them is still there.
async fn repair_some<I: Io>(
    core: &Core<I>,
    master: SocketAddr,
    refusals: &mut Refusals,
) -> Result<(), RepairError> {
    let connected =
        RemotingClient::connect(&core.io, master, core.credentials(), PATIENCE_NS).await;
    let mut link = connected.map_err(AskError::from)?;
    let mut left = Ok(());
    for mut hole in core.store.holes() {
        let found_at = hole.position;
        let error = match repair(core, &mut link, &mut hole).await {
            Ok(()) => {
                refusals.repaired(found_at);
                continue;
            }
            // Retention has removed it.
            Err(RepairError::Store(StoreError::Removed { .. })) => continue,
            Err(error) => error,
        };
        match error {
            RepairError::Ask(AskError::Connection(_)) => {
                refusals.unanswered();
                return Err(error);
            }
            RepairError::Store(StoreError::Fenced { .. } | StoreError::Io { .. }) => {
                return Err(error);
            }
            _ if refusals.refused(hole.position, core.io.now().mono_ns) => {
                let Hole { position, size } = hole;
                warn!(
                    position,
                    size, %error,
                    "a part of the log cannot be read, nor can the master's: it is passed over"
                );
                core.store.give_up(hole);
            }
            _ => left = Err(error),
        }
    }
    core.store.keep_holes().await;
    left
}

/// Asks the master for the record at a position, of which no record came: if its own is damaged, it knows then. What it sent came from its device, and what it has
/// in memory may be from a time when the device had the record.
pub(super) async fn let_master_look<I: Io>(core: &Core<I>, position: u64) {
    let replication = core.replication.as_ref();
    let Some(master) = replication.and_then(|replication| replication.master.borrow().remoting)
    else {
        return;
    };
    let connected =
        RemotingClient::connect(&core.io, master, core.credentials(), PATIENCE_NS).await;
    let Ok(mut link) = connected else { return };
    let again = ViewAgain {
        is_from_device: !mutant!(MemoryBelieved),
    };
    if let Err(error) = ask(&mut link, position, again).await {
        warn!(%master, position, %error, "what the master has sent there is no record");
    }
}

async fn ask<I: Io>(
    link: &mut RemotingClient<I>,
    position: u64,
    again: ViewAgain,
) -> Result<Answer, AskError> {
    let wanted = ViewMessage {
        offset: position as i64,
        topic: None,
    };
    let code = request::VIEW_MESSAGE_BY_ID;
    let ext: Vec<_> = wanted.ext().into_iter().chain(again.ext()).collect();
    link.ask(code, &ext, &[], PATIENCE_NS).await
}

/// Record by record. What is left of the hole is in `hole`.
async fn repair<I: Io>(
    core: &Core<I>,
    link: &mut RemotingClient<I>,
    hole: &mut Hole,
) -> Result<(), RepairError> {
    let (position, mut bytes) = (hole.position, 0);
    while hole.size > 0 && !core.is_stopping() {
        let any = ViewAgain {
            is_from_device: false,
        };
        let record = ask(link, hole.position, any).await?.body;
        let len = record.len();
        let Some(readable_to) = core.store.mend(hole.position, record).await? else {
            return Ok(());
        };
        hole.size = hole.size.saturating_sub(readable_to - hole.position);
        hole.position = readable_to;
        bytes += len;
    }
    info!(
        position,
        bytes, "a part of the log that could not be read was repaired from the master's"
    );
    Ok(())
}

impl<I: Io> Replication<I> {
    /// Other brokers of the group may be there.
    fn look_for_others(&self) {
        let replicas = self.replicas.borrow();
        let is_in_set = replicas
            .members()
            .is_some_and(|members| members.confirmed().members.len() > 1);
        if is_in_set || replicas.all().next().is_some() {
            self.had_others.set(true);
        }
    }

    pub(super) fn standing(&self) -> Standing {
        match self.setup.is_slave() {
            true => Standing::Slave(self.slave_state()),
            false => Standing::Master {
                has_controller: self.setup.controller.is_some(),
                has_others: self.had_others.get(),
            },
        }
    }
}
