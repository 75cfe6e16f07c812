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
    let forbidden = [("g".into(), "T".into(), 4)];
    let version = broker.groups.version();
    broker.groups.load([], forbidden, version);
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
