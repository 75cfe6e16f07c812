//! How many simulations are in memory.

use std::cell::Cell;

thread_local! {
    static IN_MEMORY: Cell<usize> = const { Cell::new(0) };
}

/// A world's part in [`in_memory`].
pub(super) struct Counted(());

impl Counted {
    pub fn new() -> Self {
        IN_MEMORY.set(IN_MEMORY.get() + 1);
        Self(())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        IN_MEMORY.set(IN_MEMORY.get() - 1);
    }
}

/// Simulations of this thread that are in memory. One that is dropped stays there as long as something refers to it: such as two things of a
/// broker that keep each other.
pub fn in_memory() -> usize {
    IN_MEMORY.get()
}
