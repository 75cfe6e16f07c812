//! Yields to the other tasks of the thread.

use std::future::poll_fn;
use std::task::Poll;

/// Completes in the next turn. For a task with a long loop that waits for nothing.
pub async fn yield_now() {
    let mut has_waited = false;
    poll_fn(|context| {
        if std::mem::replace(&mut has_waited, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
