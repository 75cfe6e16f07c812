//! Everything that mqadmin, the console and the exporter read, asked in a loop on one connection each.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use hdrhistogram::Histogram;
use ringmq::wire::Value::{self, Bool, I64, Str};
use ringmq::wire::codes::request::{self, *};

use crate::caller::{Caller, Result};
use crate::names::{client_id, group, topic};
use crate::settings::Settings;

/// Rows of the table of the slowest requests.
const SHOWN: usize = 8;

type Fields<'a> = Vec<(&'static str, Value<'a>)>;

/// Latencies in us by request code.
#[derive(Default)]
pub struct Answers(Mutex<BTreeMap<i32, Histogram<u64>>>);

/// Asks until it is over, each time about other topics and groups.
pub fn run(
    number: usize,
    [broker, namesrv]: [SocketAddr; 2],
    settings: &Settings,
    over: &AtomicBool,
    answers: &Answers,
) -> Result<()> {
    let (mut at_broker, mut at_namesrv) = (Caller::connect(broker)?, Caller::connect(namesrv)?);
    for round in number.. {
        // A step that has no factor in common with the usual sizes.
        let place = round * 7919;
        let topic = topic(place % settings.topics);
        let client = place % settings.clients.max(1);
        let (group, client_id) = (group(client), client_id(client));
        for (code, ext) in of_broker(&topic, &group, &client_id) {
            answers.ask(&mut at_broker, code, &ext)?;
            if over.load(Ordering::Relaxed) {
                return Ok(());
            }
        }
        for (code, ext) in of_namesrv(&topic) {
            answers.ask(&mut at_namesrv, code, &ext)?;
        }
    }
    Ok(())
}

