//! A bounded amount of bytes or turns, granted in the order of the requests: a small request does not overtake a large one, and
//! a cancelled one does not block those behind it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use super::Notify;

pub struct Gate {
    limit: usize,
    used: Cell<usize>,
    line: RefCell<VecDeque<Rc<Place>>>,
}

struct Place {
    amount: usize,
    stands: Cell<Stands>,
    admitted: Notify,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stands {
    InLine,
    Inside,
    Gone,
}

/// A part that has been granted, or a place in the queue for it; given up when dropped.
pub struct Pass {
    gate: Rc<Gate>,
    place: Rc<Place>,
}

impl Gate {
    pub fn new(limit: usize) -> Rc<Gate> {
        Rc::new(Gate {
            limit,
            used: Cell::new(0),
            line: RefCell::default(),
        })
    }

    pub fn limit(&self) -> usize {
        self.limit
    }

    pub fn used(&self) -> usize {
        self.used.get()
    }

    /// The queue is empty, and there is something left.
    pub fn is_free(&self) -> bool {
        self.used.get() < self.limit && !self.has_line()
    }

    pub fn has_line(&self) -> bool {
        !self.line.borrow().is_empty()
    }

    /// Done when `amount` is there and every earlier request has been granted. More than the limit is granted when nothing else
    /// is.
    pub async fn enter(self: &Rc<Self>, amount: usize) -> Pass {
        let place = Rc::new(Place {
            amount,
            stands: Cell::new(Stands::InLine),
            admitted: Notify::default(),
        });
        let pass = Pass {
            gate: self.clone(),
            place: place.clone(),
        };
        self.line.borrow_mut().push_back(place.clone());
        self.admit();
        while place.stands.get() == Stands::InLine {
            place.admitted.notified().await;
        }
        pass
    }

    /// Takes `amount` if it is there and no request waits.
    pub fn try_enter(self: &Rc<Self>, amount: usize) -> Option<Pass> {
        if self.has_line() || self.used.get() + amount > self.limit {
            return None;
        }
        self.take(amount);
        Some(Pass {
            gate: self.clone(),
            place: Rc::new(Place {
                amount,
                stands: Cell::new(Stands::Inside),
                admitted: Notify::default(),
            }),
        })
    }

    /// Takes without waiting. This may exceed the limit; requests in the queue then wait for it.
    pub fn take(&self, amount: usize) {
        self.used.set(self.used.get() + amount);
    }

    pub fn give_back(&self, amount: usize) {
        self.used.set(self.used.get() - amount);
        self.admit();
    }

    fn admit(&self) {
        let mut line = self.line.borrow_mut();
        while let Some(first) = line.front() {
            if first.stands.get() == Stands::InLine {
                let used = self.used.get();
                if used > 0 && used + first.amount > self.limit {
                    return;
                }
                self.take(first.amount);
                first.stands.set(Stands::Inside);
                first.admitted.notify();
            }
            line.pop_front();
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        match self.place.stands.replace(Stands::Gone) {
            Stands::Inside => self.gate.give_back(self.place.amount),
            _ => self.gate.admit(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    type Entering = Pin<Box<dyn Future<Output = Pass>>>;

    fn entering(gate: &Rc<Gate>, amount: usize) -> Entering {
        let gate = gate.clone();
        let mut future: Entering = Box::pin(async move { gate.enter(amount).await });
        assert!(poll(&mut future).is_none());
        future
    }

    fn poll(future: &mut Entering) -> Option<Pass> {
        match future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(pass) => Some(pass),
            Poll::Pending => None,
        }
    }

    fn entered(gate: &Rc<Gate>, amount: usize) -> Pass {
        let gate = gate.clone();
        let mut future: Entering = Box::pin(async move { gate.enter(amount).await });
        poll(&mut future).expect("there is enough")
    }

    #[test]
    fn in_order_of_asking() {
        let gate = Gate::new(10);
        let first = entered(&gate, 8);
        let mut large = entering(&gate, 9);
        let mut small = entering(&gate, 1);
        assert!(!gate.is_free() && gate.has_line());
        drop(first);
        let large = poll(&mut large).expect("its turn");
        let small = poll(&mut small).expect("there is enough for both");
        assert_eq!((gate.used(), gate.has_line()), (10, false));
        drop((large, small));
        assert_eq!(gate.used(), 0);
    }

    #[test]
    fn a_cancelled_request_blocks_nothing() {
        let gate = Gate::new(10);
        let first = entered(&gate, 5);
        let (impatient, mut next) = (entering(&gate, 9), entering(&gate, 5));
        drop(impatient);
        let next = poll(&mut next).expect("nothing is before it");
        // Granted, and cancelled before it was polled.
        let unaware = entering(&gate, 5);
        drop(first);
        assert_eq!(gate.used(), 10);
        drop(unaware);
        assert_eq!(gate.used(), 5);
        drop(next);
        assert!(gate.is_free());
    }

    #[test]
    fn more_than_the_limit_is_for_one_alone() {
        let gate = Gate::new(10);
        let first = entered(&gate, 1);
        let mut huge = entering(&gate, 99);
        drop(first);
        let huge = poll(&mut huge).expect("alone");
        gate.take(3);
        let mut next = entering(&gate, 7);
        drop(huge);
        let next = poll(&mut next).expect("3 of 10 are used");
        assert_eq!(gate.used(), 10);
        drop(next);
        gate.give_back(3);
        assert_eq!(gate.used(), 0);
    }
}
