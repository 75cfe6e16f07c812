//! Consumers that pull: they commit, send back what they cannot process, are sent back themselves, and wait at the end.

use std::collections::HashMap;
use std::io;
use std::rc::Rc;

use ringmq::io::Clock;
use ringmq::message::Record;
use ringmq::sim::SimIo;
use ringmq::wire::Value;
use ringmq::wire::codes::{request, response};

use super::{AUTO_CREATED, CREATED, Connected, Shared};
use crate::cluster::DELAY_LEVELS_MS;
use crate::dice::Dice;
use crate::oracle::{Queue, Retry, Told, most_retries, retry_topic};
use crate::requests::{self, Pull, QUEUES};
use crate::sent::number_of;

pub async fn consume(io: SimIo, shared: Rc<Shared>, stream: u64) {
    let dice = Dice::new(shared.seed, stream);
    let group = format!(
        "{}{stream}",
        ["group-", "the-group-", "a-group-"][stream as usize % 3]
    );
    loop {
        let mut connected = Connected::to_broker(&io, &shared, &dice).await;
        if let Err(error) = consume_on(&mut connected, &dice, &group).await {
            connected.excuse(&error);
        }
    }
}

async fn consume_on(connected: &mut Connected<'_>, dice: &Dice, group: &str) -> io::Result<()> {
    let mut positions: HashMap<Queue, u64> = HashMap::new();
    let mut topics: Vec<_> = CREATED
        .iter()
        .chain(&AUTO_CREATED)
        .map(|&topic| topic.to_owned())
        .collect();
    topics.extend([retry_topic(group), retry_topic(group)]);
    loop {
        let topic = dice.pick(&topics).clone();
        let id = match topic == retry_topic(group) {
            true => 0,
            false => dice.below(QUEUES as u64) as i32,
        };
        let queue = Queue { topic, id };
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
        } else if next > 0 && dice.one_in(40) && CREATED.contains(&&*queue.topic) {
            let back = rewind(connected, dice, group, &queue, next).await?;
            positions.insert(queue.clone(), back);
        }
        connected.pause(dice.below(20)).await;
    }
}

/// Pulls once; where to go on.
pub(super) async fn consume_some(
    connected: &mut Connected<'_>,
    dice: &Dice,
    group: &str,
    queue: &Queue,
    offset: u64,
    hold_ms: u64,
) -> io::Result<u64> {
    let asked_ns = connected.now_ns();
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
        // What it had consumed was taken back with the power, or what it wanted has gone.
        response::PULL_OFFSET_MOVED | response::PULL_RETRY_IMMEDIATELY => {
            let next = reply.number("nextBeginOffset") as u64;
            let kept_from_ms = connected.shared.kept_from_ms(now.unix_ms);
            let oracle = connected.oracle();
            oracle.is_sent_past(queue, offset..next.max(offset), kept_from_ms);
            return Ok(next);
        }
        response::PULL_NOT_FOUND => return Ok(offset),
        response::TOPIC_NOT_EXIST | response::INVALID_PARAMETER
            if !CREATED.contains(&&*queue.topic) =>
        {
            return Ok(offset);
        }
        _ if connected.lacks_a_descriptor(&reply) => return Ok(offset),
        _ => panic!("a pull of {queue:?} from {offset}: {reply:?}"),
    }
    let records = requests::records(&reply.body);
    connected.shared.are_seen(&records, told);
    for (record, at) in records.iter().zip(offset..) {
        connected.oracle().delivered(queue, at, record, told);
    }
    let next = reply.number("nextBeginOffset") as u64;
    assert_eq!(next, offset + records.len() as u64, "{reply:?}");
    // A consumer that could not process it once can often not the next time.
    let is_retry = queue.topic == retry_topic(group);
    if dice.one_in(if is_retry { 2 } else { 8 }) && !connected.shared.is_ending.get() {
        send_back(connected, dice, group, dice.pick(&records)).await?;
    }
    Ok(next)
}

async fn send_back(
    connected: &mut Connected<'_>,
    dice: &Dice,
    group: &str,
    record: &Record<'_>,
) -> io::Result<()> {
    let retry = Retry {
        group: group.to_owned(),
        number: number_of(record),
        reconsume_times: record.reconsume_times,
    };
    // -1: at once to the dead letters.
    let level = dice.below(DELAY_LEVELS_MS.len() as u64 + 2) as i32 - 1;
    let now_ms = connected.now_ms();
    connected.oracle().sends_back(&retry, level, now_ms);
    let most = most_retries(group);
    requests::send_back(&mut connected.client, record, group, level, most);
    let (reply, told) = connected.answer().await?;
    if reply.is_success() {
        connected.oracle().sent_back(&retry, level, told);
        return Ok(());
    }
    // The request may have taken seconds to arrive.
    let kept_from_ms = connected.shared.kept_from_ms(connected.now_ms());
    let is_excused = match reply.code {
        // It has gone meanwhile.
        response::SYSTEM_ERROR if record.store_timestamp_ms < kept_from_ms + 1_000 => true,
        _ => connected.excuses(&reply),
    };
    assert!(is_excused, "a send-back was refused: {reply:?}");
    Ok(())
}

pub(super) async fn commit(
    connected: &mut Connected<'_>,
    group: &str,
    queue: &Queue,
    offset: u64,
) -> io::Result<()> {
    let commit = connected.oracle().commits(group, queue, offset as i64);
    requests::commit_offset(&mut connected.client, group, queue, offset);
    let (reply, told) = connected.answer().await?;
    assert!(reply.is_success(), "{reply:?}");
    connected
        .oracle()
        .committed(group, queue, commit, told.told_ns);
    Ok(())
}

/// An administrator sends the group back; its next pull hears of it. Where it is then.
async fn rewind(
    connected: &mut Connected<'_>,
    dice: &Dice,
    group: &str,
    queue: &Queue,
    offset: u64,
) -> io::Result<u64> {
    let back = dice.below(offset + 1);
    let fields = [
        ("topic", Value::Str(&queue.topic)),
        ("group", Value::Str(group)),
        ("queueId", Value::I64(queue.id.into())),
        ("offset", Value::I64(back as i64)),
        ("timestamp", Value::I64(-1)),
        ("isForce", Value::Bool(true)),
    ];
    let rewind = connected.oracle().rewinds(group, queue, back as i64);
    let code = request::INVOKE_BROKER_TO_RESET_OFFSET;
    let (reply, told) = connected.call(code, &fields, &[]).await?;
    match reply.code {
        response::SUCCESS => connected
            .oracle()
            .committed(group, queue, rewind, told.told_ns),
        // On a full disk it is done, and a restart may or may not know of it.
        _ if connected.is_made_but_not_saved(&reply) => {}
        // The group is unknown, or the queue begins later.
        response::SUBSCRIPTION_GROUP_NOT_EXIST | response::SYSTEM_ERROR => {
            connected.oracle().does_not_commit(group, queue, rewind);
            return Ok(offset);
        }
        _ => panic!("{group} cannot be sent to {back} of {queue:?}: {reply:?}"),
    }
    let pull = Pull {
        group,
        queue,
        offset,
        expression: "*",
        hold_ms: 0,
    };
    let moved = requests::pull(&mut connected.client, &pull).await?;
    assert_eq!(moved.code, response::PULL_OFFSET_MOVED, "{moved:?}");
    assert_eq!(moved.number("nextBeginOffset") as u64, back, "{moved:?}");
    Ok(back)
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
        let hold_ms = dice.within(100, 15_000);
        offset = consume_some(connected, dice, group, queue, offset, hold_ms).await?;
    }
}
