//! The future of a deadline.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::core::Core;
use super::timers::TimerKey;

pub(super) struct Sleep {
    core: Rc<Core>,
    deadline_ns: u64,
    /// Set by the first poll that has to wait.
    key: Option<TimerKey>,
}

impl Sleep {
    pub(super) fn new(core: Rc<Core>, deadline_ns: u64) -> Sleep {
        Sleep {
            core,
            deadline_ns,
            key: None,
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.core.now.get().mono_ns >= self.deadline_ns {
            return Poll::Ready(());
        }
        let (core, deadline_ns) = (self.core.clone(), self.deadline_ns);
        let mut timers = core.timers.borrow_mut();
        let key = *self.key.get_or_insert_with(|| timers.new_key(deadline_ns));
        let old = timers.insert(key, context.waker().clone());
        // Dropping a foreign waker may run any code: not within the borrow.
        drop(timers);
        drop(old);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            let old = self.core.timers.borrow_mut().remove(key);
            drop(old);
        }
    }
}
