//! Single faults, each in the simplest surroundings in which it shows.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tracing::{Dispatch, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};

use ringmq::io::{Clock, Spawn};
use ringmq::sim::{Fault, Op, Rule};
use ringmq::store::Flush;
use ringmq::wire::Codec;
use ringmq::wire::codes::{request, response};
use ringmq::wire::pop::PopRequest;

use crate::client::{Client, PATIENCE, Reply};
use crate::cluster::{Cluster, SYNC_FLUSH_TIMEOUT_MS};
use crate::oracle::{Oracle, Queue, Told};
use crate::recovered;
use crate::requests::{self, Pull};
use crate::sent::Sent;
use crate::workload::{CREATED, Shared};
use crate::{create_topics, new_shared};

const MS: u64 = 1_000_000;
const SEEDS: std::ops::Range<u64> = 0..4;
const TOPIC: &str = CREATED[0];

/// One producer of small messages to one queue.
pub struct Producer {
    pub client: Client,
    pub shared: Rc<Shared>,
    pub told: Told,
}

impl Producer {
    pub async fn new(cluster: &Cluster, shared: &Rc<Shared>, host: &str) -> Self {
        let client = cluster.client(host).await;
        Producer {
            client,
            shared: shared.clone(),
            told: Told {
                asked_ns: 0,
                told_ns: 0,
            },
        }
    }

    pub async fn send(&mut self, body_bytes: usize) -> (Sent, Reply) {
        let asked = self.client.io.now();
        let sent = self.oracle().sends(TOPIC, body_bytes, 0, asked.unix_ms);
        requests::send(&mut self.client, &sent, 0);
        self.client.flush().await.unwrap();
        let reply = self.client.reply().await.unwrap();
        self.told = Told {
            asked_ns: asked.mono_ns,
            told_ns: self.client.io.now().mono_ns,
        };
        if reply.is_success() {
            self.acknowledged(&sent, &reply);
        }
        (sent, reply)
    }

    pub fn acknowledged(&self, sent: &Sent, reply: &Reply) {
        let offset = reply.number("queueOffset") as u64;
        self.oracle().acknowledged(sent, 0, offset, self.told);
    }

    pub async fn send_well(&mut self, count: usize) {
        for _ in 0..count {
            let (_, reply) = self.send(300).await;
            assert!(reply.is_success(), "{reply:?}");
        }
    }

    pub fn oracle(&self) -> std::cell::RefMut<'_, Oracle> {
        self.shared.oracle.borrow_mut()
    }
}

pub async fn started(cluster: &Cluster, seed: u64) -> Rc<Shared> {
    crate::logs::if_asked();
    cluster.start().await;
    create_topics(cluster).await;
    new_shared(cluster, seed)
}

#[test]
fn a_log_that_fails_is_fenced() {
    for seed in SEEDS {
        for (flush, op) in [
            (Flush::Sync, Op::Write),
            (Flush::Sync, Op::Sync),
            (Flush::Async, Op::Write),
            (Flush::Async, Op::Sync),
        ] {
            fail_log(seed, flush, op);
        }
    }
}

fn fail_log(seed: u64, flush: Flush, op: Op) {
    let cluster = Cluster::new(seed, flush);
    cluster.sim.run(async {
        let shared = started(&cluster, seed).await;
        let mut producer = Producer::new(&cluster, &shared, "producer").await;
        producer.send_well(50).await;
        cluster
            .broker()
            .inject(Rule::new(Fault::Io).of(op).on("commitlog"));
        let mut tries = 0;
        while producer.send(300).await.1.is_success() {
            cluster.sleep_ms(10).await;
            tries += 1;
            assert!(
                tries < 100,
                "{flush:?}: sends go on although {op:?} of the log fails"
            );
        }
        // What the last interval's flush was to save is as if the power had gone.
        producer.oracle().power_was_cut(cluster.sim.mono_ns());
        cluster.broker().heal();
        for host in ["producer", "another"] {
            let mut producer = Producer::new(&cluster, &shared, host).await;
            for _ in 0..10 {
                let (_, reply) = producer.send(300).await;
                assert!(
                    !reply.is_success(),
                    "acknowledged after a failure of the log: {reply:?}"
                );
                assert!(reply.remark.is_some(), "a refusal says why: {reply:?}");
                cluster.sleep_ms(100).await;
            }
        }
        recovered::read_all(&cluster, &shared).await;
        cluster.cut_power();
        producer.oracle().power_was_cut(cluster.sim.mono_ns());
        cluster.start().await;
        recovered::read_all(&cluster, &shared).await;
        Producer::new(&cluster, &shared, "producer")
            .await
            .send_well(10)
            .await;
    });
}

