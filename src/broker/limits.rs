//! Bounds of everything that a client can make grow, and of what one turn may take: the constants, and [`table`], which is also
//! the table "Limits" of `manual/operations.md`.

use crate::wire::frame::{MAX_FRAME_BYTES, MAX_HEADER_BYTES};

/// Connections to the port for replicas that are not known to be replicas yet. Each is a descriptor, of which the store needs some.
pub const MAX_UNKNOWN_REPLICAS: usize = 64;

/// Groups and subscriptions in one client's heartbeat. A heartbeat is handled in one turn.
pub const MAX_SUBSCRIPTIONS: usize = 4096;

/// Bytes of one heartbeat's body: it is decoded in one turn.
pub const MAX_HEARTBEAT_BYTES: usize = 2 << 20;

/// Members of a group that are notified of a change in the turn of the change. Larger groups are notified by
/// `super::notices`.
pub const NOTIFIED_AT_ONCE: usize = 64;

/// Members of larger groups that are notified in one turn.
pub const NOTIFIED_PER_TURN: usize = 512;

/// Connections whose heartbeats are examined in one turn.
pub const EXPIRED_PER_TURN: usize = 1024;

/// Queues of one topic, to read or to write.
pub const MAX_QUEUES: i32 = 65_536;

/// Rows of an answer that are made in one turn, at about 0.6 us each (`manual/measurements.md`).
pub const ROWS_PER_TURN: usize = 64;

/// Store times that one answer reads from disk; those beyond are shown as unknown.
pub const MAX_COLD_TIMES: usize = 4096;

/// Bytes of a reply's body. Java clients close the connection at a frame of more than 16 MiB.
pub const MAX_REPLY_BYTES: usize = 15 << 20;

/// Locks of queues that are held at a time.
pub const MAX_LOCKS: usize = 1 << 18;

/// The name of a client that locks queues, and of the broker as it calls it.
pub const MAX_LOCK_NAME_BYTES: usize = 512;

/// Locks and pops in order that are examined for their expiry in one turn.
pub const EXAMINED_PER_TURN: usize = 1024;

/// Entries of a queue in one answer to 321: about 100 bytes each, encoded in one turn.
pub const MAX_ENTRIES: usize = 8_192;

/// Bytes of the newest log within which a queue's first message is recent: a new group starts with it.
pub const RECENT_BYTES: u64 = 1 << 30;

/// Bytes of an SQL92 expression: it is parsed in one turn.
pub const MAX_EXPRESSION_BYTES: usize = 128 << 10;

/// Steps of one evaluation of an SQL92 expression. A thousand comparisons of short properties are some 3,000; a list of IN is a
/// few, however long.
pub const MAX_FILTER_STEPS: usize = 16_384;

/// Parsed expressions of pulls that are kept, and the bytes of their texts together.
pub const MAX_SELECTORS: usize = 100;
pub const MAX_SELECTOR_BYTES: usize = 1 << 20;

/// Messages of one pop that one batch may acknowledge: an orderly pop has up to 64, any other one up to 32.
pub const MAX_ACKED: usize = 64;

/// Queues whose latencies of sends are counted, and the same of pulls for each group: about 1 KiB each.
pub const MAX_LATENCIES: usize = 16_384;

/// Pulls that may be parked at a time, some 500 bytes each.
pub const MAX_PARKED: usize = 1 << 19;

/// The same for one connection: a client with so many queues of a broker.
pub const MAX_PARKED_OF_ONE: usize = 1 << 16;

/// Bytes of one client's answer how far it is in its queues: it is decoded in one turn.
pub const MAX_STATUS_BYTES: usize = 1 << 20;

/// Requests to clients that may be unanswered at a time. A client's request that is relayed depends on another client, which may be
/// slow or gone.
pub const MAX_CALLS: usize = 4096;

/// The same for one client, so that one that hangs does not use up all.
pub const MAX_CALLS_OF_ONE: usize = 256;

/// Requests of one connection that are read from disk for at a time. A pull's reply is up to 256 KiB, so this bounds what such
/// replies take.
pub const MAX_READING: usize = 32;

/// Bytes of unsent replies above which a connection is not read.
pub const MAX_UNSENT_BYTES: usize = 4 << 20;

/// The same when the memory for replies is short.
pub const MAX_UNSENT_PRESSED_BYTES: usize = 64 << 10;

/// Bytes of incomplete requests that a connection may hold without a reservation: as much as one receive brings.
pub const MAX_UNRESERVED_BYTES: usize = 16 << 10;

/// With authentication: connections of one address of which no request has passed the checks.
pub const MAX_UNPROVEN_PER_ADDRESS: usize = 256;

/// How long each of them may take.
pub const UNPROVEN_S: u64 = 10;

/// One thing that a client can make grow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    pub name: &'static str,
    /// A number, or the setting that is the bound.
    pub bound: String,
    pub beyond: &'static str,
}

impl Limit {
    /// Its row in the manual.
    pub fn row(&self) -> String {
        format!("| {} | {} | {} |", self.name, self.bound, self.beyond)
    }
}

macro_rules! limits {
    ($($name:literal: $bound:expr => $beyond:literal;)*) => {
        /// Everything that a client can make grow, per shard.
        pub fn table() -> Vec<Limit> {
            vec![$(Limit { name: $name, bound: $bound.to_string(), beyond: $beyond }),*]
        }
    };
}

