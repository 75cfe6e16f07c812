//! Any number of tasks that wait for the same condition.

use std::cell::RefCell;
use std::future::poll_fn;
use std::task::{Poll, Waker};

use hashbrown::HashSet;

/// So many wakers are compared one by one with a new one. Further ones are looked up: ten thousand tasks may wait.
const COMPARED: usize = 16;

#[derive(Default)]
pub struct Waiters {
    wakers: RefCell<Wakers>,
}

/// Each waker once, in the order in which they came.
#[derive(Default)]
struct Wakers {
    all: Vec<Waker>,
    /// Those behind the first [`COMPARED`], by what makes them equal.
    known: HashSet<(usize, usize)>,
}

impl Waiters {
    /// Wakes all waiting tasks; each checks its own condition.
    pub fn wake_all(&self) {
        let mut wakers = self.wakers.borrow_mut();
        wakers.known.clear();
        for waker in wakers.all.drain(..) {
            waker.wake();
        }
    }

    /// Completes when `look` returns a value. It is called now and after each `wake_all`.
    pub async fn until<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
        poll_fn(|context| {
            if let Some(found) = look() {
                return Poll::Ready(found);
            }
            self.wakers.borrow_mut().add(context.waker());
            Poll::Pending
        })
        .await
    }
}

impl Wakers {
    fn add(&mut self, waker: &Waker) {
        let mut first = self.all.iter().take(COMPARED);
        if first.any(|known| known.will_wake(waker)) {
            return;
        }
        let parts = (
            waker.data().addr(),
            std::ptr::from_ref(waker.vtable()).addr(),
        );
        if self.all.len() < COMPARED || self.known.insert(parts) {
            self.all.push(waker.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Wake};

    use super::*;

    #[derive(Default)]
    struct Counter(AtomicUsize);

    impl Wake for Counter {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_task_waits_once_however_often_it_asks() {
        let (waiters, is_met) = (Waiters::default(), Cell::new(false));
        let tasks: Vec<Arc<Counter>> = (0..3 * COMPARED).map(|_| Arc::default()).collect();
        for _ in 0..5 {
            for task in &tasks {
                let waker = Waker::from(task.clone());
                let mut waiting = pin!(waiters.until(|| is_met.get().then_some(7)));
                let mut context = Context::from_waker(&waker);
                assert!(waiting.as_mut().poll(&mut context).is_pending());
            }
        }
        assert_eq!(waiters.wakers.borrow().all.len(), tasks.len());
        waiters.wake_all();
        assert!(tasks.iter().all(|task| task.0.load(Ordering::Relaxed) == 1));
        assert!(waiters.wakers.borrow().known.is_empty());
        is_met.set(true);
        let mut waiting = pin!(waiters.until(|| is_met.get().then_some(7)));
        let mut context = Context::from_waker(Waker::noop());
        assert_eq!(waiting.as_mut().poll(&mut context), Poll::Ready(7));
    }
}
