//! Protects what is behind damage: a rotten record in the middle of the log, a file that was cut or has gone, is not taken
//! for the log's end. The start is refused and changes nothing; who asks for it gets all that can be read, under its old
//! offsets. And a message that cannot be read holds up nobody.

use super::*;
use crate::store::log::reader::candidates;

const SECOND: &str = "/store/commitlog/00000000000000065536";

/// Little enough unflushed that a few messages prove that the log went on.
pub(super) fn small(flush: Flush) -> StoreConfig {
    StoreConfig {
        max_unflushed_bytes: 8192,
        ..config(flush)
    }
}

fn skipping(flush: Flush) -> StoreConfig {
    StoreConfig {
        skip_damaged: true,
        ..small(flush)
    }
}

/// `count` messages of 1000 bytes, in turn in two queues.
pub(super) async fn fill(sim: &Sim, store: &SimStore, count: u8) -> Vec<Appended> {
    let mut sent = Vec::new();
    for n in 0..count {
        let topic = ["A", "B"][usize::from(n % 2)];
        sent.push(send(sim, store, topic, &[n; 1000]).await);
    }
    sent
}

/// First bytes of the bodies that can be read of a queue.
pub(super) async fn readable(store: &SimStore, topic: &str) -> Vec<u8> {
    let queue = store.find_queue(topic, 0).unwrap();
    let QueueBounds { min, max, .. } = store.bounds(queue);
    let positions = positions(store, queue, min, max).await;
    assert_eq!(positions.len() as u64, max - min, "offsets are dense");
    let read = store
        .read_readable(queue, &positions, Vec::new())
        .await
        .unwrap();
    let (mut rest, mut first) = (&read.records[..], Vec::new());
    while !rest.is_empty() {
        let record = Record::decode(rest, Check::Crc).unwrap();
        first.push(record.body[0]);
        rest = &rest[record.total_size as usize..];
    }
    assert_eq!(first.len() + read.lost.len(), positions.len());
    first
}

pub(super) async fn rot(sim: &Sim, position: u64) {
    let path = match position / SEGMENT {
        0 => LOG,
        1 => SECOND,
        _ => unreachable!("the tests need no more"),
    };
    let io = sim.host("a");
    io.rot_sector(Path::new(path), position % SEGMENT).unwrap();
}

/// Everything that the store's files hold.
async fn image(sim: &Sim) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for dir in [
        "/store/commitlog",
        "/store/consumequeue/A/0",
        "/store/consumequeue/B/0",
    ] {
        for entry in sim.host("a").list(Path::new(dir)).await.unwrap() {
            let path = entry.path.to_str().unwrap().to_owned();
            files.push((path.clone(), read_file(sim, &path).await));
        }
    }
    files
}

async fn is_refused(sim: &Sim, config: StoreConfig, word: &str) -> String {
    let before = image(sim).await;
    let error = open_with(sim, config)
        .await
        .err()
        .expect("refused")
        .to_string();
    assert!(error.contains(word) && error.contains("damaged"), "{error}");
    assert_eq!(image(sim).await, before, "nothing is changed");
    error
}

#[test]
fn a_rotten_record_is_no_torn_tail() {
    for flush in [Flush::Sync, Flush::Async] {
        for lost in [0, 7, 20] {
            let sim = sim(lost);
            sim.run(async {
                let store = open_with(&sim, small(flush)).await.unwrap();
                keep_as_they_are(&sim, &["acknowledged"]);
                let sent = fill(&sim, &store, 40).await;
                // Ahead of the first checkpoint.
                sim.crash("a");
                sim.host("a").heal();
                let lost = sent[lost as usize];
                rot(&sim, lost.physical_offset + 600).await;
                let error = is_refused(&sim, small(flush), "a whole message stands behind").await;
                assert!(
                    error.contains(&format!("at {} ", lost.physical_offset)),
                    "{error}"
                );
                is_refused(&sim, small(flush), "--skip-damaged").await;

                let store = open_with(&sim, skipping(flush)).await.unwrap();
                let all = [readable(&store, "A").await, readable(&store, "B").await].concat();
                assert_eq!(all.len(), 39);
                let next = send(&sim, &store, "A", b"next").await;
                assert_eq!(next.queue_offset, 20);
                store.close().await.unwrap();
                let store = open_with(&sim, small(flush)).await.unwrap();
                assert_eq!(
                    readable(&store, "A").await.len() + readable(&store, "B").await.len(),
                    40
                );
            });
        }
    }
}

