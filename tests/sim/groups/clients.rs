//! Producers and consumers of a group: they try its brokers at random, also one that is no longer the master.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use ringmq::io::Clock;
use ringmq::message::ids::parse_offset_message_id;
use ringmq::sim::SimIo;
use ringmq::wire::Codec;
use ringmq::wire::codes::response;

use super::ledger::Ledger;
use crate::client::{Client, sleep, within};
use crate::dice::Dice;
use crate::oracle::{Queue, Told};
use crate::requests::{self, Pull};

pub const TOPIC: &str = "first";
pub const QUEUES: i32 = 2;
const GROUP: &str = "readers";
const CONNECT: Duration = Duration::from_secs(1);

pub struct Clients {
    pub ledger: Rc<Ledger>,
    pub brokers: [SocketAddr; 3],
    pub seed: u64,
    /// No new messages.
    pub is_ending: std::cell::Cell<bool>,
}

impl Clients {
    async fn connect(&self, io: &SimIo, dice: &Dice) -> io::Result<Client> {
        let addr = *dice.pick(&self.brokers);
        within(io, CONNECT, Client::connect(io, addr, Codec::Rocketmq)).await?
    }
}

pub async fn produce(io: SimIo, clients: Rc<Clients>, stream: u64) {
    let dice = Dice::new(clients.seed, stream);
    while !clients.is_ending.get() {
        if let Ok(mut client) = clients.connect(&io, &dice).await {
            // Whatever ends it, another broker is tried.
            let _ = produce_on(&mut client, &clients, &dice).await;
        }
        sleep(&io, Duration::from_millis(dice.within(1, 200))).await;
    }
}

/// Until the broker refuses.
async fn produce_on(client: &mut Client, clients: &Clients, dice: &Dice) -> io::Result<()> {
    while !clients.is_ending.get() {
        let mut asked = BTreeMap::new();
        for _ in 0..*dice.pick(&[1, 1, 2, 6]) {
            let bytes = dice.within(8, *dice.pick(&[300, 300, 4_000])) as usize;
            let sent = clients.ledger.sends(TOPIC, bytes, client.io.now().unix_ms);
            let id = dice.below(QUEUES as u64) as i32;
            asked.insert(requests::send(client, &sent, id), sent);
        }
        let asked_ns = client.io.now().mono_ns;
        client.flush().await?;
        let mut is_refused = false;
        while !asked.is_empty() {
            let reply = client.reply().await?;
            let told_ns = client.io.now().mono_ns;
            let sent = asked
                .remove(&reply.opaque)
                .expect("an answer to one of these");
            match reply.code {
                response::SUCCESS => {
                    let place = (
                        reply.number("queueId") as i32,
                        reply.number("queueOffset") as u64,
                    );
                    let (_, position) =
                        parse_offset_message_id(reply.text("msgId")).expect("an id");
                    clients
                        .ledger
                        .acknowledged(&sent, place, position, Told { asked_ns, told_ns });
                }
                // It is stored, and may be lost.
                response::FLUSH_SLAVE_TIMEOUT | response::SLAVE_NOT_AVAILABLE => {}
                _ => is_refused = true,
            }
        }
        if is_refused {
            return Ok(());
        }
        sleep(&client.io, Duration::from_millis(dice.below(40))).await;
    }
    Ok(())
}

pub async fn consume(io: SimIo, clients: Rc<Clients>, stream: u64) {
    let dice = Dice::new(clients.seed, stream);
    let mut positions = BTreeMap::new();
    loop {
        if let Ok(mut client) = clients.connect(&io, &dice).await {
            let _ = consume_on(&mut client, &clients, &dice, &mut positions).await;
        }
        sleep(&io, Duration::from_millis(dice.within(1, 200))).await;
    }
}

async fn consume_on(
    client: &mut Client,
    clients: &Clients,
    dice: &Dice,
    positions: &mut BTreeMap<i32, u64>,
) -> io::Result<()> {
    for _ in 0..dice.within(5, 60) {
        let queue = Queue {
            topic: TOPIC.to_owned(),
            id: dice.below(QUEUES as u64) as i32,
        };
        let position = positions.entry(queue.id).or_insert(0);
        if dice.one_in(12) {
            *position = dice.below(*position + 1);
        }
        let asked_ns = client.io.now().mono_ns;
        let pull = Pull {
            group: GROUP,
            queue: &queue,
            offset: *position,
            expression: "*",
            hold_ms: *dice.pick(&[0, 0, 50, 500]),
        };
        let reply = requests::pull(client, &pull).await?;
        let told_ns = client.io.now().mono_ns;
        match reply.code {
            response::SUCCESS => {
                for record in requests::records(&reply.body) {
                    let told = Told { asked_ns, told_ns };
                    clients.ledger.seen((queue.id, *position), &record, told);
                    *position += 1;
                }
            }
            // This broker is behind.
            response::PULL_OFFSET_MOVED => {
                let next = reply.number("nextBeginOffset") as u64;
                assert!(next <= *position, "sent ahead from {position}: {reply:?}");
                *position = next;
            }
            // It is no master, does not know the topic yet, or is about to end.
            _ => {}
        }
        if dice.one_in(4) {
            requests::commit_offset(client, GROUP, &queue, *position);
            client.flush().await?;
            client.reply().await?;
        }
        sleep(&client.io, Duration::from_millis(dice.below(40))).await;
    }
    Ok(())
}

/// All messages of a broker.
pub async fn read_all(
    client: &mut Client,
    ledger: &Ledger,
) -> io::Result<BTreeMap<(i32, u64), u64>> {
    let mut stored = BTreeMap::new();
    for id in 0..QUEUES {
        let queue = Queue {
            topic: TOPIC.to_owned(),
            id,
        };
        let mut offset = 0;
        loop {
            let asked_ns = client.io.now().mono_ns;
            let pull = Pull::of_all(GROUP, &queue, offset);
            let reply = requests::pull(client, &pull).await?;
            let told_ns = client.io.now().mono_ns;
            if reply.code != response::SUCCESS {
                assert_eq!(reply.code, response::PULL_NOT_FOUND, "{reply:?}");
                break;
            }
            for record in requests::records(&reply.body) {
                ledger.seen((id, offset), &record, Told { asked_ns, told_ns });
                stored.insert((id, offset), crate::sent::number_of(&record));
                offset += 1;
            }
        }
        let committed = requests::query_offset(client, GROUP, &queue).await?;
        assert!(
            committed.is_none_or(|committed| committed <= offset as i64),
            "{GROUP} is at {committed:?} of {id}, which ends at {offset}"
        );
    }
    Ok(stored)
}
