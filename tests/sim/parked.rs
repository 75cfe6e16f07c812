//! Pulls that stay parked: thousands at a time, and while what they are allowed to read changes.

use std::collections::BTreeSet;
use std::time::Duration;

use ringmq::message::properties;
use ringmq::store::Flush;
use ringmq::wire::codes::{request, response};
use ringmq::wire::pull::{PullRequest, pull_sys_flag};

use crate::client::Client;
use crate::cluster::Cluster;
use crate::faults::{Producer, started};
use crate::oracle::Queue;
use crate::requests::{self, Pull};
use crate::workload::CREATED;

const MS: u64 = 1_000_000;
const SEEDS: std::ops::Range<u64> = 0..2;
const TOPIC: &str = CREATED[0];
const GROUP: &str = "parked";

/// Far more than one turn serves.
const MANY: usize = 5_000;

fn queue() -> Queue {
    Queue {
        topic: TOPIC.into(),
        id: 0,
    }
}

async fn park_many(client: &mut Client, offset: u64, hold_ms: u64) -> BTreeSet<i32> {
    let queue = queue();
    let pull = Pull {
        group: GROUP,
        queue: &queue,
        offset,
        expression: "*",
        hold_ms,
    };
    let asked = (0..MANY).map(|_| requests::ask_pull(client, &pull));
    let asked = asked.collect();
    client.flush().await.unwrap();
    asked
}

/// Each is answered once, with this code.
async fn answers(client: &mut Client, mut asked: BTreeSet<i32>, code: i32) {
    while !asked.is_empty() {
        let reply = client.reply().await.unwrap();
        assert_eq!(reply.code, code, "{reply:?}");
        assert!(asked.remove(&reply.opaque), "answered twice: {reply:?}");
    }
}

#[test]
fn thousands_end_or_are_woken_at_once_and_each_is_answered_once() {
    for seed in SEEDS {
        let cluster = Cluster::new(seed, Flush::Sync);
        cluster.sim.run(async {
            let shared = started(&cluster, seed).await;
            let mut bystander = Producer::new(&cluster, &shared, "bystander").await;
            let mut consumer = cluster.client("consumer").await;
            consumer.patience = Duration::from_secs(5);
            let asked = park_many(&mut consumer, 0, 1_000).await;
            answers(&mut consumer, asked, response::PULL_NOT_FOUND).await;
            let asked = park_many(&mut consumer, 0, 60_000).await;
            cluster.sleep_ms(500).await;
            bystander.send_well(1).await;
            let took_ms = (bystander.told.told_ns - bystander.told.asked_ns) / MS;
            assert!(took_ms < 50, "a send waited {took_ms} ms");
            answers(&mut consumer, asked, response::SUCCESS).await;
            // Those of a closed connection are gone, and what is left is served.
            park_many(&mut consumer, 1, 60_000).await;
            let mut other = cluster.client("other").await;
            other.patience = Duration::from_secs(5);
            let asked = park_many(&mut other, 1, 60_000).await;
            cluster.sleep_ms(500).await;
            drop(consumer);
            cluster.sleep_ms(500).await;
            bystander.send_well(1).await;
            answers(&mut other, asked, response::SUCCESS).await;
        });
    }
}

#[test]
fn a_oneway_pull_is_not_answered() {
    let cluster = Cluster::new(1, Flush::Sync);
    cluster.sim.run(async {
        let shared = started(&cluster, 1).await;
        let mut producer = Producer::new(&cluster, &shared, "producer").await;
        producer.send_well(3).await;
        let mut consumer = cluster.client("consumer").await;
        let fields = pull_fields(0, pull_sys_flag::SUBSCRIPTION);
        consumer.tell(request::PULL_MESSAGE, &fields.ext(), &[]);
        // The answer to this one would be the second one.
        let reply = requests::max_offset(&mut consumer, &queue()).await.unwrap();
        assert_eq!(reply.number("offset"), 3);
    });
}

