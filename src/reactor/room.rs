//! Room in the log buffer for what clients send. A request without room waits in one queue for all connections, until there is
//! room or the broker is busy (`broker/admission.rs`). A client that sends without end has one place in it, like all others.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use tracing::{info, warn};

use super::connection::Connection;
use super::gate::Gate;
use super::permit::Permit;
use super::shard::Shard;
use crate::broker::Refusal;
use crate::broker::admission::{self, Admission, AdmissionLimits, Backlog};
use crate::io::{First, Io, Now, first};

pub(super) struct Room {
    /// One at a time waits for the store.
    line: Rc<Gate>,
    /// Since when the first one has been waiting.
    first_since_ns: Rc<Cell<Option<u64>>>,
    admission: RefCell<Admission>,
}

/// Whether something may be appended now.
pub(super) enum Admitted {
    Now,
    /// Its connection has to wait ([`Shard::turn`]).
    Later,
    Never(Refusal),
}

impl Room {
    pub fn new(limits: AdmissionLimits, now: Now) -> Self {
        Room {
            line: Gate::new(1),
            first_since_ns: Rc::default(),
            admission: RefCell::new(Admission::new(limits, ms(now.mono_ns))),
        }
    }

    pub fn set_limits(&self, limits: AdmissionLimits) {
        self.admission.borrow_mut().set_limits(limits);
    }
}

impl<I: Io> Shard<I> {
    /// Why a send is refused at once, if it is.
    pub(super) fn busy(&self) -> Option<Refusal> {
        let now = self.io.now();
        let backlog = self.look_at_backlog(now);
        let mut admission = self.room.admission.borrow_mut();
        admission.refusal(&backlog, ms(now.mono_ns))
    }

    /// Whether there is room for `bytes` that `connection` sends.
    pub(super) fn admit(&self, connection: &Connection<I::Stream>, bytes: usize) -> Admitted {
        let turn = connection.turn.take();
        match turn {
            Some(Err(refusal)) => return Admitted::Never(refusal),
            // It may have brought more than it waited for.
            Some(Ok(turn)) => {
                connection.turn.replace(Some(Ok(turn)));
            }
            None if self.room.line.is_free() => {}
            None => return Admitted::Later,
        }
        match self.store.room_for(bytes) {
            true => Admitted::Now,
            false => Admitted::Later,
        }
    }

    /// Waits in the line until there is room for `bytes`. `Err`: that took too long.
    pub(super) async fn turn(&self, bytes: usize) -> Result<Permit, Refusal> {
        let since_ns = self.io.now().mono_ns;
        let room = async {
            let pass = self.room.line.enter(1).await;
            let permit = Permit::new(pass, self.room.first_since_ns.clone(), since_ns);
            self.store.wait_for_room(bytes).await;
            permit
        };
        match first(room, self.out_of_patience(since_ns)).await {
            First::Left(turn) => Ok(turn),
            First::Right(refusal) => Err(refusal),
        }
    }

    async fn out_of_patience(&self, since_ns: u64) -> Refusal {
        let patience_ms = self.setup.admission.patience_ms();
        loop {
            if let Some(refusal) = self.busy() {
                return refusal;
            }
            let now = self.io.now();
            let own_ms = ms(now.mono_ns - since_ns);
            let busy_in_ms = {
                let admission = self.room.admission.borrow();
                if own_ms >= patience_ms {
                    return admission.gives_up(own_ms, self.setup.store.log_buffer_bytes);
                }
                admission.busy_in_ms(self.backlog(now).waited_ms, ms(now.mono_ns))
            };
            let left_ms = busy_in_ms.min(patience_ms - own_ms).max(1);
            self.io.sleep_until(now.mono_ns + left_ms * 1_000_000).await;
        }
    }

    /// With every send, and every now and then, as nobody may send.
    pub(super) fn look_at_backlog(&self, now: Now) -> Backlog {
        let backlog = self.backlog(now);
        let mut admission = self.room.admission.borrow_mut();
        match admission.look(&backlog, ms(now.mono_ns)) {
            Some(admission::Turn::Busy { late_ms }) => {
                warn!(
                    late_ms,
                    waited_ms = backlog.waited_ms,
                    waiting_bytes = backlog.tail - backlog.committed,
                    "the disk does not keep up: sends that would be late are refused"
                );
            }
            Some(admission::Turn::Calm { busy_ms, refused }) => {
                info!(
                    busy_ms,
                    refused, "the disk keeps up again: all sends are taken"
                );
            }
            None => {}
        }
        backlog
    }

    fn backlog(&self, now: Now) -> Backlog {
        let stored_ms = self.store.waiting_since_ms().unwrap_or(now.unix_ms);
        let in_line_ns = self.room.first_since_ns.get().unwrap_or(now.mono_ns);
        let in_log_ms = now.unix_ms.saturating_sub(stored_ms).max(0) as u64;
        Backlog {
            waited_ms: in_log_ms.max(ms(now.mono_ns.saturating_sub(in_line_ns))),
            tail: self.store.tail(),
            committed: self.store.committed(),
        }
    }
}

fn ms(ns: u64) -> u64 {
    ns / 1_000_000
}
