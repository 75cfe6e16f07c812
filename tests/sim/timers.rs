//! Messages with a time of their own: never before it, at most 50 ms after it, once through every end of the
//! broker, and never after they were taken back. Nearly all of them wait on disk, as the memory is for 64 only.

mod recalls;
pub mod rot;

use std::collections::BTreeMap;

use ringmq::broker::system_topics;
use ringmq::io::Clock;
use ringmq::message::properties;
use ringmq::sim::{Fault, Op, Rule};
use ringmq::store::{Flush, Retention};
use ringmq::wire::codes::{request, response};
use ringmq::wire::offset::QueueRequest;
use ringmq::wire::send::{RecallRequest, SendRequest};

use crate::client::{Client, Reply};
use crate::cluster::Cluster;
use crate::create_topics;
use crate::dice::Dice;
use crate::oracle::Queue;
use crate::requests::{self, Pull, QUEUES};
use crate::workload::CREATED;

const SEEDS: std::ops::Range<u64> = 0..4;
const TOPIC: &str = CREATED[0];
const ON_TIME_MS: i64 = 50;
const YEAR_MS: i64 = 365 * 86_400_000;

/// A producer of timed messages, and what it was promised.
pub struct Timed {
    client: Client,
    /// When each is due, and its handle; a message with a delay level has none.
    pub promised: BTreeMap<u64, (i64, String)>,
}

/// When each message was stored where its consumers find it.
pub type Arrived = BTreeMap<u64, Vec<i64>>;

impl Timed {
    async fn new(cluster: &Cluster) -> Self {
        Timed {
            client: cluster.client("producer").await,
            promised: BTreeMap::new(),
        }
    }

    pub async fn reconnect(&mut self, cluster: &Cluster) {
        self.client = cluster.client("producer").await;
    }

    pub fn now_ms(&self) -> i64 {
        self.client.io.now().unix_ms
    }

    pub async fn send(&mut self, property: &str, value: i64, due_ms: i64) -> u64 {
        let number = self.promised.len() as u64;
        let reply = self.try_send(number, property, &value.to_string()).await;
        assert!(reply.is_success(), "{reply:?}");
        let is_timed = property != properties::DELAY;
        let handle = is_timed.then(|| reply.text("recallHandle").to_owned());
        let handle = handle.unwrap_or_default();
        self.promised.insert(number, (due_ms, handle));
        number
    }

    async fn try_send(&mut self, number: u64, property: &str, value: &str) -> Reply {
        let mut text = String::new();
        properties::push(&mut text, property, value);
        let fields = SendRequest {
            queue_id: (number % QUEUES as u64) as i32,
            born_timestamp_ms: self.now_ms(),
            ..requests::send_to(TOPIC, &text)
        };
        let body = number.to_be_bytes();
        let code = request::SEND_MESSAGE_V2;
        self.client.call(code, &fields.ext(), &body).await.unwrap()
    }

    /// In `delay_ms`, by one of the three properties.
    async fn send_in(&mut self, delay_ms: i64, dice: &Dice) -> u64 {
        let due_ms = self.now_ms() + delay_ms;
        match dice.below(3) {
            0 if delay_ms % 1000 == 0 => {
                self.send(properties::TIMER_DELAY_SEC, delay_ms / 1000, due_ms)
                    .await
            }
            1 => {
                self.send(properties::TIMER_DELIVER_MS, due_ms, due_ms)
                    .await
            }
            _ => {
                self.send(properties::TIMER_DELAY_MS, delay_ms, due_ms)
                    .await
            }
        }
    }

    pub async fn recall(&mut self, number: u64) -> Reply {
        let (_, handle) = &self.promised[&number];
        let fields = RecallRequest {
            producer_group: Some("producers"),
            topic: TOPIC,
            recall_handle: handle,
        };
        let code = request::RECALL_MESSAGE;
        self.client.call(code, &fields.ext(), &[]).await.unwrap()
    }

