//! The traits through which the broker reaches disk, network and clock, and the primitives of waiting tasks: [`Notify`], [`select`],
//! [`Gate`], [`Scope`].
//!
//! A shard uses disks, sockets and clocks only through [`Io`]. `ring/` implements it on io_uring, `sim/` with a seed and virtual
//! time; the store, the name server and the reactor are the same on both. An implementation belongs to one thread, so no
//! future here is `Send`.
//!
//! An operation owns its buffer and returns it with the result ([`crate::mem::IoBuf`]). Dropping a future before it completes
//! cancels the operation; the implementation keeps the buffer until the kernel does not use it any more.

mod clock;
mod disk;
pub(crate) mod forward;
mod gate;
mod net;
mod notify;
mod per_turn;
mod scope;
mod select;
mod waiters;
mod yield_now;

pub use clock::{Clock, Now};
pub(crate) use disk::create_dir_all;
pub use disk::{DirEntry, Disk, Durability, File, OpenOptions, Space};
pub use gate::{Gate, Pass};
pub use net::{ACCEPTED_PER_TURN, Listener, Net, Openings, Stream};
pub use notify::{Notified, Notify};
pub use per_turn::PerTurn;
pub use scope::{Scope, Scoped};
pub use select::{Either, select};
pub use waiters::Waiters;
pub use yield_now::yield_now;

use std::future::Future;

/// One thread's whole view of the outside world. A clone is another handle on the same one.
pub trait Io: Clock + Disk + Net + Spawn + Clone + 'static {}

impl<T: Clock + Disk + Net + Spawn + Clone + 'static> Io for T {}

/// Starts tasks on this thread's executor.
pub trait Spawn {
    /// The task runs until it completes; nothing waits for it. The log names it when it stalls the thread.
    fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + 'static);

    /// Counts stalls from now on. Before the thread serves clients a long poll delays none.
    fn watch_stalls(&self);

    /// How often a task has kept the thread too long since [`Spawn::watch_stalls`].
    fn stalls(&self) -> Stalls;

    /// Turns of this thread's loop: how often it has submitted operations and taken what has completed. With io_uring each is one call of
    /// `io_uring_enter`.
    fn turns(&self) -> u64;

    /// How long the tasks of this thread have run, by their names.
    fn task_times(&self) -> Vec<TaskTime>;
}

/// The polls of all tasks of one name, since the thread began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskTime {
    pub task: &'static str,
    pub polls: u64,
    /// From the beginning to the end of each poll, also where the kernel ran something else meanwhile.
    pub ns: u64,
}

/// Polls of tasks that took longer than the configured limit, during which nothing else ran on the thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stalls {
    pub count: u64,
    pub max_ns: u64,
    pub total_ns: u64,
    /// Those of our own making: the thread was on the CPU for longer than the limit, or waited in a system call. In all others the
    /// kernel ran something else on the core, or the host halted the virtual machine.
    pub own: u64,
    pub own_max_ns: u64,
}
