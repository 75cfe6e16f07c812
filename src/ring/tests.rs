//! The ring against the real kernel: files in a temporary directory, sockets on loopback.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::thread;

use super::*;
use crate::io::{Disk, Durability, File, Listener, Net, OpenOptions, Stream};
use crate::mem::{AlignedBuf, BLOCK_BYTES, LogBuffer};

const MS: u64 = 1_000_000;
const DIRECT: OpenOptions = OpenOptions {
    write: true,
    create: true,
    direct: true,
};

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
    while ring.core.ops.in_flight() > 0 {
        pause(ring, 1).await;
    }
    assert_eq!(ring.core.ops.len(), 0, "an operation's slot was lost");
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
    }
}

pub(super) async fn pause(ring: &Ring, ms: u64) {
    ring.sleep_until(ring.now().mono_ns + ms * MS).await;
}

pub(super) fn loopback() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

/// Polls once, so that the operation is under way, and gives up on it.
async fn begin_and_drop(future: impl Future) {
    let mut future = pin!(future);
    poll_fn(|context| {
        assert!(future.as_mut().poll(context).is_pending());
        Poll::Ready(())
    })
    .await;
}

/// Lets other tasks run.
async fn yield_now() {
    let mut yielded = false;
    poll_fn(|context| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Counts tasks that are done.
#[derive(Clone, Default)]
struct Tally(Rc<Cell<usize>>);

impl Tally {
    fn add(&self) {
        self.0.update(|count| count + 1);
    }

    async fn reaches(&self, ring: &Ring, count: usize) {
        while self.0.get() < count {
            pause(ring, 1).await;
        }
        assert_eq!(self.0.get(), count);
    }
}

pub(super) fn pattern(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|i| ((i + seed) * 31 % 251) as u8).collect()
}

pub(super) async fn recv_exactly(stream: &RingStream, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        let chunk = stream.recv().await.unwrap();
        assert!(!chunk.is_empty(), "ended after {} of {len}", bytes.len());
        bytes.extend_from_slice(&chunk);
    }
    assert_eq!(bytes.len(), len);
    bytes
}

/// Sends back whatever comes until the other side ends.
async fn echo(stream: RingStream) {
    loop {
        let chunk = match stream.recv().await {
            Ok(chunk) if !chunk.is_empty() => chunk.to_vec(),
            _ => return,
        };
        if stream.send(chunk).await.0.is_err() {
            return;
        }
    }
}

/// Serves until the ring ends, or as long as the flag lives.
fn serve_echo(ring: &Ring, connections: usize) -> SocketAddr {
    let listener = ring.listen(loopback()).unwrap();
    let addr = listener.local_addr();
    let ring = ring.clone();
    ring.clone().spawn(async move {
        for _ in 0..connections {
            let stream = listener.accept().await.unwrap();
            ring.spawn(echo(stream));
        }
    });
    addr
}

async fn echo_round_trips(ring: &Ring, connections: usize, rounds: usize, len: usize) {
    let addr = serve_echo(ring, connections);
    let done = Tally::default();
    for seed in 0..connections {
        let (ring2, done) = (ring.clone(), done.clone());
        ring.spawn(async move {
            let stream = ring2.connect(addr).await.unwrap();
            assert_eq!(stream.peer_addr(), addr);
            for round in 0..rounds {
                let sent = pattern(len, seed + round);
                let (sender, bytes) = (stream.clone(), sent.clone());
                ring2.spawn(async move { sender.send(bytes).await.0.unwrap() });
                assert_eq!(recv_exactly(&stream, len).await, sent);
            }
            done.add();
        });
    }
    done.reaches(ring, connections).await;
}

#[test]
fn echoes_on_many_connections() {
    on_ring(RingConfig::default(), async |ring| {
        echo_round_trips(&ring, 200, 5, 3000).await;
        echo_round_trips(&ring, 3, 2, 1 << 20).await;
    });
}

#[test]
fn four_buffers_serve_many_connections() {
    let config = RingConfig {
        recv_buffers: 4,
        ..small()
    };
    on_ring(config, async |ring| {
        echo_round_trips(&ring, 60, 3, 50_000).await;
    });
}

