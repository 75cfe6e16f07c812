//! Consumers that pop: they acknowledge, one by one and in batches, change the time, and forget.

use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use ringmq::message::{Record, properties};
use ringmq::sim::SimIo;
use ringmq::wire::Codec;
use ringmq::wire::codes::{request, response};
use ringmq::wire::loose_json;
use ringmq::wire::pop::{
    AckRequest, BatchAck, BatchAckRequest, Bits, ChangeInvisibleTime, PopRequest, Receipt,
};

use super::{CREATED, Connected, Shared};
use crate::client::{PATIENCE, Reply};
use crate::dice::Dice;
use crate::oracle::{Hidden, Queue, Told};
use crate::requests::{self, QUEUES};
use crate::sent::number_of;

const BROKER: &str = "broker-a";

/// A message in the hands of its consumer.
#[derive(Clone, Debug)]
struct Popped {
    number: u64,
    /// The topic that its acknowledgement names.
    topic: String,
    queue_id: i32,
    offset: u64,
    receipt: String,
    hidden: Hidden,
}

pub async fn pop(io: SimIo, shared: Rc<Shared>, stream: u64) {
    let dice = Dice::new(shared.seed, stream);
    let popper = Popper {
        group: format!("poppers-{stream}"),
        topic: CREATED[stream as usize % CREATED.len()],
    };
    shared.oracle.borrow_mut().pops(&popper.group, popper.topic);
    let mut held = Vec::new();
    loop {
        let mut connected = Connected::to_broker(&io, &shared, &dice).await;
        // The binary header has no room for these requests' codes.
        connected.client.codec = Codec::Json;
        if let Err(error) = popper.go_on(&mut connected, &dice, &mut held).await {
            connected.excuse(&error);
        }
    }
}

struct Popper {
    group: String,
    topic: &'static str,
}

impl Popper {
    async fn go_on(
        &self,
        connected: &mut Connected<'_>,
        dice: &Dice,
        held: &mut Vec<Popped>,
    ) -> io::Result<()> {
        loop {
            if connected.shared.is_ending.get() {
                self.pop_the_rest(connected).await?;
                continue;
            }
            // What was popped just before a power cut may have been popped in vain.
            held.retain(|popped| !connected.oracle().may_be_taken_back(popped.hidden.told));
            if held.is_empty() || dice.below(10) < 4 {
                let invisible_ms = *dice.pick(&[200, 1_000, 4_000]);
                let (most, id) = (dice.within(1, 32), dice.below(QUEUES as u64 + 1) as i32 - 1);
                let poll_ms = *dice.pick(&[0, 300]);
                let found = self
                    .pop(connected, [most, invisible_ms, poll_ms], id)
                    .await?;
                held.extend(found);
            } else {
                let at = dice.below(held.len() as u64) as usize;
                let popped = held.swap_remove(at);
                match dice.below(6) {
                    0..=2 => self.ack(connected, &popped).await?,
                    3 => {
                        let more = dice.below(4).min(held.len() as u64) as usize;
                        let mut all = held.split_off(held.len() - more);
                        all.push(popped);
                        self.ack_together(connected, &all).await?;
                    }
                    4 => held.extend(self.change(connected, dice, popped).await?),
                    // It is forgotten, and has to come again.
                    _ => {}
                }
            }
            connected.pause(dice.below(100)).await;
        }
    }

    async fn pop_the_rest(&self, connected: &mut Connected<'_>) -> io::Result<()> {
        let found = self.pop(connected, [32, 60_000, 300], -1).await?;
        if found.is_empty() {
            return Ok(());
        }
        connected.shared.popped_ms.set(connected.now_ms());
        self.ack_together(connected, &found).await
    }

