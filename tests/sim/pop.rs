//! POP in the simulator: what is popped is hidden for its time and no longer, what is acknowledged never comes again, and
//! what is neither comes back, through a kill and a power cut as well.

mod ends;
mod histories;
mod receipts;
mod returns;
mod switched;

#[cfg(feature = "mutants")]
pub use histories::one_history;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use ringmq::io::{Clock, Disk, Spawn};
use ringmq::message::{Record, properties};
use ringmq::sim::Tally;
use ringmq::store::Flush;
use ringmq::wire::Codec;
use ringmq::wire::codes::{request, response};
use ringmq::wire::pop::{
    AckRequest, BatchAck, BatchAckRequest, Bits, ChangeInvisibleTime, NotificationRequest,
    PeekRequest, PollingInfoRequest, PopRequest, Receipt,
};

use crate::client::{Client, PATIENCE, Reply};
use crate::cluster::Cluster;
use crate::dice::Dice;
use crate::oracle::Queue;
use crate::requests::{self, QUEUES};
use crate::sent::{Sent, number_of};

const TOPIC: &str = "popped";
const GROUP: &str = "poppers";
const NONE: [u64; 0] = [];
const SEEDS: std::ops::Range<u64> = 0..6;

/// The broker looks every 100 ms whose time of waiting is over.
const SLACK_MS: u64 = 200;

/// A message as a pop brought it.
#[derive(Clone, Debug)]
struct Popped {
    number: u64,
    tag: String,
    reconsume_times: i32,
    /// The topic that its acknowledgement names.
    topic: String,
    queue_id: i32,
    offset: i64,
    receipt: String,
    /// Until when it is hidden.
    hidden_until_ms: u64,
}

#[derive(Clone, Copy)]
struct Pop<'a> {
    max: i32,
    invisible_ms: i64,
    poll_ms: i64,
    queue_id: i32,
    expression: &'a str,
    expression_type: &'a str,
    order: bool,
    attempt_id: Option<&'a str>,
}

const ALL: Pop<'static> = Pop {
    max: 32,
    invisible_ms: 2_000,
    poll_ms: 0,
    queue_id: -1,
    expression: "*",
    expression_type: "TAG",
    order: false,
    attempt_id: None,
};

struct Popper {
    client: Client,
}

impl Popper {
    async fn new(cluster: &Cluster, host: &str) -> Self {
        let io = cluster.sim.host(host);
        let client = Client::connect(&io, cluster.addr(), Codec::Json).await;
        Popper {
            client: client.unwrap(),
        }
    }

    fn now_ms(&self) -> u64 {
        self.client.io.now().unix_ms as u64
    }

    async fn send(&mut self, numbers: std::ops::Range<u64>) {
        for number in numbers {
            let sent = sent(number);
            requests::send(&mut self.client, &sent, (number % QUEUES as u64) as i32);
            self.client.flush().await.unwrap();
            let reply = self.client.reply().await.unwrap();
            assert!(reply.is_success(), "{reply:?}");
        }
    }

    fn ask_pop(&mut self, pop: &Pop<'_>) {
        let fields = PopRequest {
            consumer_group: GROUP,
            topic: TOPIC,
            queue_id: pop.queue_id,
            max_msg_nums: pop.max,
            invisible_ms: pop.invisible_ms,
            poll_ms: pop.poll_ms,
            born_ms: Some(self.now_ms() as i64),
            init_mode: 0,
            expression_type: Some(pop.expression_type),
            expression: Some(pop.expression),
            order: pop.order,
            attempt_id: pop.attempt_id,
        };
        self.client.ask(request::POP_MESSAGE, &fields.ext(), &[]);
    }

    async fn try_pop(&mut self, pop: &Pop<'_>) -> std::io::Result<Reply> {
        self.ask_pop(pop);
        self.client.patience = PATIENCE + Duration::from_millis(pop.poll_ms as u64);
        self.client.flush().await?;
        let reply = self.client.reply().await;
        self.client.patience = PATIENCE;
        reply
    }

    async fn pop(&mut self, pop: &Pop<'_>) -> Vec<Popped> {
        popped(&self.try_pop(pop).await.unwrap())
    }

    /// The numbers of what a pop brings, in order.
    async fn pop_numbers(&mut self, pop: &Pop<'_>) -> Vec<u64> {
        numbers(&self.pop(pop).await)
    }

    async fn ack(&mut self, message: &Popped) -> std::io::Result<Reply> {
        let fields = AckRequest {
            consumer_group: GROUP,
            topic: &message.topic,
            queue_id: message.queue_id,
            receipt: &message.receipt,
            offset: message.offset,
        };
        self.client
            .call(request::ACK_MESSAGE, &fields.ext(), &[])
            .await
    }

