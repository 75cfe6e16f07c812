//! How a thread's loop ends, and what reaches it from another thread.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::thread;

use super::{DIRECT, Tally, begin_and_drop, loopback, pause};
use crate::io::{Durability, File, Listener, Stream};
use crate::mem::AlignedBuf;
use crate::ring::linux::{Doorbell, Machine};

/// A machine that a test starts on the calling thread, with small bounds.
pub trait Started: Machine {
    fn start_small<T, F: Future<Output = T>>(main: impl FnOnce(Self) -> F) -> io::Result<T>;
}

pub async fn bells_ring_from_another_thread<M: Started>(machine: M) {
    let there = Doorbell::new().unwrap();
    let back = Doorbell::new().unwrap();
    // A ring before the wait is kept; one after a wait that was given up is too.
    there.ring();
    machine.wait(&there).await.unwrap();
    begin_and_drop(machine.wait(&there)).await;
    there.ring();
    machine.wait(&there).await.unwrap();
    let (there2, back2) = (there.clone(), back.clone());
    let other = thread::spawn(move || {
        let run = async |machine: M| {
            for _ in 0..100 {
                there2.ring();
                machine.wait(&back2).await.unwrap();
            }
        };
        M::start_small(run).unwrap();
    });
    for _ in 0..100 {
        machine.wait(&there).await.unwrap();
        back.ring();
    }
    other.join().unwrap();
}

pub fn one_that_has_ended_refuses<M: Started>() {
    let machine = M::start_small(async |machine: M| machine).unwrap();
    let mut context = Context::from_waker(Waker::noop());
    let connect = pin!(machine.connect(loopback())).poll(&mut context);
    assert!(matches!(connect, Poll::Ready(Err(_))));
    machine.spawn("test", async { unreachable!("no task runs any more") });
}

pub fn one_ends_with_operations_in_flight<M: Started>() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let main = async |machine: M| {
        let listener = machine.listen(loopback()).unwrap();
        let client = machine.connect(listener.local_addr()).await.unwrap();
        let server = listener.accept().await.unwrap();
        let file = machine.open(&path, DIRECT).await.unwrap();
        let (sleeper, held) = (machine.clone(), client.clone());
        machine.spawn("test", async move {
            listener.accept().await.unwrap();
        });
        machine.spawn("test", async move {
            held.recv().await.unwrap();
        });
        machine.spawn("test", async move { sleeper.sleep_until(u64::MAX).await });
        machine.spawn("test", async move {
            server.send(vec![0; 64 << 20]).await.0.unwrap();
        });
        for n in 0..50 {
            let file = file.clone();
            machine.spawn("test", async move {
                let buf = AlignedBuf::zeroed(1 << 20);
                let written = file.write_at(buf, n << 20, Durability::Synced).await;
                written.0.unwrap();
            });
        }
        pause(&machine, 2).await;
        client
    };
    let stream = M::start_small(main).unwrap();
    let mut context = Context::from_waker(Waker::noop());
    loop {
        match pin!(stream.recv()).poll(&mut context) {
            Poll::Ready(Ok(_)) => {}
            Poll::Ready(Err(error)) => {
                break assert_eq!(error.raw_os_error(), Some(libc::ECANCELED));
            }
            Poll::Pending => panic!("would wait for ever"),
        }
    }
}

pub fn a_panic_takes_one_down_in_order<M: Started>() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let result = catch_unwind(AssertUnwindSafe(|| {
        M::start_small(async |machine: M| {
            let file = machine.open(&path, DIRECT).await.unwrap();
            let other = file.clone();
            machine.spawn("test", async move {
                let buf = AlignedBuf::zeroed(1 << 20);
                other.write_at(buf, 0, Durability::Synced).await.0.unwrap();
            });
            machine.spawn("test", async { panic!("of a task") });
            pause(&machine, 1000).await;
        })
    }));
    assert!(result.is_err());
    // The thread is free for another.
    assert_eq!(M::start_small(async |_: M| 5).unwrap(), 5);
}

/// A waker is a plain number, which means something on its own thread only.
pub async fn wakers_on_another_thread_do_nothing<M: Started>(machine: M) {
    let waker = poll_fn(|context| Poll::Ready(context.waker().clone())).await;
    let foreign = waker.clone();
    thread::spawn(move || foreign.wake()).join().unwrap();
    let foreign = waker.clone();
    let other = thread::spawn(move || M::start_small(async |_: M| foreign.wake()).unwrap());
    other.join().unwrap();
    let kept: Rc<RefCell<Option<Waker>>> = Rc::default();
    let from_task = kept.clone();
    machine.spawn("test", async move {
        poll_fn(|context| {
            *from_task.borrow_mut() = Some(context.waker().clone());
            context.waker().wake_by_ref();
            Poll::Ready(())
        })
        .await
    });
    pause(&machine, 1).await;
    // Its task is gone, and another one has its place.
    let polls = Tally::default();
    let counted = polls.clone();
    let other = poll_fn(move |_| {
        counted.add();
        Poll::Pending
    });
    machine.spawn("test", other);
    kept.take().unwrap().wake();
    pause(&machine, 1).await;
    assert_eq!(polls.count(), 1);
}