    pub async fn arrived(&mut self) -> Arrived {
        let mut arrived = Arrived::new();
        for id in 0..QUEUES {
            let queue = Queue {
                topic: TOPIC.to_owned(),
                id,
            };
            let mut offset = 0;
            loop {
                let pull = Pull::of_all("readers", &queue, offset);
                let reply = requests::pull(&mut self.client, &pull).await.unwrap();
                if reply.code != response::SUCCESS {
                    break;
                }
                for record in requests::records(&reply.body) {
                    let number = u64::from_be_bytes(record.body.try_into().unwrap());
                    arrived
                        .entry(number)
                        .or_default()
                        .push(record.store_timestamp_ms);
                    offset += 1;
                }
            }
        }
        arrived
    }

    /// Each of them has come once, none too early; the latest came so late.
    async fn check(&mut self) -> i64 {
        let arrived = self.arrived().await;
        let mut latest_ms = 0;
        for (number, (due_ms, _)) in &self.promised {
            let times = arrived.get(number);
            let times = times.unwrap_or_else(|| panic!("{number} has not come"));
            assert_eq!(times.len(), 1, "{number} has come more than once");
            let late_ms = times[0] - due_ms;
            assert!(late_ms >= 0, "{number} came {} ms early", -late_ms);
            latest_ms = latest_ms.max(late_ms);
        }
        latest_ms
    }
}

pub async fn started(cluster: &Cluster) -> Timed {
    cluster.start().await;
    create_topics(cluster).await;
    Timed::new(cluster).await
}

#[test]
fn on_time() {
    for seed in SEEDS {
        for has_memory in [true, false] {
            let cluster = Cluster::new(seed, Flush::Async);
            if has_memory {
                cluster
                    .settings
                    .set(|broker| broker.timer_memory_entries = 1 << 20);
            }
            cluster.sim.run(async {
                let mut timed = started(&cluster).await;
                let dice = Dice::new(seed, 1);
                for _ in 0..400 {
                    timed.send_in(dice.within(1, 30_000) as i64, &dice).await;
                    cluster.sleep_ms(dice.below(20)).await;
                }
                cluster.sleep_ms(31_000).await;
                let latest_ms = timed.check().await;
                assert!(latest_ms <= ON_TIME_MS, "{latest_ms} ms late, seed {seed}");
            });
        }
    }
}

/// More of them at once than memory is for.
#[test]
fn a_crowd_at_one_moment() {
    for seed in SEEDS {
        let cluster = Cluster::new(seed, Flush::Sync);
        cluster.sim.run(async {
            let mut timed = started(&cluster).await;
            let due_ms = timed.now_ms() + 30_000;
            for _ in 0..500 {
                timed
                    .send(properties::TIMER_DELIVER_MS, due_ms, due_ms)
                    .await;
            }
            cluster.sleep_ms(40_000).await;
            timed.check().await;
        });
    }
}

/// However it ends, and while it delivers: each comes once.
#[test]
fn they_survive_every_end() {
    for seed in SEEDS {
        for flush in [Flush::Sync, Flush::Async] {
            for end in 0..3 {
                let cluster = Cluster::new(seed, flush);
                cluster.sim.run(async {
                    let mut timed = started(&cluster).await;
                    let dice = Dice::new(seed, end);
                    for _ in 0..6 {
                        for _ in 0..dice.within(1, 60) {
                            timed.send_in(dice.within(1, 9_000) as i64, &dice).await;
                        }
                        // What is acknowledged in async mode survives a power cut from then on.
                        cluster.sleep_ms(1_200 + dice.below(2_000)).await;
                        match end {
                            0 => cluster.stop().await,
                            1 => cluster.kill(),
                            _ => cluster.cut_power(),
                        }
                        cluster.sleep_ms(dice.below(3_000)).await;
                        if end > 0 && dice.one_in(2) {
                            cluster.start_for(dice.below(60_000_000)).await;
                            cluster.kill();
                        }
                        cluster.start().await;
                        timed.reconnect(&cluster).await;
                    }
                    cluster.sleep_ms(10_000).await;
                    timed.check().await;
                });
            }
        }
    }
}

