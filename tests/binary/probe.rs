//! Protects the health probe: it answers what a supervisor asks.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use super::store_tools::{CONF, options, verify};
use crate::common::{Broker, Options, free_ports, wait_until};

fn get(addr: SocketAddr, path: &str) -> Option<(u16, Value)> {
    let mut stream = TcpStream::connect(addr).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: probe\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let code = text.split(' ').nth(1)?.parse().ok()?;
    let body = text.split("\r\n\r\n").nth(1)?;
    Some((code, serde_json::from_str(body).ok()?))
}

#[test]
fn the_probe_answers_and_both_shards_are_verified() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("store");
    let probe = SocketAddr::from(([127, 0, 0, 1], free_ports().0));
    let config = format!("{CONF}healthPort={}\n", probe.port());
    let options = Options {
        config: &config,
        cores: "0,0",
        ..options()
    };
    let broker = Broker::start(&store, &options);
    wait_until("ready", || {
        get(probe, "/ready").is_some_and(|(code, _)| code == 200)
    });
    let (code, body) = get(probe, "/ready").expect("an answer");
    assert_eq!((code, &body["state"]), (200, &"serving".into()));
    assert_eq!(body["shards"].as_array().map(Vec::len), Some(2));
    assert_eq!(get(probe, "/live").map(|(code, _)| code), Some(200));
    assert_eq!(get(probe, "/other").map(|(code, _)| code), Some(404));
    assert!(broker.terminate().success());
    let (code, report) = verify(&store);
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(report["stores"].as_array().map(Vec::len), Some(2));
}
