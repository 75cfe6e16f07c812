//! Answers about tens of thousands of rows: no turn makes more of them than it may.

use super::*;
use crate::broker::limits::ROWS_PER_TURN;
use crate::wire::assignment::MessageRequestMode;
use crate::wire::codes::request;
use crate::wire::group::SubscriptionGroupTable;
use crate::wire::header::with_fields;
use crate::wire::loose_json;
use crate::wire::offset::ConsumerStatusRequest;

const QUEUES: i32 = 65_536;

/// The size of the answer that each turn has come to, and the answer.
fn turns(broker: &mut Broker, code: i32, fields: &[(&str, &str)]) -> (usize, String) {
    let step = step_of(broker, code, fields);
    let Step::Work(mut work) = step else {
        panic!("{step:?} is one turn");
    };
    let store = &FakeStore;
    let mut turns = 0;
    loop {
        turns += 1;
        match work.turn(broker, At { now_ms: 0, store }).unwrap() {
            Progress::Done(reply) => return (turns, body(&reply).to_owned()),
            Progress::Times(places) => work.times(vec![None; places.len()]),
            Progress::More | Progress::RemoveQueues(_) => {}
        }
    }
}

/// Three groups with offsets in as many queues as a topic may have.
fn with_offsets() -> Broker {
    let mut broker = broker();
    broker.topics.put(topic("Wide", QUEUES), 0);
    for (group, offset) in [("a", 3), ("b", 2), ("c", 1)] {
        for queue_id in 0..QUEUES {
            broker.offsets.commit(group, "Wide", queue_id, offset, 0);
        }
    }
    broker
}

const ROWS: usize = 3 * QUEUES as usize;

#[test]
fn all_offsets_of_wide_topics() {
    let mut broker = with_offsets();
    broker.offsets.commit("d", "T", 7, 5, 0);
    let (turns, text) = turns(&mut broker, request::GET_ALL_CONSUMER_OFFSET, &[]);
    assert!(turns > ROWS / ROWS_PER_TURN, "{turns} turns");
    let mut again = Broker::new(BrokerConfig::default(), 0);
    again.load_file(ConfigFile::ConsumerOffsets, &text).unwrap();
    assert!(again.offsets.after(None).eq(broker.offsets.after(None)));
}

