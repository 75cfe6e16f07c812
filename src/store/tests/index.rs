//! Protects that a message is found by its keys: whatever happens in whatever order, a query finds what the log has, no
//! more and nothing twice, without making the index again where its files are there.

use proptest::prelude::*;

use super::*;
use crate::message::sys_flag;
use crate::store::index::Shape;

const INDEX: &str = "/store/index";
const SHAPE: Shape = Shape {
    slots: 7,
    entries: 30,
};
const TOPICS: [&str; 2] = ["A", "B"];

/// A message that can be found.
#[derive(Clone, Debug)]
struct Sent {
    topic: &'static str,
    keys: Vec<String>,
    tag: Option<String>,
    appended: Appended,
}

impl Sent {
    fn is_found_by(&self, topic: &str, wanted: Wanted<'_>) -> bool {
        self.topic == topic
            && match wanted {
                Wanted::Key(key) => self.keys.iter().any(|own| own == key),
                Wanted::Tag(tag) => self.tag.as_deref() == Some(tag),
            }
    }

    fn entries(&self) -> usize {
        self.keys.len() + usize::from(self.tag.is_some())
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Append,
    RolledBack,
    Commit,
    Sleep,
    Check,
    Close,
    Crash,
    PowerCut,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        40 => Just(Step::Append),
        2 => Just(Step::RolledBack),
        6 => Just(Step::Commit),
        6 => Just(Step::Sleep),
        5 => Just(Step::Check),
        1 => Just(Step::Close),
        2 => Just(Step::Crash),
        2 => Just(Step::PowerCut),
    ];
    prop::collection::vec(step, 1..150)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn the_index_is_its_model(seed: u64, is_sync: bool, steps in steps()) {
        let flush = if is_sync { Flush::Sync } else { Flush::Async };
        let sim = sim(seed);
        sim.run(async {
            let mut model = Vec::new();
            let mut store = open(&sim, flush).await;
            for step in steps {
                take_step(&sim, flush, &mut store, &mut model, step).await;
            }
            store.committed_so_far().await.unwrap();
            check(&sim, &store, &model).await;
            store.close().await.unwrap();
            check_files(&sim, &model).await;
        });
    }
}

async fn take_step(
    sim: &Sim,
    flush: Flush,
    store: &mut SimStore,
    model: &mut Vec<Sent>,
    step: Step,
) {
    match step {
        Step::Append => {
            let sent = append_keyed(
                sim,
                store,
                sys_flag::TRANSACTION_PREPARED * sim.below(2) as i32,
            )
            .await;
            model.push(sent);
        }
        Step::RolledBack => {
            append_keyed(sim, store, sys_flag::TRANSACTION_ROLLBACK).await;
        }
        Step::Commit => store.committed_so_far().await.unwrap(),
        Step::Sleep => sim.sleep(Duration::from_millis(sim.below(8_000))).await,
        Step::Check => {
            store.committed_so_far().await.unwrap();
            check(sim, store, model).await;
        }
        Step::Close => {
            store.close().await.unwrap();
            check_files(sim, model).await;
            let before = files(sim).await;
            *store = open(sim, flush).await;
            check(sim, store, model).await;
            assert_eq!(files(sim).await[..before.len()], before, "made again");
        }
        Step::Crash | Step::PowerCut => {
            if step == Step::Crash {
                sim.crash("a");
            } else {
                sim.power_cut("a");
            }
            *store = open(sim, flush).await;
            let tail = store.tail();
            model.retain(|sent| sent.appended.end <= tail);
            check(sim, store, model).await;
        }
    }
}

