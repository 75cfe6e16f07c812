//! Protects "no allocation per message": a shard on io_uring, in this process, with 64 producers of 4 messages in flight each, and then a consumer that
//! reads what they have sent. The allocator counts what the shard's thread asks for.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use ringmq::broker::BrokerConfig;
use ringmq::broker::admission::AdmissionLimits;
use ringmq::io::Spawn;
use ringmq::message::properties;
use ringmq::reactor::{self, ShardSetup};
use ringmq::ring::linux::{Doorbell, Machine};
use ringmq::ring::{Ring, RingConfig};
use ringmq::store::{Flush, StoreConfig};
use ringmq::wire::codes::request;
use ringmq::wire::pull::{PullRequest, pull_sys_flag};
use ringmq::wire::send::SendRequest;
use ringmq::wire::{Codec, Head, Value, frame};

thread_local! {
    static IS_SHARD: Cell<bool> = const { Cell::new(false) };
}

/// What the thread with [`IS_SHARD`] has allocated.
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

fn count() {
    // At the end of a thread it is gone.
    if IS_SHARD.try_with(Cell::get).unwrap_or(false) {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: the system's allocator does all of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        count();
        // SAFETY: as the caller promises.
        unsafe { System.realloc(at, layout, bytes) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }
}

const CONNECTIONS: usize = 64;
const IN_FLIGHT: usize = 4;
const QUEUES: i32 = 8;
const BODY: [u8; 1024] = [b'x'; 1024];

/// Of all messages in flight: so many before what is measured, and so many that are.
const WARM_UP: usize = 60;
const ROUNDS: usize = 240;

/// Messages of each queue that the consumer reads: those of the end of the log are in its buffer.
const PULLED: usize = 1 << 10;

/// Messages of one pull.
const AT_A_TIME: usize = 32;

/// One for each message would be 1, one for each group commit some 0.1.
const MOST_PER_MESSAGE: f64 = 0.01;

/// What the shard does by time and not by message: each save of its queues takes some 500, every few seconds.
const MOST_PER_SECOND: f64 = 500.0;

fn setup(dir: &Path, flush: Flush) -> ShardSetup {
    let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let any_port = || {
        let listener = TcpListener::bind(local(0)).expect("a port is free");
        listener.local_addr().expect("it is bound")
    };
    let listen = any_port();
    ShardSetup {
        listen,
        vip_listen: any_port(),
        store: StoreConfig {
            dir: dir.to_owned(),
            flush,
            segment_bytes: 128 << 20,
            store_host: listen,
            ..StoreConfig::default()
        },
        broker: BrokerConfig {
            advertise: listen,
            auto_create_topic: true,
            auto_create_group: true,
            ..BrokerConfig::default()
        },
        namesrv: Vec::new(),
        register_interval_ms: 30_000,
        sync_flush_timeout_ms: 60_000,
        connection_idle_s: 120,
        max_connections: 1_000,
        connection_memory_bytes: 64 << 20,
        admission: AdmissionLimits::default(),
        io: Default::default(),
        save_offsets_interval_ms: 5_000,
        replication: None,
        builtin_namesrv: None,
    }
}

struct Producer {
    stream: TcpStream,
    request: Vec<u8>,
    answers: Vec<u8>,
}

fn frame_of(code: i32, ext: &[(&str, Value<'_>)], body: &[u8]) -> Vec<u8> {
    let head = Head::request(Codec::Json, code, 7);
    let mut bytes = Vec::new();
    frame::write(&mut bytes, &head, ext, body);
    bytes
}

impl Producer {
    /// Of messages as a Java producer makes them.
    fn connect(addr: SocketAddr, number: usize) -> Self {
        let mut text = String::new();
        for (name, value) in [
            (properties::KEYS, "order-4711"),
            (properties::UNIQUE_KEY, "7F000001A2B418B4AAC2123456780000"),
            (properties::WAIT, "true"),
            (properties::TAGS, "TagA"),
        ] {
            properties::push(&mut text, name, value);
        }
        let send = SendRequest {
            producer_group: "producers",
            topic: "Orders",
            default_topic: "TBW102",
            default_topic_queue_nums: QUEUES,
            queue_id: number as i32 % QUEUES,
            sys_flag: 0,
            born_timestamp_ms: 1_795_236_400_000,
            flag: 0,
            properties: Some(&text),
            reconsume_times: Some(0),
            unit_mode: false,
            max_reconsume_times: None,
            batch: false,
            broker_name: None,
        };
        let stream = TcpStream::connect(addr).expect("the broker listens");
        stream.set_nodelay(true).expect("it is open");
        Self {
            stream,
            request: frame_of(request::SEND_MESSAGE_V2, &send.ext(), &BODY),
            answers: Vec::new(),
        }
    }

    fn send(&mut self) {
        for _ in 0..IN_FLIGHT {
            self.stream.write_all(&self.request).expect("it is open");
        }
    }

    fn receive(&mut self) {
        for _ in 0..IN_FLIGHT {
            let header = answer(&mut self.stream, &mut self.answers);
            assert!(header.contains("\"code\":0"), "{header}");
        }
    }
}

/// Reads one answer; its header.
fn answer<'a>(stream: &mut TcpStream, bytes: &'a mut Vec<u8>) -> &'a str {
    let mut length = [0; 4];
    stream.read_exact(&mut length).expect("an answer");
    bytes.resize(u32::from_be_bytes(length) as usize, 0);
    stream.read_exact(bytes).expect("all of it");
    let header_len = usize::from(bytes[2]) << 8 | usize::from(bytes[3]);
    std::str::from_utf8(&bytes[4..4 + header_len]).expect("JSON")
}

/// A shard on a thread of its own.
struct Shard {
    addr: SocketAddr,
    bell: Doorbell,
    /// Gives the turns of its loop.
    thread: JoinHandle<u64>,
}

impl Shard {
    fn start(dir: &Path, flush: Flush) -> Self {
        let setup = setup(dir, flush);
        let addr = setup.listen;
        let bell = Doorbell::new().expect("a bell");
        let (rung, (ready, is_ready)) = (bell.clone(), mpsc::channel());
        let run = async move |ring: Ring| {
            let waits = ring.wait(&rung);
            let stop = async move { drop(waits.await) };
            let say = move |_| ready.send(()).expect("it is waited for");
            let served = reactor::run(ring.clone(), setup, stop, say).await;
            served.expect("the shard ends");
            ring.turns()
        };
        let thread = thread::spawn(move || {
            IS_SHARD.set(true);
            Ring::start(RingConfig::default(), run).expect("io_uring is there")
        });
        is_ready.recv().expect("the shard serves");
        Self { addr, bell, thread }
    }

    fn stop(self) -> u64 {
        self.bell.ring();
        self.thread.join().expect("it ends")
    }
}

/// Allocations of each of so many messages while this is done, beside those that its time allows.
fn allocations_of(messages: usize, run: impl FnOnce()) -> f64 {
    let (before, since) = (ALLOCATIONS.load(Ordering::Relaxed), Instant::now());
    run();
    let made = (ALLOCATIONS.load(Ordering::Relaxed) - before) as f64;
    let by_time = since.elapsed().as_secs_f64() * MOST_PER_SECOND;
    (made - by_time).max(0.0) / messages as f64
}

fn send_all(addr: SocketAddr) -> f64 {
    let mut producers: Vec<_> = (0..CONNECTIONS)
        .map(|number| Producer::connect(addr, number))
        .collect();
    let mut rounds = |count| {
        for _ in 0..count {
            producers.iter_mut().for_each(Producer::send);
            producers.iter_mut().for_each(Producer::receive);
        }
    };
    rounds(WARM_UP);
    allocations_of(ROUNDS * CONNECTIONS * IN_FLIGHT, || rounds(ROUNDS))
}

/// Reads the end of a queue, twice; the second time is measured.
fn pull_all(addr: SocketAddr) -> f64 {
    let mut stream = TcpStream::connect(addr).expect("the broker listens");
    let end = (WARM_UP + ROUNDS) * CONNECTIONS * IN_FLIGHT / QUEUES as usize;
    let mut bytes = Vec::new();
    let mut pull = |offset: usize| {
        let pull = PullRequest {
            consumer_group: "consumers",
            topic: "Orders",
            queue_id: 0,
            queue_offset: offset as i64,
            max_msg_nums: AT_A_TIME as i32,
            sys_flag: pull_sys_flag::SUBSCRIPTION,
            commit_offset: 0,
            suspend_timeout_ms: 0,
            subscription: Some("*"),
            sub_version: 0,
            expression_type: None,
            max_msg_bytes: None,
            request_source: None,
        };
        let request = frame_of(request::PULL_MESSAGE, &pull.ext(), &[]);
        stream.write_all(&request).expect("it is open");
        let header = answer(&mut stream, &mut bytes);
        assert!(header.contains("\"code\":0"), "{header}");
    };
    let begin = end - PULLED;
    let mut all = || (begin..end).step_by(AT_A_TIME).for_each(&mut pull);
    all();
    allocations_of(PULLED, all)
}

#[test]
fn a_message_allocates_nothing() {
    if let Err(why) = ringmq::ring::probe() {
        eprintln!("skipped: {why}");
        return;
    }
    for flush in [Flush::Sync, Flush::Async] {
        let folder = tempfile::tempdir().expect("a folder");
        let shard = Shard::start(folder.path(), flush);
        let (sent, pulled) = (send_all(shard.addr), pull_all(shard.addr));
        let turns = shard.stop();
        println!(
            "{flush:?}: {sent:.5} allocations a send, {pulled:.5} a pulled message; {turns} turns"
        );
        assert!(sent < MOST_PER_MESSAGE, "{flush:?}: {sent} a send");
        assert!(pulled < MOST_PER_MESSAGE, "{flush:?}: {pulled} a message");
    }
}
