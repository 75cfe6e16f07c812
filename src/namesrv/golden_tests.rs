//! What the real name server (RocketMQ 5.5.0) answered to real clients; see tests/golden.

use serde_json::Value;

use super::tests::{ask_from, server, text};
use super::*;

/// A frame's header and body, read independently of the code under test.
fn frame(name: &str) -> (Value, Vec<u8>) {
    let path = format!("{}/tests/golden/{name}.bin", env!("CARGO_MANIFEST_DIR"));
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let header_len = u32::from_be_bytes([0, bytes[5], bytes[6], bytes[7]]) as usize;
    let (header, body) = bytes[8..].split_at(header_len);
    (serde_json::from_slice(header).unwrap(), body.to_vec())
}

fn replay(server: &mut NameServer, name: &str) -> (Reply, Value, Vec<u8>) {
    let (header, body) = frame(&format!("{name}.req"));
    let ext: Vec<(&str, &str)> = header["extFields"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
        .collect();
    let number = |name: &str| header[name].as_i64().unwrap() as i32;
    let reply = ask_from(
        server,
        (number("version"), 1, 0),
        number("code"),
        &ext,
        &body,
    );
    let (header, body) = frame(&format!("{name}.rep"));
    assert_eq!(
        header["code"].as_i64(),
        Some(i64::from(reply.code)),
        "{name}"
    );
    assert_eq!(header["remark"].as_str(), reply.remark.as_deref(), "{name}");
    (reply, header, body)
}

#[test]
fn answers_are_those_of_the_real_one() {
    let mut server = server();
    for name in [
        "route_5_5_0",
        "route_4_9_8",
        "route_template_4_9_8",
        "cluster_info",
    ] {
        let (reply, _, body) = replay(&mut server, name);
        assert_eq!(text(&reply), std::str::from_utf8(&body).unwrap(), "{name}");
    }
}

#[test]
fn a_topic_without_route() {
    replay(&mut NameServer::default(), "route_unknown_topic");
}

#[test]
fn a_brokers_life() {
    let mut server = server();
    let (reply, header, body) = replay(&mut server, "register_broker");
    assert_eq!(
        (reply.body, reply.ext.len()),
        (body, header["extFields"].as_object().unwrap().len())
    );
    assert!(
        server
            .routes
            .data_version("127.0.0.2:20911")
            .unwrap()
            .timestamp_ms
            > 1_700_000_000_000
    );
    replay(&mut server, "delete_topic_namesrv");
    let (reply, _, body) = replay(&mut server, "topic_list");
    let names = |body: &[u8]| {
        serde_json::from_slice::<Value>(body).unwrap()["topicList"]
            .as_array()
            .unwrap()
            .clone()
    };
    let real = names(&body);
    assert!(names(&reply.body).iter().all(|name| real.contains(name)));
    replay(&mut server, "unregister_broker");
    assert_eq!(server.routes.brokers().count(), 0);
}
