//! Producers: one by one, in bursts and batches, one-way, for later, taken back, and in transactions.

use std::collections::HashMap;
use std::io;
use std::rc::Rc;

use ringmq::message::ids::parse_offset_message_id;
use ringmq::sim::SimIo;
use ringmq::wire::codes::{request, response};
use ringmq::wire::send::RecallRequest;

use super::{AUTO_CREATED, CREATED, Connected, Shared, on_wire};
use crate::client::Reply;
use crate::cluster::{DELAY_LEVELS_MS, MAX_MESSAGE_BYTES};
use crate::dice::Dice;
use crate::oracle::{End, Told};
use crate::requests::{self, Half, QUEUES};
use crate::sent::{PRODUCERS, Sent, TIMED_LEVELS};

pub async fn produce(io: SimIo, shared: Rc<Shared>, stream: u64) {
    let dice = Dice::new(shared.seed, stream);
    let pause_ms = *dice.pick(&[10, 30, 120]);
    let client_id = format!("producer-{stream}");
    loop {
        let mut connected = Connected::to_broker(&io, &shared, &dice).await;
        let done = produce_on(&mut connected, &dice, &client_id, pause_ms).await;
        match done {
            Ok(()) => return,
            Err(error) => connected.excuse(&error),
        }
    }
}

async fn produce_on(
    connected: &mut Connected<'_>,
    dice: &Dice,
    client_id: &str,
    pause_ms: u64,
) -> io::Result<()> {
    requests::heartbeat(&mut connected.client, client_id).await?;
    while !connected.shared.is_ending.get() {
        answer_questions(connected, dice);
        match dice.below(12) {
            10..=11 => transact(connected, dice).await?,
            0..=4 => send_burst(connected, dice).await?,
            5..=6 => send_batch(connected, dice).await?,
            7 => send_oneway(connected, dice).await?,
            _ => send_delayed(connected, dice).await?,
        }
        connected.pause(dice.below(pause_ms + 1)).await;
    }
    Ok(())
}

