//! Clients that do what clients do, at random, and tell the oracle. They outlive the broker's crashes.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use ringmq::io::Clock;
use ringmq::message::ids::parse_offset_message_id;
use ringmq::sim::SimIo;
use ringmq::wire::Codec;
use ringmq::wire::codes::response;
use ringmq::wire::transaction::{TRANSACTION_COMMIT_TYPE, TRANSACTION_ROLLBACK_TYPE};

use crate::client::{Client, Reply, sleep};
use crate::cluster::{DELAY_LEVELS_MS, MAX_MESSAGE_BYTES};
use crate::dice::Dice;
use crate::oracle::{End, Oracle, Queue, Told, retry_topic};
use crate::requests::{self, Half, Pull, QUEUES};
use crate::sent::{Sent, TIMED_LEVELS};

/// Topics that exist from the start; the others come with their first message.
pub const CREATED: [&str; 2] = ["first", "second"];
const AUTO_CREATED: [&str; 3] = ["third", "fourth", "fifth"];

/// What all clients of a run share.
pub struct Shared {
    pub oracle: RefCell<Oracle>,
    pub addr: SocketAddr,
    pub seed: u64,
    /// Counts what may break connections; one that breaks without it was broken by the broker.
    pub disturbances: Cell<u64>,
    /// Nobody connects meanwhile.
    pub is_closed: Cell<bool>,
    /// No new messages, please.
    pub is_ending: Cell<bool>,
    /// There is no space, or there was none a moment ago.
    pub is_disk_full: Cell<bool>,
    /// How long messages are kept.
    pub reserved_ms: u64,
}

impl Shared {
    pub fn disturb(&self) {
        self.disturbances.set(self.disturbances.get() + 1);
    }
}

/// A client with the time of its connecting.
struct Connected<'a> {
    client: Client,
    shared: &'a Shared,
    since: u64,
}

impl<'a> Connected<'a> {
    async fn to_broker(io: &SimIo, shared: &'a Shared, dice: &Dice) -> Self {
        loop {
            let since = shared.disturbances.get();
            if !shared.is_closed.get() {
                let codec = *dice.pick(&[Codec::Json, Codec::Rocketmq]);
                match Client::connect(io, shared.addr, codec).await {
                    Ok(client) => {
                        return Connected {
                            client,
                            shared,
                            since,
                        };
                    }
                    Err(error) => assert!(
                        shared.disturbances.get() != since,
                        "cannot connect to an undisturbed broker: {error}"
                    ),
                }
            }
            sleep(io, Duration::from_millis(dice.within(1, 50))).await;
        }
    }

    fn is_disturbed(&self) -> bool {
        self.shared.disturbances.get() != self.since
    }

    /// An error must have a reason.
    fn excuse(&self, error: &io::Error) {
        assert!(
            self.is_disturbed(),
            "an undisturbed connection has failed: {error}"
        );
    }

    fn oracle(&self) -> std::cell::RefMut<'_, Oracle> {
        self.shared.oracle.borrow_mut()
    }
}

pub async fn produce(io: SimIo, shared: Rc<Shared>, stream: u64) {
    let dice = Dice::new(shared.seed, stream);
    let pause_ms = *dice.pick(&[10, 30, 120]);
    loop {
        let mut connected = Connected::to_broker(&io, &shared, &dice).await;
        let client_id = format!("producer-{stream}");
        let joined = requests::heartbeat(&mut connected.client, &client_id).await;
        if let Err(error) = joined {
            connected.excuse(&error);
            continue;
        }
        let error = loop {
            if shared.is_ending.get() {
                return;
            }
            answer_questions(&mut connected);
            let done = match dice.below(12) {
                10..=11 => transact(&mut connected, &dice).await,
                0..=4 => send_burst(&mut connected, &dice).await,
                5..=6 => send_batch(&mut connected, &dice).await,
                7 => send_oneway(&mut connected, &dice).await,
                _ => send_delayed(&mut connected, &dice).await,
            };
            match done {
                Ok(()) => sleep(&io, Duration::from_millis(dice.below(pause_ms + 1))).await,
                Err(error) => break error,
            }
        };
        connected.excuse(&error);
    }
}

fn new_message(connected: &Connected<'_>, dice: &Dice, delay_level: u64) -> Sent {
    let topic = match dice.one_in(4) {
        true => *dice.pick(&AUTO_CREATED),
        false => *dice.pick(&CREATED),
    };
    let body_bytes = match dice.below(20) {
        0 => dice.within(8, MAX_MESSAGE_BYTES as u64 / 2),
        1..=4 => dice.within(8, 4096),
        _ => dice.within(8, 300),
    };
    let now_ms = connected.client.io.now().unix_ms;
    connected
        .oracle()
        .sends(topic, body_bytes as usize, delay_level, now_ms)
}

