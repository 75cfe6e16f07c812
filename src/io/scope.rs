//! Tasks that end together.
//!
//! A task that sleeps holds what it refers to, its files and its memory, until it wakes up and sees that it is of no use. A scope ends all
//! of its tasks at once, wherever each of them waits:
//!
//! ```text
//! Scope::end ─► marks the scope as over, wakes every task ─► each is dropped in place of its next poll ─► the last one: done
//! ```
//! Dropping a task cancels its operations, as the contract of [`crate::io`] says.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::forward::{forward_clock, forward_disk, forward_thread};
use super::{
    Clock, DirEntry, Disk, Io, Net, Now, OpenOptions, Openings, Space, Spawn, Stalls, TaskTime,
    Waiters,
};
use crate::mem::LogBuffer;

/// The tasks that end together.
#[derive(Default)]
pub struct Scope {
    is_over: Cell<bool>,
    members: RefCell<Members>,
    ended: Waiters,
}

#[derive(Default)]
struct Members {
    /// By the number of a task; `None`: not polled yet, or a number that is free.
    wakers: Vec<Option<Waker>>,
    free: Vec<usize>,
}

impl Scope {
    /// An [`Io`] whose tasks are the scope's.
    pub fn of<I: Io>(self: &Rc<Self>, io: I) -> Scoped<I> {
        Scoped {
            io,
            scope: self.clone(),
        }
    }

    /// Ends all tasks, also those that are started from now on; done when the last one has been dropped. Not for a task of the scope itself.
    pub async fn end(&self) {
        self.is_over.set(true);
        let count = self.members.borrow().wakers.len();
        for number in 0..count {
            let waker = self.members.borrow_mut().wakers[number].take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
        let is_empty = || (self.tasks() == 0).then_some(());
        self.ended.until(is_empty).await;
    }

    /// Tasks that have not ended.
    pub fn tasks(&self) -> usize {
        let members = self.members.borrow();
        members.wakers.len() - members.free.len()
    }

    fn enter(self: &Rc<Self>) -> Member {
        let mut members = self.members.borrow_mut();
        let number = members.free.pop().unwrap_or_else(|| {
            members.wakers.push(None);
            members.wakers.len() - 1
        });
        Member {
            scope: self.clone(),
            number,
            has_waker: false,
        }
    }
}

/// A task's place in its scope, until it is dropped.
struct Member {
    scope: Rc<Scope>,
    number: usize,
    has_waker: bool,
}

impl Member {
    /// Whether the task is to end in place of this poll.
    fn is_over(&mut self, context: &Context<'_>) -> bool {
        // An executor polls a task with the same waker each time.
        if !std::mem::replace(&mut self.has_waker, true) {
            let mut members = self.scope.members.borrow_mut();
            members.wakers[self.number] = Some(context.waker().clone());
        }
        self.scope.is_over.get()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let waker = {
            let mut members = self.scope.members.borrow_mut();
            members.free.push(self.number);
            members.wakers[self.number].take()
        };
        // Not within the borrow: dropping it may run any code.
        drop(waker);
        if self.scope.is_over.get() {
            self.scope.ended.wake_all();
        }
    }
}

/// An [`Io`] whose tasks are those of a [`Scope`].
#[derive(Clone)]
pub struct Scoped<I> {
    io: I,
    scope: Rc<Scope>,
}

impl<I: Io> Spawn for Scoped<I> {
    fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + 'static) {
        let mut member = self.scope.enter();
        self.io.spawn(name, async move {
            // Dropped ahead of the member: a task that has left its scope holds nothing any more.
            let mut task = pin!(task);
            poll_fn(|context| match member.is_over(context) {
                true => Poll::Ready(()),
                false => task.as_mut().poll(context),
            })
            .await;
        });
    }

    forward_thread!();
}

forward_clock!(Scoped);

impl<I: Io> Net for Scoped<I> {
    type Listener = I::Listener;
    type Stream = I::Stream;

    fn listen(&self, addr: SocketAddr) -> io::Result<Self::Listener> {
        self.io.listen(addr)
    }

    fn connect(&self, addr: SocketAddr) -> impl Future<Output = io::Result<Self::Stream>> {
        self.io.connect(addr)
    }

    fn listen_remoting(&self, addr: SocketAddr) -> io::Result<Self::Listener> {
        self.io.listen_remoting(addr)
    }

    fn connect_remoting(
        &self,
        addr: SocketAddr,
        host: &str,
    ) -> impl Future<Output = io::Result<Self::Stream>> {
        self.io.connect_remoting(addr, host)
    }

    fn openings(&self) -> Openings {
        self.io.openings()
    }
}

forward_disk!(Scoped);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::{Sim, SimConfig};

    #[test]
    fn every_task_of_a_scope_is_dropped_wherever_it_waits() {
        let sim = Sim::new(1, SimConfig::default());
        let host = sim.host("a");
        let held = Rc::new(());
        sim.run(async {
            let scope = Rc::new(Scope::default());
            let io = scope.of(host.clone());
            for seconds in [0, 1, 1_000_000] {
                let (of_task, held) = (io.clone(), held.clone());
                io.spawn("test", async move {
                    let until_ns = of_task.now().mono_ns + seconds * 1_000_000_000;
                    of_task.sleep_until(until_ns).await;
                    drop(held);
                });
            }
            let (of_task, of_child) = (io.clone(), held.clone());
            io.spawn("test", async move {
                let waits = async move {
                    let _held = of_child;
                    std::future::pending::<()>().await;
                };
                of_task.spawn("test", waits);
            });
            host.sleep_until(host.now().mono_ns + 500_000_000).await;
            assert_eq!((scope.tasks(), Rc::strong_count(&held)), (3, 4));
            let began_ns = host.now().mono_ns;
            scope.end().await;
            assert_eq!((scope.tasks(), Rc::strong_count(&held)), (0, 1));
            assert!(host.now().mono_ns - began_ns < 1_000_000);
            let late = held.clone();
            io.spawn("test", async move { drop(late) });
            scope.end().await;
            assert_eq!(Rc::strong_count(&held), 1, "it was never polled");
        });
    }

    #[test]
    fn places_are_used_again() {
        let sim = Sim::new(1, SimConfig::default());
        let host = sim.host("a");
        sim.run(async {
            let scope = Rc::new(Scope::default());
            let io = scope.of(host.clone());
            for _ in 0..100 {
                io.spawn("test", async {});
                host.sleep_until(host.now().mono_ns + 1_000_000).await;
            }
            assert_eq!(scope.tasks(), 0);
            assert_eq!(scope.members.borrow().wakers.len(), 1);
        });
    }
}
