use super::*;

/// As RocketMQ 5.5.0 wrote it.
const OFFSETS: &str = "{
	\"dataVersion\":{
		\"counter\":3,
		\"stateVersion\":0,
		\"timestamp\":1795235424885
	},
	\"groupTopicMap\":{
		\"Group\":[
			\"%RETRY%Group\",
			\"Topic\"
		]
	},
	\"offsetTable\":{
		\"%RETRY%Group@Group\":{
			0:1
		},
		\"Topic@Group\":{
			0:4,
			1:2,
			10:9
		}
	},
	\"pullOffsetTable\":{}
}";

const DELAYS: &str = "{
	\"dataVersion\":{
		\"counter\":0,
		\"stateVersion\":0,
		\"timestamp\":1795235425233
	},
	\"offsetTable\":{
		1:1,
		10:7
	}
}";

#[test]
fn offsets_are_read_and_written_as_rocketmq_does() {
    let mut broker = Broker::new(BrokerConfig::default(), 0);
    broker
        .load_file(ConfigFile::ConsumerOffsets, OFFSETS)
        .unwrap();
    assert_eq!(broker.offsets.query("Group", "Topic", 10), Some(9));
    assert_eq!(broker.file_text(ConfigFile::ConsumerOffsets), OFFSETS);
    broker.load_file(ConfigFile::DelayOffsets, DELAYS).unwrap();
    assert_eq!(broker.delays.offsets()[&10], 7);
    assert_eq!(broker.file_text(ConfigFile::DelayOffsets), DELAYS);
}

#[test]
fn every_file_comes_back_the_same() {
    let mut broker = broker();
    broker.find_or_create_group("g", 5);
    broker
        .topics
        .find_mut("T")
        .unwrap()
        .config
        .attributes
        .insert("a".into(), "{[,]}\\\"".into());
    broker.groups.set_readable("g", "T", false, 0);
    broker.offsets.commit("g", "T", 3, 5, 0);
    broker.delays.advance(3, 9, 0);
    let mut again = Broker::new(BrokerConfig::default(), 99);
    for file in ConfigFile::ALL {
        let text = broker.file_text(file);
        again.load_file(file, &text).unwrap();
        assert_eq!(again.file_text(file), text, "{}", file.name());
    }
    assert!(!again.groups.may_read("g", "T"));
}

#[test]
fn the_modes_of_one_topic_are_written_and_shown_in_slices() {
    use crate::broker::files::text::SLICE_VALUES;
    use crate::broker::step::{Progress, Step};
    use crate::wire::assignment::MessageRequestMode;
    const GROUPS: usize = 3_000;
    let mut broker = broker();
    let mut put = |topic: &str, n: usize| {
        let mode = MessageRequestMode {
            topic: topic.into(),
            consumer_group: format!("g{n}"),
            mode: "POP".into(),
            pop_share_queue_num: n as i32,
        };
        broker.pops.modes.put(topic, &format!("g{n}"), mode);
    };
    put("S", 1);
    (0..GROUPS).for_each(|n| put("T", n));
    put("U", 1);
    let file = ConfigFile::RequestModes;
    let mut text = broker.begin_text(file, broker.file_version(file));
    while !broker.write_text(&mut text, SLICE_VALUES) {}
    assert!(text.slices() as usize > GROUPS * 4 / SLICE_VALUES);
    let text = text.into_string();
    assert_eq!(text, broker.file_text(file));
    let mut whole = Vec::new();
    crate::wire::loose_json::write_indented(&mut whole, &broker.pops.modes, 0);
    assert_eq!(text.as_bytes(), whole, "as before it was written in slices");
    let Step::Work(mut work) = broker.all_request_modes() else {
        panic!("an answer in slices");
    };
    let mut slices = 0;
    let reply = loop {
        slices += 1;
        let at = crate::broker::store_view::At {
            now_ms: 0,
            store: &FakeStore,
        };
        if let Progress::Done(reply) = work.turn(&mut broker, at).unwrap() {
            break reply;
        }
    };
    assert!(slices > GROUPS / crate::broker::limits::ROWS_PER_TURN);
    let mut again = Broker::new(BrokerConfig::default(), 0);
    let answer = String::from_utf8(reply.body).unwrap();
    again.load_file(file, &answer).unwrap();
    assert_eq!(again.pops.modes, broker.pops.modes);
}

#[test]
fn a_text_in_slices_is_the_same_text() {
    let mut broker = broker();
    for group in 0..7 {
        let group = format!("g{group}");
        broker.find_or_create_group(&group, 5);
        broker.groups.set_readable(&group, "T", false, 0);
        for queue in 0..5 {
            broker.offsets.commit(&group, "T", queue, 9, 0);
            broker.offsets.commit(&group, "U", queue, 9, 0);
            broker.offsets.pulled(&group, "T", queue, 9);
        }
        broker.topics.put(topic(&group, 3), 0);
    }
    for file in ConfigFile::ALL {
        let whole = broker.file_text(file);
        let mut text = broker.begin_text(file, broker.file_version(file));
        while !broker.write_text(&mut text, 1) {}
        let slices = text.slices();
        assert_eq!(text.into_string(), whole, "{}", file.name());
        match file {
            ConfigFile::Topics => assert_eq!(slices, broker.topics.len() as u64),
            ConfigFile::SubscriptionGroups => assert_eq!(slices, broker.groups.len() as u64 + 7),
            // Of the topics of 7 groups, of their offsets in 5 queues of 2, and of how far they pulled in 5 of 1.
            ConfigFile::ConsumerOffsets => assert_eq!(slices, 7 + 5 * (14 + 7)),
            _ => assert_eq!(slices, 1),
        }
    }
}