#[test]
fn what_is_taken_back_never_comes() {
    for seed in SEEDS {
        for is_power_cut in [false, true] {
            let cluster = Cluster::new(seed, Flush::Sync);
            cluster.settings.set(|broker| broker.recall = true);
            cluster.sim.run(async {
                let mut timed = started(&cluster).await;
                let dice = Dice::new(seed, 2);
                let mut gone = Vec::new();
                for _ in 0..3 {
                    let mut numbers = Vec::new();
                    for _ in 0..60 {
                        numbers.push(timed.send_in(dice.within(500, 5_000) as i64, &dice).await);
                    }
                    for number in numbers {
                        if dice.one_in(2) {
                            cluster.sleep_ms(dice.below(60)).await;
                            let reply = timed.recall(number).await;
                            match reply.code {
                                response::SUCCESS => gone.push(number),
                                // It was due before.
                                response::ILLEGAL_OPERATION => {}
                                _ => panic!("{reply:?}"),
                            }
                        }
                    }
                    match is_power_cut {
                        true => cluster.cut_power(),
                        false => cluster.kill(),
                    }
                    cluster.sleep_ms(dice.below(2_000)).await;
                    cluster.start().await;
                    timed.reconnect(&cluster).await;
                }
                cluster.sleep_ms(10_000).await;
                let arrived = timed.arrived().await;
                assert!(gone.len() > 20, "{} taken back", gone.len());
                for number in gone {
                    assert!(!arrived.contains_key(&number), "{number} was taken back");
                    timed.promised.remove(&number);
                }
                timed.check().await;
            });
        }
    }
}

/// The timer topic's queue loses its expired messages before their file is removed. A broker that ends between the two does
/// not read the recall any more, and must not deliver what it took back, though the file still has it.
#[test]
fn a_recall_that_expired_with_its_message_counts() {
    let retention = Retention {
        reserved_ms: 2_000,
        delete_hours: (0..24).collect(),
        // The second broker delivers before its first round.
        interval_ms: 4_000,
        clean_forcibly: false,
        ..Retention::default()
    };
    let cluster = Cluster::keeping(0, Flush::Sync, retention);
    cluster.settings.set(|broker| broker.recall = true);
    cluster.sim.run(async {
        let mut timed = started(&cluster).await;
        let dice = Dice::new(0, 5);
        // So many that they are written into a run.
        for _ in 0..10 {
            timed.send_in(10_000, &dice).await;
        }
        cluster.sleep_ms(1_500).await;
        assert!(timed.recall(0).await.is_success());
        for _ in 0..60 {
            let reply = timed.try_send(99, "FILL", &"x".repeat(3_000)).await;
            assert!(reply.is_success(), "{reply:?}");
        }
        let fails = Rule::new(Fault::Io).of(Op::Names).on("commitlog");
        cluster.broker().inject(fails);
        cluster.sleep_ms(6_000).await;
        let fields = QueueRequest {
            topic: system_topics::TIMER,
            queue_id: 0,
        };
        let fields = fields.ext();
        let asked = timed.client.call(request::GET_MIN_OFFSET, &fields, &[]);
        let min = asked.await.unwrap().number("offset");
        assert_eq!(min, 11, "all timers and the recall have expired");
        cluster.kill();
        cluster.broker().heal();
        cluster.start().await;
        timed.reconnect(&cluster).await;
        cluster.sleep_ms(10_000).await;
        assert!(!timed.arrived().await.contains_key(&0));
    });
}

/// Stored anew again and again while they wait.
#[test]
fn longer_than_messages_are_kept() {
    for seed in SEEDS {
        for is_killed in [false, true] {
            let cluster = Cluster::new(seed, Flush::Sync);
            cluster.settings.set(|broker| {
                broker.timer_roll_window_ms = 2_500;
                broker.recall = true;
            });
            cluster.sim.run(async {
                let mut timed = started(&cluster).await;
                let dice = Dice::new(seed, 3);
                for _ in 0..60 {
                    timed.send_in(dice.within(1, 40_000) as i64, &dice).await;
                }
                let gone = timed.send_in(30_000, &dice).await;
                cluster.sleep_ms(8_000).await;
                assert!(timed.recall(gone).await.is_success());
                for _ in 0..4 {
                    cluster.sleep_ms(dice.below(6_000)).await;
                    if is_killed {
                        cluster.kill();
                        cluster.start().await;
                        timed.reconnect(&cluster).await;
                    }
                }
                cluster.sleep_ms(45_000).await;
                assert!(!timed.arrived().await.contains_key(&gone));
                timed.promised.remove(&gone);
                timed.check().await;
            });
        }
    }
}

