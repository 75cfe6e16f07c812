//! Protects messages from what becomes of their queues' files: these have no checksum, and the log has everything that they
//! hold.

use futures_util::future::join;

use super::*;
use crate::message::tags_code;
use crate::store::queues::entry::ENTRY_BYTES;

const QUEUE_A: &str = "/store/consumequeue/A/0/00000000000000000000";

const COUNT: u8 = 60;

/// The size, the place of the message and its tags.
const FIELDS: [(u64, &[u8]); 6] = [
    (0, &[0; 20]),
    (11, &[0xFF]),
    (8, &[0, 0, 1]),
    (0, &[0, 0, 0, 7]),
    (7, &[0xAA]),
    (19, &[0x55]),
];

/// Queue A's messages with one of B after each, all in files.
async fn fill(sim: &Sim, flush: Flush) {
    let store = open(sim, flush).await;
    for n in 0..COUNT {
        send(sim, &store, "A", &[n; 1_100]).await;
        send(sim, &store, "B", &[n; 700]).await;
    }
    store.close().await.unwrap();
}

async fn entries(sim: &Sim) -> Vec<u8> {
    read_part(sim, QUEUE_A, 0, usize::from(COUNT) * ENTRY_BYTES).await
}

/// As a consumer reads them: first where the messages are, then the messages.
async fn first_bytes(store: &SimStore) -> Vec<u8> {
    let queue = store.find_queue("A", 0).unwrap();
    let positions = positions(store, queue, 0, COUNT.into()).await;
    let read = store.read_readable(queue, &positions, Vec::new());
    let read = read.await.unwrap();
    assert!(read.lost.is_empty(), "{:?}", read.lost);
    let (mut rest, mut first) = (&read.records[..], Vec::new());
    while !rest.is_empty() {
        let record = Record::decode(rest, Check::Crc).unwrap();
        first.push(record.body[0]);
        rest = &rest[record.total_size as usize..];
    }
    first
}

#[test]
fn a_rotten_entry_costs_no_message_and_is_made_again() {
    for (at, bytes) in FIELDS {
        for offset in [0, 9, 59] {
            for flush in [Flush::Sync, Flush::Async] {
                let sim = sim(offset);
                sim.run(async {
                    fill(&sim, flush).await;
                    let before = entries(&sim).await;
                    let place = offset * ENTRY_BYTES as u64 + at;
                    write_file(&sim, QUEUE_A, place, bytes).await;
                    let store = open(&sim, flush).await;
                    let expected: Vec<u8> = (0..COUNT).collect();
                    assert_eq!(first_bytes(&store).await, expected, "{at} of {offset}");
                    assert_eq!(entries(&sim).await, before, "{at} of {offset}");
                    assert_eq!(store.figures().unreadable, 0);
                });
            }
        }
    }
}

/// Two consumers have read the entry before one of them has made it again.
#[test]
fn a_rotten_entry_that_several_read_at_once_costs_no_message() {
    for seed in 0..8 {
        let sim = sim(seed);
        sim.run(async {
            fill(&sim, Flush::Sync).await;
            // A size of 64 MiB and more.
            write_file(&sim, QUEUE_A, 8, &[4]).await;
            let store = open(&sim, Flush::Sync).await;
            let expected: Vec<u8> = (0..COUNT).collect();
            let (one, other) = join(first_bytes(&store), first_bytes(&store)).await;
            assert_eq!((one, other), (expected.clone(), expected));
            assert_eq!(store.figures().unreadable, 0);
        });
    }
}

/// What an entry of queue A says after its position has rotted, by what it should say and where all messages are.
type Rotten = fn(&Entry, usize, &Sent) -> Entry;

/// The messages of A and of B, in their order. One of B follows each of A.
struct Sent {
    of_a: Vec<Entry>,
    of_b: Vec<Entry>,
    log_end: u64,
}

/// Every way in which a position can be wrong: to nothing, or to another whole message, in order or out of it.
const POSITIONS: [(&str, Rotten); 9] = [
    ("the log's beginning", |right, _, _| at(right, 0)),
    ("the log's end", |right, _, sent| {
        at(right, sent.log_end - u64::from(right.size))
    }),
    ("behind the log", |right, _, _| at(right, u64::MAX / 2)),
    ("a byte too far", |right, _, _| {
        at(right, right.physical_offset + 1)
    }),
    (
        "the message of B behind it, with its own size",
        |right, n, sent| at(right, sent.of_b[n].physical_offset),
    ),
    ("the message of B behind it", |_, n, sent| sent.of_b[n]),
    ("the message of B before it", |_, n, sent| {
        sent.of_b[n.saturating_sub(1)]
    }),
    ("the message before it", |_, n, sent| {
        sent.of_a[n.saturating_sub(1)]
    }),
    ("the message behind it", |_, n, sent| {
        sent.of_a[(n + 1).min(sent.of_a.len() - 1)]
    }),
];

