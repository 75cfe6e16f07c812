//! Where the simulation on this thread is, for the lines that are logged in it.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use super::world::World;

/// A moment of a simulation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Present {
    /// As [`super::Sim::mono_ns`].
    pub mono_ns: u64,
    /// The host whose task runs; `None`: the test itself.
    pub host: Option<String>,
}

thread_local! {
    /// The one that ran last.
    static WORLD: RefCell<Weak<World>> = const { RefCell::new(Weak::new()) };
}

pub(super) fn runs(world: &Rc<World>) {
    WORLD.set(Rc::downgrade(world));
}

/// Of the simulation that runs on this thread, or ran last; `None` if there is none any more.
pub fn present() -> Option<Present> {
    let world = WORLD.with_borrow(Weak::upgrade)?;
    Some(Present {
        mono_ns: world.timeline.now_ns(),
        host: world.running_host(),
    })
}
