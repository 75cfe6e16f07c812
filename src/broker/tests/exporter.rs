//! Protects the promise: rocketmq-exporter 0.0.2 shows all it can show. It reads the answer to 28 as one piece, so that one key that is missing or that it
//! cannot parse costs all 63 metrics `rocketmq_brokeruntime_*`. Here that answer is read as its `BrokerRuntimeStats` reads it, and what it asks by 315.

use super::*;
use crate::wire::codes::{request, response};

/// `Long.parseLong`
const LONGS: [&str; 28] = [
    "bootTimestamp",
    "commitLogMaxOffset",
    "commitLogMinOffset",
    "dispatchBehindBytes",
    "dispatchMaxBuffer",
    "earliestMessageTimeStamp",
    "getMessageEntireTimeMax",
    "msgGetTotalTodayMorning",
    "msgGetTotalTodayNow",
    "msgGetTotalYesterdayMorning",
    "msgPutTotalTodayMorning",
    "msgPutTotalTodayNow",
    "msgPutTotalYesterdayMorning",
    "pageCacheLockTimeMills",
    "pullThreadPoolQueueCapacity",
    "pullThreadPoolQueueHeadWaitTimeMills",
    "pullThreadPoolQueueSize",
    "putMessageEntireTimeMax",
    "putMessageSizeTotal",
    "putMessageTimesTotal",
    "queryThreadPoolQueueCapacity",
    "queryThreadPoolQueueHeadWaitTimeMills",
    "queryThreadPoolQueueSize",
    "remainTransientStoreBufferNumbs",
    "sendThreadPoolQueueCapacity",
    "sendThreadPoolQueueHeadWaitTimeMills",
    "sendThreadPoolQueueSize",
    "startAcceptSendRequestTimeStamp",
];

/// `Double.parseDouble`
const DOUBLES: [&str; 5] = [
    "commitLogDiskRatio",
    "consumeQueueDiskRatio",
    "putLatency99",
    "putLatency999",
    "putMessageAverageSize",
];

/// Three numbers with a blank between them.
const RATES: [&str; 5] = [
    "getFoundTps",
    "getMissTps",
    "getTotalTps",
    "getTransferredTps",
    "putTps",
];

const RANGES: [&str; 13] = [
    "<=0ms",
    "0~10ms",
    "10~50ms",
    "50~100ms",
    "100~200ms",
    "200~500ms",
    "500ms~1s",
    "1~2s",
    "2~3s",
    "3~4s",
    "4~5s",
    "5~10s",
    "10s~",
];

#[test]
fn the_runtime_info_is_read_without_an_error() {
    let mut broker = broker();
    broker.delays.advance(3, 8, 0);
    let reply = ask(&mut broker, request::GET_BROKER_RUNTIME_INFO, &[], "");
    let info: serde_json::Value = serde_json::from_str(body(&reply)).unwrap();
    let text = |key: &str| {
        info["table"][key]
            .as_str()
            .unwrap_or_else(|| panic!("{key}"))
    };
    let number = |key: &str| -> f64 { text(key).parse().unwrap_or_else(|_| panic!("{key}")) };
    for key in LONGS {
        let _: i64 = text(key).parse().unwrap_or_else(|_| panic!("{key}"));
    }
    for key in DOUBLES {
        assert!(number(key) >= 0.0, "{key}");
    }
    for key in RATES {
        let rates = text(key).split(' ').map(str::parse::<f64>);
        assert_eq!(rates.filter(Result::is_ok).count(), 3, "{key}");
    }
    let _: i32 = text("brokerVersion").parse().unwrap();
    assert!(!text("brokerVersionDesc").is_empty() && !text("runtime").is_empty());
    let first_word = text("remainHowManyDataToFlush").split(' ').next().unwrap();
    let _: f64 = first_word.parse().unwrap();
    for (key, level) in info["table"].as_object().unwrap() {
        if key.starts_with("scheduleMessageOffset") {
            let offsets = level.as_str().unwrap().split(',').map(str::parse::<i64>);
            assert_eq!(offsets.filter(Result::is_ok).count(), 2, "{key}");
        }
    }
    let times = text("putMessageDistributeTime").split(' ');
    let times: Vec<_> = times.filter_map(|time| time.split_once(':')).collect();
    let names = times.iter().map(|(name, count)| {
        let _: i32 = count.parse().expect("Integer.parseInt");
        name.trim_matches(['[', ']'])
    });
    assert_eq!(names.collect::<Vec<_>>(), RANGES);
}

/// Words 2, 3 and 6, 7 with a blank between them are a size and its unit, with a comma or a point behind it.
#[test]
fn the_capacity_of_the_disk_is_read_by_its_words() {
    let mut broker = broker();
    let reply = ask(&mut broker, request::GET_BROKER_RUNTIME_INFO, &[], "");
    let info: serde_json::Value = serde_json::from_str(body(&reply)).unwrap();
    let words: Vec<_> = info["table"]["commitLogDirCapacity"]
        .as_str()
        .unwrap()
        .split(' ')
        .collect();
    for (number, unit) in [(2, 3), (6, 7)] {
        let _: f64 = words[number].parse().unwrap();
        assert!(
            words[unit].len() >= 2 && words[unit].ends_with([',', '.']),
            "{words:?}"
        );
    }
}

/// What it asks for once a minute by name and key; one that is not there is skipped without a word.
#[test]
fn every_statistic_that_it_asks_for_is_there() {
    let mut broker = broker();
    broker.stored("T", None, 2, 10, 0);
    broker.stats.group_get(
        &crate::broker::stats::Delivered {
            group: "g",
            topic: "T",
            queue_id: 0,
            messages: 1,
            bytes: 100,
            read_ms: 1,
            is_pop: false,
        },
        0,
    );
    broker.stats.sent_back("g", "T", 0);
    let cluster = broker.config.cluster_name.clone();
    for (name, key) in [
        ("TOPIC_PUT_NUMS", "T"),
        ("TOPIC_PUT_SIZE", "T"),
        ("GROUP_GET_NUMS", "T@g"),
        ("GROUP_GET_SIZE", "T@g"),
        ("SNDBCK_PUT_NUMS", "T@g"),
        ("BROKER_PUT_NUMS", &*cluster),
        ("BROKER_GET_NUMS", &*cluster),
    ] {
        let fields = [("statsName", name), ("statsKey", key)];
        let reply = ask(&mut broker, request::VIEW_BROKER_STATS_DATA, &fields, "");
        assert_eq!(reply.code, response::SUCCESS, "{name}");
        let stats: serde_json::Value = serde_json::from_str(body(&reply)).unwrap();
        for window in ["statsMinute", "statsHour", "statsDay"] {
            let sum = stats[window]["sum"].as_i64();
            assert!(
                sum.is_some_and(|sum| sum > 0) && stats[window]["tps"].is_number(),
                "{name} {window}"
            );
        }
    }
}