#[test]
fn what_is_torn_near_the_end_is_the_end() {
    let sim = sim(1);
    sim.run(async {
        let store = open_with(&sim, small(Flush::Async)).await.unwrap();
        let sent = fill(&sim, &store, 20).await;
        sim.crash("a");
        let torn = sent[17].physical_offset;
        rot(&sim, torn + 600).await;
        let store = open_with(&sim, small(Flush::Async)).await.unwrap();
        assert_eq!(store.tail(), torn);
    });
}

/// The queues' files do not fit, so that the log is read from its beginning; all of it was flushed.
#[test]
fn a_rotten_record_before_the_checkpoint_is_damage() {
    for at in [3, 39] {
        let sim = sim(at);
        sim.run(async {
            let store = open_with(&sim, small(Flush::Sync)).await.unwrap();
            let sent = fill(&sim, &store, 40).await;
            store.close().await.unwrap();
            rot(&sim, sent[at as usize].physical_offset + 600).await;
            let topic = Path::new("/store/consumequeue/A");
            let file = topic.join("0/00000000000000000000");
            sim.host("a").remove_file(&file).await.unwrap();
            sim.host("a").remove_dir(&topic.join("0")).await.unwrap();
            sim.host("a").remove_dir(topic).await.unwrap();
            let error = open_with(&sim, small(Flush::Sync)).await.err().unwrap();
            assert!(
                error.to_string().contains("the log was durable up to"),
                "{error}"
            );
            is_refused(&sim, small(Flush::Sync), "the log was durable up to").await;

            let store = open_with(&sim, skipping(Flush::Sync)).await.unwrap();
            let left = readable(&store, "A").await.len() + readable(&store, "B").await.len();
            assert_eq!(left, 39);
            let next = send(&sim, &store, "A", b"next").await;
            assert!(next.physical_offset >= sent[39].end);
        });
    }
}

/// What happens to the log's files, what is said of it, and how many of 100 messages are left then.
fn loses_files(happens: impl AsyncFn(&Sim), word: &str, left: usize) {
    for flush in [Flush::Sync, Flush::Async] {
        let sim = sim(5);
        sim.run(async {
            let store = open_with(&sim, small(flush)).await.unwrap();
            fill(&sim, &store, 200).await;
            store.close().await.unwrap();
            happens(&sim).await;
            let error = open_with(&sim, small(flush))
                .await
                .err()
                .expect("refused")
                .to_string();
            assert!(
                error.contains(word) && error.contains("--skip-damaged"),
                "{error}"
            );
            let again = open_with(&sim, small(flush)).await.err().expect("refused");
            assert_eq!(again.to_string(), error);

            let store = open_with(&sim, skipping(flush)).await.unwrap();
            let all = [readable(&store, "A").await, readable(&store, "B").await].concat();
            assert_eq!(all.len(), left);
            let next = send(&sim, &store, "A", b"next").await;
            assert_eq!(next.queue_offset, 100, "no offset is given out twice");
            sim.sleep(Duration::from_secs(3)).await;
            // Files that were made for missing ones stay.
            sim.power_cut("a");
            let store = open_with(&sim, small(flush)).await.unwrap();
            store.close().await.unwrap();
            let store = open_with(&sim, small(flush)).await.unwrap();
            assert_eq!(readable(&store, "A").await.last(), Some(&b"next"[0]));
        });
    }
}

const THIRD: &str = "/store/commitlog/00000000000000131072";
const FOURTH: &str = "/store/commitlog/00000000000000196608";
/// Made ahead, and without a message.
const FIFTH: &str = "/store/commitlog/00000000000000262144";

async fn remove(sim: &Sim, path: &str) {
    sim.host("a").remove_file(Path::new(path)).await.unwrap();
}

async fn cut(sim: &Sim, path: &str, len: u64) {
    let file = sim.host("a").open(Path::new(path), EDIT).await.unwrap();
    file.resize(len).await.unwrap();
}

#[test]
fn a_file_in_the_middle_is_missing() {
    loses_files(
        async |sim| remove(sim, SECOND).await,
        "is missing between",
        142,
    );
}

#[test]
fn a_file_in_the_middle_is_cut() {
    loses_files(
        async |sim| cut(sim, SECOND, 10_000).await,
        "has 10000 bytes",
        150,
    );
}

#[test]
fn a_file_in_the_middle_is_empty() {
    loses_files(async |sim| cut(sim, SECOND, 0).await, "has 0 bytes", 142);
}

