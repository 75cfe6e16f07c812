//! `ringmq bench`: a broker under load, and beside it what this machine can do at best.
//!
//! The load generator is one thread on one core, on tokio-uring (on plain tokio where io_uring is not allowed). A run connects, warms up, measures a window and waits
//! for the last answers; [`comparison`] makes runs in alternation on embedded brokers, [`drive`] on any RocketMQ-compatible broker.
//! Latency counts from the intended send time, so it includes the wait of messages that a stalled broker kept from being sent.

mod answer;
mod chart;
pub mod comparison;
mod conclusions;
mod consume;
mod counters;
pub mod cpu;
pub mod drive;
mod floor;
mod hiccups;
mod histogram;
mod interrupt;
mod load;
mod machine;
mod meter;
mod output;
mod page;
mod recorder;
mod result;
mod stages;
mod table;
mod template;
#[cfg(test)]
mod tests;
mod time_line;
pub mod workload;

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use crate::client::{ClientError, Transport};

pub use counters::WriteCounters;
pub use interrupt::Interrupt;
pub use machine::Machine;
pub use meter::{BYTES_WRITTEN_KEY, FLUSHES_KEY, WRITES_KEY};
pub use output::Output;
pub use result::{Report, RunResult, Shape};

/// The modes that are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushMode {
    Sync,
    Async,
}

impl FlushMode {
    pub fn name(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Async => "async",
        }
    }
}

/// Starts brokers inside this process.
pub trait StartBroker {
    /// One shard, pinned to `core`, on an empty store in `dir`; ready when this returns.
    fn start(
        &self,
        flush: FlushMode,
        dir: &Path,
        core: usize,
    ) -> Result<Box<dyn EmbeddedBroker>, String>;
}

/// A broker with its name server, on threads of its own. The figures are read from the load generator's thread.
pub trait EmbeddedBroker: Send + Sync {
    fn namesrv(&self) -> SocketAddr;

    /// CPU time of the broker's threads so far, by [`cpu::of_thread`] say.
    fn cpu(&self) -> Option<Duration>;

    /// Ends it; its directory is removed afterwards.
    fn stop(self: Box<Self>);
}

#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("{what}: {error}")]
    Io { what: String, error: io::Error },
    #[error("interrupted before anything was measured")]
    Interrupted,
    #[error("{0}")]
    Other(String),
}

impl From<String> for BenchError {
    fn from(text: String) -> Self {
        Self::Other(text)
    }
}

impl BenchError {
    fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |error| Self::Io { what, error }
    }
}

/// Keeps the calling thread on one core; `false` if the machine has no such core or does not let it.
pub fn pin(core: Option<usize>) -> bool {
    core.is_none_or(|id| core_affinity::set_for_current(core_affinity::CoreId { id }))
}

/// Runs a future on a runtime and thread of its own, pinned to `core`. Threads that the caller starts are not pinned.
fn on_load_core<T: Send>(
    core: Option<usize>,
    connections: usize,
    run: impl AsyncFnOnce() -> Result<T, BenchError> + Send,
) -> Result<T, BenchError> {
    std::thread::scope(|scope| {
        let load = scope.spawn(move || {
            pin(core);
            // A read and a write of every connection.
            let ran = Transport::fastest().run(2 * connections, run());
            ran.map_err(BenchError::io("the load generator cannot start"))?
        });
        load.join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