#[test]
fn the_least_offsets_of_wide_topics() {
    let mut broker = with_offsets();
    let all = [("topic", "Wide")];
    let code = request::QUERY_CORRECTION_OFFSET;
    let (count, text) = turns(&mut broker, code, &all);
    // All are looked at, and one of each queue is written.
    assert!(
        count > (ROWS + QUEUES as usize) / ROWS_PER_TURN,
        "{count} turns"
    );
    assert!(text.starts_with(r#"{"correctionOffsets":{0:1,1:1,"#) && text.ends_with(":1}}"));
    let others = [
        ("topic", "Wide"),
        ("filterGroups", "x,c"),
        ("compareGroup", "c"),
    ];
    let (_, text) = turns(&mut broker, code, &others);
    // The group that is compared is behind all others.
    let behind = format!(r#"{{"correctionOffsets":{{0:{},"#, i64::MAX);
    assert!(text.starts_with(&behind), "{}", &text[..60]);
}

#[test]
fn offsets_of_wide_topics_are_cloned() {
    let mut broker = with_offsets();
    let fields = [("srcGroup", "a"), ("destGroup", "new"), ("offline", "true")];
    let step = step_of(&mut broker, request::CLONE_GROUP_OFFSET, &fields);
    let Step::Work(mut work) = step else {
        panic!("{step:?} is one turn");
    };
    let (mut turns, mut copied) = (0, 0);
    let at = At {
        now_ms: 0,
        store: &FakeStore,
    };
    while !matches!(work.turn(&mut broker, at).unwrap(), Progress::Done(_)) {
        let queues = broker.offsets.of("new", "Wide");
        let now = queues.map_or(0, |queues| queues.len());
        assert!(now - copied <= ROWS_PER_TURN);
        (turns, copied) = (turns + 1, now);
    }
    assert!(turns >= QUEUES as usize / ROWS_PER_TURN);
    assert_eq!(
        broker.offsets.of("new", "Wide"),
        broker.offsets.of("a", "Wide")
    );
}

#[test]
fn groups_and_topics_of_each_other() {
    let mut broker = broker();
    for n in 0..3_000 {
        broker.offsets.commit(&format!("g{n:04}"), "T", 0, 1, 0);
        broker.offsets.commit("g", &format!("T{n:04}"), 0, 1, 0);
    }
    let data = consumer("online", "T", "*");
    broker
        .clients
        .register_consumer(&data, true, "c", &peer(1), 0);
    let fewest = 3_000 / ROWS_PER_TURN;
    let of_topic = [("topic", "T")];
    let (count, text) = turns(&mut broker, request::QUERY_TOPIC_CONSUME_BY_WHO, &of_topic);
    assert!(count > fewest, "{count} turns");
    assert!(text.starts_with(r#"{"groupList":["g0000","g0001","#));
    assert!(text.ends_with(r#","g2999","online"]}"#), "{text}");
    let of_group = [("group", "g")];
    let (count, text) = turns(&mut broker, request::QUERY_TOPICS_BY_CONSUMER, &of_group);
    assert!(count > fewest, "{count} turns");
    assert!(text.ends_with(r#","T2998","T2999"]}"#));
    let of_group = [("consumerGroup", "g")];
    let (count, _) = turns(&mut broker, request::GET_CONSUME_STATS, &of_group);
    assert!(count > 2 * fewest, "{count} turns");
}

#[test]
fn what_many_groups_may_not_do_and_how_they_get_messages() {
    const GROUPS: usize = 3_000;
    let mut broker = broker();
    for n in 0..GROUPS {
        broker.groups.set_readable(&format!("g{n}"), "T", false, 0);
        let mode = MessageRequestMode::default();
        broker.pops.modes.put(&format!("T{n}"), "g", mode);
    }
    let fewest = GROUPS / ROWS_PER_TURN;
    let code = request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG;
    let (count, text) = turns(&mut broker, code, &[]);
    assert!(count > fewest, "{count} turns");
    let table: SubscriptionGroupTable = loose_json::from_slice(text.as_bytes()).unwrap();
    assert_eq!(table.forbidden_table.len(), GROUPS);
    assert_eq!(table.subscription_group_table.len(), broker.groups.len());
    let code = request::GET_ALL_MESSAGE_REQUEST_MODE;
    let (count, text) = turns(&mut broker, code, &[]);
    assert!(count > fewest, "{count} turns");
    assert_eq!(
        loose_json::from_slice(text.as_bytes()),
        Ok(broker.pops.modes)
    );
}

/// A group that has popped, consumed in order and locked much is deleted.
#[test]
fn a_group_is_deleted_in_slices() {
    use crate::broker::pop::{GroupQueue, Place, PopKey};
    use crate::wire::MessageQueue;
    const MANY: u64 = 2_000;
    let mut broker = broker();
    broker.groups.create("g", 0);
    for n in 0..MANY {
        let topic = format!("T{n}");
        let queue = MessageQueue {
            topic: topic.clone(),
            broker_name: "b".into(),
            queue_id: 0,
        };
        assert!(broker.locks.lock("g", &queue, "c", 0));
        broker.stats.sent_back("g", &topic, 0);
        let orders = &mut broker.pops.orders;
        orders.hand_out("g", &topic, 0, None, &[0], 100, 0);
        for (group, offset) in [("g", 2 * n), ("other", 2 * n + 1)] {
            let topic = &*topic;
            let place = Place {
                revive_queue: 0,
                offset,
            };
            let queue = GroupQueue {
                group,
                topic,
                queue_id: 0,
            };
            let key = PopKey {
                start_offset: 0,
                pop_time_ms: 1,
            };
            let in_flight = &mut broker.pops.in_flight;
            assert!(in_flight.add(place, queue, key, 50, vec![0], 0));
        }
        broker.offsets.commit("g", &topic, 0, 1, 0);
    }
    let fields = [("groupName", "g"), ("cleanOffset", "true")];
    let step = step_of(&mut broker, request::DELETE_SUBSCRIPTIONGROUP, &fields);
    let Step::Work(mut work) = step else {
        panic!("{step:?} is one turn");
    };
    let at = At {
        now_ms: 0,
        store: &FakeStore,
    };
    let mut turns = 0;
    while !matches!(work.turn(&mut broker, at).unwrap(), Progress::Done(_)) {
        turns += 1;
    }
    // Locks, topics, orders, check points of both groups, offsets.
    assert!(turns >= 6 * MANY as usize / ROWS_PER_TURN, "{turns} turns");
    assert_eq!(broker.pops.in_flight.len(), MANY as usize);
    assert!(broker.pops.orders.after(None).next().is_none());
    assert!(broker.offsets.after(None).next().is_none());
    assert!(!broker.locks.holds_any("g", 0));
}

#[test]
fn few_members_of_a_group_are_asked_at_a_time() {
    let mut broker = broker();
    for conn in 0..100 {
        let data = consumer("g", "T", "*");
        let client = format!("c{conn}");
        broker
            .clients
            .register_consumer(&data, true, &client, &peer(conn), 0);
    }
    let asked = |broker: &Broker, fields: &[(&str, &str)]| {
        let asked = with_fields(fields, |ext| {
            broker.relay_status(ConsumerStatusRequest::decode(ext)?)
        });
        let (mut asked, mut slices) = (asked.unwrap(), Vec::new());
        while let Some(relays) = broker.next_to_ask(&mut asked, 16, 30) {
            slices.push(relays.len());
        }
        slices
    };
    let fields = [("topic", "T"), ("group", "g")];
    assert_eq!(asked(&broker, &fields), [16, 16, 16, 16, 16, 16, 4]);
    let one = [("topic", "T"), ("group", "g"), ("clientAddr", "c70")];
    assert_eq!(asked(&broker, &one), [0, 0, 1, 0], "of 30 members each");
}
