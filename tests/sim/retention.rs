//! Protects what clients see of messages that go: a consumer below the minimum is sent to it, all that speaks of the
//! beginning agrees, also after any end of the broker; and a full disk refuses sends with the figure, loses nothing, and
//! takes them again by itself.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use ringmq::io::{Clock, Disk};
use ringmq::sim::{Fault, Op, Rule};
use ringmq::store::{Flush, Retention};
use ringmq::wire::codes::{request, response};
use ringmq::wire::offset::QueueRequest;

use crate::client::{Client, Reply};
use crate::cluster::Cluster;
use crate::oracle::{Queue, Told};
use crate::recovered;
use crate::requests::{self, Pull};
use crate::workload::{CREATED, Shared};
use crate::{create_topics, new_shared};

const KEPT_MS: u64 = 3_000;

fn keeping(reserved_ms: u64) -> Retention {
    Retention {
        reserved_ms,
        delete_hours: (0..24).collect(),
        interval_ms: 500,
        clean_forcibly: false,
        ..Retention::default()
    }
}

fn queue() -> Queue {
    Queue {
        topic: CREATED[0].to_owned(),
        id: 0,
    }
}

async fn send(client: &mut Client, shared: &Rc<Shared>) -> Reply {
    let asked = client.io.now();
    let sent = shared
        .oracle
        .borrow_mut()
        .sends(CREATED[0], 3_000, 0, asked.unix_ms);
    requests::send(client, &sent, 0);
    client.flush().await.unwrap();
    let reply = client.reply().await.unwrap();
    if reply.is_success() {
        let told = Told {
            asked_ns: asked.mono_ns,
            told_ns: client.io.now().mono_ns,
        };
        let offset = reply.number("queueOffset") as u64;
        let mut oracle = shared.oracle.borrow_mut();
        oracle.acknowledged(&sent, 0, offset, told);
    }
    reply
}

async fn send_well(client: &mut Client, shared: &Rc<Shared>, count: usize) {
    for _ in 0..count {
        let reply = send(client, shared).await;
        assert!(reply.is_success(), "{reply:?}");
    }
}

async fn pull_from(client: &mut Client, offset: u64) -> Reply {
    let queue = queue();
    let pull = Pull::of_all("late", &queue, offset);
    requests::ask_pull(client, &pull);
    client.flush().await.unwrap();
    client.reply().await.unwrap()
}

/// The queue's first offset, on which everything agrees.
async fn check_beginning(client: &mut Client) -> u64 {
    let queue = queue();
    let fields = QueueRequest {
        topic: &queue.topic,
        queue_id: queue.id,
    };
    let fields = fields.ext();
    let asked = client.call(request::GET_MIN_OFFSET, &fields, &[]);
    let min = asked.await.unwrap().number("offset") as u64;
    assert!(min > 0);
    for below in [0, min - 1] {
        let reply = pull_from(client, below).await;
        assert_eq!(reply.code, response::PULL_OFFSET_MOVED, "{reply:?}");
        assert_eq!(reply.number("nextBeginOffset") as u64, min, "{reply:?}");
        assert_eq!(reply.number("minOffset") as u64, min, "{reply:?}");
    }
    let reply = pull_from(client, min).await;
    assert!(reply.is_success(), "{reply:?}");
    let first = &requests::records(&reply.body)[0];
    assert_eq!(first.queue_offset, min);
    let asked = client.call(request::GET_EARLIEST_MSG_STORETIME, &fields, &[]);
    let earliest_ms = asked.await.unwrap().number("timestamp");
    assert_eq!(earliest_ms, first.store_timestamp_ms);
    min
}

