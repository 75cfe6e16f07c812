//! Protects the promise of the whole: whatever happens in whatever order, the log is a prefix of what was appended that
//! holds at least what was committed, and the queues are exactly what the log says. It begins where old files have been
//! removed; these become new ones, so that most of what it is written to holds old messages.

use proptest::prelude::*;

use super::*;

#[derive(Clone)]
struct Sent {
    topic: usize,
    queue_id: u32,
    queue_offset: u64,
    appended: Appended,
    body: Vec<u8>,
}

/// Everything in the log, in its order; and from where on the messages of each topic count.
#[derive(Default)]
struct Model {
    log: Vec<Sent>,
    deleted_before: [usize; 3],
    /// A crash may have come between the queues' new minimums and the end of the files below them.
    cleaning_was_cut: bool,
}

const TOPICS: [(&str, u64); 3] = [("A", 3), ("B", 1), ("Deleted", 1)];

impl Model {
    /// End of the last message that ends at or before a position.
    fn end_before(&self, position: u64) -> u64 {
        let ends = self.log.iter().map(|sent| sent.appended.end);
        ends.filter(|end| *end <= position).max().unwrap_or(0)
    }

    fn queue(&self, topic: usize, queue_id: u32) -> Vec<&Sent> {
        self.log[self.deleted_before[topic].min(self.log.len())..]
            .iter()
            .filter(|sent| (sent.topic, sent.queue_id) == (topic, queue_id))
            .collect()
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Append,
    Batch,
    Commit,
    Sleep,
    Check,
    Delete,
    /// Old files go.
    Clean,
    Close,
    Crash,
    PowerCut,
    /// While old files go.
    CrashCleaning,
    PowerCutCleaning,
    /// A start is cut short by the other.
    CrashOpening,
    PowerCutOpening,
}

fn model_config(flush: Flush) -> StoreConfig {
    StoreConfig {
        retention: Retention {
            max_log_bytes: 3 * SEGMENT,
            // Only when a step does it.
            interval_ms: 3_600_000,
            ..Retention::default()
        },
        max_unflushed_bytes: 16 << 10,
        queue_journal_bytes: 2 << 10,
        // The log catches up with them, and is written to what was another part of it.
        zeros_ahead_bytes: 8 << 10,
        ..config(flush)
    }
}

async fn open_model(sim: &Sim, flush: Flush) -> SimStore {
    open_with(sim, model_config(flush)).await.unwrap()
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        40 => Just(Step::Append),
        6 => Just(Step::Batch),
        8 => Just(Step::Commit),
        6 => Just(Step::Sleep),
        3 => Just(Step::Check),
        2 => Just(Step::Delete),
        4 => Just(Step::Clean),
        1 => Just(Step::Close),
        2 => Just(Step::Crash),
        2 => Just(Step::PowerCut),
        1 => Just(Step::CrashCleaning),
        1 => Just(Step::PowerCutCleaning),
        2 => Just(Step::CrashOpening),
        2 => Just(Step::PowerCutOpening),
    ];
    prop::collection::vec(step, 1..300)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn the_store_is_its_model(seed: u64, is_sync: bool, steps in steps()) {
        let flush = if is_sync { Flush::Sync } else { Flush::Async };
        let sim = sim(seed);
        sim.run(async {
            let mut model = Model::default();
            let mut store = open_model(&sim, flush).await;
            for step in steps {
                take_step(&sim, flush, &mut store, &mut model, step).await;
            }
            store.committed_so_far().await.unwrap();
            check(&sim, &store, &model).await;
        });
    }
}

