//! Protects that an error of the disk ends the acknowledgements and nothing else: what was acknowledged is there and can
//! be read, nothing is written again in the hope that it then holds.

use super::*;
use crate::store::log::ack_watermark::newest;

async fn assert_fenced(sim: &Sim, store: &SimStore, acknowledged: usize) {
    let reason = store.fence().unwrap();
    assert!(
        reason.contains(LOG) && reason.contains("os error"),
        "where and what: {reason}"
    );
    let committed = store.committed();
    let refused = store.append(store.queue("A", 0), &message(b"x", ""), None, 0);
    assert!(matches!(refused, Err(AppendError::Fenced { .. })));
    store.wait_for_room(100).await;
    assert!(store.committed_beyond(committed).await.is_err());
    assert_eq!(bodies(store, "A").await.len(), acknowledged);
    sim.sleep(Duration::from_secs(20)).await;
    assert_eq!(store.committed(), committed);
    assert!(store.close().await.is_err());
}

fn ends_acknowledgements(flush: Flush, rule: impl Fn() -> Rule) {
    for seed in 0..5 {
        let sim = sim(seed);
        sim.run(async {
            let store = open(&sim, flush).await;
            send(&sim, &store, "A", b"safe").await;
            sim.sleep(Duration::from_millis(100)).await;
            sim.host("a").inject(rule());
            let mut acknowledged = 1;
            for _ in 0..200 {
                if store.fence().is_some() {
                    break;
                }
                append(&sim, &store, "A", &[1; 1000]).await;
                acknowledged += usize::from(store.committed_so_far().await.is_ok());
                sim.sleep(Duration::from_millis(15)).await;
            }
            assert_fenced(&sim, &store, acknowledged).await;
            sim.host("a").heal();
            sim.power_cut("a");
            let store = open(&sim, flush).await;
            let left = bodies(&store, "A").await;
            match flush {
                Flush::Sync => assert!(left.len() >= acknowledged),
                Flush::Async => assert_eq!(left[0], b"safe"),
            }
        });
    }
}

#[test]
fn a_write_error_fences() {
    for flush in [Flush::Sync, Flush::Async] {
        let rule = || Rule::new(Fault::Io).of(Op::Write).on(LOG).after(2).times(1);
        ends_acknowledgements(flush, rule);
    }
}

#[test]
fn a_sync_error_fences() {
    for flush in [Flush::Sync, Flush::Async] {
        let rule = || Rule::new(Fault::Io).of(Op::Sync).on(LOG).after(2).times(1);
        ends_acknowledgements(flush, rule);
    }
}

/// Callers to which it was reported that the log is on the device, or that their message is stored, when a flush failed in between.
#[test]
fn nothing_is_promised_after_a_flush_that_failed() {
    let mut fenced = 0;
    for seed in 0..60 {
        let sim = sim(seed);
        sim.run(async {
            let flush = [Flush::Async, Flush::Sync][(seed % 4 / 3) as usize];
            let store = open(&sim, flush).await;
            let safe = Rc::new(Cell::new(0));
            let io = sim.host("a");
            for _ in 0..3 {
                let (store, safe, io) = (store.clone(), safe.clone(), io.clone());
                sim.host("a").spawn("test", async move {
                    loop {
                        let tail = store.tail();
                        if store.durable_so_far().await.is_err() {
                            return;
                        }
                        safe.set(tail.max(safe.get()));
                        io.sleep_until(io.now().mono_ns + 1_000_000).await;
                    }
                });
            }
            let rule = Rule::new(Fault::Io).of(Op::Sync).on("commitlog").times(1);
            io.inject(rule.after(5 + sim.below(60)));
            let stall = Rule::new(Fault::Stall(Duration::from_millis(3)));
            io.inject(stall.of(Op::Write).on("commitlog"));
            let (mut sent, mut acknowledged) = (0, None);
            while sent < 400 && acknowledged != Some(store.committed()) {
                if store.fence().is_some() {
                    acknowledged = Some(store.committed());
                    sim.sleep(Duration::from_millis(50)).await;
                    assert_eq!(acknowledged, Some(store.committed()), "seed {seed}");
                    fenced += 1;
                    break;
                }
                store.wait_for_room(1512).await;
                if store.fence().is_some() {
                    continue; // It waited for room until then.
                }
                append(&sim, &store, "A", &[1; 1000]).await;
                sent += 1;
                sim.sleep(Duration::from_micros(sim.below(1500))).await;
            }
            sim.power_cut("a");
            io.heal();
            let store = open(&sim, flush).await;
            assert!(
                store.tail() >= safe.get(),
                "seed {seed}: {} {}",
                store.tail(),
                safe.get()
            );
        });
    }
    assert!(fenced > 40, "{fenced}");
}

#[test]
fn without_space_for_a_write_messages_are_refused_until_there_is_some() {
    each(async |sim, flush| {
        let store = open(sim, flush).await;
        send(sim, &store, "A", b"first").await;
        let rule = Rule::new(Fault::NoSpace).of(Op::Write).on("commitlog");
        sim.host("a").inject(rule.after(sim.below(3)));
        let mut taken = 1;
        let refused = loop {
            store.wait_for_room(2_000).await;
            match store.append(store.queue("A", 0), &message(&[2; 1000], ""), None, 1) {
                Ok(_) => taken += 1,
                Err(error) => break error,
            }
            sim.sleep(Duration::from_millis(1)).await;
            assert!(taken < 1000);
        };
        assert!(
            matches!(&refused, AppendError::NoSpace { reason } if reason.contains("os error 28")),
            "{refused}"
        );
        let committed = store.committed();
        sim.sleep(Duration::from_secs(10)).await;
        assert_eq!((store.fence(), store.committed()), (None, committed));
        sim.host("a").heal();
        sim.sleep(Duration::from_secs(1)).await;
        assert_eq!(store.committed(), store.tail());
        send(sim, &store, "A", b"last").await;
        store.durable_so_far().await.unwrap();
        sim.power_cut("a");
        let store = open(sim, flush).await;
        assert_eq!(bodies(&store, "A").await.len(), taken + 1);
    });
}

