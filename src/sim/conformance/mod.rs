//! What every implementation of the seam must do, as tests over [`Io`]: `sim/` and `ring/` run the same ones.
//!
//! Each takes a view of the world and, where it needs one, a directory of its own on a filesystem with O_DIRECT.
//! A violation panics.

mod disk;
mod net;

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::path::Path;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use crate::io::{Clock, Io};

pub use disk::*;
pub use net::*;

/// Runs them all, one after the other; `dir` exists and is empty.
pub async fn all<I: Io>(io: &I, dir: &Path) {
    direct_files_round_trip(io, &dir.join("direct")).await;
    buffered_files_round_trip(io, &dir.join("buffered")).await;
    direct_files_want_alignment(io, &dir.join("unaligned")).await;
    a_lock_has_one_holder(io, &dir.join("lock")).await;
    names_come_and_go(io, &dir.join("names")).await;
    dropped_disk_operations_give_nothing_back(io, &dir.join("dropped")).await;
    timers_fire_in_order(io).await;
    dropped_timers_do_not_fire(io).await;
    tasks_run(io).await;
    bytes_echo(io).await;
    a_slow_reader_holds_its_sender(io).await;
    a_dropped_recv_loses_nothing(io).await;
    shutdown_ends_both_directions(io).await;
    the_last_handle_closes(io).await;
    nobody_listening_refuses(io).await;
}

pub async fn timers_fire_in_order<I: Io>(io: &I) {
    let start = io.now();
    // On a real machine the thread may not run for a while before all of them wait. Their order is not defined then, and the attempt is repeated.
    while !these_fire_in_order(io).await {}
    let now = io.now();
    assert!(now.mono_ns - start.mono_ns >= 80_000_000);
    // Of a real machine the two clocks are not read at the same moment.
    assert!(now.unix_ms > start.unix_ms, "the wall clock goes on");
}

/// Whether all of them have begun to wait before the first was due.
async fn these_fire_in_order<I: Io>(io: &I) -> bool {
    let first_ns = io.now().mono_ns + 20_000_000;
    let fired = Rc::new(RefCell::new(Vec::new()));
    let all_in_time = Rc::new(Cell::new(true));
    for after_ms in [60, 20, 40, 0, 80] {
        let (timer, fired) = (io.clone(), Rc::clone(&fired));
        let all_in_time = Rc::clone(&all_in_time);
        let deadline_ns = first_ns + after_ms * 1_000_000;
        io.spawn("test", async move {
            let mut waiting = pin!(timer.sleep_until(deadline_ns));
            let is_late = poll_once(waiting.as_mut()).await.is_some();
            if is_late || timer.now().mono_ns >= first_ns {
                all_in_time.set(false);
            }
            if !is_late {
                waiting.await;
            }
            assert!(timer.now().mono_ns >= deadline_ns, "early");
            fired.borrow_mut().push(after_ms);
        });
    }
    while fired.borrow().len() < 5 {
        sleep_ms(io, 10).await;
    }
    if all_in_time.get() {
        assert_eq!(*fired.borrow(), [0, 20, 40, 60, 80]);
    }
    all_in_time.get()
}

pub async fn dropped_timers_do_not_fire<I: Io>(io: &I) {
    let day_ns = 24 * 3_600 * 1_000_000_000;
    for _ in 0..100 {
        let dropped = poll_once(io.sleep_until(io.now().mono_ns + day_ns)).await;
        assert!(dropped.is_none());
    }
    poll_once(io.sleep_until(io.now().mono_ns)).await;
    sleep_ms(io, 1).await;
}

pub async fn tasks_run<I: Io>(io: &I) {
    let ran = Rc::new(RefCell::new(Vec::new()));
    let (inner, seen) = (io.clone(), Rc::clone(&ran));
    io.spawn("test", async move {
        let seen_inside = Rc::clone(&seen);
        inner.spawn("test", async move { seen_inside.borrow_mut().push(2) });
        seen.borrow_mut().push(1);
    });
    assert!(
        ran.borrow().is_empty(),
        "a task starts when its starter waits"
    );
    while ran.borrow().len() < 2 {
        sleep_ms(io, 1).await;
    }
    assert_eq!(*ran.borrow(), [1, 2]);
}

async fn sleep_ms<C: Clock>(clock: &C, ms: u64) {
    clock
        .sleep_until(clock.now().mono_ns + ms * 1_000_000)
        .await;
}

/// One look at a future, which is dropped unless it was lent.
async fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|context| {
        Poll::Ready(match future.as_mut().poll(context) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    })
    .await
}

async fn join<A: Future, B: Future>(a: A, b: B) -> (A::Output, B::Output) {
    let (mut a, mut b) = (pin!(a), pin!(b));
    let (mut first, mut second) = (None, None);
    poll_fn(|context| {
        if first.is_none() {
            first = ready(a.as_mut().poll(context));
        }
        if second.is_none() {
            second = ready(b.as_mut().poll(context));
        }
        match (first.take(), second.take()) {
            (Some(first), Some(second)) => Poll::Ready((first, second)),
            (a, b) => {
                (first, second) = (a, b);
                Poll::Pending
            }
        }
    })
    .await
}

fn ready<T>(poll: Poll<T>) -> Option<T> {
    match poll {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}