/// As a master the next process has nobody to give it to.
#[test]
fn a_slave_s_file_has_what_its_master_may_not_have() {
    let file = ConfigFile::ConsumerOffsets;
    let mut slave = broker();
    assert!(!slave.file_text(file).contains("ringmqLeftTable"));
    slave.keep_commits();
    slave.offsets.keep_commit("g", "T", 1, 8);
    let text = slave.file_text(file);
    let mut again = broker();
    again.load_file(file, &text).unwrap();
    assert_eq!(again.take_left_commit(), None, "a master");
    assert!(!again.file_text(file).contains("ringmqLeftTable"));
    again.keep_commits();
    assert_eq!(again.file_text(file), text);
    let left = again.take_left_commit().expect("one is left");
    assert_eq!(
        (&*left.group, &*left.topic, left.queue_id, left.offset),
        ("g", "T", 1, 8)
    );
    assert_eq!(again.take_left_commit(), None);
}

/// One entry may have tens of thousands of queues.
#[test]
fn one_large_entry_is_written_in_slices() {
    let mut broker = broker();
    for queue in 0..1_000 {
        broker.offsets.commit("g", "T", queue, 9, 0);
        broker.offsets.commit("h", "T", queue, 9, 0);
    }
    let file = ConfigFile::ConsumerOffsets;
    let whole = broker.file_text(file);
    let mut text = broker.begin_text(file, broker.file_version(file));
    let mut before = text.len_bytes();
    while !broker.write_text(&mut text, 64) {
        let bytes = text.len_bytes() - before;
        assert!(bytes < 64 * 16 + 256, "{bytes} bytes in one slice");
        before = text.len_bytes();
    }
    assert!(text.slices() >= 2_000 / 64, "{} slices", text.slices());
    assert_eq!(text.into_string(), whole);
    // An entry that is removed while it is being written ends where it was.
    let mut text = broker.begin_text(file, broker.file_version(file));
    broker.write_text(&mut text, 64);
    while broker.offsets.remove_next_of("T").is_some() {}
    while !broker.write_text(&mut text, 64) {}
    let mut again = Broker::new(BrokerConfig::default(), 0);
    again.load_file(file, &text.into_string()).unwrap();
    assert_eq!(again.offsets.query("g", "T", 900), None);
}

#[test]
fn a_table_that_changes_between_slices_loses_nothing_that_stays() {
    let mut broker = broker();
    for name in ["A", "C", "E"] {
        broker.topics.put(topic(name, 1), 0);
    }
    let mut text = broker.begin_text(ConfigFile::Topics, broker.file_version(ConfigFile::Topics));
    while !broker.write_text(&mut text, 1) {
        // The one that was written last goes, as does one to come.
        for name in ["C", "D"] {
            broker.topics.remove(name, 0);
        }
        broker.topics.put(topic("B", 1), 0);
    }
    let text = text.into_string();
    let mut again = Broker::new(BrokerConfig::default(), 0);
    again.load_file(ConfigFile::Topics, &text).unwrap();
    assert!(
        ["A", "E", "T"]
            .iter()
            .all(|name| again.topics.contains(name))
    );
}

#[test]
fn a_topic_is_written_in_order() {
    let text = broker().file_text(ConfigFile::Topics);
    let topic = "\n\t\t\"T\":{\n\t\t\t\"attributes\":{},\n\t\t\t\"order\":false,\n\t\t\t\"perm\":6,\n\t\t\t\"readQueueNums\":4,\n\t\t\t\"topicFilterType\":\"SINGLE_TAG\",\n\t\t\t\"topicName\":\"T\",\n\t\t\t\"topicSysFlag\":0,\n\t\t\t\"writeQueueNums\":4\n\t\t}";
    assert!(text.contains(topic), "{text}");
    assert!(text.starts_with("{\n\t\"dataVersion\":{\n\t\t\"counter\":1,"));
}

#[test]
fn reading_is_tolerant_but_not_of_nonsense() {
    let mut broker = broker();
    let of_json = ConfigFile::ALL.into_iter();
    for file in of_json.filter(|file| *file != ConfigFile::Settings) {
        assert!(broker.load_file(file, "{}").is_ok());
        assert!(broker.load_file(file, "{\"unknown\":[1,{}]}").is_ok());
        assert!(broker.load_file(file, "").is_err());
        assert!(broker.load_file(file, "{\"dataVersion\":").is_err());
        assert!(broker.load_file(file, "\0\0\0").is_err());
    }
    let topics = "{\"topicConfigTable\":{\"a b\":{},\"New\":{\"perm\":4}}}";
    broker.load_file(ConfigFile::Topics, topics).unwrap();
    assert!(!broker.topics.contains("a b"));
    assert_eq!(broker.topics.find("New").unwrap().config.perm, 4);
    let offsets = "{\"offsetTable\":{\"no separator\":{0:1},\"T@g\":{\"0\":2}}}";
    broker
        .load_file(ConfigFile::ConsumerOffsets, offsets)
        .unwrap();
    assert_eq!(broker.offsets.query("g", "T", 0), Some(2));
}
