//! Protects that an error of the disk means the same whichever writer meets it: a failed write or flush anywhere in the
//! store's directories ends the acknowledgements; a lack of space, of descriptors or of memory never does.

use std::io::ErrorKind;

use super::*;

/// Sends until the store is fenced; how long that took at most is known.
async fn is_fenced_within(sim: &Sim, store: &SimStore, seconds: u64) -> bool {
    for n in 0..seconds * 10 {
        if store.fence().is_some() {
            return true;
        }
        store.wait_for_room(1_512).await;
        if store.fence().is_none() {
            append(sim, store, "A", &[n as u8; 1000]).await;
        }
        sim.sleep(Duration::from_millis(100)).await;
    }
    store.fence().is_some()
}

#[test]
fn whichever_writer_meets_it_fences() {
    let writers = [
        (Op::Write, "queuejournal"),
        (Op::Sync, "queuejournal"),
        (Op::Write, "consumequeue"),
        (Op::Sync, "consumequeue"),
        (Op::Write, "checkpoint"),
        (Op::Write, "acknowledged"),
        (Op::Write, "index"),
        (Op::Sync, "commitlog"),
    ];
    for flush in [Flush::Sync, Flush::Async] {
        for (op, part) in writers {
            let sim = sim(1);
            sim.run(async {
                let store = open(&sim, flush).await;
                send(&sim, &store, "A", b"first").await;
                sim.host("a").inject(Rule::new(Fault::Io).of(op).on(part));
                assert!(is_fenced_within(&sim, &store, 60).await, "{op:?} {part}");
                let reason = store.fence().unwrap();
                assert!(reason.contains(part), "{op:?} {part}: {reason}");
                assert!(store.durable_so_far().await.is_err());
                assert!(!bodies(&store, "A").await.is_empty(), "reads go on");
            });
        }
    }
}

#[test]
fn a_config_file_that_cannot_be_flushed_fences() {
    let sim = sim(2);
    sim.run(async {
        let store = open(&sim, Flush::Async).await;
        let rule = Rule::new(Fault::Io).of(Op::Sync).on("config");
        sim.host("a").inject(rule.times(1));
        assert!(store.save_text("topics.json", "{}".into()).await.is_err());
        assert!(store.fence().unwrap().contains("config"));
        // The device accepts writes again, but what it lost is unknown.
        assert!(store.committed_beyond(store.tail()).await.is_err());
        // Also of another file, whose own flush succeeds.
        assert!(store.save_text("groups.json", "{}".into()).await.is_err());
        assert_eq!(store.load_text("groups.json").await.unwrap(), None);
    });
}

#[test]
fn mutant_only_log_fences() {
    use crate::mutants::{Mutant, fails};
    fails(
        Mutant::OnlyLogFences,
        a_config_file_that_cannot_be_flushed_fences,
    );
    fails(Mutant::OnlyLogFences, whichever_writer_meets_it_fences);
}

/// Messages that were not flushed when the device failed: a consumer that passed over them would never get them, though a replica has them.
#[test]
fn what_a_failed_flush_has_lost_is_not_passed_over() {
    let mut refused = 0;
    for seed in 0..20 {
        let sim = sim(seed);
        sim.run(async {
            let config = StoreConfig {
                flush_interval_ms: 60_000,
                ..config(Flush::Async)
            };
            let store = Store::open(sim.host("a"), config, |_| {}).await.unwrap();
            // More than the log buffer holds.
            for _ in 0..100 {
                send(&sim, &store, "A", &[7; 4_000]).await;
            }
            store.committed_so_far().await.unwrap();
            let rule = Rule::new(Fault::Io).of(Op::Sync).on("commitlog");
            sim.host("a").inject(rule.times(1));
            store.durable_so_far().await.unwrap_err();
            let queue = store.queue("A", 0);
            let limits = ScanLimits {
                max_messages: 100,
                max_bytes: usize::MAX,
                max_entries: 100,
            };
            let mut positions = Vec::new();
            let scanned = store.scan_cold(queue, 0, &limits, |_, _| true, &mut positions);
            scanned.await.unwrap();
            assert!(positions.len() > 40, "{}", positions.len());
            for position in &positions {
                match store.record_of(queue, position).await {
                    Ok(record) => assert!(record.is_some(), "passed over, seed {seed}"),
                    Err(StoreError::Fenced { .. }) => refused += 1,
                    Err(error) => panic!("{error}"),
                }
            }
        });
    }
    assert!(refused > 0);
}

#[test]
fn a_read_that_fails_fences_nothing() {
    let sim = sim(3);
    sim.run(async {
        let store = open(&sim, Flush::Sync).await;
        for n in 0..3 {
            send(&sim, &store, "A", &[n; 1000]).await;
        }
        store.close().await.unwrap();
        let store = open(&sim, Flush::Sync).await;
        sim.host("a").inject(Rule::new(Fault::Io).of(Op::Read));
        let queue = store.find_queue("A", 0).unwrap();
        let position = Position::new(0, 1100);
        assert!(store.record_of(queue, &position).await.is_err());
        assert_eq!(store.fence(), None);
        sim.host("a").heal();
        send(&sim, &store, "A", b"next").await;
    });
}

/// A file of the log is renamed while it is open, when it becomes the spare and when it becomes the log's again.
#[test]
fn an_error_states_its_operation_its_errno_and_the_path_that_the_file_has_now() {
    let sim = sim(5);
    sim.run(async {
        let medium = Medium::new(sim.host("a"));
        let file = medium.create(Path::new("/old")).await.unwrap();
        let another_handle = file.clone();
        let (old, new) = (Path::new("/old"), Path::new("/new"));
        assert!(medium.rename_open(&file, &new.join("below")).await.is_err());
        let read = async || {
            let buf = AlignedBuf::zeroed(BLOCK_BYTES);
            another_handle.read_at(buf, BLOCK_BYTES, 0).await.0
        };
        for path in [old, new] {
            sim.host("a").inject(Rule::new(Fault::Io).of(Op::Read));
            let error = read().await.unwrap_err();
            let text = format!("cannot read {}: ", path.display());
            assert!(error.to_string().starts_with(&text), "{error}");
            let StoreError::Io { source, .. } = error else {
                panic!("{error}");
            };
            assert_eq!(source.raw_os_error(), Some(libc::EIO));
            sim.host("a").heal();
            medium.rename_open(&file, new).await.unwrap();
        }
    });
}

/// The process has no descriptor left when the log needs its next file.
#[test]
fn without_descriptors_sends_wait_and_nothing_is_fenced() {
    for flush in [Flush::Sync, Flush::Async] {
        for seed in 0..4 {
            let sim = sim(seed);
            sim.run(async {
                let store = open(&sim, flush).await;
                send(&sim, &store, "A", b"first").await;
                let refused = || Rule::new(Fault::Refuse(ErrorKind::WouldBlock));
                sim.host("a").inject(refused().of(Op::Open));
                let mut appended = 1;
                while store.room_for(1_512) && appended < 400 {
                    append(&sim, &store, "A", &[1; 1000]).await;
                    appended += 1;
                    sim.sleep(Duration::from_millis(5)).await;
                }
                sim.sleep(Duration::from_secs(30)).await;
                assert_eq!(store.fence(), None, "seed {seed}");
                assert!(store.committed() < store.tail(), "the log did need a file");
                sim.host("a").heal();
                store.committed_so_far().await.unwrap();
                store.durable_so_far().await.unwrap();
                store.close().await.unwrap();
                let store = open(&sim, flush).await;
                assert_eq!(bodies(&store, "A").await.len(), appended);
            });
        }
    }
}
