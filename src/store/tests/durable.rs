//! Protects what was proved durable: by the note of acknowledged messages, by the checkpoint, or by a later message. A
//! start never takes a place ahead of it for the end of the log, and wipes nothing there.

use super::damage::{fill, readable, rot, small};
use super::*;
use crate::mutants::{Mutant, fails};

/// No message stands far enough behind to prove anything, and no checkpoint was written since: the note of what was
/// flushed is the proof.
#[test]
fn what_was_noted_as_flushed_is_never_wiped() {
    for flush in [Flush::Sync, Flush::Async] {
        let sim = sim(1);
        sim.run(async {
            let store = open(&sim, flush).await;
            keep_as_they_are(&sim, &["checkpoint"]);
            let sent = fill(&sim, &store, 40).await;
            sim.sleep(Duration::from_secs(1)).await;
            // A note says what was flushed before it.
            send(&sim, &store, "A", b"last").await;
            sim.sleep(Duration::from_secs(1)).await;
            sim.crash("a");
            sim.host("a").heal();
            remove_journal(&sim).await;
            rot(&sim, sent[20].physical_offset + 600).await;
            let before = read_file(&sim, LOG).await;
            for _ in 0..2 {
                let opened = open_with(&sim, config(flush)).await;
                let error = opened.err().expect("refused").to_string();
                assert!(error.contains("the log was durable up to"), "{error}");
                assert!(read_file(&sim, LOG).await == before, "nothing is changed");
            }
            let skipping = StoreConfig {
                skip_damaged: true,
                ..config(flush)
            };
            let store = open_with(&sim, skipping).await.unwrap();
            let all = [readable(&store, "A").await, readable(&store, "B").await].concat();
            assert_eq!(all.len(), 40);
        });
    }
}

#[test]
fn the_figures_say_what_a_power_cut_could_take() {
    for flush in [Flush::Sync, Flush::Async] {
        let sim = sim(2);
        sim.run(async {
            let config = StoreConfig {
                flush_interval_ms: 10_000,
                ..config(flush)
            };
            let store = open_with(&sim, config).await.unwrap();
            let sent = send(&sim, &store, "A", b"body").await;
            let figures = store.figures();
            assert_eq!(figures.not_committed_bytes, 0);
            let unflushed = if flush == Flush::Async { sent.len } else { 0 };
            assert_eq!(figures.not_flushed_bytes, unflushed as u64);
            store.durable_so_far().await.unwrap();
            assert_eq!(store.figures().not_flushed_bytes, 0);
        });
    }
}

/// A rebuild has its own checkpoint in place of the one before when it is killed.
#[test]
fn a_rebuild_that_is_killed_keeps_the_proof() {
    for ms in 0..12 {
        let sim = sim(ms);
        sim.run(async {
            let store = open(&sim, Flush::Async).await;
            let sent = fill(&sim, &store, 60).await;
            store.close().await.unwrap();
            sim.host("a")
                .remove_file(Path::new("/store/acknowledged"))
                .await
                .unwrap();
            let topic = Path::new("/store/consumequeue/A");
            let file = topic.join("0/00000000000000000000");
            sim.host("a").remove_file(&file).await.unwrap();
            sim.host("a").remove_dir(&topic.join("0")).await.unwrap();
            sim.host("a").remove_dir(topic).await.unwrap();
            let host = sim.host("a");
            let opener = host.clone();
            host.spawn("open", async move {
                let _ = Store::open(opener, config(Flush::Async), |_| ()).await;
            });
            sim.sleep(Duration::from_millis(ms)).await;
            sim.crash("a");
            rot(&sim, sent[50].physical_offset + 600).await;
            // Whatever the killed start had noted by then.
            let note = Path::new("/store/acknowledged");
            let _ = sim.host("a").remove_file(note).await;
            let opened = open_with(&sim, config(Flush::Async)).await;
            let error = opened.err().expect("refused").to_string();
            assert!(error.contains("the log was durable up to"), "{error}");
        });
    }
}