/// Often the broker's choice.
fn queue_id(dice: &Dice) -> i32 {
    dice.below(QUEUES as u64 + 2) as i32 - 2
}

async fn send_burst(connected: &mut Connected<'_>, dice: &Dice) -> io::Result<()> {
    let count = *dice.pick(&[1, 1, 1, 2, 10]);
    let messages: Vec<_> = (0..count)
        .map(|_| new_message(connected, dice, 0))
        .collect();
    send_all(connected, dice, messages).await
}

async fn send_delayed(connected: &mut Connected<'_>, dice: &Dice) -> io::Result<()> {
    let level = dice.within(1, DELAY_LEVELS_MS.len() as u64);
    let level = level
        + if dice.one_in(2) {
            dice.within(0, TIMED_LEVELS)
        } else {
            0
        };
    let message = new_message(connected, dice, level);
    send_all(connected, dice, vec![message]).await
}

async fn send_all(
    connected: &mut Connected<'_>,
    dice: &Dice,
    messages: Vec<Sent>,
) -> io::Result<()> {
    let mut asked = HashMap::new();
    for message in messages {
        let opaque = requests::send(&mut connected.client, &message, queue_id(dice));
        asked.insert(opaque, message);
    }
    let asked_ns = connected.client.io.now().mono_ns;
    connected.client.flush().await?;
    while !asked.is_empty() {
        let reply = connected.client.reply().await?;
        let message = asked.remove(&reply.opaque);
        let message = message.unwrap_or_else(|| panic!("answered twice: {reply:?}"));
        if is_stored(connected, &reply, &message.topic) {
            let told = Told {
                asked_ns,
                told_ns: connected.client.io.now().mono_ns,
            };
            check_id(connected, &reply, 1);
            let (id, offset) = (
                reply.number("queueId") as i32,
                reply.number("queueOffset") as u64,
            );
            connected.oracle().acknowledged(&message, id, offset, told);
        }
    }
    Ok(())
}

/// A half message, and mostly its end. The rest is asked about, and so is what a crash has made the broker forget.
async fn transact(connected: &mut Connected<'_>, dice: &Dice) -> io::Result<()> {
    let now_ms = connected.client.io.now().unix_ms;
    let (topic, body_bytes) = (*dice.pick(&CREATED), dice.within(8, 600) as usize);
    let message = connected.oracle().sends_half(topic, body_bytes, now_ms);
    requests::send(&mut connected.client, &message, queue_id(dice));
    connected.client.flush().await?;
    let reply = connected.client.reply().await?;
    if !is_stored(connected, &reply, topic) {
        return Ok(());
    }
    let half = Half::sent(&reply);
    sleep(&connected.client.io, Duration::from_millis(dice.below(50))).await;
    let (end, is_known) = match dice.below(8) {
        0..=4 => (End::Commit, true),
        5..=6 => (End::Rollback, true),
        _ => (*dice.pick(&[End::Commit, End::Rollback]), false),
    };
    connected.oracle().ends(&message, end);
    if !is_known {
        return Ok(());
    }
    if dice.one_in(2) {
        requests::end_transaction_oneway(&mut connected.client, half, on_wire(end));
        return connected.client.flush().await;
    }
    let asked_ns = connected.client.io.now().mono_ns;
    requests::end_transaction(&mut connected.client, half, on_wire(end));
    connected.client.flush().await?;
    let reply = connected.client.reply().await?;
    let told_ns = connected.client.io.now().mono_ns;
    if is_stored(connected, &reply, topic) && end == End::Commit {
        let told = Told { asked_ns, told_ns };
        connected.oracle().committed_half(&message, told);
    }
    Ok(())
}

/// What the broker has asked about meanwhile; the answers go out with the next request.
fn answer_questions(connected: &mut Connected<'_>) {
    while let Some(question) = connected.client.questions.pop_front() {
        let half = Half::asked(&question);
        let records = requests::records(&question.body);
        assert_eq!(records.len(), 1, "{question:?}");
        let end = connected.oracle().end_of(&records[0]);
        if let Some(end) = end {
            requests::end_transaction_oneway(&mut connected.client, half, on_wire(end));
        }
    }
}