/// Counts what is logged.
#[derive(Clone, Default)]
struct Logged {
    errors: Arc<AtomicU64>,
    warnings: Arc<AtomicU64>,
}

impl<S: Subscriber> Layer<S> for Logged {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        match *event.metadata().level() {
            Level::ERROR => self.errors.fetch_add(1, Ordering::Relaxed),
            Level::WARN => self.warnings.fetch_add(1, Ordering::Relaxed),
            _ => 0,
        };
    }
}

/// Delayed messages, timers, half messages and popped ones all become due: nothing of it can be moved any more.
#[test]
fn a_fenced_broker_says_it_once_and_shows_it() {
    // Of one alone tracing would ask whichever thread comes by first, which may be that of another test.
    let _another = Dispatch::new(tracing_subscriber::registry());
    for seed in SEEDS {
        for flush in [Flush::Sync, Flush::Async] {
            let logged = Logged::default();
            let subscriber = tracing_subscriber::registry().with(logged.clone());
            let _guard = tracing::subscriber::set_default(subscriber);
            stay_fenced(seed, flush);
            let [errors, warnings] = [&logged.errors, &logged.warnings];
            assert_eq!(errors.load(Ordering::Relaxed), 1);
            // The offsets of consumers were not saved, perhaps.
            assert!(warnings.load(Ordering::Relaxed) < 10, "{warnings:?}");
        }
    }
}

fn stay_fenced(seed: u64, flush: Flush) {
    let cluster = Cluster::new(seed, flush);
    cluster.sim.run(async {
        let shared = started(&cluster, seed).await;
        let mut producer = Producer::new(&cluster, &shared, "producer").await;
        producer.send_well(50).await;
        let now_ms = producer.client.io.now().unix_ms;
        for n in 0..20 {
            // The levels, and a time of its own.
            let waiting = match n % 5 {
                0 => producer.oracle().sends_half(TOPIC, 100, now_ms),
                level => producer.oracle().sends(TOPIC, 100, level, now_ms),
            };
            requests::send(&mut producer.client, &waiting, 0);
            producer.client.flush().await.unwrap();
            assert!(producer.client.reply().await.unwrap().is_success());
        }
        let pop = PopRequest {
            consumer_group: "popping",
            topic: TOPIC,
            queue_id: -1,
            max_msg_nums: 16,
            invisible_ms: 1_000,
            poll_ms: 0,
            born_ms: Some(now_ms),
            init_mode: 0,
            expression_type: Some("TAG"),
            expression: Some("*"),
            order: false,
            attempt_id: None,
        };
        let popper = cluster.sim.host("popper");
        let popper = Client::connect(&popper, cluster.addr(), Codec::Json).await;
        let mut popper = popper.unwrap();
        let popped = popper.call(request::POP_MESSAGE, &pop.ext(), &[]).await;
        let popped = popped.unwrap();
        assert!(popped.is_success(), "{popped:?}");
        cluster
            .broker()
            .inject(Rule::new(Fault::Io).of(Op::Write).on("commitlog").times(1));
        let (_, refused) = producer.send(300).await;
        assert!(!refused.is_success());
        cluster.sleep_ms(60_000).await;
        let (_, refused) = producer.send(300).await;
        assert_eq!(refused.code, response::SERVICE_NOT_AVAILABLE, "{refused:?}");
        let remark = refused.remark.unwrap();
        for part in ["fenced", "write /store/commitlog/0", "os error 5"] {
            assert!(remark.contains(part), "what, where, errno: {remark}");
        }
        let popped = popper.call(request::POP_MESSAGE, &pop.ext(), &[]).await;
        assert_eq!(popped.unwrap().code, response::SERVICE_NOT_AVAILABLE);
        let figures = popper
            .call(request::GET_BROKER_RUNTIME_INFO, &[], &[])
            .await;
        let figures = String::from_utf8(figures.unwrap().body).unwrap();
        for part in [r#""fenced":"true""#, "os error 5"] {
            assert!(figures.contains(part), "{figures}");
        }
        assert!(pull_first(&mut producer.client).await.is_success());
    });
}