#[test]
fn the_last_files_are_missing() {
    let happens = async |sim: &Sim| {
        for path in [FIFTH, FOURTH, THIRD] {
            remove(sim, path).await;
        }
    };
    loses_files(happens, "its CommitLog files end at 131072", 116);
}

#[test]
fn the_last_file_is_empty() {
    let happens = async |sim: &Sim| {
        remove(sim, FIFTH).await;
        cut(sim, FOURTH, 0).await;
    };
    loses_files(happens, "its CommitLog files end at 196608", 174);
}

#[test]
fn the_first_files_are_missing_up_to_the_checkpoint() {
    let happens = async |sim: &Sim| {
        for path in [LOG, SECOND, THIRD, FOURTH] {
            remove(sim, path).await;
        }
    };
    loses_files(happens, "its CommitLog begins at 262144", 0);
}

#[test]
fn all_files_are_missing() {
    let happens = async |sim: &Sim| {
        for path in [LOG, SECOND, THIRD, FOURTH, FIFTH] {
            remove(sim, path).await;
        }
    };
    loses_files(happens, "it has no CommitLog file any more", 0);
}

/// Somebody put an older log back: the checkpoint and the queues speak of more than there is.
#[test]
fn a_log_that_ends_before_the_checkpoint_is_damage() {
    let sim = sim(2);
    sim.run(async {
        let store = open_with(&sim, small(Flush::Sync)).await.unwrap();
        fill(&sim, &store, 10).await;
        store.close().await.unwrap();
        let log = read_file(&sim, LOG).await;
        let store = open_with(&sim, small(Flush::Sync)).await.unwrap();
        let last = fill(&sim, &store, 10).await[9];
        store.close().await.unwrap();
        write_file(&sim, LOG, 0, &log).await;
        let error = open_with(&sim, small(Flush::Sync)).await.err().unwrap();
        assert!(
            error.to_string().contains("the log was durable up to"),
            "{error}"
        );
        let store = open_with(&sim, skipping(Flush::Sync)).await.unwrap();
        assert_eq!(readable(&store, "A").await, [0, 2, 4, 6, 8]);
        assert!(send(&sim, &store, "A", b"next").await.physical_offset >= last.end);
    });
}

#[test]
fn an_unreadable_message_is_passed_over_and_noted_once() {
    let sim = sim(3);
    sim.run(async {
        let store = open_with(&sim, small(Flush::Sync)).await.unwrap();
        let sent = fill(&sim, &store, 10).await;
        store.close().await.unwrap();
        let store = open_with(&sim, small(Flush::Sync)).await.unwrap();
        rot(&sim, sent[4].physical_offset + 600).await;
        for _ in 0..3 {
            assert_eq!(readable(&store, "B").await, [1, 3, 5, 7, 9]);
            assert_eq!(readable(&store, "A").await, [0, 2, 6, 8]);
        }
        let found = store.unreadable();
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].position, sent[4].physical_offset);
        let of = found[0].of.clone().unwrap();
        assert_eq!(
            (of.topic.as_str(), of.queue_id, of.queue_offset),
            ("A", 0, 2)
        );
        assert_eq!(
            store.record_at(sent[4].physical_offset).await.unwrap(),
            None
        );
        assert_eq!(store.figures().unreadable, 1);
        store.close().await.unwrap();
        let store = open_with(&sim, small(Flush::Sync)).await.unwrap();
        assert_eq!(store.unreadable(), found, "kept across a restart");
    });
}

#[test]
fn a_sector_that_the_device_does_not_give_costs_one_message() {
    let sim = sim(3);
    sim.run(async {
        let store = open_with(&sim, small(Flush::Sync)).await.unwrap();
        fill(&sim, &store, 10).await;
        store.close().await.unwrap();
        let store = open_with(&sim, small(Flush::Sync)).await.unwrap();
        // The large block, then the first message by itself, and once more; what else there is answers.
        let rule = Rule::new(Fault::Io).of(Op::Read).on("commitlog");
        sim.host("a").inject(rule.times(3));
        assert_eq!(readable(&store, "A").await, [2, 4, 6, 8]);
        assert_eq!(readable(&store, "B").await, [1, 3, 5, 7, 9]);
        assert_eq!(store.unreadable()[0].of.as_ref().unwrap().queue_offset, 0);
    });
}

