//! What a thread of a real machine has beside [`Io`].

use std::future::Future;
use std::io;

use super::doorbell::Doorbell;
use crate::io::Io;

pub trait Machine: Io {
    /// Completes when the bell has been rung, also if that was before the call. Dropping the future loses no ring: only a completed
    /// future consumes one.
    fn wait(&self, bell: &Doorbell) -> impl Future<Output = io::Result<()>> + 'static;

    /// What the kernel and the process's limits have allowed so far, for the output of a start.
    fn capabilities(&self) -> String;
}