#[test]
fn in_some_years() {
    for seed in SEEDS {
        let cluster = Cluster::new(seed, Flush::Sync);
        cluster.sim.run(async {
            let mut timed = started(&cluster).await;
            let dice = Dice::new(seed, 4);
            for year in 1..6 {
                timed.send_in(year * YEAR_MS, &dice).await;
            }
            for year in 0..6_usize {
                let arrived = timed.arrived().await;
                assert_eq!(arrived.len(), year, "after {year} years: {arrived:?}");
                cluster.sim.step_unix_clock(crate::cluster::BROKER, YEAR_MS);
                cluster.sleep_ms(3_000).await;
                if dice.one_in(2) {
                    cluster.kill();
                    cluster.start().await;
                    timed.reconnect(&cluster).await;
                    cluster.sleep_ms(3_000).await;
                }
            }
        });
    }
}

/// By the clock that the broker has then.
#[test]
fn a_clock_that_is_set_back() {
    for seed in SEEDS {
        let cluster = Cluster::new(seed, Flush::Sync);
        cluster.sim.run(async {
            let mut timed = started(&cluster).await;
            let now_ms = timed.now_ms();
            let broker = crate::cluster::BROKER;
            for delay_ms in [2_000, 61_000, 66_000] {
                let due_ms = now_ms + delay_ms;
                timed
                    .send(properties::TIMER_DELIVER_MS, due_ms, due_ms)
                    .await;
            }
            cluster.sim.step_unix_clock(broker, 60_000);
            cluster.sleep_ms(3_000).await;
            assert_eq!(timed.arrived().await.len(), 2);
            cluster.sim.step_unix_clock(broker, -60_000);
            cluster.sleep_ms(1_000).await;
            let due_ms = now_ms + 20_000;
            timed
                .send(properties::TIMER_DELIVER_MS, due_ms, due_ms)
                .await;
            cluster.kill();
            cluster.start().await;
            timed.reconnect(&cluster).await;
            cluster.sleep_ms(10_000).await;
            assert_eq!(timed.arrived().await.len(), 2, "early by the clock");
            cluster.sleep_ms(60_000).await;
            assert_eq!(timed.arrived().await.len(), 4);
        });
    }
}

#[test]
fn what_is_refused() {
    let cluster = Cluster::new(0, Flush::Sync);
    cluster
        .settings
        .set(|broker| broker.timer_max_delay_s = 100);
    cluster.sim.run(async {
        let mut timed = started(&cluster).await;
        for (value, code) in [
            ("x", response::MESSAGE_ILLEGAL),
            ("100001", response::MESSAGE_ILLEGAL),
            ("9223372036854775807", response::MESSAGE_ILLEGAL),
            ("100000", response::SUCCESS),
            ("-5", response::SUCCESS),
        ] {
            let reply = timed.try_send(0, properties::TIMER_DELAY_MS, value).await;
            assert_eq!(reply.code, code, "{value}: {reply:?}");
        }
        let number = timed.send_in(5_000, &Dice::new(0, 0)).await;
        assert_eq!(timed.recall(number).await.code, response::NO_PERMISSION);
        cluster.stop().await;
        cluster.settings.set(|broker| broker.timer_wheel = false);
        cluster.start().await;
        timed.reconnect(&cluster).await;
        let reply = timed.try_send(0, properties::TIMER_DELAY_MS, "5").await;
        assert_eq!(reply.code, response::SYSTEM_ERROR, "{reply:?}");
    });
}