async fn append_keyed(sim: &Sim, store: &SimStore, sys_flag: i32) -> Sent {
    let topic = TOPICS[sim.below(2) as usize];
    let mut keys: Vec<String> = (0..sim.below(4))
        .map(|_| format!("k{}", sim.below(6)))
        .collect();
    let mut text = String::new();
    if !keys.is_empty() {
        properties::push(
            &mut text,
            properties::KEYS,
            &format!(" {} ", keys.join("  ")),
        );
    }
    if sim.below(3) > 0 {
        let unique = format!("unique{}", sim.below(1 << 40));
        properties::push(&mut text, properties::UNIQUE_KEY, &unique);
        keys.push(unique);
    }
    let tag = (sim.below(4) == 0).then(|| format!("k{}", sim.below(3)));
    if let Some(tag) = &tag {
        properties::push(&mut text, properties::TAGS, tag);
    }
    let body = vec![7; sim.below(3_000) as usize];
    let message = Message {
        sys_flag,
        ..message(&body, &text)
    };
    store.wait_for_room(body.len() + 512).await;
    let now_ms = sim.host("a").now().unix_ms;
    let queue = store.queue(topic, 0);
    let appended = store.append(queue, &message, None, now_ms).unwrap();
    Sent {
        topic,
        keys,
        tag,
        appended,
    }
}

fn key_query<'a>(topic: &'a str, wanted: Wanted<'a>) -> KeyQuery<'a> {
    KeyQuery {
        topic,
        wanted,
        max_messages: 1000,
        max_bytes: usize::MAX,
        begin_ms: 0,
        end_ms: i64::MAX,
    }
}

/// Log positions of what a query finds.
async fn found(store: &SimStore, query: &KeyQuery<'_>) -> Vec<u64> {
    let matches = store.find_by_key(query).await.unwrap();
    let (mut rest, mut positions) = (&matches.records[..], Vec::new());
    while !rest.is_empty() {
        let record = Record::decode(rest, Check::Crc).unwrap();
        positions.push(record.physical_offset);
        rest = &rest[record.total_size as usize..];
    }
    positions
}

async fn check(sim: &Sim, store: &SimStore, model: &[Sent]) {
    for topic in TOPICS {
        for name in ["k0", "k1", "k2", "k3", "k4", "k5"] {
            for wanted in [Wanted::Key(name), Wanted::Tag(name)] {
                check_query(store, model, &some_query(sim, model, topic, wanted)).await;
            }
        }
    }
    for sent in model {
        if let Some(unique) = sent.keys.iter().find(|key| key.starts_with('u')) {
            let query = key_query(sent.topic, Wanted::Key(unique));
            assert_eq!(found(store, &query).await, [sent.appended.physical_offset]);
        }
    }
}

/// Of all times or of some, of all messages or of a few.
fn some_query<'a>(sim: &Sim, model: &[Sent], topic: &'a str, wanted: Wanted<'a>) -> KeyQuery<'a> {
    let mut query = key_query(topic, wanted);
    if sim.below(2) == 0 {
        query.max_messages = 1 + sim.below(5) as usize;
    }
    if sim.below(2) == 0 && !model.is_empty() {
        let some_time = || {
            let sent = &model[sim.below(model.len() as u64) as usize];
            sent.appended.store_timestamp_ms + sim.below(3) as i64 - 1
        };
        query.begin_ms = some_time();
        query.end_ms = some_time();
    }
    query
}

async fn check_query(store: &SimStore, model: &[Sent], query: &KeyQuery<'_>) {
    let times = query.begin_ms..=query.end_ms;
    let all = model.iter().filter(|sent| {
        sent.is_found_by(query.topic, query.wanted)
            && times.contains(&sent.appended.store_timestamp_ms)
    });
    let all: Vec<u64> = all.map(|sent| sent.appended.physical_offset).collect();
    let newest = &all[all.len().saturating_sub(query.max_messages)..];
    assert_eq!(found(store, query).await, newest, "{query:?}");
}

async fn files(sim: &Sim) -> Vec<String> {
    let files = sim.host("a").list(Path::new(INDEX)).await.unwrap();
    files
        .iter()
        .map(|file| file.path.to_str().unwrap().to_owned())
        .collect()
}

