//! Sleeping tasks, by deadline.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::core::Core;

#[derive(Default)]
pub(super) struct Timers {
    /// By deadline, then by when the sleep began.
    sleeping: BTreeMap<(u64, u64), Waker>,
    next_sequence: u64,
}

impl Timers {
    pub(super) fn next_deadline_ns(&self) -> Option<u64> {
        let (&(deadline_ns, _), _) = self.sleeping.first_key_value()?;
        Some(deadline_ns)
    }

    pub(super) fn take_due(&mut self, now_ns: u64) -> Option<Waker> {
        let first = self.sleeping.first_entry()?;
        (first.key().0 <= now_ns).then(|| first.remove())
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.sleeping.len()
    }
}

pub(super) struct Sleep {
    core: Rc<Core>,
    deadline_ns: u64,
    sequence: Option<u64>,
}

impl Sleep {
    pub(super) fn new(core: Rc<Core>, deadline_ns: u64) -> Sleep {
        Sleep {
            core,
            deadline_ns,
            sequence: None,
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.core.now.get().mono_ns >= self.deadline_ns {
            return Poll::Ready(());
        }
        let core = self.core.clone();
        let mut timers = core.timers.borrow_mut();
        let sequence = *self.sequence.get_or_insert_with(|| {
            timers.next_sequence += 1;
            timers.next_sequence
        });
        let key = (self.deadline_ns, sequence);
        let old = timers.sleeping.insert(key, context.waker().clone());
        // Wakers of others than our executor may do anything when they are dropped: not within the borrow.
        drop(timers);
        drop(old);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(sequence) = self.sequence {
            let key = (self.deadline_ns, sequence);
            let old = self.core.timers.borrow_mut().sleeping.remove(&key);
            drop(old);
        }
    }
}
