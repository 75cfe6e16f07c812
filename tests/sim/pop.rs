//! POP in the simulator: what is popped is hidden for its time and no longer, what is acknowledged never comes again, and
//! what is neither comes back, through a kill and a power cut as well.

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
    requests::create_topic(&mut popper.client, TOPIC);
    popper.client.flush().await.unwrap();
    assert!(popper.client.reply().await.unwrap().is_success());
    popper
}

#[test]
fn what_is_not_acknowledged_comes_back_at_its_time_and_once() {
    let cluster = Cluster::new(1, Flush::Async);
    cluster.sim.run(async {
        let mut popper = started(&cluster).await;
        popper.send(0..12).await;
        let first = popper.pop(&ALL).await;
        assert_eq!(numbers(&first), (0..12).collect::<Vec<_>>());
        assert_eq!(popper.pop_numbers(&ALL).await, NONE);
        let (done, left) = first.split_at(5);
        popper.ack_all(done).await;
        cluster.sleep_ms(1_800).await;
        assert_eq!(popper.pop_numbers(&ALL).await, NONE, "its time is not over");
        cluster.sleep_ms(300).await;
        let again = popper.pop(&ALL).await;
        assert_eq!(numbers(&again), numbers(left));
        assert!(
            again
                .iter()
                .all(|message| message.reconsume_times == 1 && message.topic != TOPIC)
        );
        // The old receipts are void, the new ones are not.
        popper.ack_all(left).await;
        cluster.sleep_ms(2_300).await;
        let third = popper.pop(&ALL).await;
        assert_eq!(numbers(&third), numbers(left));
        assert!(third.iter().all(|message| message.reconsume_times == 2));
        popper.ack_all(&third).await;
        cluster.sleep_ms(5_000).await;
        assert_eq!(popper.pop_numbers(&ALL).await, NONE);
    });
}

#[test]
fn one_queue_a_limit_and_a_filter() {
    let cluster = Cluster::new(1, Flush::Async);
    cluster.sim.run(async {
        let mut popper = started(&cluster).await;
        popper.send(0..24).await;
        let red = popper
            .pop(&Pop {
                expression: "red",
                max: 3,
                queue_id: 0,
                ..ALL
            })
            .await;
        assert_eq!(numbers(&red), [0, 12], "red ones of the first queue");
        let rest = popper
            .pop(&Pop {
                expression: "blue || green",
                ..ALL
            })
            .await;
        assert!(
            rest.iter()
                .all(|message| message.tag != "red" && message.queue_id != 0)
        );
        assert_eq!(
            rest.len(),
            12,
            "what the first pop passed over stays behind"
        );
        let reply = popper.try_pop(&Pop { max: 33, ..ALL }).await.unwrap();
        assert_eq!(reply.code, response::INVALID_PARAMETER);
        let reply = popper.try_pop(&Pop { queue_id: 4, ..ALL }).await.unwrap();
        assert_eq!(reply.code, response::INVALID_PARAMETER);
        let reply = popper
            .try_pop(&Pop {
                expression: "||",
                ..ALL
            })
            .await
            .unwrap();
        assert_eq!(reply.code, response::SUBSCRIPTION_PARSE_FAILED);
    });
}

#[test]
fn an_expression_chooses_and_chooses_again_what_comes_back() {
    let cluster = Cluster::new(1, Flush::Async);
    cluster.sim.run(async {
        let mut popper = started(&cluster).await;
        popper.send(0..24).await;
        let chosen = Pop {
            expression: "TAGS = 'red' AND (KEYS ENDSWITH '2' OR KEYS ENDSWITH '1')",
            expression_type: "SQL92",
            ..ALL
        };
        let first = popper.pop(&chosen).await;
        assert_eq!(sorted(numbers(&first)), [12, 21]);
        cluster.sleep_ms(2_300).await;
        let again = popper.pop(&chosen).await;
        assert_eq!(
            sorted(numbers(&again)),
            [12, 21],
            "nobody has acknowledged them"
        );
        assert!(again.iter().all(|message| message.reconsume_times == 1));
        popper.ack_all(&again).await;
        let wrong = Pop {
            expression: "TAGS = ",
            ..chosen
        };
        let reply = popper.try_pop(&wrong).await.unwrap();
        assert_eq!(reply.code, response::SUBSCRIPTION_PARSE_FAILED);
    });
}

fn sorted(mut numbers: Vec<u64>) -> Vec<u64> {
    numbers.sort_unstable();
    numbers
}

