//! What every implementation of the seam must do, as tests over [`Io`]: `sim/` and `ring/` run the same ones.
//!
//! Each takes a view of the world and, where it needs one, a directory of its own on a filesystem with O_DIRECT.
//! A violation panics.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use crate::io::{Clock, Durability, File, Io, Listener, OpenOptions, Stream};
use crate::mem::{AlignedBuf, BLOCK_BYTES, IoBuf, LogBuffer};

const DIRECT: OpenOptions = OpenOptions {
    write: true,
    create: true,
    direct: true,
};
const BUFFERED: OpenOptions = OpenOptions {
    direct: false,
    ..DIRECT
};
const READ_ONLY: OpenOptions = OpenOptions {
    write: false,
    create: false,
    direct: false,
};

/// Runs them all, one after the other; `dir` exists and is empty.
pub async fn all<I: Io>(io: &I, dir: &Path) {
    direct_files_round_trip(io, &dir.join("direct")).await;
    buffered_files_round_trip(io, &dir.join("buffered")).await;
    direct_files_want_alignment(io, &dir.join("unaligned")).await;
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

pub async fn direct_files_round_trip<I: Io>(io: &I, dir: &Path) {
    io.create_dir_all(dir).await.unwrap();
    let file = io.open(&dir.join("f"), DIRECT).await.unwrap();
    assert_eq!(file.len_bytes().await.unwrap(), 0);
    file.allocate(8 * BLOCK_BYTES as u64).await.unwrap();
    assert_eq!(file.len_bytes().await.unwrap(), 8 * BLOCK_BYTES as u64);
    assert_eq!(read(&file, 0, 8 * BLOCK_BYTES).await, [0; 8 * BLOCK_BYTES]);

    let mut blocks = AlignedBuf::zeroed(2 * BLOCK_BYTES);
    blocks.fill(1);
    let blocks = write(&file, blocks, BLOCK_BYTES as u64, Durability::Written).await;
    assert!(blocks.iter().all(|&b| b == 1), "the same buffer comes back");
    let mut log = LogBuffer::new(4 * BLOCK_BYTES).unwrap();
    log.write(0, BLOCK_BYTES).fill(2);
    let slice = log.slice(0, BLOCK_BYTES);
    let registered = io.register(&log);
    write(&file, slice, 2 * BLOCK_BYTES as u64, Durability::Synced).await;
    let slice = log.slice(0, BLOCK_BYTES);
    write(&file, slice, 7 * BLOCK_BYTES as u64, Durability::Written).await;
    file.sync_data().await.unwrap();
    io.sync_dir(dir).await.unwrap();

    let reopened = io.open(&dir.join("f"), READ_ONLY).await.unwrap();
    let bytes = read(&reopened, 0, 8 * BLOCK_BYTES).await;
    let firsts: Vec<u8> = bytes.chunks(BLOCK_BYTES).map(|block| block[0]).collect();
    assert_eq!(firsts, [0, 1, 2, 0, 0, 0, 0, 2], "registered: {registered}");
    for block in bytes.chunks(BLOCK_BYTES) {
        assert!(block.iter().all(|&b| b == block[0]));
    }
    file.resize(BLOCK_BYTES as u64).await.unwrap();
    file.resize(3 * BLOCK_BYTES as u64).await.unwrap();
    let bytes = read(&file, 0, 8 * BLOCK_BYTES).await;
    assert_eq!(bytes, [0; 3 * BLOCK_BYTES], "cut off, then a hole");
}

pub async fn buffered_files_round_trip<I: Io>(io: &I, dir: &Path) {
    io.create_dir_all(dir).await.unwrap();
    let file = io.open(&dir.join("f"), BUFFERED).await.unwrap();
    write(&file, b"hello world".to_vec(), 0, Durability::Written).await;
    let clone = file.clone();
    drop(file);
    write(&clone, b"W".to_vec(), 6, Durability::Synced).await;
    write(&clone, b"!".to_vec(), 600, Durability::Written).await;
    clone.sync_data().await.unwrap();
    assert_eq!(clone.len_bytes().await.unwrap(), 601);
    let bytes = read(&clone, 0, BLOCK_BYTES).await;
    assert_eq!(bytes.len(), 601);
    assert_eq!(bytes[..11], *b"hello World");
    assert_eq!(bytes[11..600], [0; 589]);
    assert_eq!(bytes[600], b'!');
    assert_eq!(read(&clone, 601, 10).await, b"");
    let read_only = io.open(&dir.join("f"), READ_ONLY).await.unwrap();
    let (refused, _) = read_only
        .write_at(b"no".to_vec(), 0, Durability::Written)
        .await;
    refused.unwrap_err();
    assert_eq!(read(&read_only, 0, 5).await, b"hello");
}

pub async fn direct_files_want_alignment<I: Io>(io: &I, dir: &Path) {
    io.create_dir_all(dir).await.unwrap();
    let file = io.open(&dir.join("f"), DIRECT).await.unwrap();
    file.allocate(4 * BLOCK_BYTES as u64).await.unwrap();
    let block = AlignedBuf::zeroed(BLOCK_BYTES);
    let (odd_offset, block) = file.write_at(block, 100, Durability::Written).await;
    assert_eq!(odd_offset.unwrap_err().kind(), ErrorKind::InvalidInput);
    let (odd_len, _) = file.write_at(vec![1; 100], 0, Durability::Written).await;
    assert_eq!(odd_len.unwrap_err().kind(), ErrorKind::InvalidInput);
    let (odd_read, _) = file.read_at(block, BLOCK_BYTES, 100).await;
    assert_eq!(odd_read.unwrap_err().kind(), ErrorKind::InvalidInput);
}

pub async fn names_come_and_go<I: Io>(io: &I, dir: &Path) {
    assert_eq!(
        io.list(dir).await.unwrap(),
        [],
        "a directory that is not there"
    );
    let deep = dir.join("a/b");
    io.create_dir_all(&deep).await.unwrap();
    io.create_dir_all(&deep).await.unwrap();
    let missing = io.open(&dir.join("none"), READ_ONLY).await;
    assert_eq!(missing.err().unwrap().kind(), ErrorKind::NotFound);
    for name in ["2", "1", "10"] {
        let file = io.open(&dir.join(name), BUFFERED).await.unwrap();
        write(&file, name.as_bytes().to_vec(), 0, Durability::Written).await;
    }
    io.rename(&dir.join("1"), &dir.join("2")).await.unwrap();
    io.sync_dir(dir).await.unwrap();
    let listed: Vec<_> = io.list(dir).await.unwrap();
    let listed = listed
        .iter()
        .map(|entry| (entry.path.strip_prefix(dir).unwrap(), entry.is_dir));
    let listed: Vec<_> = listed
        .map(|(path, d)| (path.to_str().unwrap(), d))
        .collect();
    assert_eq!(listed, [("10", false), ("2", false), ("a", true)]);
    assert_eq!(io.list(dir).await.unwrap()[0].len_bytes, 2);
    let renamed = io.open(&dir.join("2"), READ_ONLY).await.unwrap();
    assert_eq!(
        read(&renamed, 0, 10).await,
        b"1",
        "it replaces what was there"
    );

    let full = io.remove_dir(&dir.join("a")).await.unwrap_err();
    assert_eq!(full.kind(), ErrorKind::DirectoryNotEmpty);
    io.remove_dir(&deep).await.unwrap();
    io.remove_dir(&dir.join("a")).await.unwrap();
    io.remove_file(&dir.join("2")).await.unwrap();
    let again = io.remove_file(&dir.join("2")).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::NotFound);
    assert_eq!(
        read(&renamed, 0, 10).await,
        b"1",
        "open files outlive their names"
    );
    assert_eq!(io.list(dir).await.unwrap().len(), 1);
    let space = io.space(dir).unwrap();
    assert!(space.available_bytes <= space.total_bytes);
}