pub fn on_wire(end: End) -> i32 {
    match end {
        End::Commit => TRANSACTION_COMMIT_TYPE,
        End::Rollback => TRANSACTION_ROLLBACK_TYPE,
    }
}

async fn send_batch(connected: &mut Connected<'_>, dice: &Dice) -> io::Result<()> {
    let first = new_message(connected, dice, 0);
    let (now_ms, topic) = (first.born_ms, first.topic.clone());
    let mut messages = vec![first];
    for _ in 0..dice.within(1, 15) {
        let next = connected
            .oracle()
            .sends(&topic, dice.within(8, 500) as usize, 0, now_ms);
        messages.push(next);
    }
    let asked_ns = connected.client.io.now().mono_ns;
    requests::send_batch(&mut connected.client, &messages, queue_id(dice));
    connected.client.flush().await?;
    let reply = connected.client.reply().await?;
    if is_stored(connected, &reply, &topic) {
        let told = Told {
            asked_ns,
            told_ns: connected.client.io.now().mono_ns,
        };
        check_id(connected, &reply, messages.len());
        let (id, first) = (
            reply.number("queueId") as i32,
            reply.number("queueOffset") as u64,
        );
        for (message, offset) in messages.iter().zip(first..) {
            connected.oracle().acknowledged(message, id, offset, told);
        }
    }
    Ok(())
}

async fn send_oneway(connected: &mut Connected<'_>, dice: &Dice) -> io::Result<()> {
    for _ in 0..dice.within(1, 5) {
        let message = new_message(connected, dice, 0);
        requests::send_oneway(&mut connected.client, &message, queue_id(dice));
    }
    connected.client.flush().await
}

/// Whether the message was accepted. Without a disturbance it has to be, but for a topic that came back from a crash with
/// fewer queues, as only its messages survived.
fn is_stored(connected: &Connected<'_>, reply: &Reply, topic: &str) -> bool {
    let may_have_shrunk = !CREATED.contains(&topic);
    let is_excused = match reply.code {
        response::SUCCESS => return true,
        response::INVALID_PARAMETER => may_have_shrunk,
        response::SERVICE_NOT_AVAILABLE if connected.shared.is_disk_full.get() => {
            connected.oracle().refused += 1;
            true
        }
        response::SERVICE_NOT_AVAILABLE => connected.is_disturbed(),
        // The disk has been slow for too long.
        response::SYSTEM_BUSY => true,
        _ => false,
    };
    assert!(is_excused, "a send to {topic} was refused: {reply:?}");
    false
}

fn check_id(connected: &Connected<'_>, reply: &Reply, count: usize) {
    let ids: Vec<_> = reply
        .text("msgId")
        .split(',')
        .map(parse_offset_message_id)
        .collect();
    assert_eq!(ids.len(), count, "{reply:?}");
    let mut behind = 0;
    for id in ids {
        let (host, offset) = id.unwrap_or_else(|error| panic!("{error} in {reply:?}"));
        assert_eq!(host, connected.shared.addr);
        assert!(offset >= behind, "{reply:?}");
        behind = offset + 1;
    }
}

pub async fn consume(io: SimIo, shared: Rc<Shared>, stream: u64) {
    let dice = Dice::new(shared.seed, stream);
    let group = format!("group-{stream}");
    loop {
        let mut connected = Connected::to_broker(&io, &shared, &dice).await;
        if let Err(error) = consume_on(&mut connected, &dice, &group).await {
            connected.excuse(&error);
        }
    }
}

async fn consume_on(connected: &mut Connected<'_>, dice: &Dice, group: &str) -> io::Result<()> {
    let mut positions: HashMap<Queue, u64> = HashMap::new();
    loop {
        let mut topics: Vec<_> = CREATED
            .iter()
            .chain(&AUTO_CREATED)
            .map(|&topic| topic.to_owned())
            .collect();
        topics.push(retry_topic(group));
        let topic = dice.pick(&topics).clone();
        let queue = Queue {
            topic,
            id: dice.below(QUEUES as u64) as i32,
        };
        if !positions.contains_key(&queue) {
            let committed = requests::query_offset(&mut connected.client, group, &queue).await?;
            positions.insert(queue.clone(), committed.unwrap_or(0) as u64);
        }
        let offset = positions[&queue];
        let hold_ms = *dice.pick(&[0, 0, 0, 50, 300]);
        let next = consume_some(connected, dice, group, &queue, offset, hold_ms).await?;
        positions.insert(queue.clone(), next);
        if next > offset && dice.one_in(2) {
            commit(connected, group, &queue, next).await?;
        }
        sleep(&connected.client.io, Duration::from_millis(dice.below(20))).await;
    }
}

