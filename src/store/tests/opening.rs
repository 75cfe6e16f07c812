//! Protects what stands at the door of a store: its lock, its mark of not having been closed, and refusals that say in one
//! sentence what to do.

use std::io::ErrorKind;

use super::*;

async fn refusal(sim: &Sim, config: StoreConfig) -> String {
    let error = open_with(sim, config)
        .await
        .err()
        .expect("refused")
        .to_string();
    assert!(!error.contains('\n') && !error.ends_with('.'), "{error}");
    error
}

fn tiny() -> StoreConfig {
    config(Flush::Sync)
}

#[test]
fn a_bad_config_is_named() {
    let sim = sim(1);
    sim.run(async {
        let with = |change: fn(&mut StoreConfig)| {
            let mut config = tiny();
            change(&mut config);
            refusal(&sim, config)
        };
        let error = with(|config| config.segment_bytes = 10_000).await;
        assert!(error.starts_with("segment_bytes is 10000: it must be"));
        let error = with(|config| config.log_buffer_bytes = 8192).await;
        assert!(error.starts_with("log_buffer_bytes is 8192"));
        let error = with(|config| config.consume_queue_memory_bytes = 5120).await;
        assert!(error.starts_with("consume_queue_memory_bytes is 5120"));
        let error = with(|config| config.flush_interval_ms = 0).await;
        assert!(error.starts_with("flush_interval_ms is 0"));
    });
}

#[test]
fn one_process_has_it() {
    let sim = sim(1);
    sim.run(async {
        let store = open(&sim, Flush::Sync).await;
        let error = refusal(&sim, tiny()).await;
        assert!(error.contains("/store is in use by another process"));
        assert_eq!(read_file(&sim, "/store/lock").await, b"lock");
        send(&sim, &store, "A", b"still works").await;
        store.close().await.unwrap();
        open(&sim, Flush::Sync).await;
        sim.crash("a");
        open(&sim, Flush::Sync).await;
    });
}

#[test]
fn a_directory_that_cannot_be_used() {
    let sim = sim(1);
    sim.run(async {
        let io = sim.host("a");
        io.inject(Rule::new(Fault::Refuse(ErrorKind::PermissionDenied)).of(Op::Open));
        assert!(
            refusal(&sim, tiny())
                .await
                .contains("/store cannot be written")
        );
        io.heal();
        open(&sim, Flush::Sync).await;
    });
}

#[test]
fn the_abort_file_is_there_while_it_is_open() {
    let sim = sim(1);
    sim.run(async {
        let store = open(&sim, Flush::Sync).await;
        let text = format!("ringmq {}", std::process::id());
        assert_eq!(read_file(&sim, "/store/abort").await, text.as_bytes());
        store.close().await.unwrap();
        assert!(!exists(&sim, "/store/abort").await);
        for (crash, expected) in [(false, false), (true, false), (false, true)] {
            let (io, mut recovers) = (sim.host("a"), false);
            let store = Store::open(io, tiny(), |progress| {
                recovers |= matches!(progress, Progress::Recovering { .. });
            })
            .await
            .unwrap();
            assert_eq!(recovers, expected);
            send(&sim, &store, "A", b"x").await;
            match crash {
                true => sim.crash("a"),
                false => store.close().await.unwrap(),
            }
        }
    });
}

/// A power cut may leave a sector that cannot be read until it is written again, also in a file of which another part is whole.
#[test]
fn a_sector_of_a_small_file_that_cannot_be_read_refuses_no_start() {
    let sectors = [
        ("checkpoint", 0),
        ("checkpoint", 4096),
        ("checkpoint", 8192),
        ("acknowledged", 0),
        ("acknowledged", 4096),
        ("abort", 0),
    ];
    for (seed, (name, offset)) in sectors.into_iter().enumerate() {
        let sim = sim(seed as u64);
        sim.run(async {
            for number in 0..3_u8 {
                let store = open(&sim, Flush::Sync).await;
                send(&sim, &store, "A", &[number]).await;
                sim.sleep(Duration::from_secs(2)).await;
                sim.crash("a");
            }
            let path = Path::new("/store").join(name);
            sim.host("a").lose_sector(&path, offset).unwrap();
            for _ in 0..2 {
                let store = open(&sim, Flush::Sync).await;
                assert_eq!(
                    bodies(&store, "A").await,
                    [[0], [1], [2]],
                    "{name} {offset}"
                );
                store.close().await.unwrap();
            }
        });
    }
}