pub async fn dropped_disk_operations_give_nothing_back<I: Io>(io: &I, dir: &Path) {
    io.create_dir_all(dir).await.unwrap();
    let file = io.open(&dir.join("f"), DIRECT).await.unwrap();
    let len = 128 * BLOCK_BYTES;
    file.allocate(len as u64).await.unwrap();
    for pair in (0..len).step_by(2 * BLOCK_BYTES) {
        let mut buf = AlignedBuf::zeroed(BLOCK_BYTES);
        buf.fill(1);
        poll_once(file.write_at(buf, pair as u64, Durability::Synced)).await;
        poll_once(file.read_at(AlignedBuf::zeroed(BLOCK_BYTES), BLOCK_BYTES, pair as u64)).await;
        // Likely gets the memory that was just given up, if anybody gave it up too early.
        let mut buf = AlignedBuf::zeroed(BLOCK_BYTES);
        buf.fill(2);
        let next = (pair + BLOCK_BYTES) as u64;
        let buf = write(&file, buf, next, Durability::Written).await;
        assert!(buf.iter().all(|&b| b == 2), "a dropped read wrote into it");
    }
    for (n, block) in read(&file, 0, len).await.chunks(BLOCK_BYTES).enumerate() {
        let expected: &[u8] = if n % 2 == 0 { &[0, 1] } else { &[2] };
        assert!(block.iter().all(|b| expected.contains(b)), "block {n}");
    }
}

