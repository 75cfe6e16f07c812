//! Protects the difference between this broker's records, each of which ends in a CRC over all of it, and RocketMQ's, which need
//! not have one: where the log is this broker's, a record without its CRC is damaged.

use super::damage::{fill, readable};
use super::*;
use crate::store::log::reader::{Crcs, record};

const QUEUE_A: [&str; 2] = ["A", "GoldenTopic"];

/// The CRC property of a record becomes another one of its length. The body and the layout are as they were.
async fn overwrite_crc(sim: &Sim, sent: &Appended) {
    let at = sent.end - 20;
    let path = format!("/store/commitlog/{:020}", at / SEGMENT * SEGMENT);
    write_file(sim, &path, at % SEGMENT, b"other\x01aaaaaaaaaaaaa\x02").await;
}

async fn open_scrubbing(sim: &Sim, flush: Flush) -> SimStore {
    let config = StoreConfig {
        scrub_bytes_per_s: 1 << 20,
        ..config(flush)
    };
    open_with(sim, config).await.unwrap()
}

#[test]
fn a_record_whose_crc_was_overwritten_is_not_delivered() {
    each(async |sim, flush| {
        let store = open(sim, flush).await;
        let sent = fill(sim, &store, 60).await;
        store.close().await.unwrap();
        overwrite_crc(sim, &sent[10]).await;
        let position = sent[10].physical_offset;
        let bytes = read_part(sim, LOG, position, sent[10].len).await;
        assert!(record(&bytes, position, Crcs::WHERE_PRESENT).is_ok());
        let store = open(sim, flush).await;
        let expected: Vec<u8> = (0..60).step_by(2).filter(|n| *n != 10).collect();
        assert_eq!(readable(&store, "A").await, expected);
        assert!(store.record_at(position).await.unwrap().is_none());
        let reason = store.unreadable_at(position).unwrap().reason;
        assert!(reason.contains("without a CRC"), "{reason}");
        store.close().await.unwrap();

        let found = verify(sim).await;
        assert!(
            found.iter().any(|found| found.contains("without a CRC")),
            "{found:?}"
        );
    });
}

#[test]
fn the_scrub_finds_a_record_whose_crc_was_overwritten() {
    each(async |sim, flush| {
        let store = open(sim, flush).await;
        let sent = fill(sim, &store, 60).await;
        store.close().await.unwrap();
        overwrite_crc(sim, &sent[10]).await;
        let store = open_scrubbing(sim, flush).await;
        sim.sleep(Duration::from_secs(5)).await;
        assert!(store.unreadable_at(sent[10].physical_offset).is_some());
        assert_eq!(store.figures().unreadable, 1);
    });
}

async fn verify(sim: &Sim) -> Vec<String> {
    struct Found(Vec<String>);
    impl verify::Listener for Found {
        fn found(&mut self, finding: verify::Finding) {
            self.0.push(finding.found);
        }
        fn progress(&mut self, _: u64, _: u64) {}
    }
    let subject = verify::Subject {
        dir: "/store".into(),
        log_dir: "/store/commitlog".into(),
        index_shape: config(Flush::Sync).index.unwrap(),
    };
    let mut found = Found(Vec::new());
    let checked = verify::verify(&sim.host("a"), &subject, &mut found).await;
    checked.unwrap();
    found.0
}

/// RocketMQ's messages are read whatever they lack; what is appended behind them is this broker's.
#[test]
fn a_log_that_came_from_rocketmq_is_ours_from_its_end_on() {
    each(async |sim, flush| {
        let log_bytes = golden::copy(sim, true).await;
        let store = open(sim, flush).await;
        let mut sent = Vec::new();
        for n in 0..60 {
            sent.push(send(sim, &store, "A", &[n; 1000]).await);
        }
        store.close().await.unwrap();
        for _ in 0..2 {
            let store = open(sim, flush).await;
            assert_eq!(store.log.ours().from(), log_bytes);
            store.close().await.unwrap();
        }
        assert_eq!(verify(sim).await, [""; 0]);
        overwrite_crc(sim, &sent[10]).await;
        let store = open_scrubbing(sim, flush).await;
        sim.sleep(Duration::from_secs(5)).await;
        assert_eq!(store.figures().unreadable, 1, "no message of RocketMQ's");
        let [ours, theirs] = QUEUE_A.map(|topic| readable(&store, topic));
        assert_eq!(ours.await.len(), 59);
        assert_eq!(theirs.await.len(), 2);
    });
}

/// A store of an earlier version, whose checkpoint does not say where its own records begin.
#[test]
fn a_store_of_before_is_ours_from_its_end_on() {
    each(async |sim, flush| {
        let store = open(sim, flush).await;
        let before = fill(sim, &store, 60).await;
        store.close().await.unwrap();
        for slot in [4096, 8192] {
            // Behind the durable position and its CRC.
            write_file(sim, "/store/checkpoint", slot + 164, &[0; 12]).await;
        }
        let store = open(sim, flush).await;
        assert_eq!(store.log.ours().from(), before[59].end);
        assert_eq!(readable(&store, "A").await.len(), 30);
        let after = send(sim, &store, "A", b"ours").await;
        sim.crash("a");
        overwrite_crc(sim, &after).await;
        let store = open(sim, flush).await;
        assert_eq!(store.tail(), before[59].end, "a torn end");
        assert_eq!(store.log.ours().from(), before[59].end);
    });
}
