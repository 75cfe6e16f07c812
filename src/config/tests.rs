use super::*;
use crate::auth::{MASK, Secret};
use proptest::prelude::*;

fn surroundings() -> Surroundings {
    Surroundings {
        home: PathBuf::from("/home/mq"),
        host_name: "host-7".into(),
        address: IpAddr::from([192, 0, 2, 7]),
        cores: vec![0, 1],
        namesrv: None,
        core_count: None,
        java_options: String::new(),
        tls_file: None,
        memory_limit_bytes: None,
    }
}

fn merged(text: &str, flags: &Flags) -> (Config, Vec<Note>) {
    Config::merge(text, flags, &surroundings()).unwrap()
}

fn refused(text: &str, flags: &Flags) -> String {
    Config::merge(text, flags, &surroundings())
        .unwrap_err()
        .to_string()
}

#[test]
fn the_environment_says_how_many_cores_unless_the_file_does() {
    let cores = |count: &str, text| {
        let surroundings = Surroundings {
            core_count: Some(count.into()),
            ..surroundings()
        };
        Config::merge(text, &Flags::default(), &surroundings).map(|(config, _)| config.cores)
    };
    assert_eq!(cores("1", "").unwrap().len(), 1);
    assert_eq!(cores("9", "").unwrap().len(), 2);
    assert_eq!(cores("1", "cores=0,1").unwrap(), [0, 1]);
    let refused = cores("0", "").unwrap_err().to_string();
    assert!(refused.contains("environment: RINGMQ_CORES=0"), "{refused}");
}

#[test]
fn an_empty_file_gives_the_defaults_of_the_place() {
    let (config, notes) = merged("", &Flags::default());
    assert!(notes.is_empty());
    let expected = Config {
        advertise: IpAddr::from([192, 0, 2, 7]),
        store_dir: "/home/mq/store".into(),
        broker_name: "host-7".into(),
        cores: vec![0, 1],
        ..Config::default()
    };
    assert_eq!(config, expected);
    assert!(config.has_builtin_namesrv());
}

#[test]
fn rocketmqs_own_broker_conf_is_understood() {
    let text = "brokerClusterName = DefaultCluster\nbrokerName = broker-a\nbrokerId = 0\ndeleteWhen = 04\n\
                fileReservedTime = 48\nbrokerRole = ASYNC_MASTER\nflushDiskType = ASYNC_FLUSH\n";
    let (config, notes) = merged(text, &Flags::default());
    assert_eq!(config.broker_name, "broker-a");
    assert_eq!(
        (config.file_reserved_hours, config.delete_when),
        (48, vec![4])
    );
    assert!(notes.is_empty(), "{notes:?}");
}

#[test]
fn flags_win_over_the_file() {
    let text = "listenPort=11911\nflushDiskType=ASYNC_FLUSH\nstorePathRootDir=/data/store\nnamesrvAddr=192.0.2.1:9876\n";
    let (config, _) = merged(text, &Flags::default());
    assert_eq!((config.listen_port, config.flush), (11911, Flush::Async));
    assert_eq!(config.namesrv, ["192.0.2.1:9876"]);

    let flags = Flags {
        listen_port: Some(12911),
        flush: Some(Flush::Sync),
        store_dir: Some("/other".into()),
        cores: Some(vec![1]),
        advertise: Some(IpAddr::from([127, 0, 0, 1])),
        namesrv_port: Some(19876),
        ..Flags::default()
    };
    let (config, _) = merged(text, &flags);
    assert_eq!(
        (config.listen_port, config.flush, config.cores),
        (12911, Flush::Sync, vec![1])
    );
    assert_eq!(
        (config.store_dir, config.namesrv_port),
        (PathBuf::from("/other"), 19876)
    );
    assert!(
        config.namesrv.is_empty(),
        "a port for the built-in name server asks for that one"
    );
}

#[test]
fn metrics_are_pushed_to_a_collector_that_is_named() {
    let text = "metricsExporterType=OTLP_GRPC\nmetricsGrpcExporterTarget=http://otel:4317\n";
    let (config, notes) = merged(text, &Flags::default());
    assert!(config.metrics_push().is_some() && notes.is_empty());
    let refused = refused("metricsExporterType=1\n", &Flags::default());
    assert!(
        refused.starts_with("metricsGrpcExporterTarget=: allowed is http://HOST:PORT"),
        "{refused}"
    );
}