async fn pull_first(client: &mut Client) -> Reply {
    let queue = Queue {
        topic: TOPIC.to_owned(),
        id: 0,
    };
    let pull = Pull::of_all("reader", &queue, 0);
    requests::pull(client, &pull).await.unwrap()
}

/// Nothing is passed over, nothing is fenced, and it is read as soon as the device can.
#[test]
fn what_cannot_be_read_is_an_error_of_its_reader() {
    for seed in SEEDS {
        let cluster = Cluster::new(seed, Flush::Sync);
        cluster.sim.run(async {
            let shared = started(&cluster, seed).await;
            let mut producer = Producer::new(&cluster, &shared, "producer").await;
            for _ in 0..100 {
                assert!(producer.send(8_000).await.1.is_success());
            }
            let rule = Rule::new(Fault::Io).of(Op::Read).on("commitlog");
            cluster.broker().inject(rule);
            for _ in 0..3 {
                let reply = pull_first(&mut producer.client).await;
                assert_eq!(reply.code, response::SYSTEM_ERROR, "{reply:?}");
                let remark = reply.remark.as_deref().unwrap_or_default();
                for part in ["read /store/commitlog/0", "os error 5"] {
                    assert!(remark.contains(part), "{remark}");
                }
                producer.send_well(1).await;
            }
            cluster.broker().heal();
            let reply = pull_first(&mut producer.client).await;
            assert_eq!(requests::records(&reply.body)[0].queue_offset, 0);
            recovered::read_all(&cluster, &shared).await;
        });
    }
}

#[test]
fn a_flush_that_takes_too_long_is_told_and_does_happen() {
    for seed in SEEDS {
        let cluster = Cluster::new(seed, Flush::Sync);
        cluster.sim.run(async {
            let shared = started(&cluster, seed).await;
            let mut producer = Producer::new(&cluster, &shared, "producer").await;
            producer.send_well(5).await;
            producer.client.patience = Duration::from_secs(20);
            let stall = Rule::new(Fault::Stall(Duration::from_secs(10)));
            cluster.broker().inject(stall.of(Op::Write).on("commitlog"));
            let (sent, reply) = producer.send(300).await;
            assert_eq!(reply.code, response::FLUSH_DISK_TIMEOUT, "{reply:?}");
            let waited_ms = (producer.told.told_ns - producer.told.asked_ns) / MS;
            let expected_ms = SYNC_FLUSH_TIMEOUT_MS..SYNC_FLUSH_TIMEOUT_MS + 500;
            assert!(
                expected_ms.contains(&waited_ms),
                "answered after {waited_ms} ms"
            );
            cluster.broker().heal();
            cluster.sleep_ms(6_000).await;
            producer.acknowledged(&sent, &reply);
            producer.send_well(5).await;
            cluster.cut_power();
            cluster.start().await;
            recovered::read_all(&cluster, &shared).await;
        });
    }
}

/// Asks for much more than it takes. Meanwhile the others are served, and once it reads it gets every answer in turn.
#[test]
fn a_client_that_does_not_read_harms_nobody() {
    const PULLS: i32 = 200;
    for seed in SEEDS {
        let cluster = Cluster::new(seed, Flush::Async);
        cluster.sim.run(async {
            let shared = started(&cluster, seed).await;
            let mut producer = Producer::new(&cluster, &shared, "producer").await;
            for _ in 0..100 {
                let (_, reply) = producer.send(8_000).await;
                assert!(reply.is_success(), "{reply:?}");
            }
            let mut client = cluster.client("lazy").await;
            client.patience = Duration::from_secs(600);
            let asks = Rc::new(Cell::new(false));
            let reads = Rc::new(Cell::new(0));
            let (asked, read) = (asks.clone(), reads.clone());
            let io = client.io.clone();
            io.spawn("test", async move {
                let queue = Queue {
                    topic: TOPIC.to_owned(),
                    id: 0,
                };
                for n in 0..PULLS {
                    // From memory and from the disk in turn.
                    let offset = if n % 2 == 0 { 90 } else { 0 };
                    let pull = Pull::of_all("lazy", &queue, offset);
                    requests::ask_pull(&mut client, &pull);
                }
                client.flush().await.unwrap();
                asked.set(true);
                crate::client::sleep(&client.io, Duration::from_secs(20)).await;
                for _ in 0..PULLS {
                    let reply = client.reply().await.unwrap();
                    assert!(reply.is_success(), "{reply:?}");
                    assert!(!requests::records(&reply.body).is_empty());
                    read.set(read.get() + 1);
                }
            });
            for _ in 0..100 {
                producer.send_well(1).await;
                let waited_ms = (producer.told.told_ns - producer.told.asked_ns) / MS;
                assert!(waited_ms < 100, "another client waits {waited_ms} ms");
                cluster.sleep_ms(100).await;
            }
            assert!(asks.get());
            cluster.sleep_ms(60_000).await;
            assert_eq!(reads.get(), PULLS);
        });
    }
}

