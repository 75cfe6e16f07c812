//! The handle of a call that has started: its result comes later.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use super::ClientError;

/// A call in progress on the client's thread. It continues also if nothing waits for it.
///
/// Await it in any executor, or call [`wait`](Self::wait) in a thread that has none.
#[must_use = "await it or call wait() to learn how it ended"]
pub struct Pending<T> {
    answered: oneshot::Receiver<Result<T, ClientError>>,
}

impl<T> Pending<T> {
    pub(super) fn new() -> (oneshot::Sender<Result<T, ClientError>>, Self) {
        let (answer, answered) = oneshot::channel();
        (answer, Self { answered })
    }

    /// Blocks this thread until the call has ended.
    ///
    /// # Panics
    ///
    /// In a tokio runtime's own thread, which must not be blocked: await it there.
    pub fn wait(self) -> Result<T, ClientError> {
        self.answered
            .blocking_recv()
            .unwrap_or(Err(ClientError::Stopped))
    }
}

impl<T> Future for Pending<T> {
    type Output = Result<T, ClientError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.answered)
            .poll(context)
            .map(|answered| answered.unwrap_or(Err(ClientError::Stopped)))
    }
}