/// The last member of the producers' group: whatever is still undecided is decided by it.
pub async fn answer_what_is_asked(io: SimIo, shared: Rc<Shared>, stream: u64) {
    let dice = Dice::new(shared.seed, stream);
    let mut connected = Connected::to_broker(&io, &shared, &dice).await;
    loop {
        // Also fetches what the broker has asked.
        let joined = requests::heartbeat(&mut connected.client, "last-producer").await;
        joined.expect("nothing is done to the broker any more");
        answer_questions(&mut connected, &dice);
        connected.pause(50).await;
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
    let now_ms = connected.now_ms();
    let sent = connected
        .oracle()
        .sends(topic, body_bytes as usize, delay_level, now_ms);
    is_born_here(connected, &sent);
    sent
}

fn is_born_here(connected: &Connected<'_>, sent: &Sent) {
    let ip = connected.client.io.ip();
    connected.oracle().comes_from(sent, ip);
}

/// Often the broker's choice.
fn queue_id(dice: &Dice) -> i32 {
    dice.below(QUEUES as u64 + 2) as i32 - 2
}

async fn send_burst(connected: &mut Connected<'_>, dice: &Dice) -> io::Result<()> {
    let count = *dice.pick(&[1, 1, 1, 2, 10]);
    let messages: Vec<_> = (0..count)
        .map(|_| (new_message(connected, dice, 0), queue_id(dice)))
        .collect();
    let mut asked = HashMap::new();
    for (message, id) in messages {
        let opaque = requests::send(&mut connected.client, &message, id);
        asked.insert(opaque, (message, id));
    }
    let asked_ns = connected.now_ns();
    connected.client.flush().await?;
    while !asked.is_empty() {
        let reply = connected.client.reply().await?;
        let message = asked.remove(&reply.opaque);
        let (message, id) = message.unwrap_or_else(|| panic!("answered twice: {reply:?}"));
        let told_ns = connected.now_ns();
        take_receipt(connected, &reply, &message, id, Told { asked_ns, told_ns });
    }
    Ok(())
}

/// Whether the message was accepted; then the oracle knows.
fn take_receipt(
    connected: &Connected<'_>,
    reply: &Reply,
    message: &Sent,
    asked_id: i32,
    told: Told,
) -> bool {
    if !is_stored(connected, reply, &message.topic) {
        return false;
    }
    check_id(connected, reply, 1, told);
    let id = reply.number("queueId") as i32;
    assert!(asked_id < 0 || asked_id == id, "{asked_id}: {reply:?}");
    let offset = reply.number("queueOffset") as u64;
    connected.oracle().acknowledged(message, id, offset, told);
    true
}

async fn send_delayed(connected: &mut Connected<'_>, dice: &Dice) -> io::Result<()> {
    let levels = DELAY_LEVELS_MS.len() as u64;
    let level = match dice.one_in(2) {
        true => dice.within(1, levels),
        false => levels + dice.within(1, TIMED_LEVELS),
    };
    let (message, id) = (new_message(connected, dice, level), queue_id(dice));
    requests::send(&mut connected.client, &message, id);
    let (reply, told) = connected.answer().await?;
    let is_stored = take_receipt(connected, &reply, &message, id, told);
    if is_stored && level > levels && dice.one_in(3) {
        connected.pause(dice.below(message.delay_ms() + 1)).await;
        recall(connected, &message, reply.text("recallHandle")).await?;
    }
    Ok(())
}

async fn recall(connected: &mut Connected<'_>, message: &Sent, handle: &str) -> io::Result<()> {
    connected.oracle().recalls(message);
    let fields = RecallRequest {
        producer_group: Some(PRODUCERS),
        topic: &message.topic,
        recall_handle: handle,
    };
    let code = request::RECALL_MESSAGE;
    let (reply, told) = connected.call(code, &fields.ext(), &[]).await?;
    match reply.code {
        response::SUCCESS => connected.oracle().recalled(message, told),
        // It was due before.
        response::ILLEGAL_OPERATION => {}
        response::SYSTEM_ERROR if connected.shared.is_disk_full.get() => {}
        response::SYSTEM_ERROR if connected.is_disturbed() => {}
        _ if connected.excuses(&reply) => {}
        _ => panic!("{message:?} cannot be taken back: {reply:?}"),
    }
    Ok(())
}

/// A half message, and mostly its end. The rest is asked about, and so is what a crash has made the broker forget.
async fn transact(connected: &mut Connected<'_>, dice: &Dice) -> io::Result<()> {
    let now_ms = connected.now_ms();
    let (topic, body_bytes) = (*dice.pick(&CREATED), dice.within(8, 600) as usize);
    let message = connected.oracle().sends_half(topic, body_bytes, now_ms);
    is_born_here(connected, &message);
    requests::send(&mut connected.client, &message, queue_id(dice));
    let (reply, told) = connected.answer().await?;
    if !is_stored(connected, &reply, topic) {
        return Ok(());
    }
    check_id(connected, &reply, 1, told);
    connected.oracle().holds_half(&message, told);
    let half = Half::sent(&reply);
    connected.pause(dice.below(50)).await;
    let (end, is_known) = match dice.below(8) {
        0..=4 => (End::Commit, true),
        5..=6 => (End::Rollback, true),
        _ => (*dice.pick(&[End::Commit, End::Rollback]), false),
    };
    // Another producer may have been asked meanwhile.
    let decided = connected.oracle().decided(&message);
    let end = decided.unwrap_or(end);
    connected.oracle().ends(&message, end);
    if !is_known {
        return Ok(());
    }
    if dice.one_in(2) {
        requests::end_transaction_oneway(&mut connected.client, half, on_wire(end));
        return connected.client.flush().await;
    }
    requests::end_transaction(&mut connected.client, half, on_wire(end));
    let (reply, told) = connected.answer().await?;
    if is_stored(connected, &reply, topic) && end == End::Commit {
        connected.oracle().committed_half(&message, told);
    }
    Ok(())
}

/// What the broker has asked about meanwhile; the answers go out with the next request. Sometimes nobody knows yet.
fn answer_questions(connected: &mut Connected<'_>, dice: &Dice) {
    while let Some(question) = connected.client.questions.pop_front() {
        let half = Half::asked(&question);
        let records = requests::records(&question.body);
        assert_eq!(records.len(), 1, "{question:?}");
        let known = connected.oracle().end_of(&records[0]);
        if known.is_none() && dice.one_in(2) {
            continue;
        }
        let end = known.unwrap_or(*dice.pick(&[End::Commit, End::Rollback]));
        let message = connected.oracle().half_of(&records[0]).clone();
        connected.oracle().ends(&message, end);
        requests::end_transaction_oneway(&mut connected.client, half, on_wire(end));
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
        is_born_here(connected, &next);
        messages.push(next);
    }
    requests::send_batch(&mut connected.client, &messages, queue_id(dice));
    let (reply, told) = connected.answer().await?;
    if is_stored(connected, &reply, &topic) {
        check_id(connected, &reply, messages.len(), told);
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
    if reply.is_success() {
        return true;
    }
    if reply.code == response::SERVICE_NOT_AVAILABLE && connected.shared.is_disk_full.get() {
        connected.oracle().refused += 1;
    }
    let is_excused = match reply.code {
        response::INVALID_PARAMETER => may_have_shrunk,
        _ => connected.excuses(reply),
    };
    assert!(is_excused, "a send to {topic} was refused: {reply:?}");
    false
}

fn check_id(connected: &Connected<'_>, reply: &Reply, count: usize, told: Told) {
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
        if let Some(copies) = &connected.shared.copies {
            copies.are_acknowledged(offset, reply, told);
        }
    }
}
