//! Protects what a start makes of what it finds: the log is the truth, its end is found, stale bytes never come back,
//! and whatever the queues' files lack is made again.

use super::*;
use crate::message::sys_flag;
use crate::store::queues::entry::ENTRY_BYTES;

const QUEUE_A: &str = "/store/consumequeue/A/0/00000000000000000000";
const QUEUE_B: &str = "/store/consumequeue/B/0/00000000000000000000";
const CHECKPOINT: &str = "/store/checkpoint";

/// Ten messages of each of two topics; returns the last one.
async fn fill(sim: &Sim, store: &SimStore) -> Appended {
    for n in 0..9 {
        send(sim, store, "A", &[n; 100]).await;
        send(sim, store, "B", &[n; 100]).await;
    }
    send(sim, store, "A", &[9; 100]).await;
    send(sim, store, "B", &[9; 100]).await
}

async fn assert_filled(store: &SimStore) {
    let expected: Vec<_> = (0..10).map(|n| vec![n; 100]).collect();
    for topic in ["A", "B"] {
        assert_eq!(bodies(store, topic).await, expected, "{topic}");
    }
}

/// A clean stop, something that happens to the files, a start.
fn survives(happens: impl AsyncFn(&Sim)) {
    each(async |sim, flush| {
        let store = open(sim, flush).await;
        fill(sim, &store).await;
        store.close().await.unwrap();
        happens(sim).await;
        let store = open(sim, flush).await;
        assert_filled(&store).await;
        assert_eq!(send(sim, &store, "A", b"next").await.queue_offset, 10);
        store.close().await.unwrap();
        let store = open(sim, flush).await;
        assert_eq!(bodies(&store, "A").await.len(), 11);
        assert_eq!(bodies(&store, "B").await.len(), 10);
    });
}

async fn remove(sim: &Sim, path: &str) {
    sim.host("a").remove_file(Path::new(path)).await.unwrap();
}

async fn resize(sim: &Sim, path: &str, len: u64) {
    let file = sim.host("a").open(Path::new(path), EDIT).await.unwrap();
    file.resize(len).await.unwrap();
}

#[test]
fn nothing_happens() {
    survives(async |_| {});
}

/// Queue files are not looked at by a start. A reader gets what they lack, and the files have it again.
fn is_healed_by_a_reader(happens: impl AsyncFn(&Sim)) {
    survives(async |sim| {
        let before = [read_file(sim, QUEUE_A).await, read_file(sim, QUEUE_B).await];
        happens(sim).await;
        let store = open(sim, Flush::Sync).await;
        for topic in ["A", "B"] {
            let queue = store.find_queue(topic, 0).unwrap();
            let entries = store.queues.entries(queue, 9, 1).await.unwrap();
            assert_eq!(entries.len(), 1, "{topic}");
        }
        for (file, before) in [QUEUE_A, QUEUE_B].into_iter().zip(before) {
            let count = 10 * ENTRY_BYTES;
            assert_eq!(read_part(sim, file, 0, count).await, before[..count]);
        }
        store.close().await.unwrap();
    });
}

#[test]
fn all_queue_files_are_missing() {
    is_healed_by_a_reader(async |sim| {
        remove(sim, QUEUE_A).await;
        remove(sim, QUEUE_B).await;
    });
}

#[test]
fn one_queue_file_is_missing() {
    is_healed_by_a_reader(async |sim| remove(sim, QUEUE_B).await);
}

#[test]
fn one_queue_file_is_short() {
    is_healed_by_a_reader(async |sim| resize(sim, QUEUE_A, 7 * ENTRY_BYTES as u64 + 3).await);
}

#[test]
fn an_entry_of_a_queue_file_is_lost() {
    is_healed_by_a_reader(async |sim| write_file(sim, QUEUE_A, 9 * 20, &[0; 20]).await);
}

/// So RocketMQ's users have them made again.
#[test]
fn the_folders_of_the_queues_are_missing() {
    survives(async |sim| {
        let io = sim.host("a");
        for topic in ["A", "B"] {
            let dir = Path::new("/store/consumequeue").join(topic);
            let queue_dir = dir.join("0");
            remove(
                sim,
                queue_dir.join("00000000000000000000").to_str().unwrap(),
            )
            .await;
            io.remove_dir(&queue_dir).await.unwrap();
            io.remove_dir(&dir).await.unwrap();
        }
    });
}

#[test]
fn the_checkpoint_is_missing() {
    survives(async |sim| remove(sim, CHECKPOINT).await);
}

#[test]
fn the_checkpoint_is_torn() {
    survives(async |sim| write_file(sim, CHECKPOINT, 50, &[0xFF; 8]).await);
}

/// RocketMQ leaves its times there; a torn one may be any number, and no message is older for it.
#[test]
fn the_checkpoint_is_of_rocketmq() {
    survives(async |sim| {
        write_file(sim, CHECKPOINT, 0, &[0x7F; 16]).await;
        write_file(sim, CHECKPOINT, 40, &[0; 40]).await;
    });
}