async fn take_step(sim: &Sim, flush: Flush, store: &mut SimStore, model: &mut Model, step: Step) {
    match step {
        Step::Append => append_one(sim, store, model).await,
        Step::Batch => append_some(sim, store, model).await,
        Step::Commit => store.committed_so_far().await.unwrap(),
        Step::Sleep => sim.sleep(Duration::from_millis(sim.below(8_000))).await,
        Step::Check => {
            store.committed_so_far().await.unwrap();
            check(sim, store, model).await;
        }
        Step::Delete => {
            store.delete_some("Deleted", usize::MAX);
            model.deleted_before[2] = model.log.len();
        }
        Step::Clean => store.cleaner.clean().await.unwrap(),
        Step::Close => {
            store.close().await.unwrap();
            *store = open_model(sim, flush).await;
            assert_eq!(store.tail(), store.committed());
            check(sim, store, model).await;
        }
        Step::CrashCleaning => {
            start_cleaning(sim, store, model).await;
            Box::pin(take_step(sim, flush, store, model, Step::Crash)).await;
        }
        Step::PowerCutCleaning => {
            start_cleaning(sim, store, model).await;
            Box::pin(take_step(sim, flush, store, model, Step::PowerCut)).await;
        }
        Step::CrashOpening => {
            let kept = safe_in_a_power_cut(flush, store, model);
            sim.power_cut("a");
            open_for_a_moment(sim, flush).await;
            sim.crash("a");
            reopen(sim, flush, store, model, kept).await;
        }
        Step::PowerCutOpening => {
            let kept = safe_in_a_power_cut(flush, store, model);
            sim.crash("a");
            open_for_a_moment(sim, flush).await;
            sim.power_cut("a");
            reopen(sim, flush, store, model, kept).await;
        }
        Step::Crash => {
            let kept = model.end_before(store.committed());
            sim.crash("a");
            reopen(sim, flush, store, model, kept).await;
            assert_eq!(store.figures().missing, None);
        }
        Step::PowerCut => {
            let kept = safe_in_a_power_cut(flush, store, model);
            sim.power_cut("a");
            reopen(sim, flush, store, model, kept).await;
            let missing = store.figures().missing;
            assert!(missing.is_none_or(|missing| flush == Flush::Async && !missing.was_safe));
        }
    }
}

fn safe_in_a_power_cut(flush: Flush, store: &SimStore, model: &Model) -> u64 {
    match flush {
        Flush::Sync => model.end_before(store.committed()),
        Flush::Async => model.end_before(store.log.marks().flushed()),
    }
}

async fn open_for_a_moment(sim: &Sim, flush: Flush) {
    let io = sim.host("a");
    let (opener, config) = (io.clone(), model_config(flush));
    io.spawn("test", async move {
        let _ = Store::open(opener, config, |_| {}).await;
    });
    sim.sleep(Duration::from_nanos(sim.below(40_000_000))).await;
}

async fn start_cleaning(sim: &Sim, store: &SimStore, model: &mut Model) {
    model.cleaning_was_cut = true;
    let cleaned = store.clone();
    sim.host("a").spawn("test", async move {
        let _ = cleaned.cleaner.clean().await;
    });
    sim.sleep(Duration::from_nanos(sim.below(20_000_000))).await;
}

async fn reopen(sim: &Sim, flush: Flush, store: &mut SimStore, model: &mut Model, kept: u64) {
    *store = open_model(sim, flush).await;
    let tail = store.tail();
    assert!(tail >= kept, "{kept} were safe, {tail} are left");
    model.log.retain(|sent| sent.appended.end <= tail);
    let last = model.log.last().map_or(0, |sent| sent.appended.end);
    assert!(
        tail == last || tail.is_multiple_of(SEGMENT),
        "{last} {tail}"
    );
    model.deleted_before[2] = model.deleted_before[2].min(model.log.len());
    if model.queue(2, 0).is_empty() {
        // Its messages are still in the log, and it may be back.
        store.delete_some("Deleted", usize::MAX);
    }
    check(sim, store, model).await;
}

async fn append_one(sim: &Sim, store: &SimStore, model: &mut Model) {
    let (topic, queue_id) = some_queue(sim);
    let body = some_body(sim);
    store.wait_for_room(body.len() + 512).await;
    let queue = store.queue(TOPICS[topic].0, queue_id);
    let now_ms = sim.host("a").now().unix_ms;
    let appended = store
        .append(queue, &message(&body, ""), Some(tag_of(&body)), now_ms)
        .unwrap();
    note(model, topic, queue_id, appended, body);
}

async fn append_some(sim: &Sim, store: &SimStore, model: &mut Model) {
    let (topic, queue_id) = some_queue(sim);
    let bodies: Vec<_> = (0..1 + sim.below(6)).map(|_| some_body(sim)).collect();
    let messages: Vec<_> = bodies.iter().map(|body| message(body, "")).collect();
    store.wait_for_room(60_000).await;
    let queue = store.queue(TOPICS[topic].0, queue_id);
    let now_ms = sim.host("a").now().unix_ms;
    let appended = store.append_batch(queue, &messages, now_ms).unwrap();
    let (first, last) = (appended[0], appended[appended.len() - 1]);
    assert_eq!(first.physical_offset / SEGMENT, (last.end - 1) / SEGMENT);
    for (appended, body) in appended.into_iter().zip(bodies) {
        note(model, topic, queue_id, appended, body);
    }
}

