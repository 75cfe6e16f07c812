//! Which task runs when: stalls, and completions ahead of timers.

use std::cell::Cell;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use super::{MS, pause};
use crate::io::{Either, Notify, select, yield_now};
use crate::ring::linux::clock::thread_usage;
use crate::ring::linux::{Doorbell, Machine};

pub async fn a_task_that_keeps_the_thread_is_counted<M: Machine>(machine: M) {
    let stall = Duration::from_millis(20);
    machine.watch_stalls();
    machine.spawn("sleeper", async move { thread::sleep(stall) });
    while machine.stalls().count == 0 {
        pause(&machine, 1).await;
    }
    let stalls = machine.stalls();
    assert!(stalls.max_ns >= stall.as_nanos() as u64, "{stalls:?}");
    assert!(stalls.total_ns >= stalls.max_ns, "{stalls:?}");
    assert_eq!(stalls.own, 1, "a wait in a system call: {stalls:?}");
    let times = machine.task_times();
    let slept = times
        .iter()
        .find(|time| time.task == "sleeper")
        .expect("it was polled");
    assert_eq!(slept.polls, 1);
    assert!(slept.ns >= stall.as_nanos() as u64, "{slept:?}");
}

/// Whatever else runs on the machine: the loop ends by the thread's own CPU time.
pub async fn a_task_that_uses_the_cpu_is_a_stall_of_our_own<M: Machine>(machine: M) {
    machine.watch_stalls();
    machine.spawn("worker", async move {
        let began_ns = thread_usage().cpu_ns;
        while thread_usage().cpu_ns - began_ns < 20 * MS {}
    });
    while machine.stalls().own == 0 {
        pause(&machine, 1).await;
    }
    assert!(
        machine.stalls().own_max_ns >= 20 * MS,
        "{:?}",
        machine.stalls()
    );
}

/// As after SIGSTOP or in a VM that was paused: the operation ended long ago, but the thread sees that together with the end
/// of the timeout. What the completion sets off goes through two tasks.
pub async fn a_completion_wins_against_a_timeout_that_is_seen_with_it<M: Machine>(machine: M) {
    let bell = Doorbell::new().unwrap();
    let (ended, told) = (Rc::new(Notify::default()), Rc::new(Notify::default()));
    let (waiting, heard, notified) = (machine.wait(&bell), ended.clone(), told.clone());
    machine.spawn("operation", async move {
        waiting.await.unwrap();
        ended.notify();
    });
    machine.spawn("between", async move {
        heard.notified().await;
        notified.notify();
    });
    // Both tasks wait, and the operation is submitted.
    pause(&machine, 1).await;
    bell.ring();
    let timeout = machine.sleep_until(machine.now().mono_ns + MS);
    thread::sleep(Duration::from_millis(30));
    assert!(matches!(
        select(told.notified(), timeout).await,
        Either::Left(())
    ));
}

pub async fn tasks_that_are_always_ready_delay_a_completion_by_a_turn<M: Machine>(machine: M) {
    const POLLS: u64 = 1_000;
    let bell = Doorbell::new().unwrap();
    let (done, polls) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(0)));
    let (waiting, at_end) = (machine.wait(&bell), done.clone());
    machine.spawn("operation", async move {
        waiting.await.unwrap();
        at_end.set(true);
    });
    pause(&machine, 1).await;
    bell.ring();
    for _ in 0..4 {
        let (done, polls) = (done.clone(), polls.clone());
        machine.spawn("busy", async move {
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
}

/// Each has much to do, and pauses after a part of it. A task that waits for something comes before the next part, whose ever that is.
pub async fn a_task_that_becomes_ready_waits_for_one_part_of_work_that_goes_on<M: Machine>(
    machine: M,
) {
    const WORKERS: u64 = 8;
    const ROUNDS: u64 = 50;
    let (parts, over) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(false)));
    for _ in 0..WORKERS {
        let (parts, over) = (parts.clone(), over.clone());
        machine.spawn("worker", async move {
            while !over.get() {
                parts.set(parts.get() + 1);
                yield_now().await;
            }
        });
    }
    let [ask, answer] = [(); 2].map(|()| Rc::new(Notify::default()));
    let (asked, answers) = (ask.clone(), answer.clone());
    machine.spawn("server", async move {
        loop {
            asked.notified().await;
            answers.notify();
        }
    });
    pause(&machine, 1).await;
    let before = parts.get();
    for _ in 0..ROUNDS {
        ask.notify();
        answer.notified().await;
    }
    let meanwhile = parts.get() - before;
    assert!(meanwhile <= 2 * ROUNDS, "{meanwhile} parts");
    pause(&machine, 1).await;
    assert!(parts.get() - before > meanwhile, "they go on");
    over.set(true);
}

pub async fn busy_tasks_do_not_stop_the_clock<M: Machine>(machine: M) {
    machine.spawn("test", async {
        loop {
            yield_now().await;
        }
    });
    pause(&machine, 2).await;
}