/// The kernel has dropped what it could not write: that there is space later does not bring it back.
#[test]
fn a_flush_without_space_fences() {
    let sim = sim(2);
    sim.run(async {
        let store = open(&sim, Flush::Async).await;
        sim.host("a")
            .inject(Rule::new(Fault::NoSpace).of(Op::Sync).on(LOG).times(1));
        append(&sim, &store, "A", b"x").await;
        assert!(store.durable_so_far().await.is_err());
        assert_fenced(&sim, &store, 1).await;
    });
}

/// The power goes between the note of what was acknowledged and the flush that it is ahead of.
#[test]
fn what_a_power_cut_has_taken_is_told() {
    let mut told = 0;
    for seed in 0..40 {
        let sim = sim(seed);
        sim.run(async {
            let flush = [Flush::Sync, Flush::Async][usize::from(seed % 4 > 0)];
            let store = open(&sim, flush).await;
            let io = sim.host("a");
            io.inject(
                Rule::new(Fault::Stall(Duration::from_millis(40)))
                    .of(Op::Sync)
                    .on("commitlog")
                    .after(sim.below(6)),
            );
            let mut ends = Vec::new();
            for _ in 0..100 + sim.below(100) {
                let size = 100 + sim.below(2_000) as usize;
                ends.push(append(&sim, &store, "A", &vec![1; size]).await.end);
                sim.sleep(Duration::from_micros(sim.below(1_500))).await;
            }
            sim.power_cut("a");
            io.heal();
            let noted = read_file(&sim, "/store/acknowledged").await;
            let noted = newest(&noted).unwrap().1.position;
            let store = open(&sim, flush).await;
            let (tail, missing) = (store.tail(), store.figures().missing);
            let gone = ends.iter().filter(|end| tail < **end && **end <= noted);
            let gone = gone.count() as u64;
            assert_eq!(missing.is_some(), tail < noted, "seed {seed}");
            if let Some(missing) = missing {
                assert_eq!(flush, Flush::Async);
                assert_eq!((missing.bytes, missing.messages), (noted - tail, gone));
                assert!(!missing.was_safe && missing.noted_ms <= io.now().unix_ms);
                told += 1;
            }
            // It is told once.
            store.close().await.unwrap();
            let store = open(&sim, flush).await;
            assert_eq!(store.figures().missing, None);
        });
    }
    assert!(told > 5, "{told}");
}

/// A device that keeps nothing of what it has flushed.
#[test]
fn a_device_that_lies_is_found_out() {
    each(async |sim, flush| {
        let store = open(sim, flush).await;
        for _ in 0..20 {
            send(sim, &store, "A", &[1; 500]).await;
        }
        sim.sleep(Duration::from_secs(1)).await;
        // The note that comes with it says how far the log was flushed.
        send(sim, &store, "A", b"last").await;
        sim.sleep(Duration::from_secs(1)).await;
        let tail = store.tail();
        sim.power_cut("a");
        write_file(sim, LOG, 4096, &[0; 60 << 10]).await;
        let error = open_with(sim, config(flush)).await.err().expect("refused");
        assert!(error.to_string().contains("the log was durable up to"));
        let skipping = StoreConfig {
            skip_damaged: true,
            ..config(flush)
        };
        let store = open_with(sim, skipping).await.unwrap();
        // No new message takes the place of one that is lost.
        assert!(4096 < store.tail() && store.tail() <= tail);
    });
}

/// What the log has is kept when the queues' files cannot be written. The fence is set, as the device has failed a write.
#[test]
fn errors_of_the_queue_files_lose_no_message() {
    each(async |sim, flush| {
        let store = open(sim, flush).await;
        let rule = Rule::new(Fault::Io).of(Op::Write).on("consumequeue");
        sim.host("a").inject(rule);
        let mut sent = 0;
        while store.fence().is_none() {
            append(sim, &store, "A", &[sent; 500]).await;
            if store.committed_so_far().await.is_ok() {
                sent += 1;
            }
            sim.sleep(Duration::from_secs(1)).await;
        }
        assert!(sent > 0 && store.close().await.is_err());
        sim.host("a").heal();
        sim.power_cut("a");
        let store = open(sim, flush).await;
        assert!(bodies(&store, "A").await.len() >= usize::from(sent));
    });
}

#[test]
fn a_record_that_rotted_is_an_error_of_its_reader() {
    let sim = sim(1);
    sim.run(async {
        let store = open(&sim, Flush::Sync).await;
        let sent = send(&sim, &store, "A", &[1; 6000]).await;
        send(&sim, &store, "A", b"good").await;
        store.close().await.unwrap();
        let store = open(&sim, Flush::Sync).await;
        let rotten = sent.physical_offset + 600;
        sim.host("a").rot_sector(Path::new(LOG), rotten).unwrap();
        let queue = store.find_queue("A", 0).unwrap();
        let found = positions(&store, queue, 0, 2).await;
        assert!(store.read_cold(&found[..1], Vec::new()).await.is_err());
        assert!(store.read_cold(&found[1..], Vec::new()).await.is_ok());
        let absurd = Position::new(0, u32::MAX);
        assert!(store.read_cold(&[absurd], Vec::new()).await.is_err());
    });
}