#[test]
fn a_bad_value_names_file_line_property_and_what_is_allowed() {
    let flags = Flags {
        config_file: Some("conf/broker.conf".into()),
        ..Flags::default()
    };
    assert_eq!(
        refused("# ours\nlistenPort=abc\n", &flags),
        "conf/broker.conf:2: listenPort=abc: allowed is a whole number from 3 to 65535"
    );
    assert_eq!(
        refused("autoCreateTopicEnable=yes", &flags),
        "conf/broker.conf:1: autoCreateTopicEnable=yes: allowed is true or false"
    );
    assert_eq!(
        refused("brokerIP1=0.0.0.0", &flags),
        "conf/broker.conf:1: brokerIP1=0.0.0.0: allowed is the IP address under which clients reach this machine, such as 192.0.2.7"
    );
}

#[test]
fn a_promise_that_cannot_be_kept_is_refused() {
    let of_acl_1 = refused("aclEnable=true", &Flags::default());
    assert!(
        of_acl_1.starts_with("broker.conf:1: aclEnable=true: allowed is false, or together with")
    );
    let none = Flags::default();
    assert!(refused("brokerRole=SLAVE", &none).contains("1 to 15 for a slave"));
    assert!(refused("brokerId=1", &none).contains("0 for a master"));
    assert!(refused("brokerRole=MASTER", &none).contains("SYNC_MASTER"));
    assert!(refused("minInSyncReplicas=2", &none).contains("allowed is 1"));
    assert!(refused("allAckInSyncStateSet=true", &none).contains("allowed is false"));
    assert!(refused("enableAutoInSyncReplicas=true", &none).contains("allowed is false"));
    assert!(refused("brokerId=-1", &none).contains("enableControllerMode"));
    assert!(refused("enableControllerMode=true", &none).contains("HOST:PORT"));
}

#[test]
fn rocketmqs_quick_start_file_of_controller_mode_is_understood() {
    let text = "brokerClusterName = DefaultCluster\nbrokerName = broker-a\nbrokerId = -1\nbrokerRole = SLAVE\n\
                enableControllerMode = true\ncontrollerAddr = 127.0.0.1:9877;127.0.0.1:9878\nnamesrvAddr = 127.0.0.1:9876\n\
                inSyncReplicas=2\nminInSyncReplicas=2\nhaListenPort=30912\n";
    let (config, notes) = merged(text, &Flags::default());
    assert_eq!(notes, []);
    assert_eq!(config.controllers, ["127.0.0.1:9877", "127.0.0.1:9878"]);
    assert_eq!(config.all_ack_in_set, Some(true), "the safe default");
    let (config, _) = merged(
        &format!("{text}allAckInSyncStateSet=false\n"),
        &Flags::default(),
    );
    assert_eq!(config.all_ack_in_set, Some(false));
    let text =
        format!("{text}controllerHeartBeatTimeoutMills=2000\nbrokerHeartbeatInterval=1500\n");
    assert!(refused(&text, &Flags::default()).contains("twice brokerHeartbeatInterval"));
}

#[test]
fn the_masters_address_is_one_for_each_shard() {
    let text = "cores = 0,0\nmasterAddress = 192.0.2.100:10911\n";
    let (config, _) = merged(text, &Flags::default());
    let of_shard = |shard| config.of_shard(shard).master_address.unwrap().to_string();
    assert_eq!(
        [of_shard(0), of_shard(1)],
        ["192.0.2.100:10911", "192.0.2.100:10921"]
    );
    let none = Flags::default();
    for wrong in [
        "broker.example:10911",
        "192.0.2.100",
        "0.0.0.0:10911",
        "192.0.2.100:1",
    ] {
        let text = format!("masterAddress={wrong}");
        assert!(refused(&text, &none).contains("IP:PORT"), "{wrong}");
    }
    let (config, _) = merged("masterAddress=", &none);
    assert_eq!(config.of_shard(0).master_address, None);
}

