//! The future of a deadline.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::thread::Thread;
use super::timers::TimerKey;

pub struct Sleep {
    thread: Rc<Thread>,
    deadline_ns: u64,
    /// Set by the first poll that has to wait.
    key: Option<TimerKey>,
}

impl Sleep {
    pub fn new(thread: &Rc<Thread>, deadline_ns: u64) -> Sleep {
        Sleep {
            thread: thread.clone(),
            deadline_ns,
            key: None,
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.thread.now().mono_ns >= self.deadline_ns {
            return Poll::Ready(());
        }
        let waker = context.waker().clone();
        let (key, old) = self.thread.sleep(self.key, self.deadline_ns, waker);
        self.key = Some(key);
        // Dropping a foreign waker may run any code: not within a borrow.
        drop(old);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            let old = self.thread.end_sleep(key);
            drop(old);
        }
    }
}