/// A closed store's files hold each key once, in the order of the log, with slots that lead to all of them.
async fn check_files(sim: &Sim, model: &[Sent]) {
    let mut expected = model
        .iter()
        .flat_map(|sent| std::iter::repeat_n(sent.appended.physical_offset, sent.entries()));
    let files = files(sim).await;
    for (nth, path) in files.iter().enumerate() {
        let bytes = read_file(sim, path).await;
        assert_eq!(bytes.len() as u64, SHAPE.file_bytes());
        let int = |at: u64| u32::from_be_bytes(*bytes[at as usize..].first_chunk().unwrap());
        let count = int(36);
        assert!(count > 1 && (count == SHAPE.entries || nth + 1 == files.len()));
        let mut latest = [0; SHAPE.slots as usize];
        for number in 1..count {
            let at = SHAPE.entry_at(number);
            let slot = &mut latest[(int(at) % SHAPE.slots) as usize];
            assert_eq!(int(at + 16), *slot);
            *slot = number;
            let offset = u64::from(int(at + 4)) << 32 | u64::from(int(at + 8));
            assert_eq!(Some(offset), expected.next());
        }
        for (slot, latest) in latest.iter().enumerate() {
            assert_eq!(int(SHAPE.slot_at(slot as u32)), *latest);
        }
    }
    assert_eq!(expected.next(), None);
}

/// Some sixty messages, their index in several files.
async fn fill(sim: &Sim, store: &SimStore) -> Vec<Sent> {
    let mut model = Vec::new();
    for _ in 0..60 {
        model.push(append_keyed(sim, store, 0).await);
        sim.sleep(Duration::from_millis(sim.below(300))).await;
    }
    store.committed_so_far().await.unwrap();
    model
}

/// A clean stop, something that happens to the files, a start.
fn survives(happens: impl AsyncFn(&Sim, Vec<String>)) {
    each(async |sim, flush| {
        let store = open(sim, flush).await;
        let mut model = fill(sim, &store).await;
        store.close().await.unwrap();
        happens(sim, files(sim).await).await;
        let store = open(sim, flush).await;
        check(sim, &store, &model).await;
        model.extend(fill(sim, &store).await);
        check(sim, &store, &model).await;
        store.close().await.unwrap();
        check_files(sim, &model).await;
    });
}

async fn remove(sim: &Sim, path: &str) {
    sim.host("a").remove_file(Path::new(path)).await.unwrap();
}

#[test]
fn all_files_are_missing() {
    survives(async |sim, files| {
        for file in files {
            remove(sim, &file).await;
        }
    });
}

#[test]
fn the_first_file_is_missing() {
    survives(async |sim, files| remove(sim, &files[0]).await);
}

#[test]
fn the_last_file_is_missing() {
    survives(async |sim, files| remove(sim, files.last().unwrap()).await);
}

#[test]
fn a_file_is_short() {
    survives(async |sim, files| {
        let file = sim
            .host("a")
            .open(Path::new(&files[1]), EDIT)
            .await
            .unwrap();
        file.resize(SHAPE.file_bytes() - 1).await.unwrap();
    });
}

#[test]
fn a_file_is_not_full() {
    survives(async |sim, files| write_file(sim, &files[1], 36, &[0; 4]).await);
}

#[test]
fn there_are_files_of_another_time() {
    survives(async |sim, _| {
        for name in ["19990101000000000", "29990101000000000"] {
            write_file(sim, &format!("{INDEX}/{name}"), 0, &[1; 900]).await;
        }
    });
}

#[test]
fn the_checkpoint_is_of_a_version_without_index() {
    survives(async |sim, _| write_file(sim, "/store/checkpoint", 68, &[0; 100]).await);
}

#[test]
fn the_index_was_off_for_a_while() {
    each(async |sim, flush| {
        let mut model = Vec::new();
        for index in [Some(SHAPE), None, Some(SHAPE)] {
            let config = StoreConfig {
                index,
                ..config(flush)
            };
            let store = open_with(sim, config).await.unwrap();
            model.extend(fill(sim, &store).await);
            if index.is_some() {
                check(sim, &store, &model).await;
            } else {
                let query = key_query("A", Wanted::Key("k0"));
                assert!(found(&store, &query).await.is_empty());
            }
            store.close().await.unwrap();
        }
        check_files(sim, &model).await;
    });
}