#[test]
fn unknown_names_are_warned_of_and_foreign_ones_mentioned_once() {
    let text = "lisenPort=1\ntransientStorePoolEnable=true\nquux=1\nsendMessageThreadPoolNums=16\n";
    let (_, notes) = merged(text, &Flags::default());
    let said: Vec<(Level, &str)> = notes
        .iter()
        .map(|note| (note.level, note.text.as_str()))
        .collect();
    assert_eq!(
        said,
        [
            (
                Level::Warning,
                "broker.conf:1: unknown property lisenPort is ignored; did you mean listenPort?"
            ),
            (
                Level::Warning,
                "broker.conf:3: unknown property quux is ignored"
            ),
            (
                Level::Info,
                "broker.conf: RocketMQ's, without effect here: transientStorePoolEnable, sendMessageThreadPoolNums"
            ),
        ]
    );
}

#[test]
fn values_have_to_fit_together() {
    let none = Flags::default();
    let cores = Flags {
        cores: Some(vec![0, 5]),
        ..Flags::default()
    };
    assert_eq!(
        refused("", &cores),
        "--cores: cores=0,5: allowed is some of the cores that this process may run on: 0,1"
    );
    assert!(refused("listenPort=65530", &none).starts_with("broker.conf:1: listenPort=65530: "));
    assert!(refused("listenPort=9876", &none).contains("namesrvPort=9876"));
    assert!(
        refused("listenPort=9878", &none).contains("namesrvPort=9876"),
        "the VIP port counts"
    );
    assert!(refused("mappedFileSizeCommitLog=65536", &none).contains("maxMessageSize"));
    assert!(refused("logBufferBytes=1048576", &none).contains("twice the largest message"));
    assert!(refused("mappedFileSizeConsumeQueue=30", &none).contains("6000000"));
}

#[test]
fn each_core_is_a_broker() {
    let (config, _) = merged("brokerName=broker-a", &Flags::default());
    assert_eq!(
        (config.shard_name(0), config.shard_port(0)),
        ("broker-a-0".into(), 10911)
    );
    assert_eq!(
        (config.shard_name(1), config.shard_port(1)),
        ("broker-a-1".into(), 10921)
    );
    let (config, _) = merged("brokerName=broker-a\ncores=1", &Flags::default());
    assert_eq!(
        (config.shards(), config.shard_name(0)),
        (1, "broker-a".into())
    );
}

#[test]
fn what_is_shown_can_be_read_again() {
    let text = "flushDiskType=SYNC_FLUSH\nmessageDelayLevel=1s 1d\nnamesrvAddr=a:1;b:2\nstorePathCommitLog=/fast/log\n\
                cores=0\nbrokerName=broker-z\n";
    let (config, _) = merged(text, &Flags::default());
    let shown = config.properties_text();
    assert!(
        shown.contains("\nflushDiskType=SYNC_FLUSH\n") && shown.contains("\nbrokerId=0\n"),
        "{shown}"
    );
    let (again, notes) = merged(&shown, &Flags::default());
    assert_eq!((again, notes), (config, Vec::new()));
}

#[test]
fn names_do_not_occur_twice() {
    for (at, property) in PROPERTIES.iter().enumerate() {
        let name = property.name;
        assert!(
            !known::is_known(name)
                && known::UNSUPPORTED
                    .iter()
                    .all(|unsupported| unsupported.name != name),
            "{name}"
        );
        assert!(
            PROPERTIES[..at].iter().all(|other| other.name != name),
            "{name}"
        );
    }
}

#[test]
fn defaults_obey_their_own_rules() {
    let mut config = Config::default();
    for property in PROPERTIES {
        let shown = (property.show)(&config);
        (property.read)(&mut config, &shown).unwrap();
    }
    assert_eq!(config, Config::default());
}

#[test]
fn a_missing_file_is_named() {
    let flags = Flags {
        config_file: Some("/nowhere/broker.conf".into()),
        ..Flags::default()
    };
    let error = Config::load(&flags, &surroundings())
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("/nowhere/broker.conf: cannot be read: "),
        "{error}"
    );
}

