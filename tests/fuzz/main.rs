//! Protects the door: whatever bytes come in over the network, nothing panics, the broker goes on serving, and what it has
//! saved of them does not keep it from starting again.
//!
//! `cargo test --test fuzz` tries the kept inputs (`__fuzz__/`) and some hundred random ones. To search with coverage as the
//! guide: `tests/fuzz/run.sh requests 600`.

#[path = "../sim/alarm.rs"]
mod alarm;
mod beginnings;
#[path = "../sim/client.rs"]
#[allow(dead_code)]
mod client;
#[path = "../sim/cluster.rs"]
#[allow(dead_code)]
mod cluster;
#[path = "../sim/dice.rs"]
#[allow(dead_code)]
mod dice;
mod session;
mod users;

use bolero::check;
use ringmq::message::{Check, Properties, Record, batch, properties};
use ringmq::wire::{Scratch, frame, header};

use session::{Session, play};

/// Bytes of a connection: split, decoded, every field looked at.
#[test]
fn frames() {
    check!().for_each(|bytes| {
        let mut rest = bytes;
        let mut scratch = Scratch::default();
        while let Ok(Some(found)) = frame::split(rest) {
            if let Ok(header) = header::decode(&found, &mut scratch) {
                for (name, value) in header.ext.iter() {
                    assert!(header.ext.find(name).is_some(), "{name}={value}");
                }
            }
            assert!(found.len > 0);
            rest = &rest[found.len..];
        }
    });
}

/// Bytes of a log or of a batch. What decodes as a record is as long as it says.
#[test]
fn records() {
    check!().for_each(|bytes| {
        if let Ok(record) = Record::decode(bytes, Check::Layout) {
            assert!(record.total_size as usize <= bytes.len());
            assert!(record.body.len() + record.properties.len() < bytes.len());
            assert!(properties::iter(record.properties).count() <= record.properties.len());
        }
        let _ = Record::decode(bytes, Check::Crc);
        for item in batch::iter(bytes).map_while(Result::ok) {
            let len = Properties::new(item.properties).encoded_len();
            assert!(item.body.len() + len <= bytes.len() + 1);
        }
    });
}

/// The header that a proxy puts in front of a connection.
#[test]
fn proxy_headers() {
    check!().for_each(beginnings::header);
}

/// Records of TLS from somebody who has no key: to servers, and to our own client.
#[test]
fn handshakes() {
    check!().for_each(beginnings::handshake);
}

/// Connections that begin in any way, at a port in the simulator.
#[test]
fn openings() {
    check!()
        .with_type::<beginnings::Opening>()
        .for_each(beginnings::open);
}

/// plain_acl.yml, auth.json, and what settings have of users and addresses.
#[test]
fn texts_of_users() {
    check!().for_each(users::read);
}

/// Requests that change users and policies.
#[test]
fn administration() {
    check!()
        .with_type::<users::Administration>()
        .for_each(users::administer);
}

/// Requests of every kind as they are checked: without a signature, and signed by a user without rights.
#[test]
fn signed_requests() {
    check!().with_type::<Session>().for_each(users::check);
}

/// Requests of every kind to a whole broker and its name server, in the simulator.
#[test]
fn requests() {
    check!()
        .with_type::<Session>()
        .with_iterations(300)
        .for_each(play);
}