#[test]
fn the_times_of_the_checkpoint_are_torn() {
    survives(async |sim| write_file(sim, CHECKPOINT, 0, &[0x7F; 16]).await);
}

/// Crashes with these bytes behind the end of the log: none of them may count.
fn ends_at_its_tail(behind: impl Fn(&[u8], Appended) -> Vec<u8>) {
    each(async |sim, flush| {
        let store = open(sim, flush).await;
        let last = fill(sim, &store).await;
        sim.crash("a");
        let log = read_file(sim, LOG).await;
        write_file(sim, LOG, last.end, &behind(&log, last)).await;
        let store = open(sim, flush).await;
        assert_eq!(store.tail(), last.end);
        assert_filled(&store).await;
        let log = read_file(sim, LOG).await;
        assert!(log[last.end as usize..].iter().all(|byte| *byte == 0));
    });
}

#[test]
fn a_torn_record_is_no_record() {
    ends_at_its_tail(|log, last| {
        let mut record = log[last.physical_offset as usize..last.end as usize].to_vec();
        record[28..36].copy_from_slice(&last.end.to_be_bytes());
        record
    });
}

/// The sector in which its CRC begins was lost; those before and behind it were not.
#[test]
fn a_record_without_its_crc_is_no_record() {
    ends_at_its_tail(|log, last| {
        let mut record = log[last.physical_offset as usize..last.end as usize].to_vec();
        record[28..36].copy_from_slice(&last.end.to_be_bytes());
        let decoded = Record::decode(&record, Check::Layout).unwrap();
        let crc_bytes = decoded.properties.len() - decoded.properties_without_crc().len();
        let crc_at = record.len() - crc_bytes;
        record[crc_at] = 0;
        record
    });
}

#[test]
fn a_record_of_another_position_is_no_record() {
    ends_at_its_tail(|log, last| log[..last.len].to_vec());
}

#[test]
fn absurd_sizes_are_no_record() {
    for size in [0_u32, 1, 7, 8, 90, 1 << 20, u32::MAX] {
        ends_at_its_tail(|_, _| [size.to_be_bytes(), 0xDAA3_20A7_u32.to_be_bytes()].concat());
    }
}

/// What was cut off once does not come back behind a new record that is as long as the one it was behind.
#[test]
fn stale_records_stay_gone_when_it_crashes_twice() {
    each(async |sim, flush| {
        let store = open(sim, flush).await;
        keep_as_they_are(sim, &["acknowledged"]);
        let mut sent = Vec::new();
        for n in 0..40 {
            sent.push(send(sim, &store, "A", &[n; 1000]).await);
        }
        // The start reads the log from where the journal ends: when it was last written is the seed's choice.
        let (_, journaled) = store.queues.journaled();
        let is_read = |sent: &Appended| sent.physical_offset >= journaled;
        let torn = sent.iter().position(is_read).unwrap().max(3);
        assert!(torn + 1 < sent.len(), "nothing is behind it");
        sim.crash("a");
        sim.host("a").heal();
        write_file(sim, LOG, sent[torn].physical_offset, &[0; 4]).await;
        let store = open(sim, flush).await;
        assert_eq!(store.tail(), sent[torn - 1].end);
        send(sim, &store, "A", &[99; 1000]).await;
        sim.crash("a");
        let store = open(sim, flush).await;
        assert_eq!(store.tail(), sent[torn].end);
        let bodies = bodies(&store, "A").await;
        assert_eq!(bodies.len(), torn + 1);
        assert_eq!(bodies[torn], [99; 1000]);
    });
}

/// An entry of a message that was lost is forgotten for good, not only until the log has grown beyond it.
#[test]
fn entries_ahead_of_the_log_are_cut() {
    each(async |sim, flush| {
        let store = open(sim, flush).await;
        let last = fill(sim, &store).await;
        sim.sleep(Duration::from_secs(6)).await;
        let ahead = Entry::new(last.end + 500, 200, 1);
        let mut bytes = [0; ENTRY_BYTES];
        ahead.encode(&mut bytes);
        sim.crash("a");
        write_file(sim, QUEUE_A, 10 * 20, &bytes).await;
        let store = open(sim, flush).await;
        assert_filled(&store).await;
        for _ in 0..10 {
            send(sim, &store, "B", &[1; 200]).await;
        }
        store.close().await.unwrap();
        let store = open(sim, flush).await;
        assert_eq!(bodies(&store, "A").await.len(), 10);
        assert_eq!(bodies(&store, "B").await.len(), 20);
    });
}

#[test]
fn a_topic_made_again_has_only_its_new_messages() {
    each(async |sim, flush| {
        let store = open(sim, flush).await;
        fill(sim, &store).await;
        store.delete_some("A", usize::MAX);
        assert!(store.find_queue("A", 0).is_none());
        assert_eq!(send(sim, &store, "A", b"new").await.queue_offset, 0);
        sim.crash("a");
        let store = open(sim, flush).await;
        assert_eq!(bodies(&store, "A").await, [b"new"]);
        store.close().await.unwrap();
        remove(sim, CHECKPOINT).await;
        let store = open(sim, flush).await;
        assert_eq!(bodies(&store, "A").await, [b"new"]);
        assert_eq!(bodies(&store, "B").await.len(), 10);
    });
}

