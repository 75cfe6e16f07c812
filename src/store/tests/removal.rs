//! Protects how files of the log are removed: one at a time, with a word on what was removed before its time, and so that
//! RocketMQ can open what is left at any moment.

use super::retention::{by_age, fill, seconds};
use super::*;
use crate::sim::Lack;

#[test]
fn files_are_removed_one_at_a_time() {
    let sim = sim(1);
    sim.run(async {
        let store = open_with(&sim, by_age(Flush::Sync)).await.unwrap();
        fill(&sim, &store, 0..100).await;
        let io = sim.host("a");
        let (mut log_min, mut removals) = (store.log_min(), Vec::new());
        while removals.len() < 4 {
            sim.sleep(Duration::from_millis(1)).await;
            if store.log_min() != log_min {
                assert_eq!(store.log_min(), log_min + SEGMENT);
                log_min = store.log_min();
                removals.push(io.now().mono_ns);
            }
        }
        let pauses: Vec<_> = removals.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(pauses.iter().all(|ns| *ns >= 100_000_000), "{pauses:?}");
    });
}

#[test]
fn what_is_removed_before_its_time_is_counted() {
    let sim = sim(2);
    sim.run(async {
        let mut config = by_age(Flush::Sync);
        config.retention.max_log_bytes = 3 * SEGMENT;
        let store = open_with(&sim, config).await.unwrap();
        fill(&sim, &store, 0..100).await;
        seconds(&sim, 5).await;
        let first = |topic| store.bounds(store.find_queue(topic, 0).unwrap()).min;
        let removed = first("A") + first("B");
        assert!(removed > 20);
        assert_eq!(store.figures().removed_early, removed);
        // What is removed because it has expired is not among them.
        seconds(&sim, 120).await;
        assert!(first("A") + first("B") > removed);
        assert_eq!(store.figures().removed_early, removed);
    });
}

/// RocketMQ maps every regular file of the directory, and takes its name for an offset.
async fn rocketmq_can_map(sim: &Sim) {
    let files = sim.host("a").list(Path::new("/store/commitlog")).await;
    for file in files.unwrap().into_iter().filter(|file| !file.is_dir) {
        let name = file.path.file_name().unwrap().to_str().unwrap();
        assert!(name.parse::<u64>().is_ok() && name.len() == 20, "{name}");
        assert_eq!(file.len_bytes, SEGMENT);
    }
}

#[test]
fn a_spare_never_stands_among_the_files_of_the_log() {
    let mut spares = 0;
    for seed in 0..6 {
        let sim = sim(seed);
        sim.run(async {
            let store = open_with(&sim, by_age(Flush::Async)).await.unwrap();
            for round in 0..3 {
                fill(&sim, &store, round * 40..(round + 1) * 40).await;
                for _ in 0..70 {
                    seconds(&sim, 1).await;
                    rocketmq_can_map(&sim).await;
                }
                if store.log.segments().has_spare() {
                    spares += 1;
                    break;
                }
            }
            match seed % 2 {
                0 => sim.crash("a"),
                _ => sim.power_cut("a"),
            }
            rocketmq_can_map(&sim).await;
            // The place that it had once.
            let former = "/store/commitlog/spare";
            write_file(&sim, former, 0, &[7; 4096]).await;
            let store = open_with(&sim, by_age(Flush::Async)).await.unwrap();
            assert!(!exists(&sim, former).await);
            assert!(!exists(&sim, "/store/commitlog/recycled/spare").await);
            fill(&sim, &store, 120..125).await;
            store.close().await.unwrap();
            let left = sim.host("a").list(Path::new("/store/commitlog")).await;
            assert!(left.unwrap().iter().all(|entry| !entry.is_dir));
        });
    }
    assert!(spares > 3, "{spares}");
}

/// The device refuses the new name: the spare is still there, and is taken when it can be.
#[test]
fn a_spare_that_cannot_be_renamed_stays_a_spare() {
    let sim = sim(3);
    sim.run(async {
        let store = open_with(&sim, by_age(Flush::Sync)).await.unwrap();
        let mut number = 0;
        while !store.log.segments().has_spare() {
            fill(&sim, &store, number..number + 10).await;
            number += 10;
            seconds(&sim, 20).await;
        }
        let rule = Rule::new(Fault::NoSpace).of(Op::Names).on("commitlog/0");
        sim.host("a").inject(rule);
        append_until_no_space(&sim, &store).await;
        assert!(store.log.segments().has_spare());
        sim.host("a").heal();
        seconds(&sim, 10).await;
        assert_eq!(
            (store.log.segments().no_space(), store.fence()),
            (None, None)
        );
        send(&sim, &store, "A", b"last").await;
    });
}

async fn append_until_no_space(sim: &Sim, store: &SimStore) {
    for _ in 0..200 {
        if store.log.segments().no_space().is_some() {
            return;
        }
        if store.room_for(5_000) {
            append(sim, store, "A", &[1; 4000]).await;
        }
        sim.sleep(Duration::from_millis(50)).await;
    }
    panic!("there is space");
}

/// Sends are refused until the log has its next file, so what is in the way then has to be tried again soon.
#[test]
fn a_lack_of_descriptors_when_there_is_space_again_is_over_soon() {
    let sim = sim(4);
    sim.run(async {
        let store = open_with(&sim, by_age(Flush::Sync)).await.unwrap();
        let io = sim.host("a");
        io.inject(Rule::new(Fault::NoSpace).of(Op::Length).on("commitlog"));
        append_until_no_space(&sim, &store).await;
        io.heal();
        let lack = Fault::Shortage(Lack::DescriptorsOfProcess);
        io.inject(Rule::new(lack).of(Op::Open).on("commitlog").times(5));
        sim.sleep(Duration::from_millis(1_600)).await;
        assert_eq!(store.log.segments().no_space(), None);
        send(&sim, &store, "A", b"last").await;
    });
}