#[test]
fn a_pop_waits_for_a_message_and_for_what_comes_back() {
    let cluster = Cluster::new(1, Flush::Async);
    cluster.sim.run(async {
        let mut popper = started(&cluster).await;
        let mut other = Popper::new(&cluster, "other").await;
        let waits = Pop {
            poll_ms: 5_000,
            invisible_ms: 1_000,
            ..ALL
        };
        let asked_ms = popper.now_ms();
        let reply = popper.try_pop(&waits).await.unwrap();
        assert_eq!(reply.code, response::POLLING_TIMEOUT);
        let waited_ms = popper.now_ms() - asked_ms;
        assert!(
            (5_000..5_000 + SLACK_MS).contains(&waited_ms),
            "{waited_ms} ms"
        );

        popper.ask_pop(&waits);
        popper.client.flush().await.unwrap();
        cluster.sleep_ms(100).await;
        let line = PollingInfoRequest {
            consumer_group: GROUP,
            topic: TOPIC,
            queue_id: -1,
        };
        let waiting = other
            .client
            .call(request::POLLING_INFO, &line.ext(), &[])
            .await
            .unwrap();
        assert_eq!(waiting.number("pollingNum"), 1);
        other.send(0..1).await;
        let sent_ms = popper.now_ms();
        let found = popped(&popper.client.reply().await.unwrap());
        assert_eq!(numbers(&found), [0]);
        assert!(popper.now_ms() - sent_ms < 50, "at once");

        // There was no retry topic when it began to wait.
        let back = popper.pop(&waits).await;
        assert_eq!((numbers(&back), back[0].reconsume_times), (vec![0], 1));
        let due_ms = found[0].hidden_until_ms;
        let late_ms = popper.now_ms().checked_sub(due_ms);
        assert!(
            late_ms.is_some_and(|late_ms| late_ms < 100),
            "as soon as it is back, not {late_ms:?} ms after"
        );
        popper.ack_all(&back).await;
    });
}

#[test]
fn one_message_wakes_one_of_many() {
    let cluster = Cluster::new(1, Flush::Async);
    cluster.sim.run(async {
        let mut sender = started(&cluster).await;
        let mut poppers = Vec::new();
        for number in 0..6 {
            let mut popper = Popper::new(&cluster, &format!("popper-{number}")).await;
            popper.ask_pop(&Pop {
                poll_ms: 3_000,
                max: 1,
                invisible_ms: 60_000,
                ..ALL
            });
            popper.client.flush().await.unwrap();
            poppers.push(popper);
        }
        cluster.sleep_ms(100).await;
        sender.send(0..4).await;
        let mut found = Vec::new();
        for popper in &mut poppers {
            popper.client.patience = Duration::from_secs(4);
            found.extend(popped(&popper.client.reply().await.unwrap()));
        }
        assert_eq!(
            numbers(&found),
            [0, 1, 2, 3],
            "each to one, and the others hear that there was nothing"
        );
    });
}

#[test]
fn who_has_gone_gets_nothing() {
    let cluster = Cluster::new(1, Flush::Async);
    cluster.sim.run(async {
        let mut sender = started(&cluster).await;
        let waits = Pop {
            poll_ms: 10_000,
            ..ALL
        };
        let mut gone = Popper::new(&cluster, "gone").await;
        gone.ask_pop(&waits);
        gone.client.flush().await.unwrap();
        cluster.sleep_ms(10).await;
        let mut popper = Popper::new(&cluster, "popper").await;
        popper.ask_pop(&waits);
        popper.client.flush().await.unwrap();
        cluster.sleep_ms(10).await;
        drop(gone);
        cluster.sleep_ms(10).await;
        sender.send(0..1).await;
        let found = popped(&popper.client.reply().await.unwrap());
        assert_eq!((numbers(&found), found[0].reconsume_times), (vec![0], 0));
    });
}

#[test]
fn a_changed_time_voids_the_old_receipt() {
    let cluster = Cluster::new(1, Flush::Async);
    cluster.sim.run(async {
        let mut popper = started(&cluster).await;
        popper.send(0..2).await;
        let messages = popper.pop(&ALL).await;
        let (reply, longer) = popper.change(&messages[0], 10_000).await.unwrap();
        assert!(reply.is_success(), "{reply:?}");
        let (reply, sooner) = popper.change(&messages[1], 500).await.unwrap();
        assert!(reply.is_success(), "{reply:?}");
        let (reply, _) = popper.change(&messages[0], 500).await.unwrap();
        assert_eq!(reply.code, response::NO_MESSAGE, "void");
        popper.ack_all(&messages).await;
        cluster.sleep_ms(700).await;
        let back = popper.pop(&ALL).await;
        assert_eq!(numbers(&back), [sooner.number]);
        popper.ack_all(&back).await;
        cluster.sleep_ms(8_000).await;
        assert_eq!(popper.pop_numbers(&ALL).await, NONE);
        popper.ack_all(&[longer]).await;
        cluster.sleep_ms(5_000).await;
        assert_eq!(popper.pop_numbers(&ALL).await, NONE);
    });
}

