//! What RocketMQ's own controller 5.5.0 answered to its own brokers and to mqadmin (`tests/golden/controller`).

use serde_json::Value as Json;

use super::tests::World;
use super::*;
use crate::wire::Value;
use crate::wire::codes::request as code;

fn bytes(name: &str) -> Vec<u8> {
    let path = format!(
        "{}/tests/golden/controller/{name}.bin",
        env!("CARGO_MANIFEST_DIR")
    );
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A frame's header and body, read independently of the code under test.
fn frame(name: &str) -> (Json, Vec<u8>) {
    let bytes = bytes(name);
    let header_len = u32::from_be_bytes([0, bytes[5], bytes[6], bytes[7]]) as usize;
    let (header, body) = bytes[8..].split_at(header_len);
    (serde_json::from_slice(header).unwrap(), body.to_vec())
}

/// Sends the recorded request and compares all of the reply with the recorded one.
fn replay(world: &mut World, name: &str) {
    let reply = world.ask_bytes(&bytes(&format!("{name}.req")), 7);
    let (header, body) = frame(&format!("{name}.rep"));
    assert_eq!(
        header["code"].as_i64(),
        Some(i64::from(reply.code)),
        "{name}: {reply:?}"
    );
    assert_eq!(header["remark"].as_str(), reply.remark.as_deref(), "{name}");
    let fields: serde_json::Map<String, Json> = reply
        .ext
        .iter()
        .map(|(key, value)| ((*key).to_owned(), Json::String(value.clone())))
        .collect();
    let recorded = header["extFields"].as_object().cloned().unwrap_or_default();
    assert_eq!(fields, recorded, "{name}");
    // RocketMQ writes numbers as keys without quotes.
    let text = |body: &[u8]| {
        String::from_utf8_lossy(body)
            .replace("\"1\":", "1:")
            .replace("\"2\":", "2:")
    };
    assert_eq!(text(&reply.body), text(&body), "{name}");
}

fn heartbeat(world: &mut World, id: i64, address: &str) {
    let fields = [
        ("clusterName", Value::Str("DefaultCluster")),
        ("brokerName", Value::Str("broker-a")),
        ("brokerAddr", Value::Str(address)),
        ("brokerId", Value::I64(id)),
        ("epoch", Value::I64(1)),
        ("maxOffset", Value::I64(0)),
    ];
    let bytes = super::tests::request(code::BROKER_HEARTBEAT, &fields, b"");
    world.ask_bytes(&bytes, id as u64);
}

#[test]
fn the_life_of_a_group_is_answered_as_the_real_one_answers() {
    let (one, two) = ("127.0.0.2:30911", "127.0.0.2:30931");
    let mut world = World::new(Settings::default());
    replay(&mut world, "metadata");
    replay(&mut world, "next_broker_id");
    replay(&mut world, "apply_broker_id");
    replay(&mut world, "register_without_master");
    world.ask_bytes(&bytes("heartbeat.req"), 1);
    replay(&mut world, "elect_first");
    replay(&mut world, "replica_info");
    heartbeat(&mut world, 1, one);
    replay(&mut world, "sync_state_data");

    world.agree(&Command::ApplyId {
        cluster: "DefaultCluster".into(),
        name: "broker-a".into(),
        id: 2,
        check_code: format!("{two};1"),
        address: two.into(),
    });
    replay(&mut world, "register_with_master");
    heartbeat(&mut world, 2, two);
    replay(&mut world, "alter_sync_state_set");
    world.controller.take_notices();
    replay(&mut world, "elect_designated");
    assert_notice_as_recorded(&world.controller.take_notices()[0]);
    replay(&mut world, "clean_refused");
    replay(&mut world, "update_config");
    replay(&mut world, "update_config_refused");
}

fn assert_notice_as_recorded(notice: &Notice) {
    let (header, body) = frame("role_changed.req");
    let bytes = notice.frame(&notice.fields().ext());
    let len = u32::from_be_bytes([0, bytes[5], bytes[6], bytes[7]]) as usize;
    let (ours, our_body) = bytes[8..].split_at(len);
    let ours: Json = serde_json::from_slice(ours).unwrap();
    assert_eq!(
        (&ours["extFields"], &ours["flag"], &ours["code"]),
        (&header["extFields"], &header["flag"], &header["code"])
    );
    assert_eq!(our_body, body);
}

#[test]
fn a_group_whose_brokers_are_all_dead() {
    let mut world = World::new(Settings::default());
    for name in ["apply_broker_id", "elect_first"] {
        replay(&mut world, name);
    }
    // Never heard, and its time to be heard is over: dead.
    world.pass(GRACE_MS);
    replay(&mut world, "elect_failed");
    replay(&mut world, "clean");
}

/// What is shown has RocketMQ's names, as administrators' scripts look for them.
#[test]
fn settings_have_the_names_of_the_real_one() {
    let (_, body) = frame("config.rep");
    let recorded = String::from_utf8(body).unwrap();
    let recorded: Vec<_> = recorded
        .lines()
        .filter_map(|line| line.split_once('='))
        .collect();
    let ours = Settings::default().properties_text();
    let ours: Vec<_> = ours
        .lines()
        .filter_map(|line| line.split_once('='))
        .collect();
    let of_rocketmq = ours.iter().filter(|(name, _)| !name.starts_with("ringmq"));
    let unknown: Vec<_> = of_rocketmq
        .filter(|(name, _)| recorded.iter().all(|(other, _)| other != name))
        .collect();
    assert!(unknown.is_empty() && ours.len() > 3, "{unknown:?}");
}