/// RocketMQ keeps them in the log and gives them offset 0 of a queue that they are not in.
#[test]
fn a_prepared_or_rolled_back_message_is_in_no_queue() {
    each(async |sim, flush| {
        let store = open(sim, flush).await;
        fill(sim, &store).await;
        let queue = store.queue("A", 0);
        for transaction in [
            sys_flag::TRANSACTION_PREPARED,
            sys_flag::TRANSACTION_ROLLBACK,
        ] {
            let half = Message {
                sys_flag: transaction,
                ..message(b"half", "")
            };
            let half = store.append(queue, &half, None, 1).unwrap();
            assert_eq!(half.queue_offset, 0);
            store.committed_so_far().await.unwrap();
            assert!(
                store
                    .record_at(half.physical_offset)
                    .await
                    .unwrap()
                    .is_some()
            );
        }
        assert_filled(&store).await;
        sim.crash("a");
        let store = open(sim, flush).await;
        assert_filled(&store).await;
        assert_eq!(send(sim, &store, "A", b"next").await.queue_offset, 10);
        store.close().await.unwrap();
        remove(sim, CHECKPOINT).await;
        let store = open(sim, flush).await;
        assert_eq!(bodies(&store, "A").await.len(), 11);
    });
}

#[test]
fn without_its_first_segment_the_log_begins_later() {
    each(async |sim, flush| {
        let store = open(sim, flush).await;
        for n in 0..30 {
            send(sim, &store, "A", &[n; 4000]).await;
        }
        send(sim, &store, "B", b"b").await;
        store.close().await.unwrap();
        remove(sim, LOG).await;
        for drop_files in [false, true] {
            if drop_files {
                remove(sim, QUEUE_A).await;
                let store = open(sim, flush).await;
                let queue = store.find_queue("A", 0).unwrap();
                assert_eq!(store.queues.entries(queue, 15, 1).await.unwrap().len(), 1);
                store.close().await.unwrap();
            }
            let store = open(sim, flush).await;
            let bounds = store.bounds(store.find_queue("A", 0).unwrap());
            assert_eq!((bounds.min, bounds.max), (15, 30));
            assert_eq!(bodies(&store, "A").await[0], [15; 4000]);
            let at_10 = store.offset_by_time(store.find_queue("A", 0).unwrap(), 0, Boundary::Lower);
            assert_eq!(at_10.await.unwrap(), 15);
            store.close().await.unwrap();
        }
        let store = open(sim, flush).await;
        assert_eq!(
            bodies(&store, "A").await.len(),
            15,
            "blank entries are none"
        );
        assert_eq!(bodies(&store, "B").await.len(), 1);
    });
}

#[test]
fn delay_queues_are_made_again_with_the_times_of_delivery() {
    each(async |sim, flush| {
        let store = open(sim, flush).await;
        let now_ms = sim.host("a").now().unix_ms;
        for (level, delay_ms) in [(0, 1_000), (1, 5_000), (2, 1_000)] {
            let queue = store.queue(config::SCHEDULE_TOPIC, level);
            let message = message(b"later", "TAGS\u{1}not this");
            let due_ms = Some(now_ms + delay_ms);
            store.append(queue, &message, due_ms, now_ms).unwrap();
        }
        store.close().await.unwrap();
        remove(sim, CHECKPOINT).await;
        let store = open(sim, flush).await;
        for (level, delay_ms) in [(0, 1_000), (1, 5_000), (2, 1_000)] {
            let queue = store.find_queue(config::SCHEDULE_TOPIC, level).unwrap();
            let entries = store.queues.entries(queue, 0, 9).await.unwrap();
            assert_eq!(entries[0].tags_code, now_ms + delay_ms);
        }
    });
}

/// A write ends where the log buffer does, in the middle of a record: a checkpoint of that moment must not say so.
#[test]
fn a_checkpoint_is_between_two_records() {
    each(async |sim, flush| {
        let store = open(sim, flush).await;
        let capacity = config(flush).log_buffer_bytes as u64;
        while store.tail() < capacity - 3000 {
            send(sim, &store, "A", &[1; 1000]).await;
        }
        let stall = Fault::Stall(Duration::from_secs(8));
        let rule = Rule::new(stall).of(Op::Write).on("commitlog").after(1);
        sim.host("a").inject(rule.times(1));
        let over_the_end = append(sim, &store, "A", &[2; 5000]).await;
        assert!(over_the_end.physical_offset < capacity && capacity < over_the_end.end);
        store.committed_so_far().await.unwrap();
        let count = send(sim, &store, "A", b"3").await.queue_offset + 1;
        sim.crash("a");
        let store = open(sim, flush).await;
        assert_eq!(bodies(&store, "A").await.len() as u64, count);
    });
}