impl Answers {
    /// Any code is an answer: "no such group" is as good as a table here.
    fn ask(&self, caller: &mut Caller, code: i32, ext: &[(&str, Value<'_>)]) -> Result<()> {
        let began = Instant::now();
        caller
            .ask(code, ext, &[])
            .map_err(|error| format!("request {code}: {error}"))?;
        let took_us = began.elapsed().as_micros() as u64;
        let mut answers = self.0.lock().map_err(|_| "a dashboard has panicked")?;
        let histogram = match answers.entry(code) {
            std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::btree_map::Entry::Vacant(new) => new.insert(Histogram::new(3)?),
        };
        histogram.record(took_us)?;
        Ok(())
    }

    pub fn count(&self) -> Result<u64> {
        let answers = self.0.lock().map_err(|_| "a dashboard has panicked")?;
        Ok(answers.values().map(Histogram::len).sum())
    }

    /// The requests with the slowest medians, as lines.
    pub fn slowest(&self) -> Result<String> {
        let answers = self.0.lock().map_err(|_| "a dashboard has panicked")?;
        let mut rows: Vec<_> = answers.iter().collect();
        rows.sort_by_key(|(_, us)| std::cmp::Reverse(us.value_at_quantile(0.5)));
        let lines = rows.iter().take(SHOWN).map(|(code, us)| {
            let ms = |us: u64| us as f64 / 1e3;
            format!(
                "  {:<44}{:>8} answers, p50 {:>8.1} ms, max {:>8.1} ms\n",
                request::name(**code).unwrap_or("unknown"),
                us.len(),
                ms(us.value_at_quantile(0.5)),
                ms(us.max())
            )
        });
        Ok(lines.collect())
    }
}

#[rustfmt::skip]
fn of_broker<'a>(topic: &'a str, group: &'a str, client_id: &'a str) -> Vec<(i32, Fields<'a>)> {
    let of_topic = || vec![("topic", Str(topic))];
    let of_group = || vec![("group", Str(group))];
    let of_consumers = || vec![("consumerGroup", Str(group))];
    let of_queue = || vec![("topic", Str(topic)), ("queueId", I64(0))];
    let of_both = || vec![("group", Str(group)), ("topic", Str(topic))];
    vec![
        (GET_BROKER_RUNTIME_INFO, vec![]),
        (GET_BROKER_CONFIG, vec![]),
        (GET_BROKER_HA_STATUS, vec![]),
        (GET_BROKER_EPOCH_CACHE, vec![]),
        (GET_ALL_TOPIC_CONFIG, vec![]),
        (GET_TOPIC_CONFIG, of_topic()),
        (GET_SYSTEM_TOPIC_LIST_FROM_BROKER, vec![]),
        (GET_TOPIC_STATS_INFO, of_topic()),
        (QUERY_TOPIC_CONSUME_BY_WHO, of_topic()),
        (GET_ALL_SUBSCRIPTIONGROUP_CONFIG, vec![]),
        (GET_SUBSCRIPTIONGROUP_CONFIG, of_group()),
        (UPDATE_AND_GET_GROUP_FORBIDDEN, of_both()),
        (QUERY_TOPICS_BY_CONSUMER, of_group()),
        (QUERY_SUBSCRIPTION_BY_CONSUMER, of_both()),
        (GET_CONSUMER_LIST_BY_GROUP, of_consumers()),
        (GET_CONSUMER_CONNECTION_LIST, of_consumers()),
        (GET_PRODUCER_CONNECTION_LIST, vec![("producerGroup", Str(group))]),
        (GET_ALL_PRODUCER_INFO, vec![]),
        (GET_CONSUME_STATS, of_consumers()),
        (GET_CONSUME_STATS, vec![("consumerGroup", Str(group)), ("topic", Str(topic))]),
        (GET_BROKER_CONSUME_STATS, vec![("isOrder", Bool(false))]),
        (QUERY_CONSUME_TIME_SPAN, of_both()),
        (QUERY_CORRECTION_OFFSET, vec![("filterGroups", Str("")), ("compareGroup", Str(group)), ("topic", Str(topic))]),
        (VIEW_BROKER_STATS_DATA, vec![("statsName", Str("TOPIC_PUT_NUMS")), ("statsKey", Str(topic))]),
        (VIEW_BROKER_STATS_DATA, vec![("statsName", Str("BROKER_PUT_NUMS")), ("statsKey", Str("DefaultCluster"))]),
        (QUERY_CONSUMER_OFFSET, vec![("consumerGroup", Str(group)), ("topic", Str(topic)), ("queueId", I64(0))]),
        (GET_MAX_OFFSET, of_queue()),
        (GET_MIN_OFFSET, of_queue()),
        (GET_EARLIEST_MSG_STORETIME, of_queue()),
        (SEARCH_OFFSET_BY_TIMESTAMP, vec![("topic", Str(topic)), ("queueId", I64(0)), ("timestamp", I64(1))]),
        (QUERY_CONSUME_QUEUE, vec![("topic", Str(topic)), ("queueId", I64(0)), ("index", I64(0)), ("count", I64(32))]),
        (QUERY_MESSAGE, vec![("topic", Str(topic)), ("key", Str(client_id)), ("maxNum", I64(32)),
            ("beginTimestamp", I64(0)), ("endTimestamp", I64(i64::MAX))]),
        (VIEW_MESSAGE_BY_ID, vec![("offset", I64(0))]),
        (GET_ALL_CONSUMER_OFFSET, vec![]),
        (GET_ALL_DELAY_OFFSET, vec![]),
        (GET_ALL_MESSAGE_REQUEST_MODE, vec![]),
        (GET_TIMER_CHECK_POINT, vec![]),
        (GET_TIMER_METRICS, vec![]),
        (CHECK_ROCKSDB_CQ_WRITE_PROGRESS, vec![]),
        (AUTH_GET_USER, vec![("username", Str("nobody"))]),
    ]
}

#[rustfmt::skip]
fn of_namesrv(topic: &str) -> Vec<(i32, Fields<'_>)> {
    vec![
        (GET_ROUTEINFO_BY_TOPIC, vec![("topic", Str(topic)), ("acceptStandardJsonOnly", Bool(true))]),
        (GET_BROKER_CLUSTER_INFO, vec![]),
        (GET_ALL_TOPIC_LIST_FROM_NAMESERVER, vec![]),
        (GET_TOPICS_BY_CLUSTER, vec![("cluster", Str("DefaultCluster"))]),
        (GET_SYSTEM_TOPIC_LIST_FROM_NS, vec![]),
        (GET_UNIT_TOPIC_LIST, vec![]),
        (GET_HAS_UNIT_SUB_TOPIC_LIST, vec![]),
        (GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST, vec![]),
        (GET_KVLIST_BY_NAMESPACE, vec![("namespace", Str("ORDER_TOPIC_CONFIG"))]),
        (GET_NAMESRV_CONFIG, vec![]),
    ]
}
