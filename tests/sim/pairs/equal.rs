//! After quiet time master and slave have the same: logs, queues, topics, groups, offsets.

use ringmq::wire::codes::request;
use ringmq::wire::loose_json;

use super::copies::Copies;
use super::pair::Pair;
use crate::client::Client;
use crate::oracle::Stored;
use crate::recovered;
use crate::workload::Shared;

/// How long a slave may take to follow.
const LIMIT_MS: u64 = 20_000;

/// The slave asks for them every second.
const TABLES_MS: u64 = 2_500;

/// Comparisons of a table, at different times of a round of check backs.
const MOST_LOOKS: u64 = 6;

const TABLES: [(i32, &str); 3] = [
    (request::GET_ALL_TOPIC_CONFIG, "topics"),
    (request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG, "groups"),
    (request::GET_ALL_CONSUMER_OFFSET, "offsets"),
];

/// Until the slave's log ends where the master's does.
pub async fn until_caught_up(pair: &Pair, copies: &Copies) {
    let deadline_ns = pair.sim().mono_ns() + LIMIT_MS * 1_000_000;
    loop {
        let ends = [copies.master(), copies.slave()].map(|device| device.log_end(0));
        if ends[0] == ends[1] {
            return;
        }
        assert!(
            pair.sim().mono_ns() < deadline_ns,
            "the slave does not follow: {ends:?}\n{}",
            pair.sim().recent()
        );
        pair.cluster.sleep_ms(100).await;
    }
}

/// What consumers get at both. A delayed message may come between the two readings, when a clock was set back: then both are read again.
async fn messages_are_the_same(pair: &Pair, shared: &Shared) {
    for look in 1.. {
        let there = recovered::read_all(&pair.cluster, shared).await;
        // Their group, too, has to come to the slave.
        pair.cluster.sleep_ms(TABLES_MS).await;
        let here = recovered::read_all_of(&mut pair.slave_client().await, shared).await;
        let copies = |all: &Stored, message: &(String, u64)| all.get(message).map(Vec::len);
        let differ: Vec<_> = (there.keys().chain(here.keys()))
            .filter(|message| copies(&there, message) != copies(&here, message))
            .map(|message| (message, there.get(message), here.get(message)))
            .collect();
        if differ.is_empty() {
            return;
        }
        assert!(
            look < MOST_LOOKS,
            "message, at the master, at the slave: {differ:?}"
        );
    }
}

/// Nobody sends, commits or changes anything any more.
pub async fn are_the_same(pair: &Pair, shared: &Shared) {
    let copies = shared.copies.as_ref().expect("there is a slave");
    pair.cluster.sleep_ms(TABLES_MS).await;
    until_caught_up(pair, copies).await;
    logs_are_the_same(copies);
    copies.are_whole();
    messages_are_the_same(pair, shared).await;
    let mut slave = pair.slave_client().await;
    let mut master = pair.cluster.client("reader").await;
    for (code, what) in TABLES {
        let mut tables = [
            table(&mut master, code).await,
            table(&mut slave, code).await,
        ];
        // The master's own groups move on with time, as long as transactions are checked back.
        for look in 0..MOST_LOOKS {
            if tables[0] == tables[1] {
                break;
            }
            pair.cluster.sleep_ms(TABLES_MS + 300 * look).await;
            tables = [
                table(&mut master, code).await,
                table(&mut slave, code).await,
            ];
        }
        let [there, here] = tables;
        assert_eq!(there, here, "{what} of master and slave");
    }
}

async fn table(client: &mut Client, code: i32) -> serde_json::Value {
    let reply = client.call(code, &[], &[]).await.unwrap();
    assert!(reply.is_success(), "{reply:?}");
    loose_json::from_slice(&reply.body).unwrap()
}

fn logs_are_the_same(copies: &Copies) {
    let end = copies.master().log_end(0);
    let mut at = 0;
    while at < end {
        let len = (end - at).min(64 << 10) as usize;
        let (there, here) = (copies.master().log(at, len), copies.slave().log(at, len));
        assert!(
            there == here,
            "the logs differ between {at} and {}",
            at + len as u64
        );
        at += there.len() as u64;
    }
}