/// The device gives nothing of the file: it is the device that has failed.
#[test]
fn a_checkpoint_of_which_nothing_can_be_read_is_named() {
    let sim = sim(1);
    sim.run(async {
        open(&sim, Flush::Sync).await.close().await.unwrap();
        for offset in [0, 4096, 8192] {
            let path = Path::new("/store/checkpoint");
            sim.host("a").lose_sector(path, offset).unwrap();
        }
        let error = refusal(&sim, tiny()).await;
        assert!(error.contains("cannot read /store/checkpoint"), "{error}");
    });
}

#[test]
fn a_segment_of_another_size_is_not_ours() {
    let sim = sim(1);
    sim.run(async {
        let store = open(&sim, Flush::Sync).await;
        for _ in 0..30 {
            send(&sim, &store, "A", &[1; 5000]).await;
        }
        store.close().await.unwrap();
        let config = StoreConfig {
            segment_bytes: 2 * SEGMENT,
            log_buffer_bytes: 288 << 10,
            ..tiny()
        };
        let error = refusal(&sim, config).await;
        assert!(error.contains("mappedFileSizeCommitLog"), "{error}");
        sim.host("a")
            .remove_file(Path::new("/store/commitlog/00000000000000065536"))
            .await
            .unwrap();
        let error = refusal(&sim, tiny()).await;
        assert!(error.contains("00000000000000065536 is missing"), "{error}");
    });
}

#[test]
fn a_segment_that_was_being_made_is_made_again() {
    let sim = sim(1);
    sim.run(async {
        for len in [0, 4096, 20_000] {
            let store = open(&sim, Flush::Sync).await;
            send(&sim, &store, "A", b"x").await;
            sim.sleep(Duration::from_secs(1)).await;
            let next = Path::new("/store/commitlog/00000000000000065536");
            sim.crash("a");
            let file = sim.host("a").open(next, EDIT).await.unwrap();
            file.resize(len).await.unwrap();
            let store = open(&sim, Flush::Sync).await;
            send(&sim, &store, "A", b"y").await;
            store.close().await.unwrap();
        }
        let store = open(&sim, Flush::Sync).await;
        assert_eq!(bodies(&store, "A").await.len(), 6);
    });
}

/// What RocketMQ makes of its own accord is no reason, what it keeps there is.
#[test]
fn what_rocketmq_keeps_elsewhere_is_refused() {
    let sim = sim(1);
    sim.run(async {
        let io = sim.host("a");
        let medium = Medium::new(io.clone());
        let dir = Path::new("/store");
        let refused = async || {
            refuse_foreign(&medium, dir)
                .await
                .err()
                .map(|error| error.to_string())
        };
        let put = async |path: &str, text: &[u8]| {
            let path = Path::new(path);
            io.create_dir_all(path.parent().unwrap()).await.unwrap();
            let file = io.open(path, EDIT).await.unwrap();
            file.write_at(text.to_vec(), 0, Durability::Synced)
                .await
                .0
                .unwrap();
        };
        put("/store/rocksdbstore/000004.log", b"").await;
        put("/store/rocksdbstore/CURRENT", b"MANIFEST-000005").await;
        put("/store/compaction/position-checkpoint", b"{}").await;
        put("/store/consumequeue/topic/0/00000000000000000000", b"").await;
        assert_eq!(refused().await, None);
        for (path, text, word) in [
            (
                "/store/rocksdbstore/000004.log",
                "timer",
                "timerRocksDBEnable",
            ),
            (
                "/store/kvStore/000012.sst",
                "",
                "popConsumerKVServiceEnable",
            ),
            ("/store/config/topics/CURRENT", "", "rocksDBConfigToJson"),
            ("/store/consumequeue/CURRENT", "", "defaultRocksDB"),
            ("/store/compaction/compactionLog", "", "COMPACTION"),
            ("/store/dledger-n0/data/0", "", "DLedger"),
        ] {
            put(path, text.as_bytes()).await;
            let error = refused().await.expect(path);
            assert!(
                error.contains(word) && !error.contains('\n'),
                "{path}: {error}"
            );
            io.remove_file(Path::new(path)).await.unwrap();
            if word == "DLedger" {
                assert!(error.starts_with("/store/dledger-n0: "), "{error}");
            } else {
                assert_eq!(refused().await, None, "{path}");
            }
        }
    });
}