    async fn pop(
        &self,
        connected: &mut Connected<'_>,
        [most, invisible_ms, poll_ms]: [u64; 3],
        queue_id: i32,
    ) -> io::Result<Vec<Popped>> {
        let life = connected.shared.life.get();
        let fields = PopRequest {
            consumer_group: &self.group,
            topic: self.topic,
            queue_id,
            max_msg_nums: most as i32,
            invisible_ms: invisible_ms as i64,
            poll_ms: poll_ms as i64,
            born_ms: Some(connected.now_ms()),
            init_mode: 0,
            expression_type: Some("TAG"),
            expression: Some("*"),
            order: false,
            attempt_id: None,
        };
        connected.client.patience = PATIENCE + Duration::from_millis(poll_ms);
        let code = request::POP_MESSAGE;
        let (reply, told) = connected.call(code, &fields.ext(), &[]).await?;
        connected.client.patience = PATIENCE;
        if !reply.is_success() {
            let is_excused = connected.excuses(&reply) || reply.code == response::POLLING_TIMEOUT;
            assert!(is_excused, "{reply:?}");
            return Ok(Vec::new());
        }
        let starts = start_offsets(&reply);
        let records = requests::records(&reply.body);
        let hidden = hidden(connected, &reply, life, told);
        let new = |record: &Record<'_>| {
            properties::find(record.properties, properties::POP_RECEIPT).is_none()
        };
        let seen: Vec<_> = records.iter().copied().filter(new).collect();
        connected.shared.are_seen(&seen, told);
        Ok(records
            .iter()
            .map(|record| self.take(connected, &reply, record, &starts, hidden))
            .collect())
    }

    fn take(
        &self,
        connected: &Connected<'_>,
        reply: &Reply,
        record: &Record<'_>,
        starts: &BTreeMap<i32, u64>,
        hidden: Hidden,
    ) -> Popped {
        assert_eq!(record.topic, self.topic, "what it asked for: {record:?}");
        let (number, queue_id) = (number_of(record), record.queue_id as i32);
        let made = properties::find(record.properties, properties::POP_RECEIPT);
        let mut oracle = connected.oracle();
        let (topic, receipt) = match made {
            // It comes back.
            Some(receipt) => {
                oracle.check_record(record);
                assert!(record.reconsume_times >= 1, "{record:?}");
                let retry_topic = format!("%RETRY%{}_{}", self.group, self.topic);
                (retry_topic, receipt.to_owned())
            }
            None => {
                let queue = Queue {
                    topic: self.topic.to_owned(),
                    id: queue_id,
                };
                oracle.delivered(&queue, record.queue_offset, record, hidden.told);
                let receipt = Receipt {
                    start_offset: starts[&queue_id],
                    pop_time_ms: reply.number("popTime") as u64,
                    invisible_ms: reply.number("invisibleTime") as u64,
                    revive_queue: reply.number("reviveQid") as i32,
                    retry_flag: 0,
                    broker_name: BROKER,
                };
                let text = receipt.text(record.queue_id, record.queue_offset);
                (self.topic.to_owned(), text)
            }
        };
        oracle.popped(&self.group, number, hidden);
        Popped {
            number,
            topic,
            queue_id,
            offset: record.queue_offset,
            receipt,
            hidden,
        }
    }

    async fn ack(&self, connected: &mut Connected<'_>, popped: &Popped) -> io::Result<()> {
        connected.oracle().may_be_acked(&self.group, popped.number);
        let fields = AckRequest {
            consumer_group: &self.group,
            topic: &popped.topic,
            queue_id: popped.queue_id,
            receipt: &popped.receipt,
            offset: popped.offset as i64,
        };
        let code = request::ACK_MESSAGE;
        let (reply, told) = connected.call(code, &fields.ext(), &[]).await?;
        self.acked(connected, popped, &reply, told);
        Ok(())
    }

    async fn ack_together(&self, connected: &mut Connected<'_>, all: &[Popped]) -> io::Result<()> {
        for popped in all {
            connected.oracle().may_be_acked(&self.group, popped.number);
        }
        let batch = BatchAckRequest {
            broker_name: BROKER.into(),
            acks: all.iter().map(|popped| self.one_of_batch(popped)).collect(),
        };
        let body = loose_json::to_vec(&batch);
        let called = connected.call(request::BATCH_ACK_MESSAGE, &[], &body);
        let (reply, told) = called.await?;
        for popped in all {
            self.acked(connected, popped, &reply, told);
        }
        Ok(())
    }

    fn one_of_batch(&self, popped: &Popped) -> BatchAck {
        let receipt = Receipt::parse(&popped.receipt).expect("made above");
        let bit = popped.offset - receipt.start_offset;
        let mut bits = vec![0; bit as usize / 8 + 1];
        bits[bit as usize / 8] = 1 << (bit % 8);
        BatchAck {
            consumer_group: self.group.clone(),
            topic: self.topic.to_owned(),
            retry_flag: receipt.retry_flag.to_string(),
            start_offset: receipt.start_offset as i64,
            queue_id: popped.queue_id,
            revive_queue: receipt.revive_queue,
            pop_time_ms: receipt.pop_time_ms as i64,
            invisible_ms: receipt.invisible_ms as i64,
            bits: Bits(bits),
        }
    }

    fn acked(&self, connected: &Connected<'_>, popped: &Popped, reply: &Reply, told: Told) {
        if reply.is_success() {
            let now_ms = connected.now_ms() as u64;
            let until_ms = popped.hidden.until_ms;
            let mut oracle = connected.oracle();
            oracle.pop_acked(&self.group, popped.number, until_ms, now_ms, told);
            return;
        }
        let is_excused = connected.excuses(reply) || reply.code == response::NO_MESSAGE;
        assert!(is_excused, "{popped:?} cannot be acknowledged: {reply:?}");
    }

    /// The message under its new receipt, if it could be changed still.
    async fn change(
        &self,
        connected: &mut Connected<'_>,
        dice: &Dice,
        popped: Popped,
    ) -> io::Result<Option<Popped>> {
        let invisible_ms = *dice.pick(&[300, 1_500, 3_000]);
        let soonest_ms = (connected.now_ms() as u64 + invisible_ms).min(popped.hidden.until_ms);
        connected
            .oracle()
            .hidden_until(&self.group, popped.number, soonest_ms);
        let fields = ChangeInvisibleTime {
            consumer_group: &self.group,
            topic: &popped.topic,
            queue_id: popped.queue_id,
            receipt: &popped.receipt,
            offset: popped.offset as i64,
            invisible_ms: invisible_ms as i64,
        };
        let life = connected.shared.life.get();
        let code = request::CHANGE_MESSAGE_INVISIBLETIME;
        let (reply, told) = connected.call(code, &fields.ext(), &[]).await?;
        if !reply.is_success() {
            let is_excused = connected.excuses(&reply) || reply.code == response::NO_MESSAGE;
            assert!(is_excused, "{popped:?} cannot be changed: {reply:?}");
            return Ok(None);
        }
        let old = Receipt::parse(&popped.receipt).expect("made above");
        let new = Receipt {
            start_offset: popped.offset,
            pop_time_ms: reply.number("popTime") as u64,
            invisible_ms: reply.number("invisibleTime") as u64,
            revive_queue: reply.number("reviveQid") as i32,
            ..old
        };
        let receipt = new.text(popped.queue_id as u32, popped.offset);
        let hidden = hidden(connected, &reply, life, told);
        connected
            .oracle()
            .hidden_until(&self.group, popped.number, hidden.until_ms);
        Ok(Some(Popped {
            receipt,
            hidden,
            ..popped
        }))
    }
}

fn hidden(connected: &Connected<'_>, reply: &Reply, life: u64, told: Told) -> Hidden {
    let from_ms = reply.number("popTime") as u64;
    Hidden {
        until_ms: from_ms + reply.number("invisibleTime") as u64,
        known_ms: connected.now_ms() as u64,
        life,
        told,
    }
}

/// Of the topic itself, by queue.
fn start_offsets(reply: &Reply) -> BTreeMap<i32, u64> {
    let parts = reply.text("startOffsetInfo").split(';');
    parts
        .filter_map(|part| {
            let mut words = part.split(' ');
            let is_own = words.next()? == "0";
            let (id, offset) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            is_own.then_some((id, offset))
        })
        .collect()
}