#[test]
fn a_running_broker_takes_what_the_file_takes() {
    let mut config = Config::default();
    for (name, value) in [
        ("maxTransferCountOnMessageInMemory", "0"),
        ("maxTransferBytesOnMessageInMemory", "0"),
        ("channelExpiredTimeout", "0"),
        ("defaultTopicQueueNums", "2000000000"),
        ("maxMessageSize", "999999999"),
        ("brokerPermission", "8"),
    ] {
        assert!(refused(&format!("{name}={value}"), &Flags::default()).contains(name));
        let error = config.change(name, value).unwrap_err();
        assert!(matches!(error, ChangeError::Value { .. }), "{error}");
    }
    assert_eq!(config, Config::default());
    assert_eq!(
        config.change("maxMessageSize", "8388608"),
        Ok(Changed::Taken)
    );
    assert_eq!(config.max_message_bytes, 8 << 20);
}

#[test]
fn a_raised_message_size_has_to_fit_the_log_buffer() {
    let (mut config, _) = merged("logBufferBytes=16777216", &Flags::default());
    let largest = config.largest_message_bytes();
    assert_eq!(largest, (8 << 20) - HEADROOM_BYTES);
    let error = config
        .change("maxMessageSize", &(largest + 1).to_string())
        .unwrap_err();
    assert!(
        error.to_string().contains("logBufferBytes=16777216"),
        "{error}"
    );
    assert_eq!(
        config.change("maxMessageSize", &largest.to_string()),
        Ok(Changed::Taken)
    );
    let (small, _) = merged("consumeQueueMemoryBytes=2097152", &Flags::default());
    assert_eq!(small.largest_message_bytes(), 4 << 20);
}

#[test]
fn names_of_rocketmq_are_accepted_by_a_running_broker() {
    let mut config = Config::default();
    for name in [
        "enablePopBufferMerge",
        "enableNotifyAfterPopOrderLockRelease",
        "enableSingleTopicRegister",
        "enableSplitRegistration",
    ] {
        assert_eq!(
            config.change(name, "true"),
            Ok(Changed::WithoutEffect),
            "{name}"
        );
    }
    assert_eq!(
        config.change("waitTimeMillsInSendQueue", "300"),
        Ok(Changed::Taken)
    );
    assert_eq!(config.send_wait_limit_ms, 300);
    for (name, value, why) in [
        ("brokerRole", "SLAVE", "fixed when the broker starts"),
        ("listenPort", "1234", "fixed when the broker starts"),
        ("maxMessageSiz", "1024", "did you mean maxMessageSize?"),
        ("longPollingEnable", "maybe", "true or false"),
    ] {
        let error = config.change(name, value).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn spaces_behind_a_changed_value_do_not_count() {
    let (mut config, _) = merged("", &Flags::default());
    let changed = config.change("maxMessageSize", "1024 \t").unwrap();
    assert_eq!(changed, Changed::Taken);
}

proptest! {
    /// One truth: whatever broker.conf takes of a hot setting, a running broker takes, and nothing else.
    #[test]
    fn a_change_is_judged_as_the_file_is(index in 0..PROPERTIES.len(), value in "[-0-9]{0,12}|[-0-9a-z;:, ./]{0,12}|true|POP|1?[0-9]{6,7}") {
        let property = &PROPERTIES[index];
        let mut text = String::new();
        properties::write(&mut text, property.name, &value);
        let (mut running, _) = merged("", &Flags::default());
        let from_file = Config::merge(&text, &Flags::default(), &surroundings());
        let changed = running.change(property.name, &value);
        if property.is_hot {
            prop_assert_eq!(from_file.is_ok(), changed.is_ok());
            if let Ok((from_file, _)) = from_file {
                prop_assert_eq!(running, from_file);
            }
        } else {
            let is_fixed = matches!(changed, Err(ChangeError::Fixed { .. }));
            prop_assert!(is_fixed);
        }
    }

    #[test]
    fn any_value_is_taken_or_refused(index in 0..PROPERTIES.len(), value in "[-0-9a-z;:, ./]{0,12}|\\PC{0,12}") {
        let mut text = String::new();
        properties::write(&mut text, PROPERTIES[index].name, &value);
        if let Ok((mut config, _)) = Config::merge(&text, &Flags::default(), &surroundings()) {
            // Any text is a password, or what a header for the collector has, and none is shown.
            for (_, value) in &mut config.push_headers {
                *value = MASK.into();
            }
            for password in [&mut config.tls_key_password, &mut config.tls_client_key_password] {
                *password = password.take().map(|_| Secret::new(MASK));
            }
            let (again, _) = merged(&config.properties_text(), &Flags::default());
            prop_assert_eq!(again, config);
        }
    }
}