#[test]
fn a_consumer_below_the_minimum_is_sent_to_it() {
    for flush in [Flush::Sync, Flush::Async] {
        let cluster = Cluster::keeping(7, flush, keeping(KEPT_MS));
        cluster.sim.run(async {
            cluster.start().await;
            create_topics(&cluster).await;
            let shared = new_shared(&cluster, 7);
            for end in 0..3 {
                let mut client = cluster.client("producer").await;
                send_well(&mut client, &shared, 300).await;
                // Longer than a queue waits for its save.
                cluster.sleep_ms(KEPT_MS + 6_000).await;
                send_well(&mut client, &shared, 100).await;
                let min = check_beginning(&mut client).await;
                assert!(min > 250, "what is old is gone: {min}");
                // What was sent last must not depend on the end.
                cluster.sleep_ms(1_000).await;
                match end {
                    0 => cluster.stop().await,
                    1 => cluster.kill(),
                    _ => cluster.cut_power(),
                }
                cluster.start().await;
                let mut client = cluster.client("producer").await;
                let again = check_beginning(&mut client).await;
                assert!(again >= min, "{again} {min}");
                recovered::read_all(&cluster, &shared).await;
            }
        });
    }
}

/// Its files go and become others while it reads: it gets its messages, or is sent to where they begin now.
#[test]
fn a_slow_reader_is_told_and_never_misled() {
    let (mut read, mut moved) = (0, 0);
    for seed in 0..6 {
        let cluster = Cluster::keeping(seed, Flush::Async, keeping(KEPT_MS));
        cluster.sim.run(async {
            cluster.start().await;
            create_topics(&cluster).await;
            let shared = new_shared(&cluster, seed);
            let mut producer = cluster.client("producer").await;
            let mut reader = cluster.client("reader").await;
            reader.patience = Duration::from_secs(600);
            let stall = Rule::new(Fault::Stall(Duration::from_millis(300 + 700 * seed)));
            cluster.broker().inject(stall.of(Op::Read).on("commitlog"));
            let mut next = 0;
            for _ in 0..40 {
                send_well(&mut producer, &shared, 40).await;
                cluster.sleep_ms(400).await;
                let (asked, asked_ns) = (next, cluster.sim.mono_ns());
                let reply = pull_from(&mut reader, next).await;
                next = reply.number("nextBeginOffset") as u64;
                if reply.code == response::PULL_OFFSET_MOVED {
                    assert!(next > asked && next <= reply.number("minOffset") as u64);
                    moved += 1;
                    continue;
                }
                let told = Told {
                    asked_ns,
                    told_ns: cluster.sim.mono_ns(),
                };
                for (offset, record) in (asked..).zip(requests::records(&reply.body)) {
                    let mut oracle = shared.oracle.borrow_mut();
                    oracle.delivered(&queue(), offset, &record, told);
                    read += 1;
                }
                assert!(next >= asked);
            }
        });
    }
    assert!(read > 100 && moved > 5, "{read} {moved}");
}

#[test]
fn a_broker_starts_on_a_full_disk() {
    for seed in 0..6 {
        let cluster = Cluster::keeping(seed, Flush::Sync, keeping(72 * 3_600_000));
        cluster.sim.run(async {
            cluster.start().await;
            create_topics(&cluster).await;
            let shared = new_shared(&cluster, seed);
            let mut client = cluster.client("producer").await;
            send_well(&mut client, &shared, 100).await;
            match seed % 3 {
                0 => cluster.stop().await,
                1 => cluster.kill(),
                _ => {
                    cluster.cut_power();
                    let mut oracle = shared.oracle.borrow_mut();
                    oracle.power_was_cut(cluster.sim.mono_ns());
                }
            }
            let io = cluster.broker();
            io.occupy(io.space(Path::new("/")).await.unwrap().available_bytes);
            cluster.start().await;
            cluster.sleep_ms(10_000).await;
            let mut client = cluster.client("producer").await;
            let reply = send(&mut client, &shared).await;
            assert_eq!(reply.code, response::SERVICE_NOT_AVAILABLE, "{reply:?}");
            assert!(pull_from(&mut client, 0).await.is_success());
            recovered::read_all(&cluster, &shared).await;
            io.occupy(0);
            cluster.sleep_ms(3_000).await;
            send_well(&mut client, &shared, 100).await;
            cluster.kill();
            cluster.start().await;
            recovered::read_all(&cluster, &shared).await;
        });
    }
}

