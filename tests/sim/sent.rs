//! What a producer sends: everything follows from the message's number, so that whatever comes back can be checked.
//!
//! ```text
//! 0  number 8   fill, drawn from the number
//! ```

use ringmq::message::{Record, properties};

use crate::cluster::DELAY_LEVELS_MS;
use crate::dice::Dice;

const LEVELS: usize = DELAY_LEVELS_MS.len();

/// Beyond the levels, and not later than the last of them.
pub const TIMED_LEVELS: u64 = 25;

pub const TAGS: [&str; 3] = ["red", "green", "blue"];

/// Properties that the broker adds to whatever it stores.
const ADDED: [&str; 5] = [
    properties::UNIQUE_KEY,
    properties::CRC32,
    "MSG_REGION",
    "TRACE_ON",
    "CLUSTER",
];

/// The group of all producers.
pub const PRODUCERS: &str = "producers";

const NUMBER_BYTES: usize = 8;

/// A message that was handed to a client's connection at least.
#[derive(Clone, Debug)]
pub struct Sent {
    pub number: u64,
    pub topic: String,
    pub body_bytes: usize,
    /// 0: at once; beyond the broker's levels: a time of its own.
    pub delay_level: u64,
    /// Its producer decides later whether anybody may see it.
    pub is_half: bool,
    pub born_ms: i64,
}

impl Sent {
    pub fn delay_ms(&self) -> u64 {
        match self.delay_level as usize {
            0 => 0,
            level @ 1..=LEVELS => DELAY_LEVELS_MS[level - 1],
            level => (level - LEVELS) as u64 * 97,
        }
    }

    pub fn tag(&self) -> &'static str {
        TAGS[self.number as usize % TAGS.len()]
    }

    pub fn flag(&self) -> i32 {
        self.number as i32
    }

    pub fn key(&self) -> String {
        format!("key-{}", self.number)
    }

    pub fn body(&self) -> Vec<u8> {
        let dice = Dice::new(self.number, 0);
        let mut body = self.number.to_be_bytes().to_vec();
        while body.len() < self.body_bytes {
            body.extend_from_slice(&dice.next().to_be_bytes());
        }
        body.truncate(self.body_bytes.max(NUMBER_BYTES));
        body
    }

    pub fn properties(&self) -> String {
        let mut text = String::new();
        properties::push(&mut text, properties::KEYS, &self.key());
        properties::push(&mut text, properties::TAGS, self.tag());
        for (name, value) in self.own_properties() {
            properties::push(&mut text, &name, &value);
        }
        if self.is_half {
            properties::push(&mut text, properties::TRANSACTION_PREPARED, "true");
            properties::push(&mut text, properties::PRODUCER_GROUP, PRODUCERS);
        }
        let delay_ms = self.delay_ms().to_string();
        match self.delay_level as usize {
            0 => {}
            1..=LEVELS => {
                properties::push(&mut text, properties::DELAY, &self.delay_level.to_string());
            }
            _ => properties::push(&mut text, properties::TIMER_DELAY_MS, &delay_ms),
        }
        text
    }

    /// What its producer's application has added: mostly nothing, and at times much.
    fn own_properties(&self) -> Vec<(String, String)> {
        let (count, longest) = match self.number % 11 {
            0 => (12, 200),
            1..=3 => (2, 20),
            _ => return Vec::new(),
        };
        let value = |index| "wörter ".repeat((self.number + index) as usize % longest / 8 + 1);
        (0..count)
            .map(|index| (format!("own-{index}"), value(index)))
            .collect()
    }

    /// Whether the record of a message that nobody held back has exactly its properties, and behind them only the broker's own.
    pub fn check_properties(&self, record: &Record<'_>) {
        let text = self.properties();
        let sent = text.trim_end_matches('\u{2}');
        let rest = record.properties.strip_prefix(sent.as_bytes());
        let rest = rest.unwrap_or_else(|| panic!("other properties than of {self:?}: {record:?}"));
        for (name, _) in properties::iter(rest) {
            assert!(
                ADDED.contains(&name),
                "{name} is not of {self:?}: {record:?}"
            );
        }
    }

    /// Whether the record holds what was sent.
    pub fn check(&self, record: &Record<'_>) {
        assert!(
            record.body == self.body(),
            "other bytes than were sent as {self:?}: {record:?}"
        );
        assert_eq!(record.flag, self.flag(), "{self:?}");
        assert_eq!(record.born_timestamp_ms, self.born_ms, "{self:?}");
        let property = |name| properties::find(record.properties, name);
        assert_eq!(property(properties::KEYS), Some(&*self.key()), "{self:?}");
        assert_eq!(property(properties::TAGS), Some(self.tag()), "{self:?}");
        for (name, value) in self.own_properties() {
            let found = properties::find(record.properties, &name);
            assert_eq!(found, Some(&*value), "{self:?}");
        }
    }
}

pub fn number_of(record: &Record<'_>) -> u64 {
    let number = record.body.first_chunk();
    let number = number.unwrap_or_else(|| panic!("nobody has sent {record:?}"));
    u64::from_be_bytes(*number)
}
