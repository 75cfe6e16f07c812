//! The reactor without io_uring against the real kernel: what a ring does too (`ring/linux/tests`), and what is its own.

use std::cell::Cell;
use std::fs;
use std::future::Future;
use std::os::fd::AsRawFd;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::pool::Lane;
use super::*;
use crate::io::{Disk, Durability, File, Listener, Net, Spawn, Stream};
use crate::mem::BLOCK_BYTES;
use crate::ring::linux::is_locked;
use crate::ring::linux::tests::{
    DIRECT, MS, Started, a_panic_takes_one_down_in_order, begin_and_drop, echo_round_trips,
    loopback, on_each_machine, one_ends_with_operations_in_flight, one_that_has_ended_refuses,
    pause,
};

impl Started for Portable {
    fn start_small<T, F: Future<Output = T>>(main: impl FnOnce(Portable) -> F) -> io::Result<T> {
        Portable::start(small(), main)
    }
}

on_each_machine! { on_small }

/// Runs on a reactor of its own, and sees to it that every call has ended and every descriptor is closed.
fn on_small<F: Future<Output = ()>>(main: impl FnOnce(Portable) -> F) {
    let run = async |io: Portable| {
        main(io.clone()).await;
        settled(&io).await;
    };
    Portable::start(small(), run).unwrap();
}

/// Until nothing is in flight, as it must be soon after everything was dropped.
async fn settled(io: &Portable) {
    while io.core.calls.in_flight() > 0 || io.core.poller.sources() > 0 {
        pause(io, 1).await;
    }
    assert_eq!(io.core.calls.len(), 0, "a call's slot was lost");
    assert_eq!(io.core.buffers.lent(), 0, "a buffer was lost");
    assert_eq!(io.core.thread.sleeping(), 0, "a timer was lost");
}

fn small() -> PortableConfig {
    PortableConfig {
        recv_buffer_bytes: 4096,
        recv_buffers: 16,
        core: None,
        stall_limit_ns: 5 * MS,
    }
}

#[test]
fn one_buffer_is_enough() {
    let config = PortableConfig {
        recv_buffers: 1,
        ..small()
    };
    let run = async |io: Portable| echo_round_trips(&io, 5, 2, 50_000).await;
    Portable::start(config, run).unwrap();
}

/// Their readers have stopped: what they hold is a copy of what they got.
#[test]
fn chunks_that_are_held_do_not_hold_the_buffers() {
    on_small(async |io| {
        let listener = io.listen(loopback()).unwrap();
        let mut held = Vec::new();
        for n in 0..40 {
            let client = io.connect(listener.local_addr()).await.unwrap();
            let server = listener.accept().await.unwrap();
            client.send(vec![n; 3]).await.0.unwrap();
            held.push((server.recv().await.unwrap(), client, server));
        }
        assert_eq!(io.core.buffers.lent(), 12, "three quarters of them");
        for (n, (chunk, ..)) in held.iter().enumerate() {
            assert_eq!(**chunk, [n as u8; 3]);
        }
    });
}

/// A peer that never stops sending is read once in a turn.
#[test]
fn a_stream_that_is_always_ready_leaves_the_thread_to_others() {
    on_small(async |io| {
        let listener = io.listen(loopback()).unwrap();
        let client = io.connect(listener.local_addr()).await.unwrap();
        let server = listener.accept().await.unwrap();
        let len = 1 << 20;
        let sender = client.clone();
        io.spawn("sender", async move {
            sender.send(vec![1; len]).await.0.unwrap();
        });
        let (turns, over) = (
            std::rc::Rc::new(Cell::new(0)),
            std::rc::Rc::new(Cell::new(false)),
        );
        let (of_task, counted, is_over) = (io.clone(), turns.clone(), over.clone());
        io.spawn("other", async move {
            while !is_over.get() {
                let before = of_task.core.this_turn();
                crate::io::yield_now().await;
                counted.set(counted.get() + (of_task.core.this_turn() - before));
            }
        });
        let (mut received, mut chunks) = (0, 0);
        while received < len {
            received += server.recv().await.unwrap().len();
            chunks += 1;
        }
        over.set(true);
        assert!(
            turns.get() + 1 >= chunks,
            "{} turns, {chunks} chunks",
            turns.get()
        );
    });
}

