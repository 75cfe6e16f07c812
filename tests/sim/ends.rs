//! Protects a start from what an end leaves in the kernel and on the device: writes that land after their process is gone,
//! and sectors that a power cut has torn and that cannot be read any more.

use ringmq::sim::{SimConfig, Tally};
use ringmq::store::{Flush, Retention};

use crate::cluster::{Cluster, FLUSH_INTERVAL_MS};
use crate::dice::Dice;
use crate::faults::{Producer, started};
use crate::leftovers::{Fitting, hold_flushes};
use crate::recovered;
use crate::requests;

const SEEDS: std::ops::Range<u64> = 0..8;
const MS: u64 = 1_000_000;

#[test]
fn a_write_that_outlives_its_process_harms_nothing() {
    for seed in SEEDS {
        outlived(seed);
    }
}

/// The process is killed while the device is busy with its write; the next one starts at once.
pub fn outlived(seed: u64) -> Tally {
    let dice = Dice::new(seed, 57);
    let slow = SimConfig {
        disk_write_ns: 5 * MS..=60 * MS,
        ..SimConfig::default()
    };
    let flush = *dice.pick(&[Flush::Sync, Flush::Async]);
    let cluster = Cluster::within(seed, flush, Retention::default(), slow);
    cluster.sim.run(async {
        let shared = started(&cluster, seed).await;
        for _ in 0..4 {
            let mut fitting = Fitting::new(&cluster, &shared).await;
            for _ in 0..dice.within(2, 12) {
                let sent = fitting.next();
                requests::send(&mut fitting.producer.client, &sent, 0);
            }
            fitting.producer.client.flush().await.unwrap();
            cluster.sleep_ms(dice.within(1, 60)).await;
            cluster.kill();
            cluster.start().await;
            let mut producer = Producer::new(&cluster, &shared, "producer").await;
            producer.send_well(dice.within(3, 20) as usize).await;
            // By then all writes of the killed process have ended.
            cluster.sleep_ms(2_000).await;
            cluster.kill();
            cluster.start().await;
            recovered::read_all(&cluster, &shared).await;
        }
    });
    cluster.sim.tally()
}

#[test]
fn a_torn_sector_that_cannot_be_read_ends_the_log() {
    for seed in SEEDS {
        unreadable_end(seed);
    }
}

/// A power cut in the middle of a write leaves sectors that give an error.
pub fn unreadable_end(seed: u64) -> Tally {
    let dice = Dice::new(seed, 58);
    let config = SimConfig {
        unreadable_one_in: 1,
        ..SimConfig::default()
    };
    let cluster = Cluster::within(seed, Flush::Async, Retention::default(), config);
    cluster.sim.run(async {
        let shared = started(&cluster, seed).await;
        for _ in 0..4 {
            let mut producer = Producer::new(&cluster, &shared, "producer").await;
            producer.send_well(dice.within(1, 9) as usize).await;
            cluster.sleep_ms(2 * FLUSH_INTERVAL_MS).await;
            hold_flushes(&cluster);
            // Less than has zeros already.
            for _ in 0..dice.within(2, 14) {
                let (_, reply) = producer.send(dice.within(8, 900) as usize).await;
                assert!(reply.is_success(), "{reply:?}");
            }
            cluster.cut_power();
            producer.oracle().power_was_cut(cluster.sim.mono_ns());
            cluster.broker().heal();
            cluster.start().await;
            recovered::read_all(&cluster, &shared).await;
        }
    });
    cluster.sim.tally()
}