#[test]
fn a_batch_acknowledges_by_bits() {
    let cluster = Cluster::new(1, Flush::Async);
    cluster.sim.run(async {
        let mut popper = started(&cluster).await;
        popper.send(0..20).await;
        let messages = popper.pop(&Pop { queue_id: 1, ..ALL }).await;
        assert_eq!(numbers(&messages), [1, 5, 9, 13, 17]);
        let receipt = Receipt::parse(&messages[0].receipt).unwrap();
        let ack = BatchAck {
            consumer_group: GROUP.into(),
            topic: TOPIC.into(),
            retry_flag: "0".into(),
            start_offset: receipt.start_offset as i64,
            queue_id: 1,
            revive_queue: receipt.revive_queue,
            pop_time_ms: receipt.pop_time_ms as i64,
            invisible_ms: receipt.invisible_ms as i64,
            bits: Bits(vec![0b0001_0110]),
        };
        let wrong = BatchAck {
            queue_id: -1,
            ..ack.clone()
        };
        let batch = BatchAckRequest {
            broker_name: "broker-a".into(),
            acks: vec![wrong, ack],
        };
        let body = ringmq::wire::loose_json::to_vec(&batch);
        let reply = popper
            .client
            .call(request::BATCH_ACK_MESSAGE, &[], &body)
            .await
            .unwrap();
        assert!(reply.is_success(), "{reply:?}");
        let reply = popper
            .client
            .call(request::BATCH_ACK_MESSAGE, &[], b"{}")
            .await
            .unwrap();
        assert_eq!(reply.code, response::NO_MESSAGE);
        cluster.sleep_ms(2_200).await;
        assert_eq!(
            popper.pop_numbers(&Pop { queue_id: 1, ..ALL }).await,
            [1, 13]
        );
    });
}

#[test]
fn a_peek_takes_nothing_and_a_notification_says_whether_there_is_something() {
    let cluster = Cluster::new(1, Flush::Async);
    cluster.sim.run(async {
        let mut popper = started(&cluster).await;
        let mut other = Popper::new(&cluster, "other").await;
        let peek = PeekRequest {
            consumer_group: GROUP,
            topic: TOPIC,
            queue_id: -1,
            max_msg_nums: 32,
        };
        let reply = popper
            .client
            .call(request::PEEK_MESSAGE, &peek.ext(), &[])
            .await
            .unwrap();
        assert_eq!(reply.code, response::PULL_NOT_FOUND);
        let notification = |now_ms: u64, poll_ms| NotificationRequest {
            consumer_group: GROUP,
            topic: TOPIC,
            queue_id: -1,
            poll_ms,
            born_ms: now_ms as i64,
            order: false,
            attempt_id: None,
        };
        let ask = notification(popper.now_ms(), 0);
        let reply = popper
            .client
            .call(request::NOTIFICATION, &ask.ext(), &[])
            .await
            .unwrap();
        assert_eq!(reply.text("hasMsg"), "false");
        let ask = notification(popper.now_ms(), 2_000);
        popper.client.ask(request::NOTIFICATION, &ask.ext(), &[]);
        popper.client.flush().await.unwrap();
        cluster.sleep_ms(100).await;
        other.send(0..3).await;
        let reply = popper.client.reply().await.unwrap();
        assert_eq!(reply.text("hasMsg"), "true");
        for _ in 0..2 {
            let reply = popper
                .client
                .call(request::PEEK_MESSAGE, &peek.ext(), &[])
                .await
                .unwrap();
            assert_eq!(
                (reply.code, requests::records(&reply.body).len()),
                (response::SUCCESS, 3)
            );
            assert_eq!(reply.number("restNum"), 3);
        }
        assert_eq!(popper.pop_numbers(&ALL).await, [0, 1, 2]);
    });
}

