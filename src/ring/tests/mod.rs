//! The ring against the real kernel: files in a temporary directory, sockets on loopback.

mod files;
mod sockets;

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::thread;

use super::*;
use crate::io::{Disk, Durability, File, Listener, Net, Stream};
use crate::linux::tests::{DIRECT, MS, Tally, begin_and_drop, loopback, on_each_machine, pause};
use crate::mem::AlignedBuf;

/// On a small ring, so that its bounds are met.
fn on_small<F: Future<Output = ()>>(main: impl FnOnce(Ring) -> F) {
    on_ring(small(), main);
}

on_each_machine! { on_small }

/// Runs on a ring of its own, and sees to it that every operation has ended; `None` where there is no io_uring.
pub(super) fn on_ring<T, F: Future<Output = T>>(
    config: RingConfig,
    main: impl FnOnce(Ring) -> F,
) -> Option<T> {
    if let Err(why) = probe() {
        println!("skipped: {why}");
        return None;
    }
    let run = async |ring: Ring| {
        let output = main(ring.clone()).await;
        settled(&ring).await;
        output
    };
    Some(Ring::start(config, run).unwrap())
}

/// Until nothing is in flight, as it must be soon after everything was dropped.
async fn settled(ring: &Ring) {
    while ring.core.slots.in_flight() > 0 {
        pause(ring, 1).await;
    }
    assert_eq!(ring.core.slots.len(), 0, "an operation's slot was lost");
    assert_eq!(
        ring.core.direct.borrow().in_use(),
        0,
        "a descriptor is open"
    );
    let buffers = &ring.core.recv_buffers;
    assert_eq!(buffers.available(), buffers.count(), "a buffer was lost");
}

pub(super) fn small() -> RingConfig {
    RingConfig {
        entries: 32,
        recv_buffer_bytes: 4096,
        recv_buffers: 16,
        direct_descriptors: 64,
        core: None,
        stall_limit_ns: 5 * MS,
    }
}

#[test]
fn timers_fire_in_order() {
    on_ring(small(), async |ring| {
        let start_ns = ring.now().mono_ns;
        let order = Rc::new(RefCell::new(Vec::new()));
        let done = Tally::default();
        for delay_ms in [7, 3, 5, 1, 0, 3] {
            let (ring2, order, done) = (ring.clone(), order.clone(), done.clone());
            ring.spawn("test", async move {
                let deadline_ns = start_ns + delay_ms * MS;
                ring2.sleep_until(deadline_ns).await;
                assert!(ring2.now().mono_ns >= deadline_ns, "woken too early");
                order.borrow_mut().push(delay_ms);
                done.add();
            });
        }
        done.reaches(&ring, 6).await;
        assert_eq!(*order.borrow(), [0, 1, 3, 3, 5, 7]);
        begin_and_drop(ring.sleep_until(u64::MAX)).await;
        assert_eq!(ring.core.thread.sleeping(), 0);
        assert!(ring.now().unix_ms > 1_600_000_000_000);
    });
}

#[test]
fn rings_from_another_thread() {
    on_ring(small(), async |ring| {
        let there = Doorbell::new().unwrap();
        let back = Doorbell::new().unwrap();
        // A ring before the wait is kept; one after a wait that was given up is too.
        there.ring();
        ring.wait(&there).await.unwrap();
        begin_and_drop(ring.wait(&there)).await;
        there.ring();
        ring.wait(&there).await.unwrap();
        let (there2, back2) = (there.clone(), back.clone());
        let other = thread::spawn(move || {
            Ring::start(small(), async |ring| {
                for _ in 0..100 {
                    there2.ring();
                    ring.wait(&back2).await.unwrap();
                }
            })
            .unwrap();
        });
        for _ in 0..100 {
            ring.wait(&there).await.unwrap();
            back.ring();
        }
        other.join().unwrap();
    });
}

#[test]
fn wakers_on_another_thread_do_nothing() {
    on_ring(small(), async |ring| {
        let waker = poll_fn(|context| Poll::Ready(context.waker().clone())).await;
        let foreign = waker.clone();
        thread::spawn(move || foreign.wake()).join().unwrap();
        let foreign = waker.clone();
        thread::spawn(move || Ring::start(small(), async |_| foreign.wake()).unwrap())
            .join()
            .unwrap();
        let kept: Rc<RefCell<Option<Waker>>> = Rc::default();
        let from_task = kept.clone();
        ring.spawn("test", async move {
            poll_fn(|context| {
                *from_task.borrow_mut() = Some(context.waker().clone());
                context.waker().wake_by_ref();
                Poll::Ready(())
            })
            .await
        });
        pause(&ring, 1).await;
        // Its task is gone, and another one has its place.
        let polls = Tally::default();
        let counted = polls.clone();
        ring.spawn(
            "test",
            poll_fn(move |_| {
                counted.add();
                Poll::Pending
            }),
        );
        kept.take().unwrap().wake();
        pause(&ring, 1).await;
        assert_eq!(polls.count(), 1);
    });
}

#[test]
fn a_ring_that_has_ended_refuses() {
    let Some(ring) = on_ring(small(), async |ring| ring) else {
        return;
    };
    let mut context = Context::from_waker(Waker::noop());
    let connect = pin!(ring.connect(loopback())).poll(&mut context);
    assert!(matches!(connect, Poll::Ready(Err(_))));
    ring.spawn("test", async { unreachable!("no task runs any more") });
}

#[test]
#[should_panic(expected = "one reactor a thread")]
fn a_ring_in_a_ring_is_a_mistake() {
    let inner = async |_: Ring| ();
    let ran = on_ring(small(), async |_| Ring::start(small(), inner).unwrap());
    assert!(ran.is_some(), "skipped, not: one reactor a thread");
}

#[test]
fn the_ring_ends_with_operations_in_flight() {
    if let Err(why) = probe() {
        return println!("skipped: {why}");
    }
    let escaped = Ring::start(small(), async |ring| {
        let listener = ring.listen(loopback()).unwrap();
        let client = ring.connect(listener.local_addr()).await.unwrap();
        let server = listener.accept().await.unwrap();
        let (ring2, held) = (ring.clone(), client.clone());
        ring.spawn("test", async move {
            listener.accept().await.unwrap();
        });
        ring.spawn("test", async move {
            held.recv().await.unwrap();
        });
        ring.spawn("test", async move { ring2.sleep_until(u64::MAX).await });
        ring.spawn("test", async move {
            server.send(vec![0; 64 << 20]).await.0.unwrap();
        });
        pause(&ring, 2).await;
        client
    });
    let stream = escaped.unwrap();
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

#[test]
fn a_panic_takes_the_ring_down_in_order() {
    if let Err(why) = probe() {
        return println!("skipped: {why}");
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let result = catch_unwind(AssertUnwindSafe(|| {
        Ring::start(small(), async |ring| {
            let file = ring.open(&path, DIRECT).await.unwrap();
            let other = file.clone();
            ring.spawn("test", async move {
                let buf = AlignedBuf::zeroed(1 << 20);
                other.write_at(buf, 0, Durability::Synced).await.0.unwrap();
            });
            ring.spawn("test", async { panic!("of a task") });
            pause(&ring, 1000).await;
        })
    }));
    assert!(result.is_err());
    // The thread is free for another.
    assert_eq!(Ring::start(small(), async |_| 5).unwrap(), 5);
}
