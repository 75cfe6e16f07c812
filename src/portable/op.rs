//! Asking the pool for a call, and the future of its result.

use std::any::Any;
use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::core::Core;
use super::pool::Lane;
use super::work::{Answer, Outcome, Work};
use crate::mem::{Buf, LogSlice};

impl Core {
    /// `kept` is what the owner has of a buffer that was lent.
    pub(super) fn submit(self: &Rc<Core>, lane: Lane, work: Work, kept: Option<LogSlice>) -> Op {
        Op {
            key: Some(self.calls.submit(lane, work, kept)),
            core: self.clone(),
        }
    }

    /// Makes a call that blocks.
    pub(super) async fn call<T: Send + 'static>(
        self: &Rc<Core>,
        call: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let boxed = || call().map(|answer| Box::new(answer) as Answer);
        let ended = self
            .submit(Lane::Slow, Work::Call(Box::new(boxed)), None)
            .await;
        ended.result?;
        let answer = ended.answer.and_then(|answer| answer.downcast().ok());
        Ok(*answer.unwrap_or_else(|| unreachable!("what the call returned")))
    }

    /// Closes a file, which may take long.
    pub(super) fn close(&self, file: Arc<OwnedFd>) {
        self.calls.submit(Lane::Slow, Work::Close(file), None);
    }
}

/// How a call has ended.
pub(super) struct Ended {
    pub(super) result: io::Result<usize>,
    pub(super) buf: Buf,
    pub(super) answer: Option<Box<dyn Any + Send>>,
}

/// Waits for a call. Dropping it takes the call back, or drops its result.
pub(super) struct Op {
    core: Rc<Core>,
    /// Until its outcome was taken.
    key: Option<usize>,
}

impl Future for Op {
    type Output = Ended;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Ended> {
        let key = self.key.expect("not polled after it was done");
        self.core.calls.poll(key, context).map(|(outcome, kept)| {
            self.key = None;
            let Outcome {
                result,
                buf,
                answer,
            } = outcome;
            Ended {
                result,
                buf: buf.back(kept),
                answer,
            }
        })
    }
}

impl Drop for Op {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.core.calls.orphan(key);
        }
    }
}
