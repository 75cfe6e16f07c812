//! A select of two futures.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

pub enum Either<A, B> {
    Left(A),
    Right(B),
}

/// Completes with the first result, the left one if both are ready. The other future is dropped, which cancels it.
pub async fn select<A, B>(
    left: impl Future<Output = A>,
    right: impl Future<Output = B>,
) -> Either<A, B> {
    let mut left = pin!(left);
    let mut right = pin!(right);
    poll_fn(|context| {
        if let Poll::Ready(done) = left.as_mut().poll(context) {
            return Poll::Ready(Either::Left(done));
        }
        right.as_mut().poll(context).map(Either::Right)
    })
    .await
}
