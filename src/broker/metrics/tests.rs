//! Protects what a scrape says of topics, groups and clients, and that it comes in slices.

use std::cell::RefCell;
use std::sync::Arc;

use super::*;
use crate::broker::ShardFigures;
use crate::broker::puts::MessageType;
use crate::broker::stats::Delivered;
use crate::broker::store_view::StoreView;
use crate::broker::tests::{FakeStore, broker, consumer, peer, topic};
use crate::store::QueueBounds;
use crate::wire::heartbeat::ConsumeType;

fn at(store: &dyn StoreView) -> At<'_> {
    At {
        now_ms: 1_000,
        store,
    }
}

/// The samples of a section, and how many slices they took. Labels of the node are left out.
fn scraped(broker: &Broker, section: Section, store: &dyn StoreView) -> (Vec<String>, usize) {
    let node = Arc::new(NodeLabels::new("c", "b", "broker", &[]));
    let mut scrape = Scrape::new(section, node, KnownTimes::new());
    let mut turns = 1;
    loop {
        match scrape.turn(broker, at(store)) {
            Turn::Done => break,
            Turn::More => turns += 1,
            Turn::Times(places) => scrape.times(places.iter().map(|_| None)),
        }
    }
    let lines = lines(&mut scrape);
    (lines, turns)
}

fn lines(scrape: &mut Scrape) -> Vec<String> {
    let common = r#"cluster="c",node_id="b",node_type="broker",otel_scope_name="broker-meter","#;
    let texts: Vec<String> = scrape.take_texts().map(|(_, text)| text).collect();
    let texts = texts.concat();
    texts.lines().map(|line| line.replace(common, "")).collect()
}