fn at(entry: &Entry, physical_offset: u64) -> Entry {
    Entry {
        physical_offset,
        ..*entry
    }
}

async fn sent(sim: &Sim) -> Sent {
    let decoded = |bytes: Vec<u8>| -> Vec<Entry> {
        let entries = bytes.as_chunks::<ENTRY_BYTES>().0.iter();
        entries.map(Entry::decode).collect()
    };
    let len = usize::from(COUNT) * ENTRY_BYTES;
    let of_a = decoded(entries(sim).await);
    let of_b = decoded(read_part(sim, &QUEUE_A.replace("/A/", "/B/"), 0, len).await);
    let log_end = of_b[of_b.len() - 1].end();
    Sent {
        of_a,
        of_b,
        log_end,
    }
}

async fn put_entry(sim: &Sim, offset: usize, entry: &Entry) {
    let mut bytes = [0; ENTRY_BYTES];
    entry.encode(&mut bytes);
    write_file(sim, QUEUE_A, (offset * ENTRY_BYTES) as u64, &bytes).await;
}

#[test]
fn a_position_that_is_wrong_in_any_way_costs_no_message() {
    for (what, rotten) in POSITIONS {
        for offset in [0, 9, 30, 59] {
            let sim = sim(offset as u64);
            sim.run(async {
                fill(&sim, Flush::Sync).await;
                let (before, sent) = (entries(&sim).await, sent(&sim).await);
                let entry = rotten(&sent.of_a[offset], offset, &sent);
                put_entry(&sim, offset, &entry).await;
                let store = open(&sim, Flush::Sync).await;
                let expected: Vec<u8> = (0..COUNT).collect();
                assert_eq!(first_bytes(&store).await, expected, "{offset}: {what}");
                assert_eq!(entries(&sim).await, before, "{offset}: {what}");
                assert_eq!(store.figures().unreadable, 0, "{offset}: {what}");
            });
        }
    }
}

/// The offset at which a consumer begins that starts at the time of each message.
async fn found_by_time(store: &SimStore, times_ms: &[i64]) -> Vec<u64> {
    let queue = store.find_queue("A", 0).unwrap();
    let mut found = Vec::new();
    for time_ms in times_ms {
        let lower = store.offset_by_time(queue, *time_ms, Boundary::Lower);
        found.push(lower.await.unwrap());
    }
    found
}

/// The times of A's messages, in seconds from each other.
async fn fill_slowly(sim: &Sim) -> Vec<i64> {
    let store = open(sim, Flush::Sync).await;
    let mut times_ms = Vec::new();
    for n in 0..COUNT {
        times_ms.push(send(sim, &store, "A", &[n; 1_100]).await.store_timestamp_ms);
        send(sim, &store, "B", &[n; 700]).await;
        sim.sleep(Duration::from_secs(1)).await;
    }
    store.close().await.unwrap();
    times_ms
}

#[test]
fn a_wrong_position_does_not_mislead_a_search_by_time() {
    for (what, rotten) in POSITIONS {
        for offset in [0, 30, 59] {
            let sim = sim(offset as u64);
            sim.run(async {
                let times_ms = fill_slowly(&sim).await;
                let sent = sent(&sim).await;
                let entry = rotten(&sent.of_a[offset], offset, &sent);
                put_entry(&sim, offset, &entry).await;
                let store = open(&sim, Flush::Sync).await;
                let expected: Vec<u64> = (0..COUNT.into()).collect();
                let found = found_by_time(&store, &times_ms).await;
                assert_eq!(found, expected, "{offset}: {what}");
            });
        }
    }
}

/// The search looks at this one first.
#[test]
fn a_message_that_cannot_be_read_does_not_mislead_a_search_by_time() {
    let sim = sim(1);
    sim.run(async {
        let times_ms = fill_slowly(&sim).await;
        let lost = sent(&sim).await.of_a[30].physical_offset;
        let file = format!("/store/commitlog/{:020}", lost / SEGMENT * SEGMENT);
        let io = sim.host("a");
        io.rot_sector(Path::new(&file), lost % SEGMENT + 600)
            .unwrap();
        let store = open(&sim, Flush::Sync).await;
        let found = found_by_time(&store, &times_ms).await;
        // It may have been stored at the time of the next one.
        let expected = (0..COUNT.into()).map(|offset| if offset == 31 { 30 } else { offset });
        assert_eq!(found, expected.collect::<Vec<u64>>());
    });
}

