//! Protects a start that looks at no queue: what the journal says is true after whatever has become of it, of the log, of
//! the start itself, or of the store in RocketMQ's hands.

use super::*;
use crate::store::queues::checkpoint::{CheckpointFile, Found};
use crate::store::queues::entry::ENTRY_BYTES;

const JOURNAL: &str = "/store/queuejournal";
const CHECKPOINT: &str = "/store/checkpoint";
const QUEUE_A: &str = "/store/consumequeue/A/0/00000000000000000000";

async fn fill(sim: &Sim, store: &SimStore, from: u8, to: u8) {
    for n in from..to {
        for topic in ["A", "B", "C"] {
            send(sim, store, topic, &[n; 100]).await;
        }
    }
}

async fn assert_filled(store: &SimStore, count: u8) {
    let expected: Vec<_> = (0..count).map(|n| vec![n; 100]).collect();
    for topic in ["A", "B", "C"] {
        assert_eq!(bodies(store, topic).await, expected, "{topic}");
    }
}

async fn seconds(sim: &Sim, count: u64) {
    sim.sleep(Duration::from_secs(count)).await;
}

/// The store, and what it said while it was opened.
async fn open_watched(sim: &Sim, flush: Flush) -> (SimStore, Vec<Progress>) {
    let mut said = Vec::new();
    let opened = Store::open(sim.host("a"), config(flush), |progress| said.push(progress)).await;
    (opened.unwrap(), said)
}

fn read_messages(said: &[Progress]) -> u64 {
    said.iter()
        .map(|progress| match progress {
            Progress::Opened {
                recovered_messages, ..
            } => *recovered_messages,
            _ => 0,
        })
        .sum()
}

/// The newest file, and its length.
async fn journal_file(sim: &Sim) -> (String, u64) {
    let files = sim.host("a").list(Path::new(JOURNAL)).await.unwrap();
    let last = files.last().unwrap();
    (last.path.to_str().unwrap().to_owned(), last.len_bytes)
}

#[test]
fn a_start_reads_a_second_of_the_log_and_no_queue_file() {
    each(async |sim, flush| {
        let store = open(sim, flush).await;
        fill(sim, &store, 0, 20).await;
        seconds(sim, 2).await;
        fill(sim, &store, 20, 22).await;
        sim.crash("a");
        let rule = Rule::new(Fault::Io).of(Op::Open).on("consumequeue");
        sim.host("a").inject(rule);
        let (store, said) = open_watched(sim, flush).await;
        assert_eq!(read_messages(&said), 6, "{said:?}");
        assert_filled(&store, 22).await;
        sim.host("a").heal();
        store.close().await.unwrap();
        let rule = Rule::new(Fault::Io).of(Op::Open).on("consumequeue");
        sim.host("a").inject(rule);
        let (store, said) = open_watched(sim, flush).await;
        assert_eq!(read_messages(&said), 0);
        sim.host("a").heal();
        assert_filled(&store, 22).await;
    });
}

/// Its bytes went with the power, or others stand there.
#[test]
fn a_torn_block_ends_the_journal() {
    for torn_bytes in [1, 30, 47, 100, 300] {
        for flush in [Flush::Sync, Flush::Async] {
            let sim = sim(torn_bytes);
            sim.run(async {
                let store = open(&sim, flush).await;
                fill(&sim, &store, 0, 5).await;
                seconds(&sim, 2).await;
                fill(&sim, &store, 5, 9).await;
                seconds(&sim, 2).await;
                sim.crash("a");
                let (path, len) = journal_file(&sim).await;
                let at = len - torn_bytes;
                write_file(&sim, &path, at, &vec![0xA5; torn_bytes as usize]).await;
                let (store, said) = open_watched(&sim, flush).await;
                assert_eq!(read_messages(&said), 12);
                fill(&sim, &store, 9, 12).await;
                seconds(&sim, 2).await;
                sim.crash("a");
                let (store, said) = open_watched(&sim, flush).await;
                assert_eq!(read_messages(&said), 0);
                assert_filled(&store, 12).await;
            });
        }
    }
}