fn note(model: &mut Model, topic: usize, queue_id: u32, appended: Appended, body: Vec<u8>) {
    let queue_offset = model.queue(topic, queue_id).len() as u64;
    assert_eq!(appended.queue_offset, queue_offset);
    let end = model.log.last().map_or(0, |sent| sent.appended.end);
    assert!(
        appended.physical_offset == end || appended.physical_offset.is_multiple_of(SEGMENT),
        "{appended:?} behind {end}"
    );
    model.log.push(Sent {
        topic,
        queue_id,
        queue_offset,
        appended,
        body,
    });
}

fn some_queue(sim: &Sim) -> (usize, u32) {
    let topic = sim.below(TOPICS.len() as u64) as usize;
    (topic, sim.below(TOPICS[topic].1) as u32)
}

fn some_body(sim: &Sim) -> Vec<u8> {
    let len = match sim.below(4) {
        0 => sim.below(8_000),
        1 => sim.below(2_000),
        _ => sim.below(100),
    };
    vec![1 + sim.below(255) as u8; len as usize]
}

fn tag_of(body: &[u8]) -> i64 {
    body.first().map_or(0, |first| i64::from(*first))
}

async fn check(sim: &Sim, store: &SimStore, model: &Model) {
    for (topic, (_, queues)) in TOPICS.iter().enumerate() {
        for queue_id in 0..*queues as u32 {
            check_queue(sim, store, model, topic, queue_id).await;
        }
    }
}

async fn check_queue(sim: &Sim, store: &SimStore, model: &Model, topic: usize, queue_id: u32) {
    let (name, sent) = (TOPICS[topic].0, model.queue(topic, queue_id));
    let Some(queue) = store.find_queue(name, queue_id) else {
        assert!(sent.is_empty(), "{name} {queue_id} is missing");
        return;
    };
    let count = sent.len() as u64;
    let bounds = store.bounds(queue);
    let first_from = |position: u64| {
        let is_kept = |sent: &&Sent| sent.appended.physical_offset >= position;
        sent.iter().position(is_kept).unwrap_or(sent.len())
    };
    let log_min = store.log_min();
    let mut first = first_from(log_min);
    if model.cleaning_was_cut {
        let starts = (log_min..store.tail()).step_by(SEGMENT as usize);
        let mut firsts = starts.map(first_from);
        first = firsts
            .find(|first| *first as u64 == bounds.min)
            .unwrap_or(first);
    }
    let min = first as u64;
    assert_eq!((bounds.min, bounds.max, bounds.next), (min, count, count));
    let positions = positions(store, queue, min, count).await;
    for (sent, position) in sent[first..].iter().zip(&positions) {
        assert_eq!(sent.appended.physical_offset, position.physical_offset);
        let bytes = store.read_cold(&[*position], Vec::new()).await.unwrap();
        let record = Record::decode(&bytes, Check::Crc).unwrap();
        assert_eq!((record.topic, record.queue_id), (name, queue_id));
        assert_eq!(record.queue_offset, sent.queue_offset);
        assert_eq!(record.body, sent.body);
    }
    if count == 0 {
        return;
    }
    let gone = store.record_at(sent[0].appended.physical_offset).await;
    assert_eq!(gone.unwrap().is_some(), first_from(log_min) == 0);
    if min == count {
        return;
    }
    let sent = &sent[first..];
    let some = &sent[sim.below(count - min) as usize].appended;
    let record = store.record_at(some.physical_offset).await.unwrap();
    assert_eq!(record.unwrap().len(), some.len);
    assert_eq!(
        store.record_at(some.physical_offset + 1).await.unwrap(),
        None
    );
    let time_ms = some.store_timestamp_ms + sim.below(3) as i64 - 1;
    let lower = sent
        .iter()
        .position(|sent| sent.appended.store_timestamp_ms >= time_ms);
    let found = store.offset_by_time(queue, time_ms, Boundary::Lower).await;
    assert_eq!(
        found.unwrap(),
        lower.map_or(count, |place| min + place as u64)
    );
}
