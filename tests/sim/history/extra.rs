//! What happens in some histories only: a second shard beside the first, few descriptors, an index or files of timers that rot. It is drawn
//! from streams of its own: a seed without these has the history that it had before they came.

use std::path::Path;
use std::rc::Rc;

use ringmq::io::{Clock, Disk, Spawn};

use crate::cluster::{BROKER, Cluster};
use crate::dice::Dice;
use crate::workload::{Shared, consume, produce};
use crate::{create_topics_at, shared_of};

const STREAM: u64 = 200;
const TIMERS_STREAM: u64 = 201;

/// Of the second shard's clients.
const SEED_BESIDE: u64 = 0xbe51de;

/// Longer than the broker pauses before it tries again what failed.
const RECOVERY_MS: u64 = 2_500;

/// Of an index file so many entries may rot.
const ROTTING_ENTRIES: u64 = 500;

pub struct Extra {
    dice: Dice,
    pub has_two_shards: bool,
    lacks_descriptors: bool,
    rots_index: bool,
    timers_dice: Dice,
    rots_timers: bool,
}

impl Extra {
    pub fn of(seed: u64) -> Self {
        let dice = Dice::new(seed, STREAM);
        let timers_dice = Dice::new(seed, TIMERS_STREAM);
        Self {
            rots_timers: timers_dice.one_in(4),
            timers_dice,
            has_two_shards: dice.one_in(4),
            lacks_descriptors: dice.one_in(12),
            rots_index: dice.one_in(6),
            dice,
        }
    }

    pub fn none() -> Self {
        Self {
            dice: Dice::new(0, STREAM),
            has_two_shards: false,
            lacks_descriptors: false,
            rots_index: false,
            timers_dice: Dice::new(0, TIMERS_STREAM),
            rots_timers: false,
        }
    }

    /// What the second shard's clients share, with an oracle of their own.
    pub async fn shared_beside(&self, cluster: &Cluster, seed: u64) -> Option<Rc<Shared>> {
        if !self.has_two_shards {
            return None;
        }
        let addr = cluster.addr_beside();
        create_topics_at(cluster, addr).await;
        Some(Rc::new(Shared {
            addr,
            ..shared_of(cluster, seed ^ SEED_BESIDE)
        }))
    }

    pub fn start_clients_beside(&self, cluster: &Cluster, shared: &Shared) {
        let Some(beside) = &shared.beside else { return };
        let hosts = ["producer-beside", "consumer-beside"];
        let [producer, consumer] = hosts.map(|host| cluster.sim.host(host));
        producer.spawn(
            "test",
            produce::produce(producer.clone(), beside.clone(), 1),
        );
        consumer.spawn(
            "test",
            consume::consume(consumer.clone(), beside.clone(), 2),
        );
        shared.hosts.borrow_mut().extend(hosts.map(str::to_owned));
    }

    /// For a moment the broker's process may have about as many descriptors as it has. It is tried again what failed meanwhile, which takes as much
    /// longer as the names of the journal do.
    pub async fn lack_descriptors(&self, cluster: &Cluster, shared: &Shared, slow_names_ms: u64) {
        if !self.lacks_descriptors || self.dice.one_in(3) {
            return;
        }
        shared.disturb_timing(cluster.broker().now().unix_ms);
        shared.each(|shard| shard.lacks_descriptors.set(true));
        let open = cluster.sim.descriptors(BROKER) as u64;
        let most = (open + self.dice.below(6)).saturating_sub(self.dice.below(4));
        cluster.sim.limit_descriptors(BROKER, most as usize);
        cluster.sleep_ms(self.dice.within(50, 1_000)).await;
        cluster.sim.limit_descriptors(BROKER, usize::MAX);
        cluster.sleep_ms(RECOVERY_MS + slow_names_ms).await;
        shared.each(|shard| shard.lacks_descriptors.set(false));
    }

    /// Bits of index files flip while nobody reads them. From then on what is found by key may be less, and nothing else.
    pub async fn rot_index(&self, cluster: &Cluster, shared: &Shared) {
        if !self.rots_index {
            return;
        }
        let broker = cluster.broker();
        for dir in ["/store/index", "/beside/index"] {
            for file in broker.list(Path::new(dir)).await.unwrap() {
                for _ in 0..self.dice.below(12) {
                    let at = self.place_in_index(cluster);
                    // Of a file that was cut off.
                    let _ = broker.rot_byte(&file.path, at);
                }
            }
        }
        shared.each(|shard| shard.is_index_rotten.set(true));
    }

    /// Bits of the files of waiting timers flip while the broker is down. No client may see a difference.
    pub async fn rot_timers(&self, cluster: &Cluster) {
        if !self.rots_timers {
            return;
        }
        let broker = cluster.broker();
        for dir in ["/store/timers", "/beside/timers"] {
            for file in broker.list(Path::new(dir)).await.unwrap() {
                for _ in 0..self.timers_dice.below(4) {
                    let at = self.timers_dice.below(file.len_bytes.max(1));
                    // Of a file that was cut off.
                    let _ = broker.rot_byte(&file.path, at);
                }
            }
        }
    }

    /// In the header, in a slot or in one of the first entries.
    fn place_in_index(&self, cluster: &Cluster) -> u64 {
        const HEADER_BYTES: u64 = 40;
        const ENTRY_BYTES: u64 = 20;
        let shape = cluster.setup().store.index.expect("messages are indexed");
        let slots_bytes = u64::from(shape.slots) * 4;
        match self.dice.below(6) {
            0 => self.dice.below(HEADER_BYTES),
            1 => HEADER_BYTES + self.dice.below(slots_bytes),
            _ => HEADER_BYTES + slots_bytes + self.dice.below(ROTTING_ENTRIES * ENTRY_BYTES),
        }
    }
}