#[test]
fn popped_in_order_a_queue_is_blocked() {
    let cluster = Cluster::new(1, Flush::Async);
    cluster.sim.run(async {
        let mut popper = started(&cluster).await;
        popper.send(0..20).await;
        let order = Pop {
            order: true,
            queue_id: 0,
            max: 2,
            ..ALL
        };
        let first = popper
            .pop(&Pop {
                attempt_id: Some("a"),
                ..order
            })
            .await;
        assert_eq!(numbers(&first), [0, 4]);
        assert_eq!(
            popper
                .pop_numbers(&Pop {
                    attempt_id: Some("b"),
                    ..order
                })
                .await,
            NONE
        );
        let again = popper
            .pop_numbers(&Pop {
                attempt_id: Some("a"),
                ..order
            })
            .await;
        assert_eq!(again, [0, 4], "the same attempt");
        // All of it done, the next may come; a pop that waits is woken by that.
        let again = popper
            .pop(&Pop {
                attempt_id: Some("a"),
                ..order
            })
            .await;
        let mut other = Popper::new(&cluster, "other").await;
        other.ask_pop(&Pop {
            poll_ms: 10_000,
            ..order
        });
        other.client.flush().await.unwrap();
        cluster.sleep_ms(100).await;
        popper.ack_all(&again).await;
        let next = popped(&other.client.reply().await.unwrap());
        assert_eq!(numbers(&next), [8, 12]);
        // Half of it done: the rest comes again when its time is over, and says how often it came.
        popper.ack_all(&next[..1]).await;
        let asked_ms = popper.now_ms();
        let reply = popper
            .try_pop(&Pop {
                poll_ms: 10_000,
                ..order
            })
            .await
            .unwrap();
        assert!((1_700..2_100).contains(&(popper.now_ms() - asked_ms)));
        let counts = reply.text("orderCountInfo").to_owned();
        let rest = popped(&reply);
        assert_eq!(numbers(&rest), [12, 16]);
        assert_eq!(counts, format!("0 qo0%{} 1;0 0 0", rest[0].offset));
        let (reply, rest_later) = popper.change(&rest[0], 500).await.unwrap();
        assert!(reply.is_success());
        popper.ack_all(&rest[1..]).await;
        cluster.sleep_ms(600).await;
        assert_eq!(popper.pop_numbers(&order).await, [12, 16]);
        popper.ack_all(&[rest_later]).await;
    });
}

#[test]
fn what_is_in_flight_survives_a_kill_and_comes_back() {
    let cluster = Cluster::new(1, Flush::Async);
    cluster.sim.run(async {
        let mut popper = started(&cluster).await;
        popper.send(0..8).await;
        let messages = popper
            .pop(&Pop {
                invisible_ms: 20_000,
                ..ALL
            })
            .await;
        popper.ack_all(&messages[..3]).await;
        // No offset has been saved, but the check points are in the log.
        cluster.kill();
        cluster.start().await;
        let mut popper = Popper::new(&cluster, "client").await;
        assert_eq!(popper.pop_numbers(&ALL).await, NONE, "still hidden");
        popper.ack_all(&messages[3..5]).await;
        cluster.stop().await;
        cluster.start().await;
        let mut popper = Popper::new(&cluster, "client").await;
        assert_eq!(popper.pop_numbers(&ALL).await, NONE, "still hidden");
        cluster.sleep_ms(20_000).await;
        let back = popper.pop(&ALL).await;
        assert_eq!(numbers(&back), numbers(&messages[5..]));
        popper.ack_all(&back).await;
        cluster.kill();
        cluster.start().await;
        let mut popper = Popper::new(&cluster, "client").await;
        cluster.sleep_ms(5_000).await;
        assert_eq!(popper.pop_numbers(&ALL).await, NONE);
    });
}

#[test]
fn what_a_full_disk_refuses_has_not_happened() {
    for is_killed in [false, true] {
        let cluster = Cluster::new(1, Flush::Sync);
        cluster.sim.run(refused_by_the_disk(&cluster, is_killed));
    }
}

