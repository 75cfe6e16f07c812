//! What a controller and tools ask of a broker in controller mode.

use super::*;
use crate::broker::store_view::{EpochsView, ReplicationView};
use crate::config::Config;
use crate::wire::admin::EpochCache;
use crate::wire::codes::request;
use crate::wire::header::with_fields;
use crate::wire::loose_json;

#[test]
fn a_notice_of_the_controller_is_passed_on() {
    let settings = Config {
        controller_mode: true,
        ..Config::default()
    };
    let mut broker = Broker::new(BrokerConfig::of(settings), 0);
    let notice = |broker: &mut Broker, fields: &[(&str, &str)]| {
        let set = r#"{"syncStateSet":[1,2],"syncStateSetEpoch":7}"#;
        ask(broker, request::NOTIFY_BROKER_ROLE_CHANGED, fields, set).code
    };
    let fields = [
        ("masterAddress", "10.0.0.2:10911"),
        ("masterBrokerId", "2"),
        ("masterEpoch", "5"),
        ("syncStateSetEpoch", "7"),
    ];
    assert_eq!(notice(&mut broker, &fields), 0);
    let decision = RoleDecision {
        master_id: 2,
        master_addr: "10.0.0.2:10911".parse().unwrap(),
        epoch: 5,
        set: [1, 2].into(),
        set_epoch: 7,
    };
    assert!(effects(&mut broker).contains(&Effect::RoleChanged(decision)));
    assert_eq!(notice(&mut broker, &fields[2..]), 0, "no master");
    assert_eq!(effects(&mut broker), []);
    let unreadable = [("masterAddress", "x"), fields[1], fields[2]];
    assert_eq!(notice(&mut broker, &unreadable), 29);
}

/// A master whose log has two epochs, with its port for replicas.
struct Master;

impl StoreView for Master {
    fn bounds(&self, topic: &str, queue_id: u32) -> QueueBounds {
        FakeStore.bounds(topic, queue_id)
    }

    fn store_time_ms(&self, topic: &str, queue_id: u32, offset: u64) -> Option<i64> {
        FakeStore.store_time_ms(topic, queue_id, offset)
    }

    fn is_recent(&self, _: &str, _: u32, _: u64) -> bool {
        true
    }

    fn figures(&self) -> ShardFigures {
        FakeStore.figures()
    }

    fn replication(&self) -> ReplicationView {
        ReplicationView::Master {
            port: 30912,
            replicas: Vec::new(),
        }
    }

    fn epochs(&self) -> Option<EpochsView> {
        Some(EpochsView {
            broker_id: 0,
            epochs: vec![(1, 0, 100), (3, 100, 4096)],
        })
    }
}

#[test]
fn epochs_and_the_port_for_replicas_are_those_of_the_store() {
    let broker = broker();
    let reply = broker.epochs(&Master).unwrap();
    let cache: EpochCache = loose_json::from_slice(&reply.body).unwrap();
    let ranges = cache.epoch_list.iter();
    let ranges: Vec<_> = ranges
        .map(|range| (range.epoch, range.start_offset, range.end_offset))
        .collect();
    assert_eq!(ranges, [(1, 0, 100), (3, 100, 4096)]);
    assert_eq!((cache.broker_id, cache.max_offset), (0, 4096));
    let reply = with_fields(&[], |ext| broker.exchange_ha_info(ext, &Master)).unwrap();
    let ha = reply
        .ext
        .iter()
        .find(|(name, _)| *name == "masterHaAddress");
    assert!(ha.is_some_and(|(_, addr)| addr.ends_with(":30912")));
}
