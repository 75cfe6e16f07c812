//! The seam between the broker and the outside world: traits, and how tasks wait: [`Notify`], [`first`].
//!
//! Everything a shard can do to a disk, a socket or the time goes through [`Io`]. `ring/` implements it on io_uring,
//! `sim/` on a seed with virtual time; the store, the name server and the reactor cannot tell which one runs them. One
//! implementation belongs to one thread, so no future here is `Send`.
//!
//! Buffers go to the kernel by ownership and come back with the result ([`crate::mem::IoBuf`]). Dropping a future
//! before it is done cancels the operation; the implementation keeps the buffer until the kernel has let go of it.

mod clock;
mod disk;
mod first;
mod net;
mod notify;
mod pause;
mod waiters;

pub use clock::{Clock, Now};
pub use disk::{DirEntry, Disk, Durability, File, OpenOptions, Space};
pub use first::{First, first};
pub use net::{Listener, Net, Stream};
pub use notify::{Notified, Notify};
pub use pause::pause;
pub use waiters::Waiters;

use std::future::Future;

/// One thread's whole view of the outside world. A clone is another handle on the same one.
pub trait Io: Clock + Disk + Net + Spawn + Clone + 'static {}

impl<T: Clock + Disk + Net + Spawn + Clone + 'static> Io for T {}

/// Starts tasks on this thread's executor.
pub trait Spawn {
    /// The task runs until it is done; nothing waits for it. Its name stands in the log when it stalls the thread.
    fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + 'static);

    /// How often a task has kept the thread too long since the start.
    fn stalls(&self) -> Stalls;
}

/// Polls of tasks above the configured limit: for so long nothing else ran on the thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stalls {
    pub count: u64,
    pub max_ns: u64,
    pub total_ns: u64,
}