/// Or a disk that is gone for a minute would be taken for the loss of all that was read meanwhile.
#[test]
fn nothing_is_lost_because_the_disk_does_not_answer() {
    let sim = sim(3);
    sim.run(async {
        let store = open_with(&sim, small(Flush::Sync)).await.unwrap();
        fill(&sim, &store, 10).await;
        store.close().await.unwrap();
        let store = open_with(&sim, small(Flush::Sync)).await.unwrap();
        let queue = store.find_queue("A", 0).unwrap();
        let positions = positions(&store, queue, 0, 5).await;
        sim.host("a")
            .inject(Rule::new(Fault::Io).of(Op::Read).on("commitlog"));
        assert!(
            store
                .read_readable(queue, &positions, Vec::new())
                .await
                .is_err()
        );
        sim.host("a").heal();
        assert!(store.unreadable().is_empty());
        assert_eq!(readable(&store, "A").await, [0, 2, 4, 6, 8]);
    });
}

#[test]
fn the_scrub_finds_rot_before_a_reader_does() {
    let sim = sim(3);
    sim.run(async {
        let config = || StoreConfig {
            scrub_bytes_per_s: 1 << 20,
            ..small(Flush::Sync)
        };
        let store = open_with(&sim, config()).await.unwrap();
        let sent = fill(&sim, &store, 120).await;
        store.close().await.unwrap();
        for rotten in [2, 80] {
            rot(&sim, sent[rotten].physical_offset + 600).await;
        }
        let store = open_with(&sim, config()).await.unwrap();
        sim.sleep(Duration::from_secs(60)).await;
        let found: Vec<_> = store
            .unreadable()
            .iter()
            .map(|found| found.position)
            .collect();
        assert_eq!(found, [sent[2].physical_offset, sent[80].physical_offset]);
        assert!(store.figures().scrubbed_to >= store.log.buffer().hot_from());
        store.close().await.unwrap();
        let store = open_with(&sim, config()).await.unwrap();
        assert_eq!(store.unreadable().len(), 2, "what was found is kept");
        assert!(
            store.figures().scrubbed_to > sent[80].end,
            "and how far it came"
        );
        // Put back from elsewhere: the next pass sees it.
        let position = sent[2].physical_offset;
        let mut whole = vec![0; sent[2].len];
        let good = read_part(&sim, LOG, sent[4].physical_offset, sent[4].len).await;
        whole.copy_from_slice(&good);
        let repaired = rewritten(&whole, position);
        write_file(&sim, LOG, position, &repaired).await;
        // As if a day had passed.
        store.scrub.began_ms.set(0);
        sim.sleep(Duration::from_secs(60)).await;
        let left: Vec<_> = store
            .unreadable()
            .iter()
            .map(|found| found.position)
            .collect();
        assert_eq!(left, [sent[80].physical_offset]);
    });
}

/// The record as one of another position.
fn rewritten(bytes: &[u8], position: u64) -> Vec<u8> {
    let record = Record::decode(bytes, Check::Crc).unwrap();
    let fields = RecordFields {
        queue_id: record.queue_id,
        flag: record.flag,
        queue_offset: 1,
        physical_offset: position,
        sys_flag: record.sys_flag,
        born_timestamp_ms: record.born_timestamp_ms,
        born_host: record.born_host,
        store_timestamp_ms: record.store_timestamp_ms,
        store_host: record.store_host,
        reconsume_times: record.reconsume_times,
        prepared_transaction_offset: record.prepared_transaction_offset,
        body: record.body,
        topic: record.topic,
        properties: Properties::new(record.properties_without_crc()),
    };
    let mut out = vec![0; fields.encoded_len()];
    fields.encode(&mut out);
    out
}

#[test]
fn only_records_that_say_their_own_place_are_candidates() {
    let mut bytes = vec![0_u8; 400];
    for (at, says) in [(10_usize, 1010_u64), (100, 1010), (200, 1200)] {
        bytes[at + 4..at + 8].copy_from_slice(&0xDAA3_20A7_u32.to_be_bytes());
        bytes[at + 28..at + 36].copy_from_slice(&says.to_be_bytes());
    }
    // One that is cut off, and a magic with nothing before it.
    bytes[396..].copy_from_slice(&0xDAA3_20A7_u32.to_be_bytes());
    assert_eq!(candidates(&bytes, 1000).collect::<Vec<_>>(), [1010, 1200]);
    assert_eq!(candidates(&bytes[14..], 1014).next(), Some(1200));
}