#[test]
fn expired_messages_go_when_an_administrator_says_so() {
    let never = Retention {
        delete_hours: Vec::new(),
        ..keeping(KEPT_MS)
    };
    let cluster = Cluster::keeping(3, Flush::Sync, never);
    cluster.sim.run(async {
        cluster.start().await;
        create_topics(&cluster).await;
        let shared = new_shared(&cluster, 3);
        let mut client = cluster.client("producer").await;
        send_well(&mut client, &shared, 300).await;
        cluster.sleep_ms(KEPT_MS + 6_000).await;
        send_well(&mut client, &shared, 10).await;
        assert!(pull_from(&mut client, 0).await.is_success());
        for code in [
            request::DELETE_EXPIRED_COMMITLOG,
            request::CLEAN_EXPIRED_CONSUMEQUEUE,
            request::CLEAN_UNUSED_TOPIC,
        ] {
            let reply = client.call(code, &[], &[]).await.unwrap();
            assert!(reply.is_success(), "{reply:?}");
        }
        cluster.sleep_ms(1_000).await;
        check_beginning(&mut client).await;
        recovered::read_all(&cluster, &shared).await;
    });
}

#[test]
fn what_is_kept_can_be_changed() {
    let cluster = Cluster::keeping(3, Flush::Sync, keeping(72 * 3_600_000));
    cluster.sim.run(async {
        cluster.start().await;
        create_topics(&cluster).await;
        let shared = new_shared(&cluster, 3);
        let mut client = cluster.client("producer").await;
        send_well(&mut client, &shared, 300).await;
        cluster.sleep_ms(7_000).await;
        assert!(pull_from(&mut client, 0).await.is_success());
        let text = b"fileReservedTime=0\ndeleteWhen=00;01;02;03\n";
        let changed = client.call(request::UPDATE_BROKER_CONFIG, &[], text);
        assert!(changed.await.unwrap().is_success());
        send_well(&mut client, &shared, 10).await;
        cluster.sleep_ms(2_000).await;
        check_beginning(&mut client).await;
    });
}

#[test]
fn a_full_disk_refuses_sends_until_there_is_room() {
    for seed in 0..3 {
        for left_bytes in [0, 64 << 10, 50 << 20] {
            for flush in [Flush::Sync, Flush::Async] {
                fill_up(seed, flush, left_bytes);
            }
        }
    }
}

fn fill_up(seed: u64, flush: Flush, left_bytes: u64) {
    let cluster = Cluster::keeping(seed, flush, keeping(72 * 3_600_000));
    cluster.sim.run(async {
        cluster.start().await;
        create_topics(&cluster).await;
        let shared = new_shared(&cluster, seed);
        let mut client = cluster.client("producer").await;
        send_well(&mut client, &shared, 100).await;
        let io = cluster.broker();
        let space = io.space(Path::new("/")).await.unwrap();
        io.occupy(space.available_bytes - left_bytes);
        cluster.sleep_ms(1_200).await;
        let reply = send(&mut client, &shared).await;
        assert_eq!(reply.code, response::SERVICE_NOT_AVAILABLE, "{reply:?}");
        let remark = reply.remark.clone().unwrap_or_default();
        for part in ["% full", "90 %", "diskSpaceWarningLevelRatio"] {
            assert!(remark.contains(part), "{remark}");
        }
        assert!(pull_from(&mut client, 0).await.is_success(), "reads go on");
        cluster.sleep_ms(20_000).await;
        let reply = send(&mut client, &shared).await;
        assert_eq!(reply.code, response::SERVICE_NOT_AVAILABLE, "{reply:?}");
        io.occupy(0);
        cluster.sleep_ms(2_500).await;
        send_well(&mut client, &shared, 200).await;
        recovered::read_all(&cluster, &shared).await;
        cluster.cut_power();
        shared
            .oracle
            .borrow_mut()
            .power_was_cut(cluster.sim.mono_ns());
        cluster.start().await;
        recovered::read_all(&cluster, &shared).await;
    });
}
