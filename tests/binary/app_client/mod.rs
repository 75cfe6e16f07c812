//! Protects what an application gets from `ringmq::client` and from `ringmq send` and `ringmq consume`: every message that was
//! acknowledged is consumed, as often as it should be, through failures of listeners, members and the broker.

mod command_line;
mod consuming;
mod sending;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::{Broker, Options, PATIENCE, SMALL, ringmq, wait_until};
use ringmq::client::{
    Client, ClientConfig, ConsumeFrom, Message, MessageModel, ProducerConfig, PullConfig,
    PullStatus, PushConfig, PushConsumer, Received, SendStatus, Subscription, TransactionState,
    Verdict,
};
use tempfile::TempDir;

/// So that a message is tried again, and a transaction asked about, within the test's patience.
const QUICK_RETRIES: &str =
    "messageDelayLevel=1s 1s 1s 1s 1s 1s\ntransactionTimeOut=500\ntransactionCheckInterval=500\n";

fn start() -> (TempDir, Broker) {
    let folder = tempfile::tempdir().expect("a folder");
    let config = format!("{SMALL}{QUICK_RETRIES}");
    let options = Options {
        config: &config,
        ..Options::default()
    };
    let broker = Broker::start(&folder.path().join("store"), &options);
    (folder, broker)
}

/// A client that notices changes soon.
fn client_of(broker: &Broker) -> Client {
    Client::start(config_of(broker)).expect("a client starts")
}

fn config_of(broker: &Broker) -> ClientConfig {
    ClientConfig {
        route_interval: Duration::from_millis(500),
        heartbeat_interval: Duration::from_secs(1),
        offset_interval: Duration::from_millis(500),
        rebalance_interval: Duration::from_secs(1),
        ..ClientConfig::new(broker.namesrv.to_string())
    }
}

fn push(group: &str, topic: &str) -> PushConfig {
    PushConfig {
        from: ConsumeFrom::First,
        pull_retry: Duration::from_millis(200),
        orderly_retry: Duration::from_millis(100),
        ..PushConfig::new(group, vec![Subscription::all(topic)])
    }
}

/// What a listener has got.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<Received>>>);

impl Seen {
    fn add(&self, messages: &[Arc<Received>]) {
        let mut seen = self.0.lock().expect("nobody panics with it");
        seen.extend(messages.iter().map(|message| (**message).clone()));
    }

    fn all(&self) -> Vec<Received> {
        self.0.lock().expect("nobody panics with it").clone()
    }

    fn count(&self) -> usize {
        self.all().len()
    }

    fn texts(&self) -> Vec<String> {
        let text = |message: &Received| message.text().expect("text").to_owned();
        self.all().iter().map(text).collect()
    }

    fn sorted(&self) -> Vec<String> {
        let mut texts = self.texts();
        texts.sort();
        texts
    }
}

/// A consumer that takes everything.
fn consume(client: &Client, config: PushConfig) -> (Seen, PushConsumer) {
    let seen = Seen::default();
    let to_seen = seen.clone();
    let consumer = client
        .push_consumer(config, move |messages| {
            to_seen.add(messages);
            Verdict::Consumed
        })
        .wait()
        .expect("a consumer joins");
    (seen, consumer)
}

/// Waits longer for a slow disk than the default of 3 s, after which a message would be sent a second time.
fn producer_of(group: &str) -> ProducerConfig {
    ProducerConfig {
        send_timeout: PATIENCE,
        ..ProducerConfig::new(group)
    }
}

fn send_all(client: &Client, topic: &str, texts: &[String]) {
    let producer = client.producer(producer_of("senders")).expect("a producer");
    for text in texts {
        let sent = producer.send(Message::new(topic, text.as_str())).wait();
        assert_eq!(sent.expect("it is sent").status, SendStatus::Ok);
    }
}

fn numbered(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|nth| format!("{prefix}{nth:04}")).collect()
}