#[test]
fn the_scrub_makes_a_wrong_position_again() {
    for (what, rotten) in POSITIONS {
        for offset in [0, 9, 50] {
            let sim = sim(offset as u64);
            sim.run(async {
                fill(&sim, Flush::Sync).await;
                let (before, sent) = (entries(&sim).await, sent(&sim).await);
                let entry = rotten(&sent.of_a[offset], offset, &sent);
                put_entry(&sim, offset, &entry).await;
                let scrubbing = StoreConfig {
                    scrub_bytes_per_s: 1 << 20,
                    ..config(Flush::Sync)
                };
                let store = open_with(&sim, scrubbing).await.unwrap();
                sim.sleep(Duration::from_secs(5)).await;
                assert_eq!(entries(&sim).await, before, "{offset}: {what}");
                assert_eq!(store.figures().unreadable, 0, "{offset}: {what}");
            });
        }
    }
}

/// A sector of the file has gone, with entries of many messages.
#[test]
fn a_rotten_sector_of_a_queue_file_costs_no_message() {
    each(async |sim, flush| {
        fill(sim, flush).await;
        let before = entries(sim).await;
        let io = sim.host("a");
        io.rot_sector(Path::new(QUEUE_A), 600).unwrap();
        let store = open(sim, flush).await;
        let expected: Vec<u8> = (0..COUNT).collect();
        assert_eq!(first_bytes(&store).await, expected);
        assert_eq!(entries(sim).await, before);
    });
}

/// The message itself is past reading: it is noted, its entry stays as it was, and the log is not read for it again.
#[test]
fn the_entry_of_a_message_that_cannot_be_read_stays() {
    each(async |sim, flush| {
        fill(sim, flush).await;
        let before = entries(sim).await;
        let store = open(sim, flush).await;
        let queue = store.find_queue("A", 0).unwrap();
        let found = positions(&store, queue, 20, 21).await;
        let at = found[0].physical_offset % SEGMENT + 600;
        let file = format!(
            "/store/commitlog/{:020}",
            found[0].physical_offset / SEGMENT * SEGMENT
        );
        sim.host("a").rot_sector(Path::new(&file), at).unwrap();
        for _ in 0..2 {
            let read = store.read_readable(queue, &found, Vec::new());
            assert_eq!(read.await.unwrap().lost, [0]);
        }
        assert!(store.figures().unreadable >= 1);
        assert_eq!(entries(sim).await, before);
    });
}

/// What a queue's file lacks is no reason to save all others again and again, or to keep files of the log for good.
#[test]
fn a_lacking_entry_does_not_hold_up_the_checkpoint() {
    each(async |sim, flush| {
        fill(sim, flush).await;
        write_file(sim, QUEUE_A, 9 * 20, &[0; 20]).await;
        let store = open(sim, flush).await;
        let queue = store.find_queue("A", 0).unwrap();
        assert_eq!(store.queues.entries(queue, 9, 1).await.unwrap().len(), 1);
        let before = store.queues.checkpointed();
        for n in 0..20 {
            send(sim, &store, "B", &[n; 8_000]).await;
        }
        sim.sleep(Duration::from_secs(2)).await;
        assert!(store.queues.checkpointed() > before + SEGMENT);
        let generation = store.queues.generation();
        sim.sleep(Duration::from_secs(10)).await;
        assert_eq!(store.queues.generation(), generation, "nothing to save");
    });
}

/// A tag filter passes over a message without reading it, so no reader notices that its tags code has rotted. The scrub
/// reads both.
#[test]
fn the_scrub_makes_a_rotten_tags_code_again() {
    each(async |sim, flush| {
        let store = open(sim, flush).await;
        let queue = store.queue("A", 0);
        for n in 0..COUNT {
            store.wait_for_room(2_000).await;
            let body = [n; 1_100];
            let tagged = message(&body, "TAGS\u{1}wanted\u{2}");
            store.append(queue, &tagged, None, 1).unwrap();
        }
        store.close().await.unwrap();
        let before = entries(sim).await;
        write_file(sim, QUEUE_A, 9 * ENTRY_BYTES as u64 + 15, &[0x55]).await;
        let scrubbing = StoreConfig {
            scrub_bytes_per_s: 1 << 20,
            ..config(flush)
        };
        let store = open_with(sim, scrubbing).await.unwrap();
        sim.sleep(Duration::from_secs(5)).await;
        let queue = store.find_queue("A", 0).unwrap();
        let limits = ScanLimits {
            max_messages: 100,
            max_bytes: 1 << 20,
            max_entries: 100,
        };
        let mut found = Vec::new();
        let wanted = |_, code| code == tags_code("wanted");
        let scan = store.scan_cold(queue, 0, &limits, wanted, &mut found);
        scan.await.unwrap();
        assert_eq!(found.len(), usize::from(COUNT));
        assert_eq!(entries(sim).await, before);
    });
}
