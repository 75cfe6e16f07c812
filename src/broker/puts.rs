//! What was stored for a topic, by the kind of its messages, and what rarely happens to them.

use super::meter::Meter;
use crate::metrics::Histogram;
use crate::metrics::families::{DELAY_LATENCY, FINISH_LATENCY, MESSAGE_SIZE};

/// What kind of message its producer sends (RocketMQ: `TopicMessageType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageType {
    Normal,
    /// Of an order.
    Fifo,
    /// With a delay or a time.
    Delay,
    /// Half of a transaction.
    Transaction,
}

impl MessageType {
    const ALL: [Self; 4] = [Self::Normal, Self::Fifo, Self::Delay, Self::Transaction];

    /// As in the metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Fifo => "fifo",
            Self::Delay => "delay",
            Self::Transaction => "transaction",
        }
    }
}

/// Of one topic.
#[derive(Debug, Default)]
pub struct Puts {
    /// All records, also those that the broker itself has written.
    pub messages: Meter,
    pub bytes: Meter,
    /// By [`MessageType`]: what clients have sent, and what was delivered after a delay.
    incoming: [Option<Box<Incoming>>; 4],
    rare: Option<Box<Rare>>,
}

#[derive(Clone, Debug)]
pub struct Incoming {
    pub messages: u64,
    pub bytes: u64,
    pub sizes: Histogram,
}

/// Transactions and timers of one topic.
#[derive(Clone, Debug, Default)]
pub struct Rare {
    pub committed: u64,
    pub rolled_back: u64,
    /// Half messages without an end, of those that were stored since the start.
    pub half: u64,
    /// Seconds from the birth of a half message to its commit.
    pub finished_s: Option<Histogram>,
    pub timers_enqueued: u64,
    pub timers_dequeued: u64,
    /// How long timed messages are to wait, in seconds.
    pub delays_s: Option<Histogram>,
}

impl Puts {
    /// `bytes` of records.
    pub fn came_in(&mut self, kind: MessageType, messages: u64, bytes: u64) {
        let new = || {
            Box::new(Incoming {
                messages: 0,
                bytes: 0,
                sizes: Histogram::of(&MESSAGE_SIZE),
            })
        };
        let incoming = self.incoming[kind as usize].get_or_insert_with(new);
        incoming.messages += messages;
        incoming.bytes += bytes;
        incoming.sizes.record(bytes / messages.max(1));
    }

    pub fn incoming(&self) -> impl Iterator<Item = (MessageType, &Incoming)> {
        let all = MessageType::ALL.into_iter().zip(&self.incoming);
        all.filter_map(|(kind, incoming)| Some((kind, incoming.as_deref()?)))
    }

    pub fn rare(&self) -> Option<&Rare> {
        self.rare.as_deref()
    }

    pub fn rare_mut(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }
}

impl Rare {
    pub fn committed(&mut self, after_s: u64) {
        self.committed += 1;
        self.half_is_over();
        let new = || Histogram::of(&FINISH_LATENCY);
        self.finished_s.get_or_insert_with(new).record(after_s);
    }

    pub fn rolled_back(&mut self) {
        self.rolled_back += 1;
        self.half_is_over();
    }

    /// It may have been stored before the start.
    pub fn half_is_over(&mut self) {
        self.half = self.half.saturating_sub(1);
    }

    pub fn timer_enqueued(&mut self, delay_s: u64) {
        self.timers_enqueued += 1;
        let new = || Histogram::of(&DELAY_LATENCY);
        self.delays_s.get_or_insert_with(new).record(delay_s);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_by_kind() {
        let mut puts = Puts::default();
        puts.came_in(MessageType::Delay, 1, 2_000);
        puts.came_in(MessageType::Normal, 4, 400);
        puts.came_in(MessageType::Normal, 1, 5_000);
        let counts: Vec<_> = puts
            .incoming()
            .map(|(kind, incoming)| (kind.name(), incoming.messages, incoming.bytes))
            .collect();
        assert_eq!(counts, [("normal", 5, 5_400), ("delay", 1, 2_000)]);
        let (_, normal) = puts.incoming().next().unwrap();
        assert_eq!((normal.sizes.count(), normal.sizes.sum()), (2, 5_100));
    }

    #[test]
    fn an_end_of_before_the_start_leaves_no_debt() {
        let mut rare = Rare::default();
        rare.rolled_back();
        rare.half += 1;
        assert_eq!(rare.half, 1);
        rare.committed(7);
        assert_eq!((rare.half, rare.committed, rare.rolled_back), (0, 1, 1));
        assert_eq!(rare.finished_s.map(|times| times.sum()), Some(7));
    }
}
