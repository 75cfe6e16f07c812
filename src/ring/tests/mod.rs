//! The ring against the real kernel: files in a temporary directory, sockets on loopback.

mod files;
mod sockets;

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::rc::Rc;
use std::thread;

use super::*;
use crate::io::{Clock, Disk, Listener, Net, Spawn, Stream};
use crate::ring::linux::tests::{
    DIRECT, MS, Started, Tally, a_panic_takes_one_down_in_order, begin_and_drop, loopback,
    on_each_machine, one_ends_with_operations_in_flight, one_that_has_ended_refuses, pause,
};

/// On a small ring, so that its bounds are met.
fn on_small<F: Future<Output = ()>>(main: impl FnOnce(Ring) -> F) {
    on_ring(small(), main);
}

impl Started for Ring {
    fn start_small<T, F: Future<Output = T>>(main: impl FnOnce(Ring) -> F) -> io::Result<T> {
        Ring::start(small(), main)
    }
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
#[should_panic(expected = "one reactor a thread")]
fn a_ring_in_a_ring_is_a_mistake() {
    let inner = async |_: Ring| ();
    let ran = on_ring(small(), async |_| Ring::start(small(), inner).unwrap());
    assert!(ran.is_some(), "skipped, not: one reactor a thread");
}

#[test]
fn how_a_ring_ends() {
    if let Err(why) = probe() {
        return println!("skipped: {why}");
    }
    one_that_has_ended_refuses::<Ring>();
    one_ends_with_operations_in_flight::<Ring>();
    a_panic_takes_one_down_in_order::<Ring>();
}
