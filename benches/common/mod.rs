//! What the benchmarks share: requests as Java's client sent them, a broker that knows their topic, a store without a disk.

#![allow(dead_code)] // Each benchmark uses its part.

pub mod instant;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use criterion::Criterion;
use ringmq::broker::{Broker, BrokerConfig, ConnId, Peer};
use ringmq::message::{Message, Properties};
use ringmq::store::{Appended, Flush, KeyQuery, QueueIndex, Store, StoreConfig, Wanted};
use ringmq::wire::{Language, frame};

use instant::{Instant, Tasks};

/// The time at which everything happens.
pub const NOW_MS: i64 = 1_795_236_400_000;

/// Of the recorded requests.
pub const TOPIC: &str = "GoldenTopic";

/// The size that the end-to-end measurements use.
pub const BODY_BYTES: usize = 1024;

/// What a Java producer puts beside a body: a property of its own, a key, the unique key, a tag.
pub const PROPERTIES: &str = "colour\u{1}green\u{2}KEYS\u{1}key-0\u{2}UNIQ_KEY\u{1}FD00000000000000000000000000000229624E0E2F2A6805900B0000\u{2}\
     WAIT\u{1}true\u{2}TAGS\u{1}TagA\u{2}";

/// The same with a unique key and a key that no other message has.
pub fn properties_of(number: u64) -> String {
    PROPERTIES
        .replace("key-0", &format!("key-{number}"))
        .replace("2A6805900B0000", &format!("{number:014X}"))
}

/// Both header encodings with the SEND_MESSAGE_V2 (310) that Java's client 5.5.0 sent in them (`tests/golden`), its body
/// replaced by one of [`BODY_BYTES`].
pub fn sends() -> [(&'static str, Vec<u8>); 2] {
    [
        ("json", with_body(&recorded("send"))),
        ("rocketmq", with_body(&recorded("send_binary"))),
    ]
}

/// A request of `tests/golden`, the whole frame.
pub fn recorded(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    std::fs::read(folder.join(format!("{name}.req.bin"))).expect("the recording is in the tree")
}

fn with_body(recorded: &[u8]) -> Vec<u8> {
    let frame = frame::split(recorded)
        .expect("a recorded frame is sound")
        .expect("and whole");
    let mut bytes = recorded[..frame.len - frame.body.len()].to_vec();
    bytes.extend_from_slice(&[b'x'; BODY_BYTES]);
    let total = bytes.len() as u32 - 4;
    bytes[..4].copy_from_slice(&total.to_be_bytes());
    bytes
}

/// A broker with [`TOPIC`] and its eight queues.
pub fn broker() -> Broker {
    let mut broker = Broker::new(BrokerConfig::default(), NOW_MS as u64);
    broker.adopt_topic(TOPIC, 8, NOW_MS as u64);
    broker
}

pub fn peer() -> Peer {
    Peer {
        conn: ConnId(1),
        addr: client(),
        language: Language::Java,
        version: 513,
    }
}

fn client() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(192, 0, 2, 7), 54_321))
}

/// What a producer's message looks like to the store.
pub fn message(body: &[u8]) -> Message<'_> {
    Message {
        flag: 0,
        sys_flag: 0,
        born_timestamp_ms: NOW_MS,
        born_host: client(),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body,
        properties: Properties::new(PROPERTIES),
    }
}

/// A store whose device takes everything at once.
pub struct Bed {
    pub store: Rc<Store<Instant>>,
    tasks: Tasks,
}

impl Bed {
    /// Its log has gone once round the log buffer: what the kernel does at the first touch of a page is no part of a message's
    /// price.
    pub fn new() -> Bed {
        let config = StoreConfig {
            dir: PathBuf::from("/nowhere"),
            flush: Flush::Sync,
            ..StoreConfig::default()
        };
        let lap_bytes = config.log_buffer_bytes as u64;
        let tasks = Tasks::new();
        let store = tasks
            .run(Store::open(Instant, config, |_| {}))
            .expect("nothing can fail on this device");
        let bed = Bed { store, tasks };
        let (queue, body) = (bed.store.queue("lap", 0), vec![0; 1 << 20]);
        while bed.store.tail() <= lap_bytes {
            bed.append(queue, &message(&body));
            bed.commit();
        }
        bed
    }

    /// Commits must be frequent enough for the log buffer.
    pub fn append(&self, queue: QueueIndex, message: &Message<'_>) -> Appended {
        let appended = self.store.append(queue, message, None, NOW_MS);
        appended.expect("there is room in the log buffer and for the entry")
    }

    /// Makes everything that was appended visible.
    pub fn commit(&self) {
        let committed = self.tasks.run(self.store.durable_so_far());
        committed.expect("nothing can fail on this device");
    }

    /// Brings the key index to where the log is committed, as a query does that wants no message.
    pub fn index(&self) {
        let query = KeyQuery {
            topic: TOPIC,
            wanted: Wanted::Key("nothing"),
            max_messages: 0,
            max_bytes: 0,
            begin_ms: 0,
            end_ms: i64::MAX,
        };
        let indexed = self.tasks.run(self.store.find_by_key(&query));
        indexed.expect("nothing can fail on this device");
    }

    /// Has the queues and the index saved while the next thing is done.
    pub fn save_soon(&self) {
        self.store.delete_some("nothing", 1);
    }
}

/// Short runs: the figures that count are ratios of medians, and the whole set should take a minute.
pub fn criterion() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(30)
        .configure_from_args()
}
