//! One at a time, in the order of arrival: a lock that is held over an await, within one thread.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use crate::io::Waiters;

#[derive(Default)]
pub(super) struct Turns {
    tickets: RefCell<VecDeque<u64>>,
    next_ticket: Cell<u64>,
    moved: Waiters,
}

impl Turns {
    pub async fn take(&self) -> Turn<'_> {
        let ticket = self.next_ticket.get();
        self.next_ticket.set(ticket + 1);
        self.tickets.borrow_mut().push_back(ticket);
        let turn = Turn {
            turns: self,
            ticket,
        };
        let is_mine = || (self.tickets.borrow().front() == Some(&ticket)).then_some(());
        self.moved.until(is_mine).await;
        turn
    }
}

/// A place in the queue, given up when it is dropped.
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    ticket: u64,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut tickets = self.turns.tickets.borrow_mut();
        tickets.retain(|ticket| *ticket != self.ticket);
        drop(tickets);
        self.turns.moved.wake_all();
    }
}