    async fn ack_all(&mut self, messages: &[Popped]) {
        for message in messages {
            let reply = self.ack(message).await.unwrap();
            assert!(reply.is_success(), "{reply:?}");
        }
    }

    /// The message under its new receipt.
    async fn change(
        &mut self,
        message: &Popped,
        invisible_ms: i64,
    ) -> std::io::Result<(Reply, Popped)> {
        let fields = ChangeInvisibleTime {
            consumer_group: GROUP,
            topic: &message.topic,
            queue_id: message.queue_id,
            receipt: &message.receipt,
            offset: message.offset,
            invisible_ms,
        };
        let code = request::CHANGE_MESSAGE_INVISIBLETIME;
        let reply = self.client.call(code, &fields.ext(), &[]).await?;
        let mut changed = message.clone();
        if reply.is_success() {
            let old = Receipt::parse(&message.receipt).unwrap();
            let is_orderly = old.is_orderly();
            let new = Receipt {
                start_offset: if is_orderly {
                    old.start_offset
                } else {
                    message.offset as u64
                },
                pop_time_ms: reply.number("popTime") as u64,
                invisible_ms: reply.number("invisibleTime") as u64,
                revive_queue: reply.number("reviveQid") as i32,
                ..old
            };
            changed.receipt = new.text(message.queue_id as u32, message.offset as u64);
            changed.hidden_until_ms = new.pop_time_ms + new.invisible_ms;
        }
        Ok((reply, changed))
    }
}

fn sent(number: u64) -> Sent {
    Sent {
        number,
        topic: TOPIC.into(),
        body_bytes: 200,
        delay_level: 0,
        born_ms: 7,
        is_half: false,
    }
}

fn numbers(messages: &[Popped]) -> Vec<u64> {
    let mut numbers: Vec<u64> = messages.iter().map(|message| message.number).collect();
    numbers.sort_unstable();
    numbers
}

/// The messages of a reply, each with the receipt that a client makes for it.
fn popped(reply: &Reply) -> Vec<Popped> {
    if !reply.is_success() {
        assert_eq!(reply.code, response::POLLING_TIMEOUT, "{reply:?}");
        return Vec::new();
    }
    let starts: BTreeMap<(&str, i32), u64> = reply
        .text("startOffsetInfo")
        .split(';')
        .map(|part| {
            let mut words = part.split(' ');
            let mut word = || words.next().unwrap();
            ((word(), word().parse().unwrap()), word().parse().unwrap())
        })
        .collect();
    let records = requests::records(&reply.body);
    let listed: usize = reply.text("msgOffsetInfo").split([',', ';']).count();
    assert_eq!(listed, records.len(), "{reply:?}");
    records
        .iter()
        .map(|record| popped_record(reply, record, &starts))
        .collect()
}

fn popped_record(
    reply: &Reply,
    record: &Record<'_>,
    starts: &BTreeMap<(&str, i32), u64>,
) -> Popped {
    let number = number_of(record);
    sent(number).check(record);
    assert_eq!(
        record.topic, TOPIC,
        "a client sees the topic that it asked for"
    );
    let (pop_time_ms, invisible_ms) = (reply.number("popTime"), reply.number("invisibleTime"));
    let made = properties::find(record.properties, properties::POP_RECEIPT);
    let queue_id = record.queue_id as i32;
    let receipt = match made {
        Some(made) => made.to_owned(),
        None => Receipt {
            start_offset: starts[&("0", queue_id)],
            pop_time_ms: pop_time_ms as u64,
            invisible_ms: invisible_ms as u64,
            revive_queue: reply.number("reviveQid") as i32,
            retry_flag: 0,
            broker_name: "broker-a",
        }
        .text(record.queue_id, record.queue_offset),
    };
    let flag = Receipt::parse(&receipt).unwrap().retry_flag;
    let topic = match flag {
        0 => TOPIC.to_owned(),
        _ => format!("%RETRY%{GROUP}_{TOPIC}"),
    };
    Popped {
        number,
        tag: sent(number).tag().into(),
        reconsume_times: record.reconsume_times,
        topic,
        queue_id,
        offset: record.queue_offset as i64,
        receipt,
        hidden_until_ms: (pop_time_ms + invisible_ms) as u64,
    }
}

async fn started(cluster: &Cluster) -> Popper {
    cluster.start().await;
    let mut popper = Popper::new(cluster, "client").await;
    requests::make_topic(&mut popper.client, TOPIC).await;
    popper
}

fn sorted(mut numbers: Vec<u64>) -> Vec<u64> {
    numbers.sort_unstable();
    numbers
}
