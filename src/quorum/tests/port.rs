//! Wrong bytes at a controller's port cost their own connection.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::cluster::{Cluster, ask};
use crate::quorum::rpc::{Door, MAX_FRAME_BYTES, PeerRequest, encode};
use crate::wire::Value;
use crate::wire::codes::{CONTROLLER_TO_CONTROLLER as CODE, response};

fn is_closed(address: SocketAddr, bytes: &[u8]) -> bool {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let _ = stream.write_all(bytes);
    let mut rest = Vec::new();
    // A reset is an end, too.
    stream.read_to_end(&mut rest).map_or_else(
        |error| error.kind() == std::io::ErrorKind::ConnectionReset,
        |_| true,
    ) && rest.is_empty()
}

#[test]
fn what_is_no_frame_closes_its_connection() {
    let cluster = Cluster::start(1);
    let address = cluster.addresses[cluster.leader()];
    let long = (MAX_FRAME_BYTES as u32 + 1).to_be_bytes();
    let no_header = [&7_u32.to_be_bytes()[..], &3_u32.to_be_bytes(), b"xyz"].concat();
    for bytes in [
        &[0; 4][..],
        &[0xFF; 16],
        &long,
        b"GET / HTTP/1.1\r\n\r\n",
        &no_header,
    ] {
        assert!(is_closed(address, bytes), "{bytes:?}");
    }
    cluster.register(1);
}

#[test]
fn a_stranger_and_wrong_bytes_change_nothing_among_the_controllers() {
    let cluster = Cluster::start(3);
    let leader = cluster.leader();
    let address = cluster.addresses[leader];
    let door = Door {
        group: "test".into(),
        self_id: (leader as u64 + 1) % 3,
        addresses: cluster.setup(leader).addresses(),
        is_joining: AtomicBool::new(false),
    };
    let vote = openraft::raft::VoteRequest::new(openraft::Vote::new(1 << 40, door.self_id), None);
    let (body, crc) = encode(&PeerRequest::Vote(vote));
    let refused = |fields: &[(&str, Value<'_>)], body: &[u8]| {
        let answer = ask(address, CODE, fields, body).unwrap();
        assert_eq!(answer.code, response::SYSTEM_ERROR, "{answer:?}");
    };
    refused(&[], &body);
    let with = |group: &str, id: i64, crc: i64| {
        refused(
            &[
                ("group", Value::Str(group)),
                ("from", Value::I64(id)),
                ("crc", Value::I64(crc)),
            ],
            &body,
        );
    };
    with("other", door.self_id as i64, crc);
    with("test", 9, crc);
    with("test", leader as i64, crc);
    with("test", door.self_id as i64, crc ^ 1);
    // The machine that had this number before.
    let mut replaced = door.fields(crc);
    let at = replaced.iter_mut().find(|(name, _)| *name == "at");
    at.unwrap().1 = Value::Str("127.0.0.1:1");
    refused(&replaced, &body);
    for text in [&b""[..], b"{", b"{\"Vote\":7}", b"\xFF\xFE"] {
        refused(&door.fields(i64::from(crc32fast::hash(text))), text);
    }
    // A part that would be put far behind the end of what was received.
    let part = openraft::raft::InstallSnapshotRequest {
        vote: openraft::Vote::new(1 << 40, door.self_id),
        meta: Default::default(),
        offset: u64::MAX - 1,
        data: vec![0; 16],
        done: true,
    };
    let (far, crc) = encode(&PeerRequest::Snapshot(part));
    refused(&door.fields(crc), &far);
    assert_eq!(cluster.leader(), leader);
    cluster.register(1);
}