#[test]
fn without_a_whole_table_the_queue_files_are_read() {
    for with_file in [true, false] {
        each(async |sim, flush| {
            let store = open(sim, flush).await;
            fill(sim, &store, 0, 5).await;
            store.close().await.unwrap();
            let store = open(sim, flush).await;
            fill(sim, &store, 5, 9).await;
            seconds(sim, 2).await;
            sim.crash("a");
            let (path, _) = journal_file(sim).await;
            match with_file {
                true => sim.host("a").rot_sector(Path::new(&path), 0).unwrap(),
                false => sim.host("a").remove_file(Path::new(&path)).await.unwrap(),
            }
            let (store, said) = open_watched(sim, flush).await;
            assert!(!said.contains(&Progress::Rebuilding), "{said:?}");
            assert_eq!(read_messages(&said), 12);
            assert_filled(&store, 9).await;
            sim.crash("a");
            let (store, _) = open_watched(sim, flush).await;
            assert_filled(&store, 9).await;
        });
    }
}

#[test]
fn a_topic_made_again_does_not_see_its_former_life_in_the_journal() {
    for seed in 0..40 {
        let sim = sim(seed);
        sim.run(async {
            let store = open(&sim, Flush::Sync).await;
            fill(&sim, &store, 0, 4).await;
            sim.sleep(Duration::from_millis(sim.below(2_500))).await;
            store.delete_some("A", usize::MAX);
            sim.sleep(Duration::from_millis(sim.below(30))).await;
            send(&sim, &store, "A", b"new").await;
            sim.sleep(Duration::from_millis(sim.below(2_500))).await;
            match sim.below(3) {
                0 => store.close().await.unwrap(),
                1 => sim.crash("a"),
                _ => sim.power_cut("a"),
            }
            for _ in 0..2 {
                let store = open(&sim, Flush::Sync).await;
                assert_eq!(bodies(&store, "A").await, [b"new"]);
                assert_eq!(bodies(&store, "B").await.len(), 4);
                sim.sleep(Duration::from_millis(sim.below(2_500))).await;
                sim.power_cut("a");
            }
        });
    }
}

/// By it RocketMQ knows, as it reads the log's last files again after a kill, which messages are of the topic's former life.
#[test]
fn a_queue_has_a_file_soon_after_its_first_message() {
    each(async |sim, flush| {
        let store = open(sim, flush).await;
        fill(sim, &store, 0, 4).await;
        seconds(sim, 2).await;
        store.delete_some("A", usize::MAX);
        let first = send(sim, &store, "A", b"new").await;
        send(sim, &store, "A", b"newer").await;
        seconds(sim, 2).await;
        sim.crash("a");
        let bytes = read_part(sim, QUEUE_A, 0, ENTRY_BYTES).await;
        let entry = Entry::decode(bytes.first_chunk().unwrap());
        assert_eq!(entry.physical_offset, first.physical_offset);
        // Or the crash came first.
        sim.host("a").remove_file(Path::new(QUEUE_A)).await.unwrap();
        let store = open(sim, flush).await;
        assert_eq!(bodies(&store, "A").await, [&b"new"[..], b"newer"]);
        seconds(sim, 1).await;
        assert!(exists(sim, QUEUE_A).await);
    });
}

/// Whenever it is deleted, also while the files of all queues are saved: what a crash leaves has no file of it.
#[test]
fn no_file_of_a_deleted_topic_is_left_behind() {
    for seed in 0..200 {
        let sim = sim(seed);
        sim.run(async {
            let store = open(&sim, Flush::Sync).await;
            fill(&sim, &store, 0, 4).await;
            store.close().await.unwrap();
            let store = open(&sim, Flush::Sync).await;
            fill(&sim, &store, 4, 8).await;
            // A file of the log is full.
            for _ in 0..9 {
                send(&sim, &store, "B", &[0; 8_000]).await;
            }
            sim.sleep(Duration::from_micros(sim.below(60_000))).await;
            store.delete_some("A", usize::MAX);
            sim.sleep(Duration::from_micros(sim.below(10_000))).await;
            sim.crash("a");
            let store = open(&sim, Flush::Sync).await;
            let is_back = store.find_queue("A", 0).is_some();
            assert_eq!(exists(&sim, QUEUE_A).await, is_back);
            if is_back {
                assert_eq!(bodies(&store, "A").await.len(), 8);
            }
        });
    }
}

/// Deleted, it is not back after a crash.
#[test]
fn a_deleted_topic_stays_deleted() {
    each(async |sim, flush| {
        let store = open(sim, flush).await;
        fill(sim, &store, 0, 4).await;
        seconds(sim, 2).await;
        store.delete_some("A", usize::MAX);
        seconds(sim, 1).await;
        sim.crash("a");
        let store = open(sim, flush).await;
        assert_eq!(store.find_queue("A", 0), None);
        assert!(store.topics().iter().all(|(topic, _)| topic != "A"));
        assert!(!exists(sim, QUEUE_A).await);
    });
}

