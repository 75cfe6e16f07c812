//! Protects that what is old is removed and the rest can be read, through crashes and without space.

use super::*;

/// Removes what is older than this.
const KEPT_MS: u64 = 60_000;

pub(super) fn by_age(flush: Flush) -> StoreConfig {
    StoreConfig {
        retention: Retention {
            reserved_ms: KEPT_MS,
            delete_hours: (0..24).collect(),
            interval_ms: 1_000,
            ..Retention::default()
        },
        max_unflushed_bytes: 16 << 10,
        zeros_ahead_bytes: 8 << 10,
        ..config(flush)
    }
}

/// Messages of 4000 bytes, numbered, to two topics in turn; a few files.
pub(super) async fn fill(sim: &Sim, store: &SimStore, numbers: std::ops::Range<u8>) {
    for number in numbers {
        let topic = if number % 2 == 0 { "A" } else { "B" };
        send(sim, store, topic, &[number; 4000]).await;
    }
}

pub(super) async fn seconds(sim: &Sim, seconds: u64) {
    sim.sleep(Duration::from_secs(seconds)).await;
}

async fn log_files(sim: &Sim) -> Vec<String> {
    let files = sim.host("a").list(Path::new("/store/commitlog")).await;
    let names = files.unwrap().into_iter();
    names
        .map(|file| file.path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect()
}

/// Queues begin with their first message of the log, and all of them can be read.
async fn assert_begins_at_its_log(store: &SimStore) {
    for topic in ["A", "B"] {
        let queue = store.find_queue(topic, 0).unwrap();
        let QueueBounds { min, max, .. } = store.bounds(queue);
        let kept = positions(store, queue, min, max).await;
        let first = kept.first().map(|first| first.physical_offset);
        assert!(first.is_none_or(|first| first >= store.log_min()));
        assert_eq!(bodies(store, topic).await.len() as u64, max - min);
        let earliest = store.earliest_store_time(queue).await.unwrap();
        assert_eq!(earliest.is_some(), min < max);
        assert!(earliest.is_none() || earliest >= store.figures().first_store_time_ms);
    }
}

#[test]
fn what_is_old_goes_and_the_rest_stays() {
    each(async |sim, flush| {
        let store = open_with(sim, by_age(flush)).await.unwrap();
        fill(sim, &store, 0..60).await;
        let old_end = store.tail();
        seconds(sim, 40).await;
        assert_eq!(store.log_min(), 0);
        fill(sim, &store, 60..100).await;
        seconds(sim, 30).await;
        let log_min = store.log_min();
        assert!(0 < log_min && log_min <= old_end, "{log_min} {old_end}");
        assert!(old_end - log_min < SEGMENT, "what is old is gone");
        assert_begins_at_its_log(&store).await;
        let bounds = store.bounds(store.find_queue("A", 0).unwrap());
        assert!(bounds.min > 20 && bounds.max == 50, "{bounds:?}");
        let gone = store.record_at(0).await.unwrap();
        assert_eq!(gone, None);
        let first = store.offset_by_time(store.find_queue("A", 0).unwrap(), 0, Boundary::Lower);
        assert_eq!(first.await.unwrap(), bounds.min);
        store.close().await.unwrap();
        assert!(!log_files(sim).await.contains(&"spare".to_owned()));
        let store = open_with(sim, by_age(flush)).await.unwrap();
        assert_eq!(store.log_min(), log_min);
        assert_eq!(store.bounds(store.find_queue("A", 0).unwrap()), bounds);
        assert_begins_at_its_log(&store).await;
    });
}

/// Between looking up where messages are and reading them the first files of the log go: its reader may go on at the
/// queue's minimum.
#[test]
fn what_goes_while_it_is_read_does_not_take_the_rest_along() {
    each(async |sim, flush| {
        let store = open_with(sim, by_age(flush)).await.unwrap();
        fill(sim, &store, 0..60).await;
        seconds(sim, 40).await;
        fill(sim, &store, 60..100).await;
        let queue = store.find_queue("A", 0).unwrap();
        let QueueBounds { min, max, .. } = store.bounds(queue);
        let before = positions(&store, queue, min, max).await;
        assert_eq!(before.len(), 50);
        seconds(sim, 30).await;
        let read = store.read_readable(queue, &before, Vec::new()).await;
        assert!(matches!(read, Err(StoreError::Removed { .. })));
        let left = &before[store.bounds(queue).min as usize..];
        assert!(left.len() < 30);
        let read = store.read_readable(queue, left, Vec::new()).await.unwrap();
        assert!(read.lost.is_empty());
    });
}

#[test]
fn a_queue_without_messages_goes_on_where_it_was() {
    each(async |sim, flush| {
        let store = open_with(sim, by_age(flush)).await.unwrap();
        for n in 0..30 {
            send(sim, &store, "Quiet", &[n; 100]).await;
        }
        fill(sim, &store, 0..30).await;
        seconds(sim, 70).await;
        fill(sim, &store, 30..70).await;
        seconds(sim, 20).await;
        let all_gone = QueueBounds {
            min: 30,
            max: 30,
            next: 30,
        };
        let quiet = |store: &SimStore| store.bounds(store.find_queue("Quiet", 0).unwrap());
        assert_eq!(quiet(&store), all_gone);
        store.close().await.unwrap();
        let store = open_with(sim, by_age(flush)).await.unwrap();
        assert_eq!(quiet(&store), all_gone);
        sim.crash("a");
        // Without it the queues are made again from the log, which has nothing of this one.
        sim.host("a")
            .remove_file(Path::new("/store/checkpoint"))
            .await
            .unwrap();
        for _ in 0..2 {
            let store = open_with(sim, by_age(flush)).await.unwrap();
            assert_eq!(quiet(&store), all_gone);
            assert_begins_at_its_log(&store).await;
            seconds(sim, 10).await;
            sim.crash("a");
        }
        let store = open_with(sim, by_age(flush)).await.unwrap();
        assert_eq!(send(sim, &store, "Quiet", b"next").await.queue_offset, 30);
        store.close().await.unwrap();
        let store = open_with(sim, by_age(flush)).await.unwrap();
        assert_eq!(bodies(&store, "Quiet").await, [b"next"]);
    });
}

#[test]
fn queue_files_below_the_minimum_go() {
    let sim = sim(3);
    sim.run(async {
        let store = open_with(&sim, by_age(Flush::Sync)).await.unwrap();
        fill(&sim, &store, 0..60).await;
        seconds(&sim, 10).await;
        store.close().await.unwrap();
        // As if the queue were long: what it has stands in its third file.
        let old = "/store/consumequeue/A/0/00000000000000000000";
        let new = "/store/consumequeue/A/0/00000000000012000000";
        let (io, entries) = (sim.host("a"), read_file(&sim, old).await);
        for start in [6_000_000_u64, 12_000_000] {
            let path = format!("/store/consumequeue/A/0/{start:020}");
            write_file(&sim, &path, 0, &vec![0; 6_000_000]).await;
        }
        write_file(&sim, new, 0, &entries[..30 * 20]).await;
        store_files_below(&io).await;
        let files = io.list(Path::new("/store/consumequeue/A/0")).await.unwrap();
        assert_eq!(files.len(), 1);
        assert_eq!(files[0].path, Path::new(new));
    });
}

async fn store_files_below(io: &SimIo) {
    let files = crate::store::queues::files::QueueFiles::new(
        Medium::new(io.clone()),
        "/store/consumequeue".into(),
    );
    files.remove_below("A", 0, 300_000 * 2 - 1).await.unwrap();
    let left = io.list(Path::new("/store/consumequeue/A/0")).await.unwrap();
    assert_eq!(left.len(), 2, "the second one has the entry");
    files.remove_below("A", 0, 300_000 * 9).await.unwrap();
}

#[test]
fn a_file_becomes_the_next_one() {
    each(async |sim, flush| {
        let store = open_with(sim, by_age(flush)).await.unwrap();
        let mut recycled = 0;
        for n in 0..12 {
            fill(sim, &store, n * 20..(n + 1) * 20).await;
            seconds(sim, 70).await;
            recycled += usize::from(store.log.segments().has_spare());
            let files = log_files(sim).await;
            assert!(files.len() <= 6, "one spare at most: {files:?}");
            assert_begins_at_its_log(&store).await;
        }
        assert!(recycled > 2, "{recycled}");
    });
}

/// What RocketMQ reads when it opens the store.
#[test]
fn after_a_clean_stop_there_are_zeros_behind_the_tail() {
    each(async |sim, flush| {
        for extra in 0..2 {
            let store = open_with(sim, by_age(flush)).await.unwrap();
            for n in 0..4 {
                fill(sim, &store, n * 20..(n + 1) * 20 + extra * 3).await;
                seconds(sim, 70).await;
            }
            store.close().await.unwrap();
            let tail = store.tail();
            let start = tail / SEGMENT * SEGMENT;
            let path = format!("/store/commitlog/{start:020}");
            let log = read_file(sim, &path).await;
            let behind = &log[(tail - start) as usize..];
            let checked = behind.len().min(BLOCK_BYTES);
            assert!(behind[..checked].iter().all(|byte| *byte == 0));
            let next = format!("/store/commitlog/{:020}", start + SEGMENT);
            if exists(sim, &next).await {
                assert!(
                    read_file(sim, &next).await[..BLOCK_BYTES]
                        .iter()
                        .all(|byte| *byte == 0)
                );
            }
        }
    });
}

/// A reader has found a message when its file goes, and becomes another one.
#[test]
fn a_reader_never_gets_foreign_bytes() {
    for seed in 0..20 {
        let sim = sim(seed);
        sim.run(async {
            let store = open_with(&sim, by_age(Flush::Async)).await.unwrap();
            fill(&sim, &store, 0..60).await;
            let queue = store.find_queue("A", 0).unwrap();
            let found = positions(&store, queue, 0, 30).await;
            seconds(&sim, 55).await;
            let io = sim.host("a");
            // Each read may be overtaken by the cleaning.
            io.inject(
                Rule::new(Fault::Stall(Duration::from_secs(sim.below(8))))
                    .of(Op::Read)
                    .times(3),
            );
            let (mut read, mut removed) = (0, 0);
            for _ in 0..40 {
                for (number, position) in found.iter().enumerate() {
                    match store.read_cold(&[*position], Vec::new()).await {
                        Ok(bytes) => {
                            let record = Record::decode(&bytes, Check::Crc).unwrap();
                            assert_eq!(record.physical_offset, position.physical_offset);
                            assert_eq!(record.body, [2 * number as u8; 4000]);
                            read += 1;
                        }
                        Err(StoreError::Removed { log_min, .. }) => {
                            assert!(position.physical_offset < log_min);
                            removed += 1;
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
                send(&sim, &store, "B", &[9; 4000]).await;
                sim.sleep(Duration::from_millis(sim.below(1000))).await;
            }
            assert!(read > 0 && removed > 0, "{read} {removed}");
        });
    }
}

#[test]
fn without_space_for_a_file_messages_are_refused_until_there_is_some() {
    each(async |sim, flush| {
        let mut careful = config(flush);
        careful.retention.clean_forcibly = false;
        let store = open_with(sim, careful).await.unwrap();
        send(sim, &store, "A", b"first").await;
        let rule = Rule::new(Fault::NoSpace).of(Op::Length).on("commitlog");
        sim.host("a").inject(rule);
        let mut taken = 1;
        let reason = loop {
            store.wait_for_room(5000).await;
            let queue = store.queue("A", 0);
            match store.append(queue, &message(&[1; 4000], ""), None, 1) {
                Ok(_) => taken += 1,
                Err(AppendError::NoSpace { reason }) => break reason,
                Err(error) => panic!("{error}"),
            }
            sim.sleep(Duration::from_millis(20)).await;
            assert!(taken < 1000);
        };
        assert!(reason.contains("No space left on device"), "{reason}");
        seconds(sim, 30).await;
        store.committed_so_far().await.unwrap();
        assert_eq!(
            bodies(&store, "A").await.len(),
            taken,
            "what was taken is stored"
        );
        assert_eq!(store.fence(), None);
        sim.host("a").heal();
        seconds(sim, 2).await;
        for _ in 0..40 {
            send(sim, &store, "A", &[2; 4000]).await;
        }
        store.close().await.unwrap();
        let store = open(sim, flush).await;
        assert_eq!(bodies(&store, "A").await.len(), taken + 40);
    });
}

#[test]
fn without_space_for_a_file_the_oldest_becomes_the_next() {
    each(async |sim, flush| {
        let store = open(sim, flush).await;
        fill(sim, &store, 0..40).await;
        seconds(sim, 10).await;
        let rule = Rule::new(Fault::NoSpace).of(Op::Length).on("commitlog");
        sim.host("a").inject(rule);
        for number in 0..120 {
            send_when_taken(sim, &store, &[number; 4000]).await;
        }
        assert!(store.log_min() > 0);
        assert_begins_at_its_log(&store).await;
        let kept = store.tail() - store.log_min();
        assert!(kept > SEGMENT, "no more goes than has to: {kept}");
        store.close().await.unwrap();
    });
}

async fn send_when_taken(sim: &Sim, store: &SimStore, body: &[u8]) {
    for _ in 0..100 {
        store.wait_for_room(body.len() + 512).await;
        let now_ms = sim.host("a").now().unix_ms;
        match store.append(store.queue("A", 0), &message(body, ""), None, now_ms) {
            Ok(_) => return store.committed_so_far().await.unwrap(),
            Err(AppendError::NoSpace { .. }) => seconds(sim, 1).await,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("nothing is taken any more");
}

#[test]
fn a_topic_may_keep_its_messages_shorter_than_the_log() {
    each(async |sim, flush| {
        let short = || vec![("A".to_owned(), KEPT_MS)];
        let store = open(sim, flush).await;
        store.keep_topics(short());
        fill(sim, &store, 0..40).await;
        seconds(sim, 70).await;
        fill(sim, &store, 40..50).await;
        seconds(sim, 15).await;
        let (a, b) = (store.queue("A", 0), store.queue("B", 0));
        let kept = |min| QueueBounds {
            min,
            max: 25,
            next: 25,
        };
        assert_eq!((store.bounds(a), store.bounds(b)), (kept(20), kept(0)));
        assert_eq!(store.log_min(), 0, "the log keeps its files");
        assert_eq!(bodies(&store, "A").await.len(), 5);
        sim.crash("a");
        let store = open(sim, flush).await;
        store.keep_topics(short());
        seconds(sim, 1).await;
        let (a, b) = (store.queue("A", 0), store.queue("B", 0));
        assert_eq!((store.bounds(a), store.bounds(b)), (kept(20), kept(0)));
        seconds(sim, 80).await;
        assert_eq!(store.bounds(a), kept(25), "all of them are old now");
        assert_eq!(send(sim, &store, "A", b"x").await.queue_offset, 25);
        store.close().await.unwrap();
        let store = open(sim, flush).await;
        store.keep_topics(Vec::new());
        let min = store.bounds(store.queue("A", 0)).min;
        assert_eq!(min, 25, "what has gone does not come back");
    });
}

/// After whatever end: what is there can be read, nothing is taken, and then it goes on without a start.
#[test]
fn a_store_opens_on_a_full_disk() {
    each(async |sim, flush| {
        let mut careful = config(flush);
        careful.retention.clean_forcibly = false;
        let open = async |sim| open_with(sim, careful.clone()).await.unwrap();
        for is_closed in [true, false] {
            let store = open(sim).await;
            let before = store.bounds(store.queue("A", 0)).max;
            for _ in 0..20 {
                send(sim, &store, "A", &[1; 3000]).await;
            }
            match is_closed {
                true => store.close().await.unwrap(),
                false => sim.crash("a"),
            }
            let io = sim.host("a");
            let space = io.space(Path::new("/")).await.unwrap();
            io.occupy(space.available_bytes);
            let store = open(sim).await;
            assert_eq!(bodies(&store, "A").await.len() as u64, before + 20);
            seconds(sim, 30).await;
            let refused = store.refuses();
            assert!(
                matches!(refused, Some(AppendError::NoSpace { .. })),
                "{refused:?}"
            );
            assert_eq!(store.fence(), None);
            io.occupy(0);
            seconds(sim, 3).await;
            send(sim, &store, "A", b"last").await;
            sim.crash("a");
            let store = open(sim).await;
            assert_eq!(bodies(&store, "A").await.len() as u64, before + 21);
            store.close().await.unwrap();
        }
    });
}

#[test]
fn without_space_for_the_queues_messages_are_refused_until_there_is_some() {
    each(async |sim, flush| {
        let store = open(sim, flush).await;
        send(sim, &store, "A", b"first").await;
        let rule = Rule::new(Fault::NoSpace).of(Op::Write).on("queuejournal");
        sim.host("a").inject(rule);
        seconds(sim, 10).await;
        let refused = store.append(store.queue("A", 0), &message(b"x", ""), None, 1);
        assert!(
            matches!(refused, Err(AppendError::NoSpace { .. })),
            "{refused:?}"
        );
        assert_eq!(bodies(&store, "A").await.len(), 1);
        assert_eq!(store.fence(), None);
        sim.host("a").heal();
        seconds(sim, 3).await;
        send(sim, &store, "A", b"second").await;
        store.close().await.unwrap();
        let store = open(sim, flush).await;
        assert_eq!(
            bodies(&store, "A").await,
            [b"first".to_vec(), b"second".to_vec()]
        );
    });
}

/// The journal has them again. What is saved behind it may take long.
#[test]
fn messages_are_taken_as_soon_as_the_journal_is_written() {
    each(async |sim, flush| {
        let store = open(sim, flush).await;
        send(sim, &store, "A", b"first").await;
        let rule = Rule::new(Fault::NoSpace).of(Op::Write).on("queuejournal");
        sim.host("a").inject(rule);
        seconds(sim, 10).await;
        assert!(store.full().is_some());
        sim.host("a").heal();
        for rest in ["consumequeue", "index", "checkpoint"] {
            let slow = Fault::Stall(Duration::from_secs(60));
            sim.host("a").inject(Rule::new(slow).on(rest));
        }
        seconds(sim, 3).await;
        assert_eq!(store.full(), None);
        send(sim, &store, "A", b"second").await;
    });
}
