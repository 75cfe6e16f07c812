//! The traits of [`crate::io`] on io_uring: one ring, one small executor, one thread on one core.
//!
//! A turn of the loop:
//!
//! ```text
//! take all completions -> wake their tasks -> run tasks until none is ready -> one slice of a task that has paused
//!                      -> one io_uring_enter (submit and wait)
//! ```
//!
//! The operations of a turn are submitted together by the one `enter` at its end, in the order of the calls.
//!
//! * A buffer belongs to the slot of its operation (`slots`) until the operation's last completion. Dropping a future
//!   cancels the operation; the slot keeps the buffer.
//! * At the end, whether `main` returned or a task panicked, all tasks are dropped and all operations cancelled. No
//!   memory is freed before the last completion has come.
//! * Nothing here may be used from another thread, except for a [`Doorbell`]. Wakers are plain numbers: waking one on
//!   another thread does nothing.
//!
//! What does not depend on io_uring, and serves [`crate::portable`] as well, is in [`linux`].

mod bell;
mod capabilities;
mod core;
mod descriptor;
mod direct;
mod disk;
mod file;
pub mod linux;
mod net;
mod off_thread;
mod op;
mod queues;
mod recv_buffers;
mod registration;
mod slots;
mod stream;

#[cfg(test)]
mod tests;

pub use capabilities::{Capabilities, LogRegistration, Unsupported, probe};
pub use disk::RingLock;
pub use file::RingFile;
pub use net::RingListener;
pub use recv_buffers::Chunk;
pub use stream::RingStream;

use std::future::Future;
use std::io;
use std::pin::pin;
use std::rc::Rc;

use self::core::Core;
use crate::ring::linux::{Doorbell, Machine, OnThread, Thread};

#[derive(Clone, Debug)]
pub struct RingConfig {
    /// Submissions of one turn. Further ones are submitted early, which costs one more system call.
    pub entries: u32,
    pub recv_buffer_bytes: usize,
    /// Receive buffers shared by all connections; a power of two. 16 of them gave 114k failed receives in a run that
    /// had none with 128.
    pub recv_buffers: u16,
    /// Capacity of the table of direct descriptors. Files and connections beyond it use their ordinary descriptors.
    pub direct_descriptors: u32,
    /// The core to pin the thread to.
    pub core: Option<usize>,
    /// A poll of a task that takes longer is a stall: counted, and logged with the task's name.
    pub stall_limit_ns: u64,
}

impl Default for RingConfig {
    fn default() -> RingConfig {
        RingConfig {
            entries: 1024,
            recv_buffer_bytes: 16 << 10,
            recv_buffers: 512,
            direct_descriptors: 16384,
            core: None,
            stall_limit_ns: 5_000_000,
        }
    }
}

/// This thread's ring: the whole [`crate::io::Io`].
#[derive(Clone)]
pub struct Ring {
    core: Rc<Core>,
}

impl Ring {
    /// Makes this thread a reactor until `main` is done; the tasks it has spawned end with it.
    ///
    /// Fails where io_uring is not available ([`Unsupported`] says what to do), or when it stops working.
    pub fn start<T, F: Future<Output = T>>(
        config: RingConfig,
        main: impl FnOnce(Ring) -> F,
    ) -> io::Result<T> {
        let core = Core::new(&config)?;
        // Dropped last: cleans up behind `main`, also when it panics.
        let _running = core.enter_thread();
        let ring = Ring { core: core.clone() };
        let main = pin!(main(ring));
        core.run(main)
    }

    /// What the kernel and the process's limits have allowed so far.
    pub fn capabilities(&self) -> Capabilities {
        self.core.capabilities.borrow().clone()
    }
}

impl Machine for Ring {
    fn wait(&self, bell: &Doorbell) -> impl Future<Output = io::Result<()>> + 'static {
        bell::wait_for(self.core.clone(), bell.clone())
    }

    fn capabilities(&self) -> String {
        self.core.capabilities.borrow().to_string()
    }
}

impl OnThread for Ring {
    fn thread(&self) -> &Rc<Thread> {
        &self.core.thread
    }
}
