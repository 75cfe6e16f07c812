//! Protects the cut of a log: what is ahead of it stays, what is behind it never comes back, and a crash at any step leaves a log that is
//! cut or not cut yet, with the queues that belong to it. And a log that begins in the middle of its master's.

use super::*;
use crate::sim::Rng;

/// Of a slave, as a cut is: in the master's place, so that it can be filled by sends.
fn resuming(resume: Resume) -> StoreConfig {
    StoreConfig {
        resume,
        max_unflushed_bytes: 32 << 10,
        zeros_ahead_bytes: 8 << 10,
        ..config(Flush::Sync)
    }
}

async fn open_cut(sim: &Sim, resume: Resume) -> Result<SimStore, StoreError> {
    open_with(sim, resuming(resume)).await
}

struct Sent {
    topic: &'static str,
    body: Vec<u8>,
    start: u64,
    end: u64,
}

/// Messages of two topics over several files of the log; all of the same size, so that records of another log have the same places.
async fn fill(sim: &Sim, store: &SimStore, count: u64, fill: u8) -> Vec<Sent> {
    let mut sent = Vec::new();
    for number in 0..count {
        let topic = ["A", "B"][number as usize % 2];
        let body = [&number.to_be_bytes()[..], &[fill; 1_500]].concat();
        let appended = send(sim, store, topic, &body).await;
        sent.push(Sent {
            topic,
            body,
            start: appended.physical_offset,
            end: appended.end,
        });
    }
    sent
}

/// The store has these messages, and no others.
async fn has(store: &SimStore, sent: &[Sent]) {
    for topic in ["A", "B"] {
        let of_topic = sent.iter().filter(|sent| sent.topic == topic);
        let expected: Vec<_> = of_topic.map(|sent| sent.body.clone()).collect();
        assert_eq!(bodies(store, topic).await, expected, "{topic}");
    }
}

/// How the store is left before it is cut.
#[derive(Clone, Copy, Debug)]
enum Leaves {
    Closed,
    Abandoned,
    Killed,
    NoJournal,
}

async fn leave(sim: &Sim, store: SimStore, leaves: Leaves) {
    match leaves {
        Leaves::Closed => store.close().await.unwrap(),
        Leaves::Abandoned => store.abandon().await,
        Leaves::Killed => {}
        Leaves::NoJournal => {
            store.close().await.unwrap();
            remove_journal(sim).await;
        }
    }
    drop(store);
    sim.crash("a");
}

const LEAVES: [Leaves; 4] = [
    Leaves::Closed,
    Leaves::Abandoned,
    Leaves::Killed,
    Leaves::NoJournal,
];

#[test]
fn what_is_ahead_of_a_cut_stays_and_the_rest_never_comes_back() {
    for seed in 0..12 {
        let leaves = LEAVES[seed as usize % 4];
        let sim = sim(seed);
        sim.run(async {
            let mut rng = Rng::new(seed);
            let store = open_cut(&sim, Resume::AsIs).await.unwrap();
            let sent = fill(&sim, &store, 120, 1).await;
            leave(&sim, store, leaves).await;
            let kept = rng.below(120) as usize;
            // Now and then in the middle of a record.
            let point = sent[kept].start + [0, 0, 7][rng.below(3) as usize];
            let store = open_cut(&sim, Resume::CutAt(point)).await.unwrap();
            assert_eq!(store.tail(), sent[kept].start, "{leaves:?}");
            has(&store, &sent[..kept]).await;
            // Nothing was written since: what a kill leaves is what the cut left.
            drop(store);
            sim.crash("a");
            let store = open_cut(&sim, Resume::AsIs).await.unwrap();
            assert_eq!(store.tail(), sent[kept].start, "{leaves:?}");
            has(&store, &sent[..kept]).await;
            // The log of another master grows over the same places, and ends where an old record began.
            let others = fill(&sim, &store, rng.below(40), 2).await;
            drop(store);
            sim.power_cut("a");
            let store = open_cut(&sim, Resume::AsIs).await.unwrap();
            let all: Vec<_> = sent.into_iter().take(kept).chain(others).collect();
            has(&store, &all).await;
            store.close().await.unwrap();
        });
    }
}

/// Opens the store, and takes the power away after so long.
async fn open_for(sim: &Sim, resume: Resume, us: u64) {
    let io = sim.host("a");
    let opening_io = io.clone();
    io.spawn("test", async move {
        let opened = Store::open(opening_io, resuming(resume), |_| {}).await;
        let _store = opened;
        std::future::pending::<()>().await;
    });
    sim.sleep(Duration::from_micros(us)).await;
    sim.power_cut("a");
}