async fn refused_by_the_disk(cluster: &Cluster, is_killed: bool) {
    let mut popper = started(cluster).await;
    popper.send(0..8).await;
    let messages = popper
        .pop(&Pop {
            invisible_ms: 10_000,
            ..ALL
        })
        .await;
    let (acked, changed) = messages.split_at(4);
    let io = cluster.broker();
    io.occupy(io.space(Path::new("/")).await.unwrap().available_bytes);
    cluster.sleep_ms(1_200).await;
    for message in acked {
        let reply = popper.ack(message).await.unwrap();
        assert_eq!(reply.code, response::SERVICE_NOT_AVAILABLE, "{reply:?}");
    }
    for message in changed {
        let (reply, _) = popper.change(message, 500).await.unwrap();
        assert_eq!(reply.code, response::SERVICE_NOT_AVAILABLE, "{reply:?}");
    }
    io.occupy(0);
    cluster.sleep_ms(2_500).await;
    popper.ack_all(&acked[..2]).await;
    let (reply, sooner) = popper.change(&changed[0], 500).await.unwrap();
    assert!(reply.is_success(), "{reply:?}");
    popper.ack_all(&[sooner]).await;
    // Long enough for what is noted of the revive log to be saved.
    cluster.sleep_ms(3_000).await;
    assert_eq!(popper.pop_numbers(&ALL).await, NONE, "still hidden");
    if is_killed {
        cluster.kill();
        cluster.start().await;
        popper = Popper::new(cluster, "client").await;
    }
    cluster.sleep_ms(5_000).await;
    let back = popper.pop(&ALL).await;
    let mut left = numbers(&acked[2..]);
    left.extend(numbers(&changed[1..]));
    assert_eq!(numbers(&back), sorted(left), "killed: {is_killed}");
    popper.ack_all(&back).await;
    cluster.sleep_ms(5_000).await;
    assert_eq!(popper.pop_numbers(&ALL).await, NONE);
}

#[test]
fn a_group_that_was_sent_back_stays_there_after_a_kill() {
    let cluster = Cluster::new(1, Flush::Async);
    cluster.sim.run(async {
        let mut popper = started(&cluster).await;
        popper.send(0..8).await;
        let messages = popper
            .pop(&Pop {
                invisible_ms: 60_000,
                ..ALL
            })
            .await;
        popper.ack_all(&messages).await;
        cluster.sleep_ms(3_000).await;
        for id in 0..QUEUES {
            let queue = Queue {
                topic: TOPIC.into(),
                id,
            };
            requests::commit_offset(&mut popper.client, GROUP, &queue, 0);
            popper.client.flush().await.unwrap();
            assert!(popper.client.reply().await.unwrap().is_success());
        }
        // Long enough to be saved; the check points of before are still in the log.
        cluster.sleep_ms(3_000).await;
        cluster.kill();
        cluster.start().await;
        let mut popper = Popper::new(&cluster, "client").await;
        assert_eq!(popper.pop_numbers(&ALL).await, (0..8).collect::<Vec<_>>());
    });
}

/// How long a request may take.
const UNSURE_MS: i64 = 50;

/// What a client of the histories knows of a message.
#[derive(Clone, Debug, Default)]
struct Known {
    is_acked: bool,
    may_be_acked: bool,
    /// Nobody may see it before then, as long as the broker lives.
    hidden_until_ms: u64,
    /// In which life of the broker it was hidden.
    life: u64,
    /// How often there is more than one of it.
    copies: u64,
}

/// Clients that pop, acknowledge, change and forget at random while the broker is killed or loses its power.
#[test]
fn every_message_is_acknowledged_once_or_comes_back() {
    for seed in SEEDS {
        one_history(seed);
    }
}

pub fn one_history(seed: u64) -> Tally {
    let is_power_cut = seed.is_multiple_of(2);
    // Only a flushed acknowledgement survives a power cut.
    let flush = if is_power_cut {
        Flush::Sync
    } else {
        Flush::Async
    };
    let cluster = Cluster::new(seed, flush);
    cluster.sim.run(history(&cluster, seed, is_power_cut));
    cluster.sim.tally()
}

async fn history(cluster: &Cluster, seed: u64, is_power_cut: bool) {
    const LIVES: u64 = 6;
    let dice = Dice::new(seed, 77);
    let mut popper = started(cluster).await;
    let mut messages: BTreeMap<u64, Known> = BTreeMap::new();
    for life in 0..LIVES {
        let mut held: Vec<Popped> = Vec::new();
        let from = messages.len() as u64;
        popper.send(from..from + 30).await;
        messages.extend((from..from + 30).map(|number| (number, Known::default())));
        for _ in 0..dice.within(20, 60) {
            step(&mut popper, &dice, &mut messages, &mut held, life).await;
            cluster.sleep_ms(dice.below(200)).await;
        }
        match is_power_cut {
            true => cluster.cut_power(),
            false => cluster.kill(),
        }
        cluster.start().await;
        popper = Popper::new(cluster, "client").await;
    }
    // Whatever is left comes back, and once it is acknowledged nothing does.
    for _ in 0..100 {
        let found = popper
            .pop(&Pop {
                invisible_ms: 1_000,
                ..ALL
            })
            .await;
        take(&popper, &found, &mut messages, LIVES, seed);
        for message in &found {
            assert!(popper.ack(message).await.unwrap().is_success());
            let known = messages.get_mut(&message.number).unwrap();
            known.is_acked |= known.copies == 0;
            known.may_be_acked = true;
        }
        cluster.sleep_ms(300).await;
    }
    let lost: Vec<_> = messages
        .iter()
        .filter(|(_, known)| !known.is_acked && !known.may_be_acked)
        .collect();
    assert!(lost.is_empty(), "seed {seed}: never came back: {lost:?}");
}

