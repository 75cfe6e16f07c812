use super::*;
use crate::broker::BrokerConfig;
use crate::broker::tests::{FakeStore, ask};
use crate::wire::codes::request;
use crate::wire::loose_json::members::BYTES_PER_TURN;

fn broker() -> Broker {
    Broker::new(BrokerConfig::default(), 0)
}

fn topic(name: &str, queues: i32) -> TopicConfig {
    TopicConfig {
        topic_name: name.into(),
        read_queue_nums: queues,
        write_queue_nums: queues,
        ..TopicConfig::default()
    }
}

fn deleted(broker: &mut Broker) -> Vec<String> {
    let mut effects = Vec::new();
    broker.take_effects(&mut effects);
    let topics = effects.into_iter().filter_map(|effect| match effect {
        Effect::TopicDeleted { topic } => Some(topic),
        _ => None,
    });
    topics.collect()
}

/// Asks the master for a table as the reactor does; how many pages and slices it took.
fn follow(slave: &mut Broker, master: &mut Broker, file: ConfigFile) -> (usize, usize) {
    let code = match file {
        ConfigFile::Topics => request::GET_ALL_TOPIC_CONFIG,
        _ => request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG,
    };
    let (mut pages, mut count) = (Pages::of(file).expect("it has pages"), 0);
    let mut work = loop {
        let version = pages.version(slave);
        let fields = pages.fields(&version).map(|(name, value)| match value {
            Value::I64(number) => (name, number.to_string()),
            Value::Str(text) => (name, text.to_owned()),
            other => panic!("{other:?}"),
        });
        let fields: Vec<_> = fields
            .iter()
            .map(|(name, value)| (*name, &**value))
            .collect();
        let reply = ask(master, code, &fields, "");
        count += 1;
        let mut ext = reply
            .ext
            .iter()
            .filter(|(name, _)| *name == pages.total_field());
        let total = ext.next().map(|(_, total)| total.parse().unwrap());
        match pages.take(&reply.body, total, slave).unwrap() {
            (Page::Unchanged, _) => return (count, 0),
            (Page::More, more) => pages = more.expect("there are more"),
            (Page::Last(work), _) => break work,
        }
    };
    let at = At {
        now_ms: 9,
        store: &FakeStore,
    };
    let mut slices = 1;
    while !matches!(work.turn(slave, at).unwrap(), Progress::Done(_)) {
        slices += 1;
    }
    (count, slices)
}

#[test]
fn topics_become_the_masters() {
    let (mut master, mut slave) = (broker(), broker());
    for name in ["kept", "changed", "deleted"] {
        master.topics.put(topic(name, 4), 1);
    }
    let file = ConfigFile::Topics;
    follow(&mut slave, &mut master, file);
    assert_eq!(slave.topics.version(), master.topics.version());
    assert!(deleted(&mut slave).is_empty());
    master.topics.put(topic("changed", 8), 3);
    master.topics.remove("deleted", 3);
    slave.offsets.commit("g", "deleted", 0, 1, 3);
    follow(&mut slave, &mut master, file);
    assert_eq!(slave.topics.sorted(), master.topics.sorted());
    assert_eq!(deleted(&mut slave), ["deleted"]);
    assert_eq!(slave.offsets.query("g", "deleted", 0), None);
    assert_eq!(follow(&mut slave, &mut master, file), (1, 0), "unchanged");
    let mut effects = Vec::new();
    slave.take_effects(&mut effects);
    assert!(effects.is_empty(), "the same version: {effects:?}");
}

#[test]
fn large_tables_come_in_pages_and_are_taken_over_in_slices() {
    const TOPICS: usize = 5_000;
    let (mut master, mut slave) = (broker(), broker());
    for n in 0..TOPICS {
        master.topics.put(topic(&format!("T{n}"), 1), 2);
        slave.topics.put(topic(&format!("U{n}"), 1), 1);
        master.groups.create(&format!("g{n}"), 2);
        slave.groups.create(&format!("h{n}"), 1);
    }
    let fewest = TOPICS / ROWS_PER_TURN;
    for file in [ConfigFile::Topics, ConfigFile::SubscriptionGroups] {
        let (pages, slices) = follow(&mut slave, &mut master, file);
        assert!(pages > TOPICS / PAGE_ROWS as usize, "{pages} pages");
        // The master's are put, all are compared, the slave's own are removed.
        assert!(slices > 4 * fewest, "{slices} slices");
    }
    assert_eq!(slave.topics.sorted(), master.topics.sorted());
    assert!(slave.groups.sorted() == master.groups.sorted());
}