fn pull_fields(queue_offset: i64, sys_flag: i32) -> PullRequest<'static> {
    PullRequest {
        consumer_group: GROUP,
        topic: TOPIC,
        queue_id: 0,
        queue_offset,
        max_msg_nums: 32,
        sys_flag,
        commit_offset: 0,
        suspend_timeout_ms: 20_000,
        subscription: Some("*"),
        sub_version: 1,
        expression_type: None,
        max_msg_bytes: None,
        request_source: None,
    }
}

/// A heartbeat that subscribes the group to the topic.
async fn subscribe(client: &mut Client, kind: &str, expression: &str, version: u32) {
    let body = format!(
        r#"{{"clientID":"c","consumerDataSet":[{{"groupName":"{GROUP}","consumeFromWhere":"CONSUME_FROM_FIRST_OFFSET",
        "consumeType":"CONSUME_PASSIVELY","messageModel":"CLUSTERING","subscriptionDataSet":[{{"topic":"{TOPIC}",
        "subString":"{expression}","subVersion":{version},"expressionType":"{kind}"}}]}}],"producerDataSet":[]}}"#
    );
    let reply = client.call(request::HEART_BEAT, &[], body.as_bytes()).await;
    let reply = reply.unwrap();
    assert!(reply.is_success(), "{reply:?}");
}

async fn send_tagged(client: &mut Client, tag: &str, count: usize) {
    let mut text = String::new();
    properties::push(&mut text, properties::TAGS, tag);
    properties::push(&mut text, "n", tag);
    for _ in 0..count {
        let fields = requests::send_to(TOPIC, &text);
        let fields = fields.ext();
        let reply = client.call(request::SEND_MESSAGE_V2, &fields, b"body");
        assert!(reply.await.unwrap().is_success());
    }
}

#[test]
fn a_changed_subscription_loses_nothing_of_a_parked_pull() {
    for (kind, old, new) in [("SQL92", "n = 'one'", "n = 'two'"), ("TAG", "one", "two")] {
        let cluster = Cluster::new(3, Flush::Sync);
        cluster.sim.run(async {
            started(&cluster, 3).await;
            let mut producer = cluster.client("producer").await;
            let mut consumer = cluster.client("consumer").await;
            subscribe(&mut consumer, kind, old, 1).await;
            let fields = pull_fields(0, pull_sys_flag::SUSPEND);
            consumer.ask(request::PULL_MESSAGE, &fields.ext(), &[]);
            consumer.flush().await.unwrap();
            cluster.sleep_ms(200).await;
            // The subscription of now rejects these, the one that comes wants them.
            send_tagged(&mut producer, "two", 10).await;
            cluster.sleep_ms(500).await;
            let mut heart = cluster.client("consumer").await;
            subscribe(&mut heart, kind, new, 2).await;
            send_tagged(&mut producer, "two", 1).await;
            let reply = consumer.reply().await.unwrap();
            assert_eq!(reply.code, response::SUCCESS, "{kind}: {reply:?}");
            assert_eq!(requests::records(&reply.body).len(), 11, "{kind}");
        });
    }
}

#[test]
fn a_group_that_is_forbidden_meanwhile_gets_nothing() {
    let cluster = Cluster::new(4, Flush::Sync);
    cluster.sim.run(async {
        started(&cluster, 4).await;
        let mut producer = cluster.client("producer").await;
        let mut consumer = cluster.client("consumer").await;
        let fields = pull_fields(0, pull_sys_flag::SUSPEND | pull_sys_flag::SUBSCRIPTION);
        consumer.ask(request::PULL_MESSAGE, &fields.ext(), &[]);
        consumer.flush().await.unwrap();
        cluster.sleep_ms(200).await;
        let body = format!(r#"{{"groupName":"{GROUP}","consumeEnable":false}}"#);
        let code = request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP;
        let reply = producer.call(code, &[], body.as_bytes()).await.unwrap();
        assert!(reply.is_success(), "{reply:?}");
        send_tagged(&mut producer, "any", 1).await;
        let reply = consumer.reply().await.unwrap();
        assert_eq!(reply.code, response::NO_PERMISSION, "{reply:?}");
    });
}
