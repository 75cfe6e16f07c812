//! A broker's process, and the terms that it is ordered to have.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use ringmq::io::Notify;
use ringmq::reactor::{Health, Orders, Term};

use super::Pair;

pub struct Process {
    pub(super) stop: Rc<Notify>,
    pub(super) has_ended: Rc<Cell<bool>>,
    /// For another term.
    pub orders: Rc<Orders>,
    /// How often the process said that it is ready.
    pub times_ready: Rc<Cell<u32>>,
    pub health: Rc<RefCell<Vec<Health>>>,
}

impl Process {
    /// Orders another term; done when it serves.
    pub async fn change(&self, pair: &Pair, term: Term) {
        self.health.borrow_mut().clear();
        self.orders.ask_for_term(term);
        let is_well = |health: &Health| matches!(health, Health::Serving | Health::Following);
        let serves = || self.health.borrow().iter().any(is_well);
        pair.until("serving", serves).await;
    }
}
