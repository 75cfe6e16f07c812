//! The reactor without io_uring against the real kernel: what a ring does too (`linux/tests`), and what is its own.

use std::cell::Cell;
use std::fs;
use std::future::Future;
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::{Poll, Waker};
use std::thread;

use super::pool::Lane;
use super::*;
use crate::io::{Disk, Durability, File, Listener, Net, Stream};
use crate::linux::is_locked;
use crate::linux::tests::{
    DIRECT, MS, begin_and_drop, echo_round_trips, loopback, on_each_machine, pattern, pause,
};
use crate::mem::{AlignedBuf, BLOCK_BYTES};

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

#[test]
fn a_bell_wakes_it_from_another_thread() {
    on_small(async |io| {
        let there = Doorbell::new().unwrap();
        let back = Doorbell::new().unwrap();
        // A ring before the wait is kept; one after a wait that was given up is too.
        there.ring();
        io.wait(&there).await.unwrap();
        begin_and_drop(io.wait(&there)).await;
        there.ring();
        io.wait(&there).await.unwrap();
        let (there2, back2) = (there.clone(), back.clone());
        let other = thread::spawn(move || {
            let run = async |io: Portable| {
                for _ in 0..100 {
                    there2.ring();
                    io.wait(&back2).await.unwrap();
                }
            };
            Portable::start(small(), run).unwrap();
        });
        for _ in 0..100 {
            io.wait(&there).await.unwrap();
            back.ring();
        }
        other.join().unwrap();
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
fn a_reactor_that_has_ended_refuses() {
    let io = Portable::start(small(), async |io| io).unwrap();
    let mut context = std::task::Context::from_waker(Waker::noop());
    let connect = pin!(io.connect(loopback())).poll(&mut context);
    assert!(matches!(connect, Poll::Ready(Err(_))));
    let list = pin!(io.list("/".as_ref())).poll(&mut context);
    assert!(matches!(list, Poll::Ready(Err(_))));
    io.spawn("test", async { unreachable!("no task runs any more") });
}

#[test]
fn it_ends_with_operations_in_flight() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let escaped = Portable::start(small(), async |io| {
        let listener = io.listen(loopback()).unwrap();
        let client = io.connect(listener.local_addr()).await.unwrap();
        let server = listener.accept().await.unwrap();
        let file = io.open(&path, DIRECT).await.unwrap();
        let (io2, held) = (io.clone(), client.clone());
        io.spawn("test", async move {
            listener.accept().await.unwrap();
        });
        io.spawn("test", async move {
            held.recv().await.unwrap();
        });
        io.spawn("test", async move { io2.sleep_until(u64::MAX).await });
        io.spawn("test", async move {
            server.send(vec![0; 64 << 20]).await.0.unwrap();
        });
        for n in 0..50 {
            let file = file.clone();
            io.spawn("test", async move {
                let buf = AlignedBuf::zeroed(1 << 20);
                let written = file.write_at(buf, n << 20, Durability::Synced).await;
                written.0.unwrap();
            });
        }
        pause(&io, 2).await;
        client
    });
    let stream = escaped.unwrap();
    let mut context = std::task::Context::from_waker(Waker::noop());
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
fn a_panic_takes_the_reactor_down_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let result = catch_unwind(AssertUnwindSafe(|| {
        Portable::start(small(), async |io| {
            let file = io.open(&path, DIRECT).await.unwrap();
            let other = file.clone();
            io.spawn("test", async move {
                let bytes = pattern(1 << 20, 0);
                other
                    .write_at(bytes, 0, Durability::Synced)
                    .await
                    .0
                    .unwrap();
            });
            io.spawn("test", async { panic!("of a task") });
            pause(&io, 1000).await;
        })
    }));
    assert!(result.is_err());
    // The thread is free for another.
    assert_eq!(Portable::start(small(), async |_| 5).unwrap(), 5);
}