limits! {
    "frame": bytes(MAX_FRAME_BYTES) => "the connection is closed";
    "header of a request": bytes(MAX_HEADER_BYTES) => "the connection is closed";
    "body of a request": "by request, up to 2 MiB; a message `maxMessageSize`" => "refused";
    "heartbeat": bytes(MAX_HEARTBEAT_BYTES) => "refused";
    "subscriptions of a heartbeat": count(MAX_SUBSCRIPTIONS) => "refused";
    "body of a reply": bytes(MAX_REPLY_BYTES) => "refused";
    "incomplete requests of a connection": format!("{}, above it `connectionMemoryBytes` / 2 for all", bytes(MAX_UNRESERVED_BYTES))
        => "not read; closed if it delays others for 3 s";
    "unsent replies of a connection": format!("{}, {} when memory is short", bytes(MAX_UNSENT_BYTES), bytes(MAX_UNSENT_PRESSED_BYTES))
        => "not read; closed above `connectionMemoryBytes` / 4";
    "requests of a connection that read from disk": count(MAX_READING) => "not read";
    "messages not yet on the device": "`logBufferBytes`" => "sends wait, then are refused with 2";
    "parked pulls": format!("{}, {} of a connection", count(MAX_PARKED), count(MAX_PARKED_OF_ONE))
        => "answered at once: no message";
    "parked pops": "`maxPopPollingSize`, `popPollingSize` of a queue" => "refused with 209";
    "requests to clients": format!("{}, {} of a client", count(MAX_CALLS), count(MAX_CALLS_OF_ONE)) => "refused";
    "a client's status in an answer to 223": bytes(MAX_STATUS_BYTES) => "left out";
    "SQL92 expression": bytes(MAX_EXPRESSION_BYTES) => "not subscribed, as one with a wrong syntax";
    "steps of an evaluation": count(MAX_FILTER_STEPS) => "the message does not match";
    "parsed expressions of pulls": format!("{}, {} together", count(MAX_SELECTORS), bytes(MAX_SELECTOR_BYTES))
        => "the one used least recently is parsed again";
    "queues whose latencies are counted": count(MAX_LATENCIES) => "not counted";
    "queues of a topic": count(MAX_QUEUES as usize) => "refused; in files and settings: reduced";
    "locks of queues": format!("{}, each with names of {} bytes", count(MAX_LOCKS), count(MAX_LOCK_NAME_BYTES)) => "not locked";
    "messages acknowledged by one receipt of a batch": count(MAX_ACKED) => "ignored";
    "entries in an answer to 321": count(MAX_ENTRIES) => "left out";
    "store times read from disk for an answer": count(MAX_COLD_TIMES) => "shown as unknown";
    "timers in memory": "`timerMemoryEntries`" => "read again from disk before they are due";
    "users": "65,536, each with 4,096 entries of policies, an entry with 256 addresses; names of 255 bytes" => "refused";
    "decisions kept for a connection": "16, about names of 255 bytes" => "decided again";
    "connections of an address, with authentication, before a request has passed": format!("{}, for {UNPROVEN_S} s", count(MAX_UNPROVEN_PER_ADDRESS)) => "closed";
    "TLS handshakes in progress": "512 of a port, each for 10 s" => "the oldest is closed";
    "connections of proxies without their PROXY header": "512 of a port, each for 10 s and 4 KiB" => "the oldest is closed";
    "connections to the port for replicas that have not said what they have": format!("{} of a port", count(MAX_UNKNOWN_REPLICAS)) => "the oldest is closed";
    "clients": "`channelExpiredTimeout`, connections by the limit of descriptors" => "closed";
    "topics, groups, offsets": "what is configured or, with `autoCreateTopicEnable` and `autoCreateSubscriptionGroup`, used"
        => "refused without these settings";
}

fn count(number: usize) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn bytes(number: usize) -> String {
    match number.is_multiple_of(1 << 20) {
        true => format!("{} MiB", number >> 20),
        false => format!("{} KiB", number >> 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both ways: no row is missing there, and none is there alone.
    #[test]
    fn the_manual_has_this_table() {
        let page = include_str!("../manual/operations.md");
        let (_, section) = page.split_once("# Limits\n").expect("there is a section");
        let section = section.split("\n# ").next().unwrap_or_default();
        let rows = section.lines().filter(|line| line.starts_with('|'));
        let rows: Vec<_> = rows.skip(2).map(str::to_owned).collect();
        let table: Vec<_> = table().iter().map(Limit::row).collect();
        assert_eq!(rows, table, "\n{}", table.join("\n"));
    }

    #[test]
    fn handshakes_are_limited_as_the_row_says() {
        for (word, most) in [
            ("TLS", crate::tls::MAX_HANDSHAKES),
            ("PROXY", crate::tls::MAX_INTRODUCTIONS),
        ] {
            let row = table().into_iter().find(|limit| limit.name.contains(word));
            let most = format!("{most} of a port");
            assert!(row.unwrap().bound.starts_with(&most));
        }
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!(
            [count(7), count(512), count(65_536), count(1 << 20)],
            ["7", "512", "65,536", "1,048,576"]
        );
        assert_eq!([bytes(2 << 20), bytes(64 << 10)], ["2 MiB", "64 KiB"]);
    }
}