#[test]
fn one_buffer_is_enough() {
    let config = RingConfig {
        recv_buffers: 1,
        ..small()
    };
    on_ring(config, async |ring| {
        echo_round_trips(&ring, 5, 2, 50_000).await;
    });
}

#[test]
fn works_beyond_the_direct_descriptors_and_the_queue() {
    let config = RingConfig {
        entries: 4,
        direct_descriptors: 10,
        ..small()
    };
    on_ring(config, async |ring| {
        echo_round_trips(&ring, 100, 2, 1000).await;
    });
}

#[test]
fn a_thousand_connections_leave_nothing_behind() {
    on_ring(small(), async |ring| {
        let addr = serve_echo(&ring, 1000);
        for i in 0..1000 {
            let stream = ring.connect(addr).await.unwrap();
            if i % 3 == 0 {
                stream.send(vec![1; 10]).await.0.unwrap();
            }
            if i % 6 == 0 {
                assert_eq!(recv_exactly(&stream, 10).await, [1; 10]);
            }
            if i % 5 == 0 {
                begin_and_drop(stream.recv()).await;
            }
        }
        // `settled` looks at what is left.
    });
}

#[test]
fn ipv6_has_peers_too() {
    on_ring(small(), async |ring| {
        let listener = match ring.listen("[::1]:0".parse().unwrap()) {
            Ok(listener) => listener,
            Err(why) => return println!("skipped: {why}"),
        };
        let stream = ring.connect(listener.local_addr()).await.unwrap();
        let accepted = listener.accept().await.unwrap();
        assert_eq!(stream.peer_addr(), listener.local_addr());
        assert!(accepted.peer_addr().is_ipv6());
        accepted.send(vec![3; 5]).await.0.unwrap();
        assert_eq!(recv_exactly(&stream, 5).await, [3; 5]);
    });
}

#[test]
fn nobody_listens_there() {
    on_ring(small(), async |ring| {
        let listener = ring.listen(loopback()).unwrap();
        let addr = listener.local_addr();
        drop(listener);
        settled(&ring).await;
        let error = ring.connect(addr).await.err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert!(error.to_string().contains(&addr.to_string()), "{error}");
    });
}