/// However often it is killed: what has been read of the log is not read again.
#[test]
fn a_rebuilding_that_is_cut_short_goes_on() {
    each(async |sim, flush| {
        let store = open(sim, flush).await;
        for n in 0..60 {
            send(sim, &store, "A", &[n; 5000]).await;
        }
        sim.crash("a");
        sim.host("a")
            .remove_file(Path::new(CHECKPOINT))
            .await
            .unwrap();
        let farthest = Rc::new(Cell::new(0));
        for _ in 0..100 {
            let io = sim.host("a");
            let (opener, config, far) = (io.clone(), config(flush), farthest.clone());
            io.spawn("test", async move {
                let note = |progress| {
                    if let Progress::Recovering { from } = progress {
                        assert!(from >= far.get(), "{from} after {}", far.get());
                        far.set(from);
                    }
                };
                let _ = Store::open(opener, config, note).await;
            });
            sim.sleep(Duration::from_nanos(sim.below(40_000_000))).await;
            sim.crash("a");
        }
        assert!(farthest.get() > 2 * SEGMENT, "{}", farthest.get());
        let store = open(sim, flush).await;
        let expected: Vec<_> = (0..60).map(|n| vec![n; 5000]).collect();
        assert_eq!(bodies(&store, "A").await, expected);
    });
}

/// Lays RocketMQ's checkpoint over ours; `abort` says that it was not stopped.
async fn hand_over_by_rocketmq(sim: &Sim, store_time_ms: i64, was_closed: bool) {
    let mut times = Vec::new();
    for _ in 0..3 {
        times.extend_from_slice(&store_time_ms.to_be_bytes());
    }
    write_file(sim, CHECKPOINT, 0, &times).await;
    if !was_closed {
        write_file(sim, "/store/abort", 0, b"1").await;
    }
}

/// Four files of the log, each begun 10 s after the one before.
async fn fill_files(sim: &Sim, store: &SimStore) -> Vec<Appended> {
    let mut sent = Vec::new();
    for n in 0..60 {
        if n % 15 == 0 {
            seconds(sim, 10).await;
        }
        sent.push(send(sim, store, "A", &[n; 4000]).await);
    }
    sent
}

#[test]
fn a_store_that_rocketmq_has_had_is_not_read_from_its_beginning() {
    for was_closed in [true, false] {
        each(async |sim, flush| {
            let store = open(sim, flush).await;
            let sent = fill_files(sim, &store).await;
            store.close().await.unwrap();
            let fourth = sent[45].store_timestamp_ms;
            hand_over_by_rocketmq(sim, fourth, was_closed).await;
            let (store, said) = open_watched(sim, flush).await;
            assert!(!said.contains(&Progress::Rebuilding), "{said:?}");
            let read = read_messages(&said);
            match was_closed {
                true => assert!(read < 20, "{read}"),
                false => assert!((20..40).contains(&read), "{read}"),
            }
            let expected: Vec<_> = (0..60).map(|n| vec![n; 4000]).collect();
            assert_eq!(bodies(&store, "A").await, expected);
            seconds(sim, 2).await;
            sim.crash("a");
            let (store, said) = open_watched(sim, flush).await;
            assert_eq!(read_messages(&said), 0);
            assert_eq!(bodies(&store, "A").await, expected);
        });
    }
}

/// The record as RocketMQ would have written it behind `end`, as the next one of its queue.
fn without_crc(record: &[u8], end: u64) -> Vec<u8> {
    let decoded = Record::decode(record, Check::Crc).unwrap();
    let properties = decoded.properties_without_crc().len();
    let crc_bytes = decoded.properties.len() - properties;
    let mut record = record[..record.len() - crc_bytes].to_vec();
    let properties_at = record.len() - properties - 2;
    record[properties_at..properties_at + 2].copy_from_slice(&(properties as u16).to_be_bytes());
    let len = record.len() as u32;
    record[..4].copy_from_slice(&len.to_be_bytes());
    record[20..28].copy_from_slice(&(decoded.queue_offset + 1).to_be_bytes());
    record[28..36].copy_from_slice(&end.to_be_bytes());
    record
}

