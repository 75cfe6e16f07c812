//! Which task runs when: stalls, and completions ahead of timers.

use std::cell::Cell;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use super::*;
use crate::io::{Either, Notify, select, yield_now};
use crate::ring::Doorbell;
use crate::ring::clock::thread_usage;

#[test]
fn a_task_that_keeps_the_thread_is_counted() {
    let stall = Duration::from_millis(20);
    on_ring(small(), async |ring| {
        ring.watch_stalls();
        ring.spawn("sleeper", async move { thread::sleep(stall) });
        while ring.stalls().count == 0 {
            pause(&ring, 1).await;
        }
        let stalls = ring.stalls();
        assert!(stalls.max_ns >= stall.as_nanos() as u64, "{stalls:?}");
        assert!(stalls.total_ns >= stalls.max_ns, "{stalls:?}");
        assert_eq!(stalls.own, 1, "a wait in a system call: {stalls:?}");
    });
}

/// Whatever else runs on the machine: the loop ends by the thread's own CPU time.
#[test]
fn a_task_that_uses_the_cpu_is_a_stall_of_our_own() {
    on_ring(small(), async |ring| {
        ring.watch_stalls();
        ring.spawn("worker", async move {
            let began_ns = thread_usage().cpu_ns;
            while thread_usage().cpu_ns - began_ns < 20 * MS {}
        });
        while ring.stalls().own == 0 {
            pause(&ring, 1).await;
        }
        assert!(ring.stalls().own_max_ns >= 20 * MS, "{:?}", ring.stalls());
    });
}

/// As after SIGSTOP or in a VM that was paused: the operation ended long ago, but the thread sees that together with the end
/// of the timeout. What the completion sets off goes through two tasks.
#[test]
fn a_completion_wins_against_a_timeout_that_is_seen_with_it() {
    on_ring(small(), async |ring| {
        let bell = Doorbell::new().unwrap();
        let (ended, told) = (Rc::new(Notify::default()), Rc::new(Notify::default()));
        let (waiting, heard, notified) = (ring.wait(&bell), ended.clone(), told.clone());
        ring.spawn("operation", async move {
            waiting.await.unwrap();
            ended.notify();
        });
        ring.spawn("between", async move {
            heard.notified().await;
            notified.notify();
        });
        // Both tasks wait, and the operation is submitted.
        pause(&ring, 1).await;
        bell.ring();
        let timeout = ring.sleep_until(ring.now().mono_ns + MS);
        thread::sleep(Duration::from_millis(30));
        assert!(matches!(
            select(told.notified(), timeout).await,
            Either::Left(())
        ));
    });
}

#[test]
fn tasks_that_are_always_ready_delay_a_completion_by_a_turn() {
    const POLLS: u64 = 1_000;
    on_ring(small(), async |ring| {
        let bell = Doorbell::new().unwrap();
        let (done, polls) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(0)));
        let (waiting, at_end) = (ring.wait(&bell), done.clone());
        ring.spawn("operation", async move {
            waiting.await.unwrap();
            at_end.set(true);
        });
        pause(&ring, 1).await;
        bell.ring();
        for _ in 0..4 {
            let (done, polls) = (done.clone(), polls.clone());
            ring.spawn("busy", async move {
                while !done.get() {
                    polls.set(polls.get() + 1);
                    yield_now().await;
                }
            });
        }
        while !done.get() {
            yield_now().await;
        }
        assert!(polls.get() < POLLS, "{} polls", polls.get());
    });
}

/// Each has much to do, and pauses after a part of it. A task that waits for something comes before the next part, whose ever that is.
#[test]
fn a_task_that_becomes_ready_waits_for_one_part_of_work_that_goes_on() {
    const WORKERS: u64 = 8;
    const ROUNDS: u64 = 50;
    on_ring(small(), async |ring| {
        let (parts, over) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(false)));
        for _ in 0..WORKERS {
            let (parts, over) = (parts.clone(), over.clone());
            ring.spawn("worker", async move {
                while !over.get() {
                    parts.set(parts.get() + 1);
                    yield_now().await;
                }
            });
        }
        let [ask, answer] = [(); 2].map(|()| Rc::new(Notify::default()));
        let (asked, answers) = (ask.clone(), answer.clone());
        ring.spawn("server", async move {
            loop {
                asked.notified().await;
                answers.notify();
            }
        });
        pause(&ring, 1).await;
        let before = parts.get();
        for _ in 0..ROUNDS {
            ask.notify();
            answer.notified().await;
        }
        let meanwhile = parts.get() - before;
        assert!(meanwhile <= 2 * ROUNDS, "{meanwhile} parts");
        pause(&ring, 1).await;
        assert!(parts.get() - before > meanwhile, "they go on");
        over.set(true);
    });
}
