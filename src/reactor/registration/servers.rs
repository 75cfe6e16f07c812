//! The name servers of a shard, and what each does not know yet.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::super::name_server::NameServer;
use super::state::Pending;
use crate::io::Notify;

/// The changes that each name server does not know yet.
#[derive(Default)]
pub(in crate::reactor) struct Registration {
    servers: RefCell<Vec<Rc<Server>>>,
    /// Clients find the master at `masterAddress`, and this broker is it.
    pub has_master_address: Cell<bool>,
}

pub(in crate::reactor) struct Server {
    pub name_server: NameServer,
    pub wake: Notify,
    pub(super) pending: RefCell<Pending>,
    pub has_deleted: Cell<bool>,
    /// Rung after the first registration, successful or not.
    pub tried: Notify,
    pub registered: Cell<bool>,
}

impl Registration {
    pub(super) fn add(&self, name_server: NameServer) -> Rc<Server> {
        let server = Rc::new(Server {
            name_server,
            wake: Notify::default(),
            pending: RefCell::default(),
            has_deleted: Cell::new(false),
            tried: Notify::default(),
            registered: Cell::new(false),
        });
        self.servers.borrow_mut().push(server.clone());
        server
    }

    pub fn topic_changed(&self, topic: String) {
        for server in self.servers.borrow().iter() {
            server.pending.borrow_mut().topic_changed(topic.clone());
            server.wake.notify();
        }
    }

    pub fn topic_deleted(&self) {
        for server in self.servers.borrow().iter() {
            server.has_deleted.set(true);
            server.wake.notify();
        }
    }

    pub fn all_changed(&self) {
        for server in self.servers.borrow().iter() {
            server.pending.borrow_mut().all_changed();
            server.wake.notify();
        }
    }

    /// Wakes the tasks, so that each sees that the shard stops.
    pub fn stop(&self) {
        for server in self.servers.borrow().iter() {
            server.wake.notify();
        }
    }
}
