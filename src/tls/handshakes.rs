//! Handshakes in progress. They cost much CPU and come from anybody, so both their number and their share of a core are limited.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::io::{Clock, Gate, Notify, yield_now};

/// In progress at a port. Each may hold some 64 KiB.
pub const MAX_HANDSHAKES: usize = 512;

/// How long one may take. Over a slow line it is a second.
pub const HANDSHAKE_NS: u64 = 10_000_000_000;

/// What steps may take in a turn; the one that exceeds it is the last. A signature takes 20 us (ECDSA) to 1 ms (RSA), and so may the check of one; the beginning of a
/// session takes 10 us, and there may be thousands of them at a time.
const STEPS_NS: u64 = 50_000;

/// Those of one port.
#[derive(Default)]
pub struct Handshakes {
    open: RefCell<BTreeMap<u64, Rc<Notify>>>,
    next: Cell<u64>,
}

impl Handshakes {
    /// One more begins. If there are as many as may be, the oldest ends: its peer has most likely stopped, as others take milliseconds.
    pub fn begin(self: &Rc<Self>) -> Handshake {
        let mut open = self.open.borrow_mut();
        while open.len() >= MAX_HANDSHAKES
            && let Some((_, oldest)) = open.pop_first()
        {
            oldest.notify();
        }
        let number = self.next.replace(self.next.get() + 1);
        let has_to_end = Rc::new(Notify::default());
        open.insert(number, has_to_end.clone());
        Handshake {
            number,
            has_to_end,
            all: self.clone(),
        }
    }
}

/// One in progress, until it is dropped.
pub struct Handshake {
    number: u64,
    has_to_end: Rc<Notify>,
    all: Rc<Handshakes>,
}

impl Handshake {
    /// Done when it makes room for another one. It then leaves the line of steps, too, or the others would wait for it.
    pub async fn has_to_end(&self) {
        self.has_to_end.notified().await;
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.all.open.borrow_mut().remove(&self.number);
    }
}

/// The steps of all handshakes of a core: one after another, in the order in which they came.
pub struct Steps {
    line: Rc<Gate>,
    /// What they have taken since the others of the core ran.
    taken_ns: Cell<u64>,
}

impl Default for Steps {
    fn default() -> Self {
        Self {
            line: Gate::new(1),
            taken_ns: Cell::new(0),
        }
    }
}

impl Steps {
    /// Behind steps that took long together the other tasks of the core run before the next one.
    pub async fn take<T>(&self, clock: &impl Clock, step: impl FnOnce() -> T) -> T {
        let turn = self.line.enter(1).await;
        let began_ns = clock.exact_ns();
        let done = step();
        let taken_ns = self.taken_ns.get() + clock.exact_ns() - began_ns;
        self.taken_ns.set(taken_ns);
        if taken_ns >= STEPS_NS {
            self.taken_ns.set(0);
            yield_now().await;
        }
        drop(turn);
        done
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::io::{Now, Spawn};
    use crate::portable::{Portable, PortableConfig};

    /// A step takes as long as one tick.
    #[derive(Clone)]
    struct Ticking {
        at_ns: Rc<Cell<u64>>,
        tick_ns: u64,
    }

    impl Clock for Ticking {
        /// As on a ring, where it is that of the whole turn.
        fn now(&self) -> Now {
            Now::default()
        }

        fn exact_ns(&self) -> u64 {
            self.at_ns.set(self.at_ns.get() + self.tick_ns);
            self.at_ns.get()
        }

        fn utc_offset_s(&self) -> i32 {
            0
        }

        async fn sleep_until(&self, _: u64) {}
    }

    /// In which order steps and other tasks of the core run. Each step makes another task ready.
    fn order_of(steps_to_take: usize, tick_ns: u64) -> Vec<&'static str> {
        let ran = Portable::start(PortableConfig::default(), async |io| {
            let clock = Ticking {
                at_ns: Rc::default(),
                tick_ns,
            };
            let (steps, order) = (Rc::new(Steps::default()), Rc::default());
            // All wait for their step, so nothing else comes in between by itself.
            let first = steps.line.enter(1).await;
            for _ in 0..steps_to_take {
                let (of_task, clock) = (io.clone(), clock.clone());
                let (steps, order) = (steps.clone(), Rc::clone(&order));
                io.spawn("test", async move {
                    let step = || {
                        push(&order, "step");
                        let order = order.clone();
                        of_task.spawn("test", async move { push(&order, "other") });
                    };
                    steps.take(&clock, step).await;
                });
            }
            let pause = async || io.sleep_until(io.now().mono_ns + 1_000_000).await;
            pause().await;
            drop(first);
            while order.borrow().len() < 2 * steps_to_take {
                pause().await;
            }
            order.take()
        });
        ran.unwrap()
    }

    /// What is ready behind it runs before the next one.
    #[test]
    fn a_long_step_is_the_only_one_of_its_turn() {
        assert_eq!(order_of(2, STEPS_NS), ["step", "other", "step", "other"]);
    }

    /// Behind every second of them the others run.
    #[test]
    fn short_steps_are_together_no_more_than_a_long_one() {
        let steps = Steps::default();
        let clock = Ticking {
            at_ns: Rc::default(),
            tick_ns: STEPS_NS / 2,
        };
        let goes_on = (0..4).map(|_| steps.take(&clock, || ()).now_or_never().is_some());
        let goes_on: Vec<_> = goes_on.collect();
        assert_eq!(goes_on, [true, false, true, false]);
    }

    fn push(order: &Rc<RefCell<Vec<&'static str>>>, what: &'static str) {
        order.borrow_mut().push(what);
    }
}