/// A write of the log waits for no other call, and one whose future is dropped before it has begun is not made.
#[test]
fn the_lanes_are_apart_and_what_has_not_begun_is_taken_back() {
    on_small(async |io| {
        let dir = tempfile::tempdir().unwrap();
        let file = io.open(&dir.path().join("file"), DIRECT).await.unwrap();
        let release = std::sync::Arc::new(std::sync::Barrier::new(5));
        let mut slow = Vec::new();
        for _ in 0..4 {
            let release = release.clone();
            let held = move || {
                release.wait();
                Ok(())
            };
            slow.push(Box::pin(io.core.call(held)));
        }
        let mut context = std::task::Context::from_waker(Waker::noop());
        for call in &mut slow {
            assert!(call.as_mut().poll(&mut context).is_pending());
        }
        // All threads for names are taken.
        let path = dir.path().join("dropped");
        begin_and_drop(io.open(&path, DIRECT)).await;
        let log = crate::mem::LogBuffer::new(BLOCK_BYTES).unwrap();
        let slice = log.slice(0, BLOCK_BYTES);
        let (written, _) = file.write_at(slice, 0, Durability::Synced).await;
        written.unwrap();
        release.wait();
        for call in slow {
            call.await.unwrap();
        }
        // Behind whatever was in the lane.
        assert_eq!(file.len_bytes().await.unwrap(), BLOCK_BYTES as u64);
        assert!(!path.exists(), "it was opened all the same");
        assert!(io.core.calls.pool.take_back(Lane::Slow, 0).is_none());
    });
}

#[test]
fn a_call_that_panics_is_an_error() {
    on_small(async |io| {
        let panics: io::Result<()> = io.core.call(|| panic!("of a call")).await;
        panics.unwrap_err();
        assert_eq!(io.core.call(|| Ok(5)).await.unwrap(), 5);
    });
}

/// The last close of a removed file may take as long as its blocks take to be freed.
#[test]
fn files_are_closed_and_not_by_the_reactors_thread() {
    let dir = tempfile::tempdir().unwrap();
    let open = || {
        let open = fs::read_dir("/proc/self/fd").unwrap();
        let names = open.filter_map(|fd| fs::read_link(fd.unwrap().path()).ok());
        names.filter(|name| name.starts_with(dir.path())).count()
    };
    let files = Portable::start(small(), async |io| {
        let mut files = Vec::new();
        for n in 0..20 {
            files.push(
                io.open(&dir.path().join(n.to_string()), DIRECT)
                    .await
                    .unwrap(),
            );
        }
        let clone = files[0].clone();
        drop(clone);
        assert_eq!(open(), 20, "a clone is another handle");
        files.truncate(10);
        settled_calls(&io).await;
        assert_eq!(open(), 10);
        files
    });
    drop(files);
    assert_eq!(open(), 0);
}

async fn settled_calls(io: &Portable) {
    while io.core.calls.in_flight() > 0 {
        pause(io, 1).await;
    }
}

/// A killed process's descriptors are closed when its last thread has ended: a lock is one of them, and no table of the kernel's has it longer.
#[test]
fn a_lock_is_held_as_long_as_its_descriptor() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lock");
    on_small(async |io| {
        let lock = io.lock(&path, "ours").unwrap();
        let second = lock.file().try_clone().unwrap();
        assert!(second.as_raw_fd() >= 0);
        drop(lock);
        assert!(is_locked(&path).unwrap(), "another thread's table has it");
        drop(second);
        assert!(!is_locked(&path).unwrap());
    });
}

#[test]
fn how_a_reactor_ends() {
    one_that_has_ended_refuses::<Portable>();
    one_ends_with_operations_in_flight::<Portable>();
    a_panic_takes_one_down_in_order::<Portable>();
}

/// A call on a file, too, is refused at once: the threads that would make it are gone.
#[test]
fn a_reactor_that_has_ended_makes_no_call() {
    let io = Portable::start(small(), async |io| io).unwrap();
    let mut context = Context::from_waker(Waker::noop());
    let list = pin!(io.list("/".as_ref())).poll(&mut context);
    assert!(matches!(list, Poll::Ready(Err(_))));
}
