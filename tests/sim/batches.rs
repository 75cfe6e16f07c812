//! Protects topics of type BatchCQ through every end of the broker: what was acknowledged or seen stands at its offsets afterwards, a batch as
//! one record with an offset for each message, which a pull from any of them gets once and whole.

use std::collections::BTreeMap;

use ringmq::message::{Record, batch, sys_flag};
use ringmq::sim::Tally;
use ringmq::store::Flush;
use ringmq::wire::codes::{request, response};
use ringmq::wire::send::SendRequest;

use crate::client::Client;
use crate::cluster::Cluster;
use crate::dice::Dice;
use crate::oracle::Queue;
use crate::requests::{self, Pull};

const TOPIC: &str = "batches";
const SEEDS: u64 = 6;
const LIVES: usize = 4;

/// Of a record: how many messages it has, and the number of the send that it comes from.
type Known = BTreeMap<u64, (u64, u64)>;

#[test]
fn batches_stand_at_their_offsets_after_every_end() {
    for seed in 0..SEEDS {
        history(seed);
    }
}

pub fn history(seed: u64) -> Tally {
    let dice = Dice::new(seed, 57);
    let cluster = Cluster::new(seed, Flush::Sync);
    cluster.sim.run(async {
        cluster.start().await;
        let mut admin = cluster.client("admin").await;
        requests::create_topic_of(&mut admin, TOPIC, Some("+queue.type=BatchCQ"));
        admin.flush().await.unwrap();
        assert!(admin.reply().await.unwrap().is_success());
        let (mut known, mut sends) = (Known::new(), 0);
        for _ in 0..LIVES {
            let mut client = cluster.client("client").await;
            for _ in 0..dice.within(5, 60) {
                match dice.below(3) {
                    0 => pull(&mut client, &mut known, &dice).await,
                    _ => send(&mut client, &mut known, &mut sends, &dice).await,
                }
            }
            // Nobody knows whether this one is stored.
            let asked = ask(&mut client, &mut sends, &dice);
            client.flush().await.unwrap();
            match dice.below(4) {
                0 => cluster.stop().await,
                1 => cluster.kill(),
                _ => cluster.cut_power(),
            }
            cluster.start().await;
            let mut client = cluster.client("client").await;
            read_all(&mut client, &mut known, asked).await;
        }
    });
    cluster.sim.tally()
}

fn queue() -> Queue {
    Queue {
        topic: TOPIC.to_owned(),
        id: 0,
    }
}

fn end_of(known: &Known) -> u64 {
    known
        .last_key_value()
        .map_or(0, |(first, (count, _))| first + count)
}

/// A message alone or a batch; returns its messages and its number.
fn ask(client: &mut Client, sends: &mut u64, dice: &Dice) -> (u64, u64) {
    *sends += 1;
    let count = dice.within(1, 61);
    if count == 1 {
        let properties = "UNIQ_KEY\u{1}alone\u{2}";
        let fields = requests::send_to(TOPIC, properties);
        client.ask(request::SEND_MESSAGE_V2, &fields.ext(), &body(*sends, 0));
        return (1, *sends);
    }
    let mut packed = Vec::new();
    for place in 0..count {
        let item = batch::BatchItem {
            flag: 0,
            body: &body(*sends, place),
            properties: b"",
        };
        batch::push(&mut packed, &item);
    }
    let fields = SendRequest {
        batch: true,
        ..requests::send_to(TOPIC, "UNIQ_KEY\u{1}packed\u{2}")
    };
    client.ask(request::SEND_BATCH_MESSAGE, &fields.ext(), &packed);
    (count, *sends)
}

fn body(number: u64, place: u64) -> Vec<u8> {
    [number.to_be_bytes(), place.to_be_bytes()].concat()
}

async fn send(client: &mut Client, known: &mut Known, sends: &mut u64, dice: &Dice) {
    let asked = ask(client, sends, dice);
    client.flush().await.unwrap();
    let reply = client.reply().await.unwrap();
    assert!(reply.is_success(), "{reply:?}");
    note(known, reply.number("queueOffset") as u64, asked);
}

/// No two records have an offset in common, and one that is known stays what it is.
fn note(known: &mut Known, first: u64, record: (u64, u64)) {
    let before = *known.entry(first).or_insert(record);
    assert_eq!(before, record, "two records begin at {first}");
    if let Some((other, (count, _))) = known.range(..first).next_back() {
        assert!(other + count <= first, "{other} and {first} overlap");
    }
    if let Some((other, _)) = known.range(first + 1..).next() {
        assert!(first + record.0 <= *other, "{first} and {other} overlap");
    }
}

/// From some offset, as often within a batch as not.
async fn pull(client: &mut Client, known: &mut Known, dice: &Dice) {
    let end = end_of(known);
    if end > 0 {
        look(client, known, dice.below(end)).await;
    }
}

/// Pulls once; where to go on.
async fn look(client: &mut Client, known: &mut Known, offset: u64) -> Option<u64> {
    let queue = queue();
    let pull = Pull::of_all("readers", &queue, offset);
    let reply = requests::pull(client, &pull).await.unwrap();
    if reply.code == response::PULL_NOT_FOUND {
        return None;
    }
    assert!(reply.is_success(), "a pull from {offset}: {reply:?}");
    let mut next = None;
    for record in requests::records(&reply.body) {
        let (count, number) = unpacked(&record);
        let first = record.queue_offset;
        match next {
            None => assert!((first..first + count).contains(&offset), "{record:?}"),
            Some(next) => assert_eq!(first, next, "offsets are dense"),
        }
        note(known, first, (count, number));
        next = Some(first + count);
    }
    assert_eq!(Some(reply.number("nextBeginOffset") as u64), next);
    next
}

/// How many messages the record has, and which send it comes from.
fn unpacked(record: &Record<'_>) -> (u64, u64) {
    let bodies: Vec<&[u8]> = match record.sys_flag & sys_flag::INNER_BATCH {
        0 => vec![record.body],
        _ => batch::iter(record.body)
            .map(|item| item.expect("well formed").body)
            .collect(),
    };
    let number = u64::from_be_bytes(*bodies[0].first_chunk().expect("a number"));
    for (place, one) in (0..).zip(&bodies) {
        assert_eq!(*one, body(number, place), "{record:?}");
    }
    (bodies.len() as u64, number)
}

/// All that is known is there, and what may be there besides is the last send.
async fn read_all(client: &mut Client, known: &mut Known, last: (u64, u64)) {
    let before = known.clone();
    let (mut offset, mut read) = (0, Known::new());
    while let Some(next) = look(client, &mut read, offset).await {
        offset = next;
    }
    for (first, record) in &before {
        assert_eq!(read.get(first), Some(record), "at {first}");
    }
    let new = read.iter().filter(|(first, _)| !before.contains_key(first));
    let new: Vec<_> = new.map(|(_, record)| *record).collect();
    assert!(new.is_empty() || new == [last], "{new:?}");
    *known = read;
    let max = requests::max_offset(client, &queue()).await.unwrap();
    assert_eq!(max.number("offset") as u64, offset);
}
