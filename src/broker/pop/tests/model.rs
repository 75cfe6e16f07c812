//! A model of a shard that crashes: whatever was not acknowledged is in flight, or still ahead of the group, and whatever was is
//! neither.

use proptest::prelude::*;

use super::*;

/// What one pop of the model brought.
#[derive(Clone, Debug)]
struct Held {
    message: u64,
    topic: &'static str,
    offset: u64,
    receipt: String,
}

/// A shard as far as POP is concerned: one log with check points, acknowledgements and messages that come back.
struct Model {
    broker: Broker,
    now_ms: u64,
    log: Vec<Entry>,
    /// The file of the offsets as it was saved last, and how far the log went then.
    saved: Option<(String, usize)>,
    /// An acknowledgement or change up to here was answered.
    promised: usize,
    held: Vec<Held>,
    acked: BTreeSet<u64>,
    /// A crash cut the log between the retry message and the record of its revival: they are delivered twice.
    doubled: BTreeSet<u64>,
}

#[derive(Clone)]
enum Entry {
    Revive(ReviveRecord),
    Returned(u64),
}

const MESSAGES: u64 = 40;

struct ModelStore {
    returned: u64,
}

impl StoreView for ModelStore {
    fn bounds(&self, topic: &str, queue_id: u32) -> QueueBounds {
        match (topic, queue_id) {
            ("T", 0) => bounds(0, MESSAGES),
            (RETRY, 0) => bounds(0, self.returned),
            _ => bounds(0, 0),
        }
    }

    fn store_time_ms(&self, _: &str, _: u32, _: u64) -> Option<i64> {
        None
    }

    fn is_recent(&self, _: &str, _: u32, _: u64) -> bool {
        true
    }

    fn figures(&self) -> crate::broker::ShardFigures {
        crate::broker::ShardFigures::default()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Pop {
        max: i32,
        invisible_ms: i64,
    },
    /// The log takes it, or refuses it.
    Ack(usize, bool),
    Change(usize, i64, bool),
    Forget(usize),
    Pass(u64),
    Save,
    /// Keeps so much of what the log need not have kept.
    Crash(usize),
}

fn is_refused() -> impl Strategy<Value = bool> {
    prop::bool::weighted(0.2)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1..9i32, 1..80i64).prop_map(|(max, invisible_ms)| Step::Pop { max, invisible_ms }),
        5 => (any::<usize>(), is_refused()).prop_map(|(at, is_refused)| Step::Ack(at, is_refused)),
        2 => (any::<usize>(), 0..80i64, is_refused())
            .prop_map(|(at, ms, is_refused)| Step::Change(at, ms, is_refused)),
        1 => any::<usize>().prop_map(Step::Forget),
        4 => (0..60u64).prop_map(Step::Pass),
        1 => Just(Step::Save),
        1 => any::<usize>().prop_map(Step::Crash),
    ];
    prop::collection::vec(step, 0..120)
}

impl Model {
    fn new() -> Self {
        Self {
            broker: Self::restarted(None),
            now_ms: 1_000,
            log: Vec::new(),
            saved: None,
            promised: 0,
            held: Vec::new(),
            acked: BTreeSet::new(),
            doubled: BTreeSet::new(),
        }
    }

    fn restarted(offsets: Option<&str>) -> Broker {
        let mut broker = broker_with(BrokerConfig::default());
        broker.topics.put(topic(RETRY, 1), 0);
        broker.find_or_create_group("g", 0);
        if let Some(text) = offsets {
            broker.load_file(ConfigFile::ConsumerOffsets, text).unwrap();
        }
        broker
    }

    fn returned(&self) -> Vec<u64> {
        let entries = self.log.iter();
        entries
            .filter_map(|entry| match entry {
                Entry::Returned(message) => Some(*message),
                Entry::Revive(_) => None,
            })
            .collect()
    }

