//! Virtual time: it does not advance while a task runs, costs a little between tasks, and jumps when all of them wait.
//!
//! Whatever will happen later is one kind of event: "notify this [`Signal`] at that time". A task that waits on a signal looks
//! again at the state it waits for, so an event never carries data and a spurious one does no harm.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use super::SimIo;
use crate::io::{Clock, Now};

/// The tasks that wait may look again.
#[derive(Default)]
pub(super) struct Signal {
    waiting: RefCell<Vec<Waker>>,
}

impl Signal {
    pub fn notify(&self) {
        for waker in self.waiting.take() {
            waker.wake();
        }
    }

    /// Done when `look` finds something; it looks at once and after every [`Signal::notify`].
    pub async fn until<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
        poll_fn(|context| match look() {
            Some(found) => Poll::Ready(found),
            None => {
                self.register(context.waker());
                Poll::Pending
            }
        })
        .await
    }

    fn register(&self, waker: &Waker) {
        let mut waiting = self.waiting.borrow_mut();
        if !waiting.iter().any(|known| known.will_wake(waker)) {
            waiting.push(waker.clone());
        }
    }
}

/// When, and which of the events of that instant: events fire in the order in which they were set.
type EventKey = (u64, u64);

pub(super) struct Timeline {
    now_ns: Cell<u64>,
    events: RefCell<BTreeMap<EventKey, Rc<Signal>>>,
    next_event: Cell<u64>,
}

impl Timeline {
    pub fn starting_at(now_ns: u64) -> Self {
        Self {
            now_ns: Cell::new(now_ns),
            events: RefCell::default(),
            next_event: Cell::new(0),
        }
    }

    pub fn now_ns(&self) -> u64 {
        self.now_ns.get()
    }

    pub fn notify_at(&self, at_ns: u64, signal: &Rc<Signal>) {
        self.set(at_ns, Rc::clone(signal));
    }

    pub async fn sleep_until(&self, at_ns: u64) {
        if self.now_ns() >= at_ns {
            return;
        }
        let signal = Rc::new(Signal::default());
        let _event = Event {
            timeline: self,
            key: self.set(at_ns, Rc::clone(&signal)),
        };
        signal
            .until(|| (self.now_ns() >= at_ns).then_some(()))
            .await;
    }

    pub fn advance(&self, by_ns: u64) {
        self.now_ns.set(self.now_ns() + by_ns);
    }

    /// Goes to the next event; `false` if there is none.
    pub fn jump(&self) -> bool {
        let next = self.events.borrow().keys().next().copied();
        if let Some((at_ns, _)) = next {
            self.now_ns.set(self.now_ns().max(at_ns));
        }
        next.is_some()
    }

    pub fn fire_due(&self) {
        while let Some(signal) = self.take_due() {
            signal.notify();
        }
    }

    fn take_due(&self) -> Option<Rc<Signal>> {
        let mut events = self.events.borrow_mut();
        let entry = events.first_entry()?;
        (entry.key().0 <= self.now_ns()).then(|| entry.remove())
    }

    fn set(&self, at_ns: u64, signal: Rc<Signal>) -> EventKey {
        let key = (at_ns, self.next_event.get());
        self.next_event.set(key.1 + 1);
        self.events.borrow_mut().insert(key, signal);
        key
    }
}

/// A timer that is removed when no task waits for it any more, so that time does not run to it.
struct Event<'a> {
    timeline: &'a Timeline,
    key: EventKey,
}

impl Drop for Event<'_> {
    fn drop(&mut self) {
        self.timeline.events.borrow_mut().remove(&self.key);
    }
}

impl Clock for SimIo {
    fn now(&self) -> Now {
        self.world.now(self.owner.host)
    }

    fn exact_ns(&self) -> u64 {
        self.now().mono_ns
    }

    /// The world is in Greenwich.
    fn utc_offset_s(&self) -> i32 {
        0
    }

    async fn sleep_until(&self, mono_ns: u64) {
        self.world.timeline.sleep_until(mono_ns).await;
        self.alive().await;
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::Context;

    use super::*;

    #[test]
    fn a_dropped_sleep_leaves_no_event() {
        let timeline = Timeline::starting_at(5);
        let mut context = Context::from_waker(Waker::noop());
        {
            let mut sleep = pin!(timeline.sleep_until(100));
            assert!(sleep.as_mut().poll(&mut context).is_pending());
        }
        assert!(!timeline.jump());
        assert_eq!(timeline.now_ns(), 5);
    }

    #[test]
    fn jumps_go_from_event_to_event() {
        let timeline = Timeline::starting_at(5);
        let signal = Rc::new(Signal::default());
        for at_ns in [30, 10, 10] {
            timeline.notify_at(at_ns, &signal);
        }
        let mut seen = Vec::new();
        while timeline.jump() {
            seen.push(timeline.now_ns());
            timeline.fire_due();
        }
        assert_eq!(seen, [10, 30]);
    }
}