/// Pulls once; where to go on.
async fn consume_some(
    connected: &mut Connected<'_>,
    dice: &Dice,
    group: &str,
    queue: &Queue,
    offset: u64,
    hold_ms: u64,
) -> io::Result<u64> {
    let asked_ns = connected.client.io.now().mono_ns;
    let pull = Pull {
        group,
        queue,
        offset,
        expression: "*",
        hold_ms,
    };
    let reply = requests::pull(&mut connected.client, &pull).await?;
    let now = connected.client.io.now();
    let told = Told {
        asked_ns,
        told_ns: now.mono_ns,
    };
    match reply.code {
        response::SUCCESS => {}
        // What it had consumed was taken back with the power.
        response::PULL_OFFSET_MOVED => return Ok(reply.number("nextBeginOffset") as u64),
        response::PULL_NOT_FOUND => return Ok(offset),
        response::TOPIC_NOT_EXIST | response::INVALID_PARAMETER
            if !CREATED.contains(&&*queue.topic) =>
        {
            return Ok(offset);
        }
        _ => panic!("a pull of {queue:?} from {offset}: {reply:?}"),
    }
    let records = requests::records(&reply.body);
    for (record, at) in records.iter().zip(offset..) {
        connected.oracle().delivered(queue, at, record, told);
    }
    let next = reply.number("nextBeginOffset") as u64;
    assert_eq!(next, offset + records.len() as u64, "{reply:?}");
    if dice.one_in(8) && !connected.shared.is_ending.get() {
        let record = dice.pick(&records);
        let number = crate::sent::number_of(record);
        connected.oracle().sends_back(number, now.unix_ms);
        let level = dice.within(1, DELAY_LEVELS_MS.len() as u64) as i32;
        let asked_ns = connected.client.io.now().mono_ns;
        requests::send_back(&mut connected.client, record, group, level);
        connected.client.flush().await?;
        let reply = connected.client.reply().await?;
        if reply.is_success() {
            let told = Told {
                asked_ns,
                told_ns: connected.client.io.now().mono_ns,
            };
            connected.oracle().sent_back(number, group, told);
        } else {
            let kept_from_ms = now.unix_ms - connected.shared.reserved_ms as i64;
            let is_excused = match reply.code {
                response::SERVICE_NOT_AVAILABLE => {
                    connected.is_disturbed() || connected.shared.is_disk_full.get()
                }
                response::SYSTEM_BUSY => true,
                // It has gone meanwhile.
                response::SYSTEM_ERROR => record.store_timestamp_ms < kept_from_ms + 1_000,
                _ => false,
            };
            assert!(is_excused, "a send-back was refused: {reply:?}");
        }
    }
    Ok(next)
}

async fn commit(
    connected: &mut Connected<'_>,
    group: &str,
    queue: &Queue,
    offset: u64,
) -> io::Result<()> {
    let commit = connected.oracle().commits(group, queue, offset as i64);
    requests::commit_offset(&mut connected.client, group, queue, offset);
    connected.client.flush().await?;
    let reply = connected.client.reply().await?;
    assert!(reply.is_success(), "{reply:?}");
    let now_ns = connected.client.io.now().mono_ns;
    connected.oracle().committed(group, queue, commit, now_ns);
    Ok(())
}

/// Waits at the end of one queue all the time, as push consumers do.
pub async fn wait_for_messages(io: SimIo, shared: Rc<Shared>, stream: u64) {
    let dice = Dice::new(shared.seed, stream);
    let group = format!("waiting-{stream}");
    let queue = Queue {
        topic: dice.pick(&CREATED).to_string(),
        id: dice.below(QUEUES as u64) as i32,
    };
    loop {
        let mut connected = Connected::to_broker(&io, &shared, &dice).await;
        if let Err(error) = wait_on(&mut connected, &dice, &group, &queue).await {
            connected.excuse(&error);
        }
    }
}

async fn wait_on(
    connected: &mut Connected<'_>,
    dice: &Dice,
    group: &str,
    queue: &Queue,
) -> io::Result<()> {
    let end = requests::max_offset(&mut connected.client, queue).await?;
    let mut offset = end.number("offset") as u64;
    loop {
        offset = consume_some(
            connected,
            dice,
            group,
            queue,
            offset,
            dice.within(100, 15_000),
        )
        .await?;
    }
}