#[test]
fn timers_fire_in_order() {
    on_ring(small(), async |ring| {
        let start_ns = ring.now().mono_ns;
        let order = Rc::new(RefCell::new(Vec::new()));
        let done = Tally::default();
        for delay_ms in [7, 3, 5, 1, 0, 3] {
            let (ring2, order, done) = (ring.clone(), order.clone(), done.clone());
            ring.spawn(async move {
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
        assert_eq!(ring.core.timers.borrow().len(), 0);
        assert!(ring.now().unix_ms > 1_600_000_000_000);
    });
}

#[test]
fn busy_tasks_do_not_stop_the_clock() {
    on_ring(small(), async |ring| {
        ring.spawn(async {
            loop {
                yield_now().await;
            }
        });
        pause(&ring, 2).await;
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
        ring.spawn(async move {
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
        ring.spawn(poll_fn(move |_| {
            counted.add();
            Poll::Pending
        }));
        kept.take().unwrap().wake();
        pause(&ring, 1).await;
        assert_eq!(polls.0.get(), 1);
    });
}

#[test]
fn log_slices_reach_the_disk() {
    on_ring(small(), async |ring| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("segment");
        let file = ring.open(&path, DIRECT).await.unwrap();
        file.allocate(1 << 20).await.unwrap();
        assert_eq!(file.len_bytes().await.unwrap(), 1 << 20);
        let mut log = LogBuffer::new(1 << 20).unwrap();
        for registered in [false, true] {
            if registered && !ring.register(&log) {
                println!("not registered: {}", ring.facilities());
            }
            for durability in [Durability::Written, Durability::Synced] {
                let seed = usize::from(registered) * 2 + durability as usize;
                let bytes = pattern(5 * BLOCK_BYTES, seed);
                log.write(8192, bytes.len()).copy_from_slice(&bytes);
                let slice = log.slice(8192, bytes.len());
                let (result, slice) = file.write_at(slice, 4096, durability).await;
                result.unwrap();
                assert_eq!(slice.len(), bytes.len());
                file.sync_data().await.unwrap();
                let buf = AlignedBuf::zeroed(8 * BLOCK_BYTES);
                let (read, buf) = file.read_at(buf, bytes.len(), 4096).await;
                assert_eq!(read.unwrap(), bytes.len());
                assert_eq!(&buf[..bytes.len()], bytes);
                assert!(buf[bytes.len()..].iter().all(|&b| b == 0));
            }
        }
        assert!(ring.register(&log), "twice is once");
        // The end of the file, which is ragged after a cut.
        file.resize(4096 + 100).await.unwrap();
        let (read, _) = file.read_at(AlignedBuf::zeroed(16384), 16384, 0).await;
        assert_eq!(read.unwrap(), 4196);
        let (read, _) = file.read_at(AlignedBuf::zeroed(4096), 4096, 1 << 20).await;
        assert_eq!(read.unwrap(), 0);
    });
}

#[test]
fn other_buffers_reach_the_disk_too() {
    on_ring(small(), async |ring| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("offsets.json");
        let options = OpenOptions {
            direct: false,
            ..DIRECT
        };
        let file = ring.open(&path, options).await.unwrap();
        let bytes = pattern(10_001, 1);
        let (result, bytes) = file.write_at(bytes, 3, Durability::Synced).await;
        result.unwrap();
        let aligned = AlignedBuf::zeroed(4096);
        let (result, _) = file.write_at(aligned, 10_004, Durability::Written).await;
        result.unwrap();
        let (read, buf) = file.read_at(AlignedBuf::zeroed(16384), 16384, 0).await;
        assert_eq!(read.unwrap(), 14_100);
        assert_eq!(&buf[3..10_004], bytes);
        let (result, _) = file.write_at(Vec::new(), 0, Durability::Written).await;
        result.unwrap();
        let read_only = ring.open(&path, OpenOptions::default()).await.unwrap();
        let (result, bytes) = read_only.write_at(bytes, 0, Durability::Written).await;
        assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::EBADF));
        assert_eq!(bytes.len(), 10_001);
    });
}

#[test]
fn names_and_space() {
    on_ring(small(), async |ring| {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("a/b");
        assert!(ring.list(&dir).await.unwrap().is_empty());
        ring.create_dir_all(&dir).await.unwrap();
        for name in ["2", "1"] {
            ring.open(&dir.join(name), DIRECT).await.unwrap();
        }
        ring.rename(&dir.join("2"), &dir.join("0")).await.unwrap();
        ring.sync_dir(&dir).await.unwrap();
        let names = ring.list(&dir).await.unwrap();
        let names: Vec<_> = names.iter().map(|entry| entry.path.clone()).collect();
        assert_eq!(names, [dir.join("0"), dir.join("1")]);
        for name in names {
            ring.remove_file(&name).await.unwrap();
        }
        ring.remove_dir(&dir).await.unwrap();
        let left = ring.list(root.path()).await.unwrap();
        assert!(left.len() == 1 && left[0].is_dir);
        let space = ring.space(root.path()).unwrap();
        assert!(space.available_bytes > 0 && space.available_bytes <= space.total_bytes);
    });
}

#[test]
fn a_failed_open_says_which_and_why() {
    on_ring(small(), async |ring| {
        let missing = "/nonexistent/segment".as_ref();
        let error = ring
            .open(missing, OpenOptions::default())
            .await
            .err()
            .unwrap();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().contains("/nonexistent/segment"));
        let options = OpenOptions {
            direct: true,
            ..OpenOptions::default()
        };
        let error = ring.open("/proc/self/status".as_ref(), options).await;
        let error = error.err().unwrap();
        assert!(error.to_string().contains("no O_DIRECT"), "{error}");
    });
}

#[test]
fn given_up_operations_keep_their_buffers_until_the_end() {
    on_ring(small(), async |ring| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let file = ring.open(&path, DIRECT).await.unwrap();
        file.allocate(4 << 20).await.unwrap();
        for i in 0..50 {
            let buf = AlignedBuf::zeroed(1 << 20);
            if i % 2 == 0 {
                begin_and_drop(file.read_at(buf, 1 << 20, 0)).await;
            } else {
                begin_and_drop(file.write_at(buf, 0, Durability::Synced)).await;
            }
            begin_and_drop(ring.open(&path, DIRECT)).await;
            assert!(ring.core.ops.in_flight() > 0);
        }
        drop(file);
        settled(&ring).await;
    });
}

