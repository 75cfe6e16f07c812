//! Protects the bookkeeping of the queues: bounded by the queues that there are, and by what one turn may take.

use super::*;
use crate::store::queues::entry::Entry;
use crate::store::queues::evict::Eviction;
use crate::store::queues::journal::{Block, Coverage, Item, Origin, Part};
use crate::store::queues::memory::{CHUNK_BYTES, CHUNK_ENTRIES, ConsumeQueues};

fn queues(chunks: usize) -> ConsumeQueues {
    ConsumeQueues::new(chunks * CHUNK_BYTES, Pages::Plain).unwrap()
}

fn push(queues: &mut ConsumeQueues, queue: QueueIndex, count: u64) {
    for n in 0..count {
        let entry = Entry::new(n * 200, 200, 0);
        queues.push(queue, &entry);
    }
}

/// Numbers of the queues, and counts of entries, that a block has.
fn items(block: Block) -> (Vec<u32>, Vec<usize>) {
    let reached = Coverage::default();
    let (bytes, _) = block.seal(0, 1, Part::News, Origin::Usual, reached);
    let mut items = &bytes[46..];
    let (mut numbers, mut counts) = (Vec::new(), Vec::new());
    while let Some(item) = Item::take_from(&mut items) {
        match item {
            Item::Queue(queue) => numbers.push(queue.number),
            Item::Entries { entries, .. } => counts.push(entries.len()),
            Item::Deleted { .. } => {}
        }
    }
    assert!(items.is_empty());
    (numbers, counts)
}

#[test]
fn topics_that_come_and_go_take_no_room() {
    let mut queues = queues(64);
    let stays = queues.find_or_create("stays", 0);
    let mut stale = Vec::new();
    for n in 0..5_000 {
        let name = format!("topic {n}");
        let queue = queues.find_or_create(&name, n % 4);
        push(&mut queues, queue, 3);
        assert_eq!(queues.topic_of(queue), name);
        assert_eq!(queues.remove_some(&name, usize::MAX), (vec![n % 4], false));
        stale.push(queue);
        let mut block = Block::new();
        while queues.news() > 0 {
            queues.put_news(&mut block, 1, u64::MAX);
        }
        queues.put_gone(&mut block, 1);
    }
    assert!(queues.slots() <= 2, "{}", queues.slots());
    assert_eq!(queues.all().collect::<Vec<_>>(), [stays]);
    for queue in stale {
        assert!(queues.queue(queue).gone && queue != stays);
        assert_eq!(queues.topic_of(queue), "");
        assert_eq!(queues.queue(queue).bounds, QueueBounds::default());
    }
    assert_eq!(queues.topic_of(stays), "stays");
    // All that waited for a file is forgotten.
    while queues.next_unsaved(u64::MAX).is_some() {}
    assert_eq!(queues.free_chunks(), queues.capacity_chunks());
}

/// However long the store is open: the numbers are of one table.
#[test]
fn each_table_counts_its_queues_anew() {
    let mut queues = queues(64);
    for queue_id in 0..3 {
        let queue = queues.find_or_create("T", queue_id);
        push(&mut queues, queue, 1);
        queues.journaled(queue);
    }
    for generation in 1..100 {
        queues.begin_table();
        let mut block = Block::new();
        let mut place = 0;
        while queues.put_row(&mut block, generation, place) {
            place += 1;
        }
        assert_eq!(items(block).0, [0, 1, 2]);
    }
}

#[test]
fn the_news_of_a_large_queue_are_put_in_pieces() {
    let mut queues = queues(256);
    let queue = queues.find_or_create("T", 0);
    push(&mut queues, queue, 10_000);
    let mut block = Block::new();
    assert!(queues.put_news(&mut block, 1, u64::MAX));
    assert!(queues.put_news(&mut block, 1, u64::MAX));
    assert!(!queues.put_news(&mut block, 1, u64::MAX));
    assert_eq!(queues.news(), 0);
    let (numbers, counts) = items(block);
    assert_eq!((numbers.len(), counts), (1, vec![4096, 4096, 1808]));
}

/// Of 10,000 queues one has all the chunks: it is found once a round, and gives twice as much in each.
#[test]
fn an_eviction_takes_few_rounds() {
    let mut queues = queues(1_100);
    for n in 0..10_000 {
        queues.find_or_create("T", n);
    }
    let large = queues.find("T", 7_000).unwrap();
    push(&mut queues, large, 1_000 * CHUNK_ENTRIES);
    queues.saved(large, 1_000 * CHUNK_ENTRIES);
    let (mut eviction, mut turns) = (Eviction::default(), 0);
    while queues.evict_some(&mut eviction, 1_000, 1_000) {
        turns += 1;
    }
    assert!(queues.free_chunks() >= 1_000);
    assert!(turns <= 10 * 11, "{turns} turns of 1,000 queues");
}

/// The journal of queue entries without space: what was tried leaves nothing, and a block that finds space later is
/// enough to go on with.
#[test]
fn a_block_without_space_is_written_when_there_is_some() {
    each(async |sim, flush| {
        let store = open(sim, flush).await;
        send(sim, &store, "A", b"one").await;
        sim.sleep(Duration::from_secs(2)).await;
        let generation = store.queues.generation();
        let rule = Rule::new(Fault::NoSpace).of(Op::Write).on("queuejournal");
        sim.host("a").inject(rule);
        append(sim, &store, "A", b"two").await;
        sim.sleep(Duration::from_secs(10)).await;
        assert_eq!(store.queues.generation(), generation);
        sim.host("a").heal();
        sim.sleep(Duration::from_secs(3)).await;
        assert_eq!(store.queues.generation(), generation, "no table was needed");
        send(sim, &store, "A", b"three").await;
        sim.sleep(Duration::from_secs(2)).await;
        sim.power_cut("a");
        let store = open(sim, flush).await;
        let expected: [&[u8]; 3] = [b"one", b"two", b"three"];
        assert_eq!(bodies(&store, "A").await, expected);
    });
}

#[test]
fn a_generation_that_fails_leaves_no_file() {
    each(async |sim, flush| {
        let store = open(sim, flush).await;
        send(sim, &store, "A", b"one").await;
        sim.sleep(Duration::from_secs(2)).await;
        let rule = Rule::new(Fault::NoSpace).of(Op::Write).on("queuejournal");
        sim.host("a").inject(rule);
        for _ in 0..5 {
            let _ = store.queues.save_all().await;
            sim.sleep(Duration::from_secs(2)).await;
        }
        let io = sim.host("a");
        let files = io.list(Path::new("/store/queuejournal")).await.unwrap();
        assert!(files.len() <= 1, "{files:?}");
        io.heal();
    });
}