    fn store(&self) -> ModelStore {
        ModelStore {
            returned: self.returned().len() as u64,
        }
    }

    fn next_place(&self) -> Place {
        let revives = self
            .log
            .iter()
            .filter(|entry| matches!(entry, Entry::Revive(_)));
        place(revives.count() as u64)
    }

    fn write(&mut self, record: ReviveRecord) -> Place {
        let place = self.next_place();
        self.log.push(Entry::Revive(record));
        place
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Pop { max, invisible_ms } => self.pop(max, invisible_ms),
            Step::Ack(at, is_refused) => self.ack(at, is_refused),
            Step::Change(at, invisible_ms, is_refused) => {
                self.change(at, invisible_ms, is_refused);
            }
            Step::Forget(at) => drop(self.take_held(at)),
            Step::Pass(ms) => self.pass(ms),
            Step::Save => {
                let end = self.next_place().offset;
                self.broker.note_revive_offset(0, end, self.now_ms);
                let text = self.broker.file_text(ConfigFile::ConsumerOffsets);
                self.saved = Some((text, self.log.len()));
            }
            Step::Crash(kept) => self.crash(kept),
        }
    }

    fn take_held(&mut self, at: usize) -> Option<Held> {
        match self.held.len() {
            0 => None,
            len => Some(self.held.swap_remove(at % len)),
        }
    }

    fn pop(&mut self, max: i32, invisible_ms: i64) {
        let request = PopRequest {
            max_msg_nums: max,
            invisible_ms,
            ..request()
        };
        let plan = self.broker.admit_pop(&request, self.now_ms).unwrap();
        let mut taken = 0;
        for source in self.broker.pop_sources(&plan) {
            let bounds = self.store().bounds(&source.topic, source.queue_id);
            let at = At {
                now_ms: self.now_ms,
                store: &self.store(),
            };
            let look = self.broker.before_pop(&plan, &source, bounds, taken, at);
            let Look::From(start_offset) = look else {
                continue;
            };
            let key = PopKey {
                start_offset,
                pop_time_ms: self.now_ms,
            };
            if self.broker.is_receipt_taken(&plan, &source, key) {
                continue;
            }
            let next = bounds
                .max
                .min(start_offset + plan.max_messages as u64 - taken as u64);
            let offsets: Vec<u64> = (start_offset..next).collect();
            let body = check_point(&plan, &source, key, &offsets, next, "b");
            let place = self.write(ReviveRecord::of_pop(&body));
            self.broker.checked(place, &body, self.now_ms);
            taken += offsets.len();
            self.hand_out(&plan, &source, key, &offsets);
        }
    }

    fn hand_out(&mut self, plan: &PopPlan, source: &Source, key: PopKey, offsets: &[u64]) {
        let returned = self.returned();
        for offset in offsets {
            let message = match source.is_retry {
                true => returned[*offset as usize],
                false => *offset,
            };
            assert!(
                !self.acked.contains(&message) || self.doubled.contains(&message),
                "{message} is acknowledged, and came again"
            );
            let receipt = Receipt {
                start_offset: key.start_offset,
                pop_time_ms: key.pop_time_ms,
                invisible_ms: plan.invisible_ms,
                revive_queue: 0,
                retry_flag: retry_flag(&source.topic),
                broker_name: "b",
            };
            self.held.push(Held {
                message,
                topic: if source.is_retry { RETRY } else { "T" },
                offset: *offset,
                receipt: receipt.text(0, *offset),
            });
        }
    }

    fn ack(&mut self, at: usize, is_refused: bool) {
        let Some(held) = self.take_held(at) else {
            return;
        };
        let request = AckRequest {
            consumer_group: "g",
            topic: held.topic,
            queue_id: 0,
            receipt: &held.receipt,
            offset: held.offset as i64,
        };
        let store = self.store();
        let Ok(done) = self.broker.admit_ack(&request, &store, self.now_ms) else {
            return; // A crash has taken back that it had come back.
        };
        if is_refused {
            return self.held.push(held);
        }
        for end in done.ends {
            self.write(end.record.clone());
            self.broker.ended(&end);
            self.acked.insert(held.message);
        }
        self.promised = self.log.len();
    }

    fn change(&mut self, at: usize, invisible_ms: i64, is_refused: bool) {
        let Some(held) = self.take_held(at) else {
            return;
        };
        let request = ChangeInvisibleTime {
            consumer_group: "g",
            topic: held.topic,
            queue_id: 0,
            receipt: &held.receipt,
            offset: held.offset as i64,
            invisible_ms,
        };
        let store = self.store();
        let Ok(changed) = self.broker.admit_change(&request, &store, self.now_ms) else {
            return; // Void: it has come back, or been acknowledged.
        };
        if is_refused {
            return self.held.push(held);
        }
        let Changed::Moved(moved) = changed else {
            panic!("{changed:?}");
        };
        let place = self.write(moved.record.clone());
        self.broker.checked(place, &moved.check_point, self.now_ms);
        self.write(moved.end.record.clone());
        self.broker.ended(&moved.end);
        self.promised = self.log.len();
        let receipt = Receipt {
            start_offset: held.offset,
            pop_time_ms: moved.reply().pop_time_ms as u64,
            ..Receipt::parse(&held.receipt).unwrap()
        };
        self.held.push(Held {
            receipt: receipt.text(0, held.offset),
            ..held
        });
    }

    /// Lets time go by; what is due comes back.
    fn pass(&mut self, ms: u64) {
        self.now_ms += ms;
        while let Some(expired) = self.broker.pops.in_flight.expired(self.now_ms) {
            assert!(self.broker.may_revive(&expired));
            let returned = self.returned();
            for offset in &expired.offsets {
                let message = match &*expired.topic {
                    RETRY => returned[*offset as usize],
                    _ => *offset,
                };
                self.log.push(Entry::Returned(message));
                assert!(self.broker.pops.in_flight.settle(expired.place, *offset));
            }
            let record = self.broker.revived(&expired, expired.offsets.clone());
            self.write(record);
        }
    }

    fn crash(&mut self, kept: usize) {
        let saved = self.saved.as_ref().map_or(0, |(_, len)| *len);
        let least = saved.max(self.promised);
        self.log
            .truncate(least + kept % (self.log.len() - least + 1));
        let cut = self.log.iter().rev().map_while(|entry| match entry {
            Entry::Returned(message) => Some(*message),
            Entry::Revive(_) => None,
        });
        self.doubled.extend(cut);
        let text = self.saved.as_ref().map(|(text, _)| &**text);
        let mut broker = Self::restarted(text);
        let (start, tail) = (broker.revive_start(0), broker.revive_tail(0));
        let revives = self.log.iter().filter_map(|entry| match entry {
            Entry::Revive(record) => Some(record),
            Entry::Returned(_) => None,
        });
        for (offset, revive) in (0..).zip(revives).skip(start as usize) {
            let tags = format!("TAGS\u{1}{}\u{2}", revive.tag);
            let record = record("", &tags, &revive.body);
            broker
                .replay(place(offset), &record, tail, self.now_ms)
                .unwrap();
        }
        self.broker = broker;
        // A client keeps what it holds.
    }

    /// Everything that is left comes, and nothing else.
    fn drain(&mut self) {
        self.held.clear();
        for _ in 0..200 {
            self.pass(100);
            self.pop(8, 50);
            while !self.held.is_empty() {
                self.ack(0, false);
            }
        }
        let all: BTreeSet<u64> = (0..MESSAGES).collect();
        assert_eq!(self.acked, all);
        assert!(self.broker.pops.in_flight.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn nothing_is_lost_and_nothing_acknowledged_comes_again(steps in steps()) {
        let mut model = Model::new();
        for step in &steps {
            model.step(step);
        }
        model.drain();
    }
}