/// In sync mode one write at most is not flushed: a message a MiB behind proves that the log went on.
#[test]
fn in_sync_mode_a_later_message_is_a_proof_sooner() {
    for flush in [Flush::Sync, Flush::Async] {
        let sim = sim(1);
        sim.run(async {
            let store = open(&sim, flush).await;
            keep_as_they_are(&sim, &["acknowledged", "checkpoint"]);
            let first = send(&sim, &store, "A", &[1; 1_000]).await;
            for _ in 0..160 {
                send(&sim, &store, "B", &[2; 8_000]).await;
            }
            let tail = store.tail();
            sim.crash("a");
            sim.host("a").heal();
            remove_journal(&sim).await;
            rot(&sim, first.physical_offset + 600).await;
            let opened = open_with(&sim, config(flush)).await;
            match flush {
                Flush::Sync => {
                    let error = opened.err().expect("refused").to_string();
                    assert!(error.contains("a whole message stands behind"), "{error}");
                }
                // All of it may have been on its way.
                Flush::Async => assert!(opened.unwrap().tail() < tail),
            }
        });
    }
}

/// A flush of the journal or of the checkpoint fails, and the process is killed. The kernel still shows what was written and
/// holds it to be clean, though the device may not have it; another flush changes nothing. So a start writes both again
/// before it relies on them.
#[test]
fn what_a_failed_flush_may_have_dropped_is_written_again() {
    for seed in 0..40 {
        for place in ["queuejournal", "checkpoint"] {
            let sim = sim(seed);
            sim.run(async {
                let store = open(&sim, Flush::Async).await;
                fill(&sim, &store, 30).await;
                let rule = Rule::new(Fault::Io).of(Op::Sync).on(place).times(1);
                sim.host("a").inject(rule);
                for n in 0..100 {
                    append(&sim, &store, "A", &[n; 500]).await;
                    sim.sleep(Duration::from_millis(100)).await;
                    if store.fence().is_some() {
                        break;
                    }
                }
                assert!(store.fence().is_some(), "{place}");
                sim.crash("a");
                let io = sim.host("a");
                io.heal();
                let _store = open(&sim, Flush::Async).await;
                let generations = io.list(Path::new("/store/queuejournal")).await.unwrap();
                let journal = generations.last().unwrap().path.to_str().unwrap();
                let before = [
                    read_file(&sim, journal).await,
                    read_file(&sim, "/store/checkpoint").await,
                ];
                sim.power_cut("a");
                let after = [
                    read_file(&sim, journal).await,
                    read_file(&sim, "/store/checkpoint").await,
                ];
                assert!(
                    after[0].starts_with(&before[0]),
                    "seed {seed}, {place}: the journal"
                );
                assert!(
                    after[1] == before[1],
                    "seed {seed}, {place}: the checkpoint"
                );
            });
        }
    }
}

/// A flush may end within a long record: what was not flushed then begins there, and reaches further behind the place where that
/// record begins.
#[test]
fn what_is_torn_within_a_long_record_is_the_end() {
    for flush in [Flush::Sync, Flush::Async] {
        let sim = sim(1);
        sim.run(async {
            let config = StoreConfig {
                max_message_bytes: 16 << 10,
                ..small(flush)
            };
            let store = open_with(&sim, config.clone()).await.unwrap();
            keep_as_they_are(&sim, &["acknowledged"]);
            fill(&sim, &store, 2).await;
            let long = send(&sim, &store, "A", &[7; 14_000]).await;
            let behind = fill(&sim, &store, 7).await;
            sim.crash("a");
            sim.host("a").heal();
            // A start would not read what the journal has.
            remove_journal(&sim).await;
            rot(&sim, long.end - 200).await;
            let end = behind[6].end;
            assert!(end < long.end + 8192 && end > long.physical_offset + 3 * 8192 - 4096);
            let store = open_with(&sim, config).await.unwrap();
            assert_eq!(store.tail(), long.physical_offset);
            let rest = read_part(&sim, LOG, store.tail(), (end - store.tail()) as usize).await;
            assert!(rest.iter().all(|byte| *byte == 0), "none of it comes back");
        });
    }
}

#[test]
fn mutant_half_not_measured() {
    fails(
        Mutant::HalfNotMeasured,
        what_is_torn_within_a_long_record_is_the_end,
    );
}