#[test]
fn a_given_up_recv_loses_nothing() {
    on_ring(small(), async |ring| {
        let listener = ring.listen(loopback()).unwrap();
        let client = ring.connect(listener.local_addr()).await.unwrap();
        begin_and_drop(client.recv()).await;
        let server = listener.accept().await.unwrap();
        begin_and_drop(client.recv()).await;
        server.send(b"first".to_vec()).await.0.unwrap();
        pause(&ring, 2).await;
        server.send(b"second".to_vec()).await.0.unwrap();
        assert_eq!(recv_exactly(&client, 11).await, b"firstsecond");
        // And its buffers outlive the connection.
        server.send(b"third".to_vec()).await.0.unwrap();
        let chunk = client.recv().await.unwrap();
        assert!(chunk.is_lent());
        drop((client, server, listener));
        pause(&ring, 2).await;
        assert_eq!(&*chunk, b"third");
    });
}

#[test]
fn a_given_up_send_ends() {
    on_ring(small(), async |ring| {
        let listener = ring.listen(loopback()).unwrap();
        let client = ring.connect(listener.local_addr()).await.unwrap();
        let server = listener.accept().await.unwrap();
        // More than the sockets hold, and nobody reads.
        begin_and_drop(client.send(vec![7; 64 << 20])).await;
        pause(&ring, 2).await;
        drop(client);
        while !server.recv().await.unwrap().is_empty() {}
    });
}

#[test]
fn shutdown_ends_both_directions() {
    on_ring(small(), async |ring| {
        let listener = ring.listen(loopback()).unwrap();
        let client = ring.connect(listener.local_addr()).await.unwrap();
        let server = listener.accept().await.unwrap();
        let done = Tally::default();
        let (receiver, sender, received, sent) =
            (client.clone(), client.clone(), done.clone(), done.clone());
        ring.spawn(async move {
            assert!(receiver.recv().await.unwrap().is_empty());
            assert!(receiver.recv().await.unwrap().is_empty());
            received.add();
        });
        ring.spawn(async move {
            let (result, buf) = sender.send(vec![1; 64 << 20]).await;
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
            assert_eq!(buf.len(), 64 << 20);
            sent.add();
        });
        pause(&ring, 2).await;
        client.shutdown();
        done.reaches(&ring, 2).await;
        while server.recv().await.is_ok_and(|chunk| !chunk.is_empty()) {}
    });
}

#[test]
fn the_ring_ends_under_its_tasks() {
    let stream = on_ring(small(), async |ring| {
        let listener = ring.listen(loopback()).unwrap();
        let addr = listener.local_addr();
        let stream = ring.connect(addr).await.unwrap();
        let (ring2, kept) = (ring.clone(), stream.clone());
        let main = Ring::start; // one ring a thread: the second fails
        assert!(catch_unwind(AssertUnwindSafe(|| main(small(), async |_: Ring| ()))).is_err());
        drop(kept);
        drop(ring2);
        drop(listener);
        (ring.clone(), stream.peer_addr())
    });
    let Some((ring, _)) = stream else { return };
    // What has escaped answers with errors.
    let mut context = Context::from_waker(Waker::noop());
    let connect = pin!(ring.connect(loopback())).poll(&mut context);
    assert!(matches!(connect, Poll::Ready(Err(_))));
    ring.spawn(async { unreachable!("no task runs any more") });
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
        ring.spawn(async move {
            listener.accept().await.unwrap();
        });
        ring.spawn(async move {
            held.recv().await.unwrap();
        });
        ring.spawn(async move { ring2.sleep_until(u64::MAX).await });
        ring.spawn(async move {
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
            ring.spawn(async move {
                let buf = AlignedBuf::zeroed(1 << 20);
                other.write_at(buf, 0, Durability::Synced).await.0.unwrap();
            });
            ring.spawn(async { panic!("of a task") });
            pause(&ring, 1000).await;
        })
    }));
    assert!(result.is_err());
    // The thread is free for another.
    assert_eq!(Ring::start(small(), async |_| 5).unwrap(), 5);
}