#[test]
fn messages_by_topic_and_kind() {
    let mut broker = broker();
    broker.stored("T", Some(MessageType::Normal), 3, 600, 0);
    broker.stored("T", Some(MessageType::Fifo), 1, 5_000, 0);
    broker.stored("T", None, 9, 900, 0);
    let (lines, _) = scraped(&broker, Section::MessagesIn, &FakeStore);
    let expected = [
        r#"rocketmq_messages_in_total{topic="T",message_type="normal",is_system="false"} 3"#,
        r#"rocketmq_messages_in_total{topic="T",message_type="fifo",is_system="false"} 1"#,
    ];
    assert_eq!(lines, expected);
    let (lines, _) = scraped(&broker, Section::ThroughputIn, &FakeStore);
    assert!(lines[1].ends_with(r#"message_type="fifo",is_system="false"} 5000"#));
    let (lines, _) = scraped(&broker, Section::MessageSize, &FakeStore);
    assert_eq!(lines.len(), 2 * 9);
    assert!(lines[0].ends_with(r#"is_system="false",le="1024.0"} 1"#));
    assert!(
        lines[8].ends_with(r#"is_system="false"} 200"#),
        "the average of a batch"
    );
}

#[test]
fn a_walk_over_topics_comes_in_slices() {
    let mut broker = broker();
    for number in 0..1_000 {
        let name = format!("T{number}");
        broker.topics.put(topic(&name, 1), 0);
        broker.stored(&name, Some(MessageType::Normal), 1, 100, 0);
    }
    let (lines, turns) = scraped(&broker, Section::MessagesIn, &FakeStore);
    assert_eq!(lines.len(), 1_000);
    assert!(turns > 15, "{turns}");
}

#[test]
fn what_groups_got_tells_pops_from_pulls() {
    let mut broker = broker();
    broker.groups.create("g", 0);
    let mut got = |topic, messages, is_pop| {
        let delivered = Delivered {
            group: "g",
            topic,
            queue_id: 0,
            messages,
            bytes: messages * 10,
            read_ms: 0,
            is_pop,
        };
        broker.stats.group_get(&delivered, 0);
    };
    got("T", 5, false);
    got("T", 2, true);
    got("%RETRY%g_T", 1, true);
    got("%RETRY%g", 7, false);
    broker.stats.gets_mut("g", "T").dead_letters += 1;
    let (lines, _) = scraped(&broker, Section::Groups, &FakeStore);
    let out = |line: &&String| line.starts_with("rocketmq_messages_out_total");
    let lines: Vec<_> = lines
        .iter()
        .filter(|line| out(line) || line.contains("dlq"))
        .collect();
    let expected = [
        r#"rocketmq_messages_out_total{topic="T",consumer_group="g",is_system="false",is_retry="true"} 1"#,
        r#"rocketmq_messages_out_total{topic="T",consumer_group="g",is_system="false",is_retry="false"} 2"#,
        r#"rocketmq_messages_out_total{topic="T",consumer_group="g",is_system="false"} 5"#,
        r#"rocketmq_send_to_dlq_messages_total{topic="T",consumer_group="g",is_system="false"} 1"#,
    ];
    assert_eq!(lines, expected);
}

fn lag_of(lines: &[String], group: &str, is_retry: &str) -> Vec<u64> {
    let labels = format!(r#"{{consumer_group="{group}",topic="T",is_retry="{is_retry}","#);
    let lines = lines.iter().filter(|line| line.contains(&labels));
    let values = lines.filter_map(|line| line.rsplit_once(' ')?.1.parse().ok());
    values.collect()
}

#[test]
fn the_lag_of_groups_that_are_online_and_offline() {
    let mut broker = broker();
    for group in ["online", "offline", "popping"] {
        broker.groups.create(group, 0);
    }
    let data = consumer("online", "T", "*");
    broker
        .clients
        .register_consumer(&data, true, "c", &peer(1), 0);
    let mut data = consumer("popping", "T", "*");
    data.consume_type = ConsumeType::ConsumePop;
    broker
        .clients
        .register_consumer(&data, true, "p", &peer(2), 0);
    // Of 0 to 10 in queue 0: four are consumed, seven are read. Queue 1 has 5 to 10, and the group has begun nowhere there.
    for group in ["online", "offline", "popping"] {
        broker.offsets.commit(group, "T", 0, 4, 0);
        broker.offsets.pulled(group, "T", 0, 7);
    }
    let (lines, _) = scraped(&broker, Section::Lag, &FakeStore);
    // Lag, its age (the message at 4 is of 104), in flight, age of the one at 7, ready.
    let expected = [6, 1_000 - 104, 3, 1_000 - 107, 3];
    assert_eq!(lag_of(&lines, "online", "false"), expected);
    assert_eq!(lag_of(&lines, "offline", "false"), expected);
    assert_eq!(lag_of(&lines, "popping", "false"), [6, 896, 0, 896, 6]);
    assert_eq!(
        lag_of(&lines, "popping", "true"),
        [0; 5],
        "nothing has come back"
    );
    assert!(lag_of(&lines, "online", "true").is_empty());
}

/// Knows where messages are, and no times.
struct ColdStore(RefCell<usize>);

impl StoreView for ColdStore {
    fn bounds(&self, _: &str, _: u32) -> QueueBounds {
        QueueBounds {
            min: 0,
            max: 1_000,
            next: 1_000,
        }
    }

    fn store_time_ms(&self, _: &str, _: u32, _: u64) -> Option<i64> {
        *self.0.borrow_mut() += 1;
        None
    }

    fn is_recent(&self, _: &str, _: u32, _: u64) -> bool {
        false
    }

    fn figures(&self) -> ShardFigures {
        ShardFigures::default()
    }
}

#[test]
fn store_times_that_are_on_the_disk_are_read_once() {
    let mut broker = broker();
    broker.groups.create("g", 0);
    for queue_id in 0..4 {
        broker.offsets.commit("g", "T", queue_id, 10, 0);
    }
    let (node, store) = (
        Arc::new(NodeLabels::new("c", "b", "broker", &[])),
        ColdStore(RefCell::default()),
    );
    let mut known = KnownTimes::new();
    for expected_reads in [4, 0] {
        let mut scrape = Scrape::new(Section::Lag, node.clone(), known);
        let mut reads = 0;
        loop {
            match scrape.turn(&broker, at(&store)) {
                Turn::Done => break,
                Turn::More => {}
                Turn::Times(places) => {
                    reads += places.len();
                    let times: Vec<_> = places.iter().map(|at| Some(at.offset as i64)).collect();
                    scrape.times(times);
                }
            }
        }
        assert_eq!(reads, expected_reads);
        let lag = lag_of(&lines(&mut scrape), "g", "false");
        assert_eq!(lag, [4 * 990, 990, 0, 990, 4 * 990]);
        known = scrape.into_times();
    }
}

#[test]
fn cold_store_times_of_one_scrape_are_bounded() {
    let mut broker = broker();
    broker.topics.put(topic("T", 4_096), 0);
    broker.groups.create("g", 0);
    for queue_id in 0..4_096 {
        broker.offsets.commit("g", "T", queue_id, 10, 0);
    }
    let node = Arc::new(NodeLabels::new("c", "b", "broker", &[]));
    let mut scrape = Scrape::new(Section::Lag, node, KnownTimes::new());
    let mut reads = 0;
    loop {
        match scrape.turn(&broker, at(&ColdStore(RefCell::default()))) {
            Turn::Done => break,
            Turn::More => {}
            Turn::Times(places) => {
                reads += places.len();
                scrape.times(places.iter().map(|_| Some(7)));
            }
        }
    }
    assert_eq!(reads, MAX_READ_TIMES);
    assert_eq!(lag_of(&lines(&mut scrape), "g", "false")[0], 4_096 * 990);
}

#[test]
fn clients_are_counted_by_language_and_version() {
    let mut broker = broker();
    broker.groups.create("g", 0);
    for conn in 0..700 {
        let peer = peer(conn);
        let data = consumer("g", "T", "*");
        broker
            .clients
            .register_consumer(&data, true, &format!("c{conn}"), &peer, 0);
        broker
            .clients
            .register_producer("p", &format!("c{conn}"), &peer, 0);
    }
    let (lines, turns) = scraped(&broker, Section::Connections, &FakeStore);
    let expected = [
        r#"rocketmq_producer_connections{language="java",version="v5_4_4_snapshot",protocol_type="remoting"} 700"#,
        r#"rocketmq_consumer_connections{consumer_group="g",language="java",version="v5_4_4_snapshot",consume_mode="push",protocol_type="remoting",is_system="false"} 700"#,
    ];
    assert_eq!(lines, expected);
    assert!(turns > 2, "{turns}");
}

#[test]
fn transactions_and_timers_by_topic() {
    let mut broker = broker();
    broker.half_stored("T");
    broker.half_stored("T");
    broker.stats.rare_mut("T").rolled_back();
    broker.timer_enqueued("T", 61_000);
    broker.timer_delivered("T");
    let (lines, _) = scraped(&broker, Section::Transactions, &FakeStore);
    let expected = [
        r#"rocketmq_rollback_messages_total{topic="T"} 1"#,
        r#"rocketmq_half_messages{topic="T"} 1"#,
    ];
    assert_eq!(lines, expected);
    let (lines, _) = scraped(&broker, Section::Timers, &FakeStore);
    let storage = r#"{storage_medium="disk",storage_type="local",topic="T""#;
    let expected = [
        format!("rocketmq_timing_messages{storage}}} 0"),
        format!("rocketmq_timer_enqueue_total{storage}}} 1"),
        format!("rocketmq_timer_dequeue_total{storage}}} 1"),
        format!("rocketmq_delay_message_latency_seconds_bucket{storage},le=\"60.0\"}} 0"),
        format!("rocketmq_delay_message_latency_seconds_bucket{storage},le=\"600.0\"}} 1"),
    ];
    assert_eq!(lines[..5], expected);
}
