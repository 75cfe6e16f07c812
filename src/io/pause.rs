//! Letting the others of this thread have their turn.

use std::future::poll_fn;
use std::task::Poll;

/// Done in the next turn: for a task that has much to do and waits for nothing.
pub async fn pause() {
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
