//! The traits of [`crate::io`] without io_uring, for machines where it is blocked: epoll for sockets, a few threads for files.
//!
//! A turn of the loop:
//!
//! ```text
//! epoll_wait -> wake the tasks whose sockets are ready, and those whose calls have ended -> run tasks until none is ready
//!            -> one slice of a task that has paused
//! ```
//!
//! Executor, timers and their order are those of `ring/` ([`crate::ring::linux`]). A socket is read and written by the reactor's thread when it is
//! ready, once in a turn at most. A call on a file blocks, so one of the `pool`'s threads makes it; its result comes back over a list and
//! a bell. So a log write crosses to another thread and back: once for a group of messages, not for each.
//!
//! * A buffer belongs to its call until that has ended. Dropping a future takes a call back that has not begun; of another one the buffer is
//!   kept, and its result is dropped.
//! * At the end, whether `main` returned or a task panicked, all tasks are dropped, no further call begins, and those that have begun are
//!   waited for.
//! * A killed process keeps its descriptors, and with them its locks, until its last thread has ended. A thread that is in a write ends behind it.

mod buffers;
mod calls;
mod core;
mod disk;
mod file;
mod net;
mod op;
mod poller;
mod pool;
mod source;
mod stream;
mod work;

#[cfg(test)]
mod tests;

pub use buffers::Chunk;
pub use disk::PortableLock;
pub use file::PortableFile;
pub use net::PortableListener;
pub use stream::PortableStream;

use std::future::Future;
use std::io;
use std::pin::pin;
use std::rc::Rc;

use self::core::Core;
use crate::ring::linux::{Doorbell, Machine, OnThread, Thread};

#[derive(Clone, Debug)]
pub struct PortableConfig {
    pub recv_buffer_bytes: usize,
    /// Receive buffers kept for all connections.
    pub recv_buffers: usize,
    /// The core to pin the thread to.
    pub core: Option<usize>,
    /// A poll of a task that takes longer is a stall: counted, and logged with the task's name.
    pub stall_limit_ns: u64,
}

impl Default for PortableConfig {
    fn default() -> PortableConfig {
        PortableConfig {
            recv_buffer_bytes: 16 << 10,
            recv_buffers: 512,
            core: None,
            stall_limit_ns: 5_000_000,
        }
    }
}

/// This thread's reactor: the whole [`crate::io::Io`].
#[derive(Clone)]
pub struct Portable {
    core: Rc<Core>,
}

impl Portable {
    /// Makes this thread a reactor until `main` is done; the tasks it has spawned end with it.
    pub fn start<T, F: Future<Output = T>>(
        config: PortableConfig,
        main: impl FnOnce(Portable) -> F,
    ) -> io::Result<T> {
        let core = Core::new(&config)?;
        // Dropped last: cleans up behind `main`, also when it panics.
        let _running = core.enter_thread();
        let portable = Portable { core: core.clone() };
        let main = pin!(main(portable));
        core.run(main)
    }
}

impl Machine for Portable {
    fn wait(&self, bell: &Doorbell) -> impl Future<Output = io::Result<()>> + 'static {
        source::wait_for(self.core.clone(), bell.clone())
    }

    fn capabilities(&self) -> String {
        self.core.capabilities()
    }
}

impl OnThread for Portable {
    fn thread(&self) -> &Rc<Thread> {
        &self.core.thread
    }
}
