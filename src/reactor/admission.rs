//! The admission queue: room in the log buffer for what clients send. A request without room waits in one queue for all
//! connections, until there is room or the broker is busy (`broker/admission.rs`). A connection has one place in the queue, however
//! much it sends.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use tracing::{info, warn};

use super::ShardSetup;
use super::connection::Connection;
use super::permit::Permit;
use crate::broker::Refusal;
use crate::broker::admission::{self, Admission, AdmissionLimits, Backlog};
use crate::io::{Either, Gate, Io, Now, select};
use crate::store::{Cause, Store};

pub(super) struct AdmissionQueue<I: Io> {
    io: I,
    store: Rc<Store<I>>,
    /// The first request in the queue waits for the store; the others wait for it.
    queue: Rc<Gate>,
    /// Since when the first one has been waiting.
    first_since_ns: Rc<Cell<Option<u64>>>,
    admission: RefCell<Admission>,
    patience_ms: u64,
    log_buffer_bytes: usize,
}

/// Whether something may be appended now.
pub(super) enum Admitted {
    Now,
    /// Its connection has to wait ([`AdmissionQueue::enter`]).
    Later,
    Never(Refusal),
}

impl<I: Io> AdmissionQueue<I> {
    pub fn new(io: I, store: Rc<Store<I>>, setup: &ShardSetup) -> Self {
        let now_ms = ms(io.now().mono_ns);
        AdmissionQueue {
            io,
            store,
            queue: Gate::new(1),
            first_since_ns: Rc::default(),
            admission: RefCell::new(Admission::new(setup.admission, now_ms)),
            patience_ms: setup.admission.patience_ms(),
            log_buffer_bytes: setup.store.log_buffer_bytes,
        }
    }

    pub fn set_limits(&self, limits: AdmissionLimits) {
        self.admission.borrow_mut().set_limits(limits);
    }

    /// Why a send is refused at once, if it is.
    pub fn refusal(&self) -> Option<Refusal> {
        let now = self.io.now();
        let backlog = self.observe(now);
        let mut admission = self.admission.borrow_mut();
        admission.refusal(&backlog, ms(now.mono_ns))
    }

    /// What keeps the messages that wait from being durable.
    pub fn cause(&self) -> Cause {
        self.admission.borrow().cause()
    }

    /// Whether there is room for `bytes` that `connection` sends.
    pub fn admit(&self, connection: &Connection<I::Stream>, bytes: usize) -> Admitted {
        match connection.grant().room() {
            Some(Err(refusal)) => return Admitted::Never(refusal),
            // The connection may have sent more than it has waited for.
            Some(Ok(())) => {}
            None if self.queue.is_free() => {}
            None => return Admitted::Later,
        }
        match self.store.room_for(bytes) {
            true => Admitted::Now,
            false => Admitted::Later,
        }
    }

    /// Waits in the queue until there is room for `bytes`. `Err`: that took too long.
    pub async fn enter(&self, bytes: usize) -> Result<Permit, Refusal> {
        let since_ns = self.io.now().mono_ns;
        let room = async {
            let pass = self.queue.enter(1).await;
            let permit = Permit::new(pass, self.first_since_ns.clone(), since_ns);
            self.store.wait_for_room(bytes).await;
            permit
        };
        match select(room, self.out_of_patience(since_ns)).await {
            Either::Left(permit) => Ok(permit),
            Either::Right(refusal) => Err(refusal),
        }
    }

    async fn out_of_patience(&self, since_ns: u64) -> Refusal {
        loop {
            if let Some(refusal) = self.refusal() {
                return refusal;
            }
            let now = self.io.now();
            let own_ms = ms(now.mono_ns - since_ns);
            let busy_in_ms = {
                let admission = self.admission.borrow();
                if own_ms >= self.patience_ms {
                    return admission.gives_up(own_ms, self.log_buffer_bytes);
                }
                admission.busy_in_ms(self.backlog(now).waited_ms, ms(now.mono_ns))
            };
            let left_ms = busy_in_ms.min(self.patience_ms - own_ms).max(1);
            self.io.sleep_until(now.mono_ns + left_ms * 1_000_000).await;
        }
    }

    /// With every send, and at each tick, as a busy broker may get no send at all.
    pub fn observe(&self, now: Now) -> Backlog {
        let backlog = self.backlog(now);
        let mut admission = self.admission.borrow_mut();
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
        let in_queue_ns = self.first_since_ns.get().unwrap_or(now.mono_ns);
        let in_log_ms = now.unix_ms.saturating_sub(stored_ms).max(0) as u64;
        Backlog {
            waited_ms: in_log_ms.max(ms(now.mono_ns.saturating_sub(in_queue_ns))),
            tail: self.store.tail(),
            committed: self.store.committed(),
        }
    }
}

fn ms(ns: u64) -> u64 {
    ns / 1_000_000
}