/// The master's table changes between two pages: it is asked for again from its beginning.
#[test]
fn a_page_of_another_version_begins_anew() {
    let (mut master, slave) = (broker(), broker());
    let page = |names: &[&str], version| {
        let rows = names.iter().map(|name| format!(r#""{name}":{{}}"#));
        let rows = rows.collect::<Vec<_>>().join(",");
        format!(r#"{{"dataVersion":{{"counter":{version}}},"topicConfigTable":{{{rows}}}}}"#)
    };
    master.topics.put(topic("T", 1), 1);
    let pages = Pages::of(ConfigFile::Topics).unwrap();
    let taken = pages.take(page(&["a", "b"], 1).as_bytes(), Some(4), &slave);
    let (Page::More, Some(pages)) = taken.unwrap() else {
        panic!("two of four");
    };
    assert_eq!(pages.rows(), 2);
    let taken = pages.take(page(&["c"], 2).as_bytes(), Some(3), &slave);
    let (Page::More, Some(pages)) = taken.unwrap() else {
        panic!("one of three");
    };
    assert_eq!(pages.rows(), 1);
    // A master whose answers have no total sends all at once.
    let taken = pages.take(page(&["d", "e"], 3).as_bytes(), None, &slave);
    assert!(matches!(taken.unwrap(), (Page::Last(_), None)));
}

#[test]
fn groups_and_offsets_become_the_masters() {
    let (mut master, mut slave) = (broker(), broker());
    for group in ["kept", "deleted"] {
        master.groups.create(group, 1);
    }
    master.groups.set_readable("kept", "T", false, 1);
    master.offsets.commit("kept", "T", 3, 77, 1);
    follow(&mut slave, &mut master, ConfigFile::SubscriptionGroups);
    let file = ConfigFile::ConsumerOffsets;
    follow_text(&mut slave, file, &master.file_text(file)).unwrap();
    assert!(slave.groups.contains("deleted") && !slave.groups.may_read("kept", "T"));
    assert_eq!(slave.offsets.query("kept", "T", 3), Some(77));
    assert!(slave.offsets.take_dirty(), "they are saved");
    master.groups.remove("deleted", 3);
    master.groups.set_readable("kept", "T", true, 3);
    follow(&mut slave, &mut master, ConfigFile::SubscriptionGroups);
    assert!(!slave.groups.contains("deleted") && slave.groups.may_read("kept", "T"));
    assert_eq!(slave.groups.version(), master.groups.version());
}

#[test]
fn what_many_groups_may_not_do_is_taken_over_in_slices() {
    const GROUPS: usize = 2_000;
    let (mut master, mut slave) = (broker(), broker());
    for n in 0..GROUPS {
        let group = format!("g{n}");
        master.groups.create(&group, 2);
        // Each group by one of them only, some by both.
        if n % 4 != 0 {
            slave.groups.set_readable(&group, "T", false, 1);
        }
        if n % 4 != 1 {
            master.groups.set_readable(&group, "U", false, 2);
        }
    }
    let (_, slices) = follow(&mut slave, &mut master, ConfigFile::SubscriptionGroups);
    // Groups are put and compared, then what the slave forbids is looked at, and what the master forbids is put.
    let fewest = (GROUPS + GROUPS + GROUPS / 2 + GROUPS / 2) / ROWS_PER_TURN;
    assert!(slices > fewest, "{slices} of {fewest} slices");
    let theirs = master.groups.forbidden_after(None);
    assert!(slave.groups.forbidden_after(None).eq(theirs));
    assert_eq!(slave.groups.version(), master.groups.version());
}

/// Takes a file's text over as the master's answer; in how many turns.
fn follow_text(slave: &mut Broker, file: ConfigFile, text: &str) -> Result<usize, Refusal> {
    let mut work =
        follow_whole(file, text.as_bytes().to_vec()).expect("it is asked for as a whole");
    let at = At {
        now_ms: 9,
        store: &FakeStore,
    };
    let mut turns = 1;
    while !matches!(work.turn(slave, at)?, Progress::Done(_)) {
        turns += 1;
    }
    Ok(turns)
}

#[test]
fn offsets_of_a_topic_that_was_made_again_go() {
    let (mut master, mut slave) = (broker(), broker());
    master.offsets.commit("g", "T", 0, 40, 1);
    master.offsets.commit("g", "other", 0, 7, 1);
    let file = ConfigFile::ConsumerOffsets;
    follow_text(&mut slave, file, &master.file_text(file)).unwrap();
    while master.offsets.remove_next_of("T").is_some() {}
    assert!(follow_text(&mut slave, file, "{").is_err());
    assert_eq!(slave.offsets.query("g", "T", 0), Some(40), "not read");
    slave.offsets.reset("g", "other", 0, 3);
    follow_text(&mut slave, file, &master.file_text(file)).unwrap();
    assert_eq!(slave.offsets.query("g", "T", 0), None);
    assert_eq!(slave.offsets.query("g", "other", 0), Some(7));
}

/// RocketMQ's table of offsets of pulls has bare numbers as keys, which its own slave cannot read.
#[test]
fn offsets_are_read_from_rocketmqs_answer() {
    let mut slave = broker();
    let body = r#"{"offsetTable":{"T@g":{0:5,1:6}},"pullOffsetTable":{"T@g":{0:9}}}"#;
    follow_text(&mut slave, ConfigFile::ConsumerOffsets, body).unwrap();
    assert_eq!(slave.offsets.query("g", "T", 1), Some(6));
}

/// The offsets that a restart has, and from where on it looks for more deliveries.
fn delays_of(slave: &Broker) -> (Option<i64>, Option<u64>) {
    let offset = slave.delays.offsets().get(&2).copied();
    (offset, slave.delays.known_position())
}

#[test]
fn what_a_master_has_delivered_is_known_as_far_as_it_knows_itself() {
    let (mut master, mut slave) = (broker(), broker());
    master.delays.advance(2, 8, 0);
    master.delays.known_up_to(300);
    let mut follow = |master: &Broker, log_position| {
        let answer = loose_json::to_vec(&DelaysFile::answer(&master.delays, 900));
        let delays = MasterDelays::read(&answer, log_position).unwrap();
        assert_eq!(delays.log_end(), 900);
        slave.follow_delays(delays);
        assert!(slave.delays.take_dirty());
        delays_of(&slave)
    };
    // It has started, and has not looked at its log behind 300 yet.
    assert_eq!(follow(&master, 700), (Some(8), Some(300)));
    master.delays_caught_up();
    assert_eq!(follow(&master, 700), (Some(8), Some(700)));
    assert_eq!(follow(&master, 950), (Some(8), Some(900)));
}

#[test]
fn a_rocketmq_master_says_its_offsets_only() {
    let mut slave = broker();
    let delays = MasterDelays::read(br#"{"offsetTable":{2:5}}"#, 70).unwrap();
    assert_eq!(delays.log_end(), 0);
    slave.follow_delays(delays);
    assert_eq!(delays_of(&slave), (Some(5), Some(70)));
}

#[test]
fn many_offsets_are_taken_over_in_slices_and_saved_when_they_have_changed() {
    const TOPICS: usize = 2_000;
    let (mut master, mut slave) = (broker(), broker());
    for n in 0..TOPICS {
        for queue_id in 0..8 {
            let offset = 1_000_000 + queue_id;
            master
                .offsets
                .commit("g", &format!("T{n}"), queue_id as i32, offset, 1);
        }
        slave.offsets.commit("h", &format!("T{n}"), 0, 1, 1);
    }
    let file = ConfigFile::ConsumerOffsets;
    let text = master.file_text(file);
    let fewest = text.len() / BYTES_PER_TURN + TOPICS / ROWS_PER_TURN;
    let turns = follow_text(&mut slave, file, &text).unwrap();
    assert!(turns > fewest, "{turns} of {fewest} turns");
    assert!(slave.offsets.after(None).eq(master.offsets.after(None)));
    assert_eq!(slave.offsets.version(), master.offsets.version());
    assert!(slave.offsets.take_dirty());
    follow_text(&mut slave, file, &text).unwrap();
    assert!(!slave.offsets.take_dirty(), "nothing has changed");
    master.offsets.commit("g", "T7", 3, 5, 1);
    follow_text(&mut slave, file, &master.file_text(file)).unwrap();
    assert!(slave.offsets.take_dirty());
    assert_eq!(slave.offsets.query("g", "T7", 3), Some(5));
}

#[test]
fn modes_are_taken_over_in_slices_and_saved_when_they_have_changed() {
    const TOPICS: usize = 1_000;
    let modes = |changed: &str, count| {
        let rows = (0..count).map(|n| {
            let mode = if n == 7 { changed } else { "POP" };
            format!(r#""T{n}":{{"g":{{"consumerGroup":"g","mode":"{mode}","popShareQueueNum":1,"topic":"T{n}"}}}}"#)
        });
        let rows = rows.collect::<Vec<_>>().join(",");
        format!(r#"{{"messageRequestModeMap":{{{rows}}}}}"#)
    };
    let (mut slave, file) = (broker(), ConfigFile::RequestModes);
    let mut follow = |text: &str| {
        let turns = follow_text(&mut slave, file, text).unwrap();
        let mode = slave.pops.modes.find("T7", "g");
        let (mode, count) = (mode.map(|mode| mode.mode.clone()), slave.pops.modes.count());
        let mut effects = Vec::new();
        slave.take_effects(&mut effects);
        (turns, mode.unwrap_or_default(), count, effects.len())
    };
    let text = modes("POP", TOPICS);
    let (turns, ..) = follow(&text);
    assert!(turns > text.len() / BYTES_PER_TURN, "{turns} turns");
    assert_eq!(follow(&modes("PULL", TOPICS)).1, "PULL");
    let (turns, mode, count, saves) = follow(&modes("PULL", TOPICS));
    assert!(turns > text.len() / BYTES_PER_TURN + TOPICS / ROWS_PER_TURN);
    assert_eq!((&*mode, count, saves), ("PULL", TOPICS, 0));
    let (_, _, count, saves) = follow(&modes("PULL", 9));
    assert_eq!((count, saves), (9, 1));
}