#[test]
fn a_power_cut_at_any_step_leaves_a_log_that_is_cut_or_not_cut_yet() {
    let (mut cut, mut uncut) = (0, 0);
    for seed in 0..60 {
        let leaves = LEAVES[seed as usize % 4];
        let sim = sim(seed);
        sim.run(async {
            let mut rng = Rng::new(seed);
            let store = open_cut(&sim, Resume::AsIs).await.unwrap();
            let sent = fill(&sim, &store, 120, 1).await;
            leave(&sim, store, leaves).await;
            let kept = rng.below(120) as usize;
            let resume = Resume::CutAt(sent[kept].start);
            open_for(&sim, resume, rng.below(120_000)).await;
            // A crash in the crash's recovery, too.
            if rng.below(2) == 0 {
                open_for(&sim, Resume::AsIs, rng.below(60_000)).await;
            }
            let store = open_cut(&sim, Resume::AsIs).await.unwrap();
            let ends = sent.iter().position(|sent| sent.start == store.tail());
            let stays = ends.unwrap_or(sent.len());
            assert!(stays >= kept, "{stays} of {kept}");
            assert!(ends.is_some() || store.tail() >= sent.last().unwrap().end);
            has(&store, &sent[..stays]).await;
            match stays == kept {
                true => cut += 1,
                false => uncut += 1,
            }
            // The slave compares again, and cuts what is left.
            leave(&sim, store, Leaves::Abandoned).await;
            let store = open_cut(&sim, resume).await.unwrap();
            assert_eq!(store.tail(), sent[kept].start);
            has(&store, &sent[..kept]).await;
            let more = fill(&sim, &store, 3, 2).await;
            leave(&sim, store, Leaves::Killed).await;
            let store = open_cut(&sim, Resume::AsIs).await.unwrap();
            let all: Vec<_> = sent.into_iter().take(kept).chain(more).collect();
            has(&store, &all).await;
        });
    }
    assert!(cut > 5 && uncut > 5, "{cut} cut, {uncut} not");
}

#[test]
fn a_cut_ahead_of_the_log_is_refused() {
    let sim = sim(1);
    sim.run(async {
        let store = open_cut(&sim, Resume::BeginAt(3 * SEGMENT)).await.unwrap();
        let sent = fill(&sim, &store, 60, 1).await;
        store.close().await.unwrap();
        let refused = open_cut(&sim, Resume::CutAt(3 * SEGMENT - 1)).await;
        let refused = refused.err().unwrap();
        assert!(
            matches!(refused, StoreError::CutTooDeep { .. }),
            "{refused}"
        );
        let store = open_cut(&sim, Resume::AsIs).await.unwrap();
        has(&store, &sent).await;
        store.close().await.unwrap();
        // At its beginning nothing stays, and it goes on there.
        let store = open_cut(&sim, Resume::CutAt(3 * SEGMENT)).await.unwrap();
        assert_eq!((store.log_min(), store.tail()), (3 * SEGMENT, 3 * SEGMENT));
        drop(store);
        sim.crash("a");
        let store = open_cut(&sim, Resume::AsIs).await.unwrap();
        assert_eq!((store.log_min(), store.tail()), (3 * SEGMENT, 3 * SEGMENT));
        has(&store, &[]).await;
    });
}

#[test]
fn an_empty_log_begins_where_its_masters_does() {
    for seed in 0..6 {
        let sim = sim(seed);
        sim.run(async {
            let begins = Resume::BeginAt(5 * SEGMENT);
            let store = open_cut(&sim, Resume::AsIs).await.unwrap();
            store.close().await.unwrap();
            let store = open_cut(&sim, begins).await.unwrap();
            assert_eq!((store.log_min(), store.tail()), (5 * SEGMENT, 5 * SEGMENT));
            assert!(store.is_empty());
            for crash in [true, false] {
                match crash {
                    true => sim.power_cut("a"),
                    false => sim.crash("a"),
                }
                let store = open_cut(&sim, Resume::AsIs).await.unwrap();
                assert_eq!((store.log_min(), store.tail()), (5 * SEGMENT, 5 * SEGMENT));
            }
            sim.crash("a");
            // The master's log has moved on meanwhile.
            let store = open_cut(&sim, Resume::BeginAt(7 * SEGMENT)).await.unwrap();
            assert_eq!(store.tail(), 7 * SEGMENT);
            let sent = fill(&sim, &store, 50, 1).await;
            store.close().await.unwrap();
            let refused = open_cut(&sim, begins).await.err().unwrap();
            assert!(
                matches!(refused, StoreError::NotBeginnable { .. }),
                "{refused}"
            );
            let store = open_cut(&sim, Resume::AsIs).await.unwrap();
            has(&store, &sent).await;
        });
    }
}

/// The scrub goes on from a position that it has saved. Behind a cut it would be in the middle of a record.
#[test]
fn what_comes_behind_a_cut_is_not_taken_for_damage() {
    let sim = sim(5);
    sim.run(async {
        let scrubbing = |resume| StoreConfig {
            scrub_bytes_per_s: 64 << 20,
            ..resuming(resume)
        };
        let store = open_with(&sim, scrubbing(Resume::AsIs)).await.unwrap();
        let sent = fill(&sim, &store, 40, 1).await;
        store.close().await.unwrap();
        // All is on the disk now, and is read.
        let store = open_with(&sim, scrubbing(Resume::AsIs)).await.unwrap();
        sim.sleep(Duration::from_secs(60)).await;
        assert!(store.figures().scrubbed_to > sent[30].end);
        store.close().await.unwrap();

        let cut = Resume::CutAt(sent[20].start);
        drop(open_with(&sim, scrubbing(cut)).await.unwrap());
        sim.crash("a");
        let store = open_with(&sim, scrubbing(Resume::AsIs)).await.unwrap();
        for number in 0..60_u8 {
            send(&sim, &store, "C", &vec![number; 700 + usize::from(number)]).await;
        }
        store.close().await.unwrap();
        let store = open_with(&sim, scrubbing(Resume::AsIs)).await.unwrap();
        sim.sleep(Duration::from_secs(60)).await;
        assert_eq!(store.unreadable(), []);
        assert!(!store.has_holes());
    });
}