/// Entries of the file that was being filled, saved before a crash, and others afterwards.
#[test]
fn entries_are_damaged_in_a_crash() {
    each(async |sim, flush| {
        let store = open(sim, flush).await;
        let mut model = fill(sim, &store).await;
        let last = loop {
            sim.sleep(Duration::from_secs(6)).await;
            let last = files(sim).await.pop().unwrap();
            // The header comes when the file is full.
            if read_part(sim, &last, 36, 4).await == [0; 4] {
                break last;
            }
            model.push(append_keyed(sim, &store, 0).await);
        };
        sim.crash("a");
        write_file(sim, &last, SHAPE.entry_at(1), &[0xFF; 20]).await;
        let store = open(sim, flush).await;
        check(sim, &store, &model).await;
    });
}

#[test]
fn a_chain_that_leads_in_a_circle_ends() {
    each(async |sim, flush| {
        let store = open(sim, flush).await;
        fill(sim, &store).await;
        store.close().await.unwrap();
        for file in files(sim).await {
            for number in 1..SHAPE.entries {
                let at = SHAPE.entry_at(number) + 16;
                write_file(sim, &file, at, &(number + 1).to_be_bytes()).await;
            }
        }
        let store = open(sim, flush).await;
        for name in ["k0", "k1", "k2", "k3", "k4", "k5"] {
            // Of each file at most the latest.
            let found = found(&store, &key_query("A", Wanted::Key(name))).await;
            assert!(found.len() <= files(sim).await.len());
        }
    });
}

/// Files are kept as long as one of their messages is there.
#[test]
fn files_go_with_the_log() {
    each(async |sim, flush| {
        let store = open(sim, flush).await;
        let mut model = Vec::new();
        while store.tail() < 2 * SEGMENT {
            model.extend(fill(sim, &store).await);
        }
        store.close().await.unwrap();
        let before = files(sim).await;
        remove(sim, LOG).await;
        model.retain(|sent| sent.appended.physical_offset >= SEGMENT);
        let store = open(sim, flush).await;
        check(sim, &store, &model).await;
        store.close().await.unwrap();
        let after = files(sim).await;
        assert!(after.len() > 1 && after.len() < before.len());
        assert!(before.ends_with(&after));
        let first = read_file(sim, &after[0]).await;
        let end_offset = u64::from_be_bytes(*first[24..].first_chunk().unwrap());
        assert!(end_offset >= SEGMENT);
        check(sim, &open(sim, flush).await, &model).await;
    });
}

/// While the index reads a long log, the answer is that it does, and not an empty result.
#[test]
fn a_query_does_not_wait_for_ever() {
    let sim = sim(1);
    sim.run(async {
        let store = open(&sim, Flush::Sync).await;
        fill(&sim, &store).await;
        let query = key_query("A", Wanted::Key("k0"));
        let before = found(&store, &query).await;
        store.close().await.unwrap();
        for file in files(&sim).await {
            remove(&sim, &file).await;
        }
        let store = open(&sim, Flush::Sync).await;
        sim.host("a")
            .inject(Rule::new(Fault::Io).of(Op::Read).on(LOG));
        let refused = store.find_by_key(&query).await;
        assert!(
            matches!(refused, Err(StoreError::NotIndexed { position: 0, .. })),
            "{refused:?}"
        );
        sim.host("a").heal();
        sim.sleep(Duration::from_secs(2)).await;
        assert_eq!(found(&store, &query).await, before);
    });
}

/// A head that has rotted costs the message that it begins, and none behind it.
#[test]
fn what_stands_behind_a_rotten_head_is_indexed() {
    each(async |sim, flush| {
        let store = open(sim, flush).await;
        let mut model = fill(sim, &store).await;
        store.close().await.unwrap();
        let rotten = model.remove(3).appended.physical_offset;
        write_file(sim, LOG, rotten, &[0; 8]).await;
        for file in files(sim).await {
            sim.host("a").remove_file(Path::new(&file)).await.unwrap();
        }
        let store = open(sim, flush).await;
        assert!(model.len() > 20 && store.log_min() == 0);
        check(sim, &store, &model).await;
    });
}
