//! A share of each turn of the loop.

use std::cell::Cell;

use super::yield_now;

/// So many things of one kind in a turn: before the next ones the other tasks of the thread run.
#[derive(Debug)]
pub struct PerTurn {
    most: usize,
    left: Cell<usize>,
}

impl PerTurn {
    pub fn new(most: usize) -> Self {
        Self {
            most,
            left: Cell::new(most),
        }
    }

    /// Whether there may be one more.
    pub fn take(&self) -> bool {
        let left = self.left.get().checked_sub(1);
        self.left.set(left.unwrap_or(0));
        left.is_some()
    }

    /// The others run first.
    pub async fn next_turn(&self) {
        yield_now().await;
        self.renew();
    }

    pub fn renew(&self) {
        self.left.set(self.most);
    }

    /// Before each of them, where it may wait for the next turn.
    pub async fn pass(&self) {
        while !self.take() {
            self.next_turn().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;
    use crate::io::{Clock, Spawn};
    use crate::portable::{Portable, PortableConfig};

    #[test]
    fn others_run_behind_each_share() {
        let ran = Portable::start(PortableConfig::default(), async |io| {
            let order = Rc::new(RefCell::new(String::new()));
            for name in ['a', 'b'] {
                let (order, share) = (order.clone(), PerTurn::new(2));
                io.spawn("test", async move {
                    for _ in 0..6 {
                        share.pass().await;
                        order.borrow_mut().push(name);
                    }
                });
            }
            io.sleep_until(io.now().mono_ns + 10_000_000).await;
            order.take()
        });
        assert_eq!(ran.unwrap(), "aabbaabbaabb");
    }
}
