//! Consumers of the slave: whatever they get is what the master has.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use ringmq::io::Clock;
use ringmq::sim::SimIo;
use ringmq::wire::Codec;
use ringmq::wire::codes::response;

use crate::client::{Client, sleep};
use crate::dice::Dice;
use crate::oracle::{Queue, Told};
use crate::requests::{self, Pull, QUEUES};
use crate::workload::{AUTO_CREATED, CREATED, Shared};

/// The slave has it from the master.
const GROUP: &str = "readers";

pub async fn read_at_slave(io: SimIo, shared: Rc<Shared>, slave: SocketAddr, stream: u64) {
    let dice = Dice::new(shared.seed, stream);
    let mut positions = HashMap::new();
    loop {
        if let Ok(mut client) = Client::connect(&io, slave, Codec::Rocketmq).await {
            // The slave ends and is cut off at any time.
            let _ = read_on(&mut client, &shared, &dice, &mut positions).await;
        }
        sleep(&io, Duration::from_millis(dice.within(1, 300))).await;
    }
}

async fn read_on(
    client: &mut Client,
    shared: &Shared,
    dice: &Dice,
    positions: &mut HashMap<Queue, u64>,
) -> io::Result<()> {
    loop {
        let topic = match dice.one_in(4) {
            true => *dice.pick(&AUTO_CREATED),
            false => *dice.pick(&CREATED),
        };
        let queue = Queue {
            topic: topic.to_owned(),
            id: dice.below(QUEUES as u64) as i32,
        };
        let offset = positions.get(&queue).copied().unwrap_or(0);
        let next = read_some(client, shared, dice, &queue, offset).await?;
        positions.insert(queue, next);
        sleep(&client.io, Duration::from_millis(dice.below(60))).await;
    }
}

/// Pulls once; where to go on.
async fn read_some(
    client: &mut Client,
    shared: &Shared,
    dice: &Dice,
    queue: &Queue,
    offset: u64,
) -> io::Result<u64> {
    let copies = shared.copies.as_ref().expect("there is a slave");
    let asked_ns = client.io.now().mono_ns;
    let pull = Pull {
        group: GROUP,
        queue,
        offset,
        expression: "*",
        hold_ms: *dice.pick(&[0, 0, 100, 1_000]),
    };
    let reply = requests::pull(client, &pull).await?;
    let told_ns = client.io.now().mono_ns;
    let told = Told { asked_ns, told_ns };
    match reply.code {
        response::SUCCESS => {}
        // It has lost what the consumer had read, and gets it again.
        response::PULL_OFFSET_MOVED => {
            let next = reply.number("nextBeginOffset") as u64;
            assert!(next <= offset, "sent ahead from {offset}: {reply:?}");
            return Ok(next);
        }
        response::PULL_NOT_FOUND | response::PULL_RETRY_IMMEDIATELY => return Ok(offset),
        // It does not have the topic or the group yet.
        response::TOPIC_NOT_EXIST
        | response::SUBSCRIPTION_GROUP_NOT_EXIST
        | response::INVALID_PARAMETER => return Ok(offset),
        // Its device has failed, and it does not have on it what follows.
        response::SYSTEM_ERROR
            if reply
                .remark
                .as_ref()
                .is_some_and(|remark| remark.contains("fenced")) =>
        {
            return Ok(offset);
        }
        // The message rots, and comes from the master.
        response::SYSTEM_ERROR if copies.has_rotted() => return Ok(offset),
        _ => panic!("a pull of {queue:?} from {offset} at the slave: {reply:?}"),
    }
    let records = requests::records(&reply.body);
    for (record, at) in records.iter().zip(offset..) {
        if copies.is_seen_at_slave(record, told) {
            let mut oracle = shared.oracle.borrow_mut();
            oracle.time_is(told_ns);
            oracle.delivered(queue, at, record, told);
        }
    }
    Ok(offset + records.len() as u64)
}