async fn step(
    popper: &mut Popper,
    dice: &Dice,
    messages: &mut BTreeMap<u64, Known>,
    held: &mut Vec<Popped>,
    life: u64,
) {
    let choice = dice.below(10);
    if choice < 4 || held.is_empty() {
        let pop = Pop {
            max: dice.within(1, 32) as i32,
            invisible_ms: *dice.pick(&[200, 1_000, 4_000]),
            poll_ms: *dice.pick(&[0, 300]),
            queue_id: dice.within(0, 4) as i32 - 1,
            ..ALL
        };
        let found = popper.pop(&pop).await;
        take(popper, &found, messages, life, life);
        held.extend(found);
        return;
    }
    let at = dice.below(held.len() as u64) as usize;
    let message = held.swap_remove(at);
    if choice < 8 {
        let left_ms = message.hidden_until_ms as i64 - popper.now_ms() as i64;
        assert!(popper.ack(&message).await.unwrap().is_success());
        let known = messages.get_mut(&message.number).unwrap();
        // Later than that it is on its way back, and in between nobody can tell.
        let is_in_time = left_ms > UNSURE_MS;
        // Of two the other one comes still.
        known.is_acked |= is_in_time && known.copies == 0;
        known.may_be_acked |= left_ms.abs() <= UNSURE_MS || is_in_time;
    } else if choice < 9 {
        let (reply, changed) = popper.change(&message, 1_500).await.unwrap();
        if reply.is_success() {
            let known = messages.get_mut(&message.number).unwrap();
            known.hidden_until_ms = changed.hidden_until_ms;
            held.push(changed);
        } else {
            assert_eq!(reply.code, response::NO_MESSAGE, "{reply:?}");
        }
    }
    // Else it is forgotten.
}

/// Holds what was popped against what is known.
fn take(
    popper: &Popper,
    found: &[Popped],
    messages: &mut BTreeMap<u64, Known>,
    life: u64,
    seed: u64,
) {
    let now_ms = popper.now_ms();
    for message in found {
        let known = messages.get_mut(&message.number).unwrap();
        assert!(
            !known.is_acked,
            "seed {seed}: acknowledged, and came again: {message:?}"
        );
        let is_hidden = known.life == life && now_ms < known.hidden_until_ms;
        // Each crash may find what a message was made again of, and the copy: there are two of it then.
        let is_copy = message.reconsume_times > 0 && known.copies < life;
        known.copies += u64::from(is_hidden && is_copy);
        assert!(
            !is_hidden || is_copy,
            "seed {seed}: came at {now_ms}, hidden until {}: {message:?}",
            known.hidden_until_ms
        );
        known.hidden_until_ms = message.hidden_until_ms;
        known.life = life;
    }
}

/// A pop does not slow down the others of its group, nor lose its place, while many wait.
#[test]
fn many_groups_and_clients_share_a_topic() {
    let cluster = Cluster::new(3, Flush::Async);
    cluster.sim.run(async {
        let mut sender = started(&cluster).await;
        let done = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
        for number in 0..8 {
            let host = format!("popper-{number}");
            let mut popper = Popper::new(&cluster, &host).await;
            let done = done.clone();
            cluster.sim.host(&host).spawn("test", async move {
                loop {
                    let pop = Pop {
                        poll_ms: 5_000,
                        max: 3,
                        invisible_ms: 60_000,
                        ..ALL
                    };
                    let found = popper.pop(&pop).await;
                    if found.is_empty() {
                        return;
                    }
                    popper.ack_all(&found).await;
                    done.borrow_mut().extend(numbers(&found));
                }
            });
        }
        sender.send(0..100).await;
        cluster.sleep_ms(12_000).await;
        let mut done = done.take();
        done.sort_unstable();
        assert_eq!(done, (0..100).collect::<Vec<_>>(), "each once");
    });
}
