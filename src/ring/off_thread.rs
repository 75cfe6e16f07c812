//! System calls that io_uring lacks and that may block: each runs on a thread of its own, which ends with it.

use std::io;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::bell;
use super::core::Core;
use crate::ring::linux::Doorbell;

/// For calls that are made a few times a second at most.
pub(super) async fn off_thread<T: Send + 'static>(
    core: &Rc<Core>,
    name: &str,
    call: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let bell = Doorbell::new()?;
    let result = Arc::new(Mutex::new(None));
    let (ring_at_end, for_thread) = (RingAtEnd(bell.clone()), result.clone());
    let run = move || {
        // Rung last, also when the call panics.
        let _ring_at_end = ring_at_end;
        let done = call();
        *for_thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(done);
    };
    thread::Builder::new().name(name.to_owned()).spawn(run)?;
    bell::wait_for(core.clone(), bell).await?;
    let done = result.lock().unwrap_or_else(PoisonError::into_inner).take();
    done.unwrap_or_else(|| Err(io::Error::other("the thread of a system call has panicked")))
}

struct RingAtEnd(Doorbell);

impl Drop for RingAtEnd {
    fn drop(&mut self) {
        self.0.ring();
    }
}