/// Killed before its first checkpoint: ours is still there, and all of our journal. And our own start is killed, too.
#[test]
fn rocketmq_was_killed_soon_after_its_start() {
    each(async |sim, flush| {
        let store = open(sim, flush).await;
        fill(sim, &store, 0, 4).await;
        let last = send(sim, &store, "A", b"ours").await;
        seconds(sim, 2).await;
        store.close().await.unwrap();
        let ours = read_part(sim, LOG, last.physical_offset, last.len).await;
        write_file(sim, LOG, last.end, &without_crc(&ours, last.end)).await;
        write_file(sim, "/store/abort", 0, b"4711").await;
        for ms in [1, 3, 10] {
            let host = sim.host("a");
            let opener = host.clone();
            host.spawn("test", async move {
                let _ = Store::open(opener, config(flush), |_| ()).await;
            });
            sim.sleep(Duration::from_millis(ms)).await;
            sim.crash("a");
        }
        let store = open(sim, flush).await;
        let bodies = bodies(&store, "A").await;
        assert_eq!(bodies[bodies.len() - 2..], [b"ours", b"ours"]);
        assert!(store.tail() > last.end);
        // The checkpoint of before does not count for its messages any more, whatever else a start has.
        sim.crash("a");
        remove_journal(sim).await;
        let store = open(sim, flush).await;
        assert_eq!(super::bodies(&store, "A").await, bodies);
        assert!(store.log.ours().from() > last.end);
    });
}

/// Its checkpoint says more than is true.
#[test]
fn queue_files_that_do_not_fit_are_made_again() {
    each(async |sim, flush| {
        let store = open(sim, flush).await;
        let sent = fill_files(sim, &store).await;
        store.close().await.unwrap();
        let queue = "/store/consumequeue/A/0/00000000000000000000";
        write_file(sim, queue, 20 * 20, &[0; 40 * 20]).await;
        hand_over_by_rocketmq(sim, sent[59].store_timestamp_ms - 1, false).await;
        let (store, said) = open_watched(sim, flush).await;
        assert!(said.contains(&Progress::Rebuilding), "{said:?}");
        let expected: Vec<_> = (0..60).map(|n| vec![n; 4000]).collect();
        assert_eq!(bodies(&store, "A").await, expected);
    });
}

/// The queue files' sync fails: nothing may count as saved by it.
#[test]
fn entries_that_were_not_synced_are_not_saved() {
    each(async |sim, flush| {
        let store = open(sim, flush).await;
        let rule = Rule::new(Fault::Io).of(Op::Sync).on("consumequeue");
        sim.host("a").inject(rule);
        for n in 0..30 {
            send(sim, &store, "A", &[n; 4000]).await;
        }
        seconds(sim, 3).await;
        assert_eq!(bodies(&store, "A").await.len(), 30);
        sim.host("a").heal();
        sim.power_cut("a");
        let store = open(sim, flush).await;
        let left = bodies(&store, "A").await.len();
        assert_eq!(left, 30);
        seconds(sim, 3).await;
        sim.power_cut("a");
        let store = open(sim, flush).await;
        assert_eq!(bodies(&store, "A").await.len(), left);
    });
}

/// A stop is cut short, the next start reads what that process had not flushed yet, and then the power goes.
#[test]
fn what_a_killed_process_wrote_is_flushed_before_it_counts() {
    each(async |sim, flush| {
        open(sim, flush).await.close().await.unwrap();
        let a_moment = || sim.sleep(Duration::from_nanos(sim.below(1 << (18 + sim.below(8)))));
        for n in 0..200 {
            let io = sim.host("a");
            let generations = io.list(Path::new(JOURNAL)).await.unwrap();
            assert!(!generations.is_empty(), "{n}: the journal is lost");
            let checkpoint = CheckpointFile::new(Medium::new(io), Path::new("/store"))
                .load()
                .await;
            let is_ours = matches!(checkpoint.unwrap(), Found::Ours(_));
            assert!(is_ours, "{n}: the checkpoint is lost");
            let (store, said) = open_watched(sim, flush).await;
            assert!(!said.contains(&Progress::Rebuilding), "{n}: {said:?}");
            send(sim, &store, "A", &[n; 100]).await;
            sim.host("a").spawn("test", async move {
                let _ = store.close().await;
            });
            a_moment().await;
            if n % 2 == 0 {
                sim.crash("a");
                let (opener, config) = (sim.host("a"), config(flush));
                sim.host("a").spawn("test", async move {
                    let _ = Store::open(opener, config, |_| {}).await;
                });
                a_moment().await;
            }
            sim.power_cut("a");
        }
    });
}
