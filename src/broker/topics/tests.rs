use super::*;

fn topics() -> Topics {
    let mut topics = Topics::new(0);
    topics.put_quietly(TopicConfig {
        topic_name: "TBW102".into(),
        read_queue_nums: 8,
        write_queue_nums: 8,
        perm: 7,
        ..TopicConfig::default()
    });
    topics
}

fn new_topic(topic: &str, queue_nums: i32) -> NewTopic<'_> {
    NewTopic {
        topic,
        template: "TBW102",
        queue_nums,
        topic_sys_flag: 0,
    }
}

#[test]
fn a_template_limits_queues_and_is_not_inherited_further() {
    let mut topics = topics();
    assert!(topics.create_by_template(new_topic("a", 4), true, 5));
    assert!(topics.create_by_template(new_topic("b", 99), true, 5));
    assert!(topics.create_by_template(new_topic("c", -3), true, 5));
    let queues = |name| topics.find(name).unwrap().config.write_queue_nums;
    assert_eq!((queues("a"), queues("b"), queues("c")), (4, 8, 0));
    assert_eq!(topics.find("a").unwrap().config.perm, 6);
    assert_eq!(
        (topics.version().counter, topics.version().timestamp_ms),
        (3, 5)
    );
    assert!(!topics.create_by_template(new_topic("d", 4), false, 5));
    let from_a = NewTopic {
        template: "a",
        ..new_topic("e", 4)
    };
    assert!(!topics.create_by_template(from_a, true, 5));
}

#[test]
fn handles_of_queues_survive_a_change_of_their_number() {
    let mut topics = topics();
    topics.create_by_template(new_topic("a", 4), true, 0);
    topics.find_mut("a").unwrap().queues[3] = Some(QueueIndex(7));
    let mut fewer = topics.find("a").unwrap().config.clone();
    fewer.read_queue_nums = 2;
    fewer.write_queue_nums = 2;
    assert!(topics.put(fewer.clone(), 0));
    assert!(!topics.put(fewer, 0));
    assert_eq!(topics.find("a").unwrap().queues[3], Some(QueueIndex(7)));
    assert!(topics.remove("a", 0) && !topics.remove("a", 0));
    topics.create_by_template(new_topic("a", 4), true, 0);
    assert_eq!(topics.find("a").unwrap().queues, [None; 4]);
}

#[test]
fn numbers_of_queues_are_limited_at_every_door() {
    let mut topics = topics();
    let config = |name: &str| TopicConfig {
        topic_name: name.into(),
        read_queue_nums: i32::MAX,
        write_queue_nums: -1,
        ..TopicConfig::default()
    };
    topics.put(config("put"), 0);
    topics.load([config("loaded")], DataVersion::default());
    topics.create_derived("%RETRY%g", 2_000_000_000, false, 0, 0);
    let nums = |name| {
        let config = &topics.find(name).unwrap().config;
        (config.read_queue_nums, config.write_queue_nums)
    };
    assert_eq!(nums("put"), (MAX_QUEUES, 0));
    assert_eq!(nums("loaded"), (MAX_QUEUES, 0));
    assert_eq!(nums("%RETRY%g"), (MAX_QUEUES, MAX_QUEUES));
}

#[test]
fn a_topic_that_is_made_anew_is_another() {
    let mut topics = topics();
    topics.create_by_template(new_topic("a", 4), true, 0);
    let epoch = topics.epoch("a");
    let mut config = topics.find("a").unwrap().config.clone();
    config.perm = 2;
    topics.put(config, 0);
    assert_eq!(topics.epoch("a"), epoch, "changed only");
    topics.remove("a", 0);
    assert_eq!(topics.epoch("a"), None);
    topics.create_by_template(new_topic("a", 4), true, 0);
    assert!(topics.epoch("a") > epoch);
}

#[test]
fn a_derived_topic_takes_over_order() {
    let mut topics = topics();
    assert!(topics.create_derived("%RETRY%g", 1, false, 0, 0));
    assert!(!topics.create_derived("%RETRY%g", 1, false, 0, 0));
    assert!(topics.create_derived("%RETRY%g", 1, true, 0, 0));
    assert!(topics.is_order("%RETRY%g"));
}

#[test]
fn unit_flags() {
    assert_eq!(unit_sys_flag("T", false), 0);
    assert_eq!(unit_sys_flag("T", true), 1);
    assert_eq!(unit_sys_flag("%RETRY%g", true), 2);
}

#[test]
fn a_topic_is_unsaved_until_the_disk_has_it() {
    let mut topics = topics();
    assert!(!topics.is_unsaved("TBW102"));
    topics.create_by_template(new_topic("a", 4), true, 0);
    let (saving, with_a) = (topics.begin_save(), topics.version());
    topics.create_by_template(new_topic("b", 4), true, 0);
    assert!(topics.is_unsaved("a") && topics.is_unsaved("b"));
    topics.saved(&saving, with_a);
    assert!(!topics.is_unsaved("a") && topics.is_unsaved("b"));
    let saving = topics.begin_save();
    topics.not_saved(saving);
    assert!(topics.is_unsaved("b"));
    let saving = topics.begin_save();
    assert!(topics.remove("b", 0) && topics.create_by_template(new_topic("b", 4), true, 0));
    topics.saved(&saving, with_a);
    assert!(topics.is_unsaved("b"), "another one than was saved");
    assert!(!topics.is_unsaved("nowhere"));
}

#[test]
fn what_changed_is_replayed() {
    let mut topics = topics();
    let (mut config, before) = (
        topics.find("TBW102").unwrap().config.clone(),
        topics.version(),
    );
    config.topic_name = "a".into();
    topics.replay("a", Some(config.clone()), before.next(1));
    topics.replay("TBW102", None, before.next(1).next(2));
    topics.replay("a b", Some(config), before);
    assert!(topics.contains("a") && !topics.contains("TBW102") && !topics.contains("a b"));
    assert_eq!(topics.version().counter, 2);
    assert!(topics.begin_save().is_empty());
}