pub async fn timers_fire_in_order<I: Io>(io: &I) {
    let start = io.now();
    let fired = Rc::new(RefCell::new(Vec::new()));
    for after_ms in [60, 20, 40, 0, 80] {
        let (timer, fired) = (io.clone(), Rc::clone(&fired));
        let deadline_ns = start.mono_ns + after_ms * 1_000_000;
        io.spawn(async move {
            timer.sleep_until(deadline_ns).await;
            assert!(timer.now().mono_ns >= deadline_ns, "early");
            fired.borrow_mut().push(after_ms);
        });
    }
    while fired.borrow().len() < 5 {
        sleep_ms(io, 10).await;
    }
    assert_eq!(*fired.borrow(), [0, 20, 40, 60, 80]);
    assert!(io.now().unix_ms - start.unix_ms >= 79);
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
    io.spawn(async move {
        let seen_inside = Rc::clone(&seen);
        inner.spawn(async move { seen_inside.borrow_mut().push(2) });
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

pub async fn bytes_echo<I: Io>(io: &I) {
    let (client, server) = connected(io).await;
    let port = client.peer_addr().port();
    assert_ne!(port, 0);
    assert_ne!(server.peer_addr().port(), port);
    io.spawn(echo(server));
    let mut sent: Vec<u8> = (0..300_000u32).map(|i| (i % 251) as u8).collect();
    for len in [0, 1, 100, 300_000] {
        sent.truncate(len.max(1));
        sent.resize(len, 7);
        let expected = sent.clone();
        let sending = async { client.send(std::mem::take(&mut sent)).await };
        let (received, (result, buf)) = join(recv_exactly(&client, len), sending).await;
        result.unwrap();
        assert_eq!(buf, expected, "the same buffer comes back");
        assert!(received == expected, "{len} bytes came back changed");
        sent = buf;
    }
}

pub async fn a_slow_reader_holds_its_sender<I: Io>(io: &I) {
    let (client, server) = connected(io).await;
    let len = 32 << 20;
    let mut sending = pin!(client.send(vec![5; len]));
    for _ in 0..20 {
        assert!(
            poll_once(&mut sending).await.is_none(),
            "no window is that large"
        );
        sleep_ms(io, 1).await;
    }
    let (received, (result, _)) = join(recv_exactly(&server, len), sending).await;
    result.unwrap();
    assert!(received.iter().all(|&b| b == 5));
}

pub async fn a_dropped_recv_loses_nothing<I: Io>(io: &I) {
    let (client, server) = connected(io).await;
    let sent: Vec<u8> = (0..=255).cycle().take(50_000).collect();
    let copy = sent.clone();
    io.spawn(async move {
        for piece in copy.chunks(1000) {
            client.send(piece.to_vec()).await.0.unwrap();
        }
        // Not closed before everything was read: it waits for the end from the other side.
        assert!(client.recv().await.unwrap().is_empty());
    });
    let mut received = Vec::new();
    while received.len() < sent.len() {
        match poll_once(server.recv()).await {
            Some(chunk) => received.extend_from_slice(&chunk.unwrap()),
            None => sleep_ms(io, 1).await,
        }
    }
    assert!(received == sent);
    server.shutdown();
}

pub async fn shutdown_ends_both_directions<I: Io>(io: &I) {
    let (client, server) = connected(io).await;
    let handle = client.clone();
    let stop = async {
        sleep_ms(io, 5).await;
        handle.shutdown();
    };
    let (end, ()) = join(client.recv(), stop).await;
    assert!(end.unwrap().is_empty(), "a pending recv returns the end");
    assert!(
        server.recv().await.unwrap().is_empty(),
        "so does the peer's"
    );
    let (refused, buf) = client.send(vec![1]).await;
    refused.unwrap_err();
    assert_eq!(buf, [1]);

    let (client, _server) = connected(io).await;
    let handle = client.clone();
    let stop = async {
        sleep_ms(io, 5).await;
        handle.shutdown();
    };
    let ((stopped, _), ()) = join(client.send(vec![1; 32 << 20]), stop).await;
    stopped.unwrap_err();
}

pub async fn the_last_handle_closes<I: Io>(io: &I) {
    let (client, server) = connected(io).await;
    let clone = client.clone();
    drop(client);
    clone.send(b"still open".to_vec()).await.0.unwrap();
    drop(clone);
    assert_eq!(recv_exactly(&server, 10).await, b"still open");
    assert!(server.recv().await.unwrap().is_empty());
    // The first send after the peer has closed may succeed; it provokes the reset that a later one meets.
    while server.send(vec![1]).await.0.is_ok() {
        sleep_ms(io, 1).await;
    }
}

pub async fn nobody_listening_refuses<I: Io>(io: &I) {
    let listener = io.listen(ANY_PORT).unwrap();
    let addr = listener.local_addr();
    assert_ne!(addr.port(), 0);
    let taken = io.listen(addr).err().unwrap();
    assert_eq!(taken.kind(), ErrorKind::AddrInUse);
    drop(listener);
    sleep_ms(io, 5).await;
    let refused = io.connect(addr).await.err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Both ends of a new connection: who connected, who accepted.
pub async fn connected<I: Io>(io: &I) -> (I::Stream, I::Stream) {
    let listener = io.listen(ANY_PORT).unwrap();
    let (client, server) = join(io.connect(listener.local_addr()), listener.accept()).await;
    (client.unwrap(), server.unwrap())
}

async fn echo<S: Stream>(stream: S) {
    loop {
        let chunk = stream.recv().await.unwrap();
        if chunk.is_empty() {
            return;
        }
        stream.send(chunk.to_vec()).await.0.unwrap();
    }
}

async fn recv_exactly<S: Stream>(stream: &S, len: usize) -> Vec<u8> {
    let mut received = Vec::with_capacity(len);
    while received.len() < len {
        let chunk = stream.recv().await.unwrap();
        assert!(!chunk.is_empty(), "ended after {} of {len}", received.len());
        received.extend_from_slice(&chunk);
    }
    assert_eq!(received.len(), len);
    received
}

async fn read<F: File>(file: &F, offset: u64, len: usize) -> Vec<u8> {
    let buf = AlignedBuf::with_room_for(len);
    let (read, buf) = file.read_at(buf, len, offset).await;
    buf[..read.unwrap()].to_vec()
}

async fn write<F: File, B: IoBuf>(file: &F, buf: B, offset: u64, durability: Durability) -> B {
    let (written, buf) = file.write_at(buf, offset, durability).await;
    written.unwrap();
    buf
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