#[test]
fn a_parked_pull_is_answered_by_its_message_or_at_its_end() {
    for seed in SEEDS {
        let cluster = Cluster::new(seed, Flush::Sync);
        cluster.sim.run(async {
            let shared = started(&cluster, seed).await;
            let mut producer = Producer::new(&cluster, &shared, "producer").await;
            let mut client = cluster.client("consumer").await;
            let queue = Queue {
                topic: TOPIC.to_owned(),
                id: 0,
            };
            for offset in 0..5 {
                let hold_ms = 2_000;
                let pull = Pull {
                    group: "g",
                    queue: &queue,
                    offset,
                    expression: "*",
                    hold_ms,
                };
                let asked_ns = cluster.sim.mono_ns();
                let reply = requests::pull(&mut client, &pull).await.unwrap();
                assert_eq!(reply.code, response::PULL_NOT_FOUND, "{reply:?}");
                let waited_ms = (cluster.sim.mono_ns() - asked_ns) / MS;
                assert!(
                    (hold_ms..hold_ms + 300).contains(&waited_ms),
                    "after {waited_ms} ms"
                );

                requests::ask_pull(
                    &mut client,
                    &Pull {
                        hold_ms: 15_000,
                        ..pull
                    },
                );
                client.flush().await.unwrap();
                cluster.sleep_ms(700).await;
                producer.send_well(1).await;
                let told_ns = cluster.sim.mono_ns();
                let reply = client.reply().await.unwrap();
                assert!(reply.is_success(), "{reply:?}");
                assert_eq!(requests::records(&reply.body).len(), 1);
                let later_ms = cluster.sim.mono_ns().saturating_sub(told_ns) / MS;
                assert!(later_ms < 50, "{later_ms} ms after the producer");
            }
        });
    }
}

/// Nobody comes back to a client whose host has lost its network until it does.
#[test]
fn a_cut_network_is_survived() {
    for seed in SEEDS {
        let cluster = Cluster::new(seed, Flush::Sync);
        cluster.sim.run(async {
            let shared = started(&cluster, seed).await;
            let mut cut = Producer::new(&cluster, &shared, "cut").await;
            let mut other = Producer::new(&cluster, &shared, "other").await;
            cut.send_well(5).await;
            cluster.sim.partition("cut", crate::cluster::BROKER);
            cut.client.patience = Duration::from_secs(60);
            let io = cut.client.io.clone();
            let answered = Rc::new(Cell::new(false));
            let done = answered.clone();
            io.spawn("test", async move {
                cut.send_well(5).await;
                done.set(true);
            });
            for _ in 0..20 {
                other.send_well(1).await;
                cluster.sleep_ms(100).await;
            }
            assert!(!answered.get());
            cluster.sim.heal_partition("cut", crate::cluster::BROKER);
            cluster.sleep_ms(PATIENCE.as_millis() as u64).await;
            assert!(answered.get());
            recovered::read_all(&cluster, &shared).await;
        });
    }
}

/// The reply to its creation says that a topic exists; its queues must not depend on a message in each.
#[test]
fn a_created_topic_survives() {
    for seed in SEEDS {
        for is_power_cut in [false, true] {
            let cluster = Cluster::new(seed, Flush::Sync);
            cluster.sim.run(async {
                cluster.start().await;
                create_topics(&cluster).await;
                match is_power_cut {
                    true => cluster.cut_power(),
                    false => cluster.kill(),
                }
                cluster.start().await;
                let shared = new_shared(&cluster, seed);
                recovered::check_state(&cluster, &shared, None).await;
                Producer::new(&cluster, &shared, "producer")
                    .await
                    .send_well(1)
                    .await;
            });
        }
    }
}
