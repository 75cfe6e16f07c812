//! Protects the broker from its clients: whatever they send ends in RocketMQ's code with a remark that says what was
//! wrong, or in that one connection closing. Never in a panic, in growing memory, or in harm to another connection.

mod frames;
mod requests;
mod resources;

use std::io::{ErrorKind, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use crate::common::client::{Client, batch_of, properties, pull_from, send_to, waiting};
use crate::common::random::Random;
use crate::common::{Broker, Options, SMALL, Wire};
use ringmq::message::ids::offset_message_id;
use ringmq::wire::codes::{request, response};
use ringmq::wire::frame::MAX_FRAME_BYTES;
use ringmq::wire::offset::{QueueRequest, UpdateConsumerOffset};
use ringmq::wire::pull::PullRequest;
use ringmq::wire::send::SendRequest;
use ringmq::wire::send_back::SendBack;
use ringmq::wire::transaction::EndTransaction;
use ringmq::wire::{Codec, Value};
use tempfile::TempDir;

const MIB: u64 = 1 << 20;

/// A broker, and a client of it that behaves: it has to be served all the time.
struct Victim {
    broker: Broker,
    bystander: Client,
    sent: i64,
    _folder: TempDir,
}

impl Victim {
    fn start(options: &Options<'_>) -> Victim {
        let folder = tempfile::tempdir().expect("a folder");
        let broker = Broker::start(&folder.path().join("store"), options);
        let bystander = Client::connect(broker.addr());
        Victim {
            broker,
            bystander,
            sent: 0,
            _folder: folder,
        }
    }

    fn client(&self) -> Client {
        Client::connect(self.broker.addr())
    }

    /// The bystander's connection still sends and pulls.
    fn must_serve(&mut self) {
        let body = self.sent.to_string();
        self.bystander
            .send(&send_to("Bystander", 0), body.as_bytes())
            .ok();
        let found = self
            .bystander
            .pull(&pull_from("Bystander", 0, self.sent))
            .ok()
            .messages();
        assert_eq!(found[0].body, body.as_bytes());
        self.sent += 1;
    }

    /// Still served, nothing but words in the log, and a clean end.
    fn must_be_well(mut self) {
        self.must_serve();
        let ended = self.broker.stop("TERM");
        assert!(ended.status.success(), "{ended:#?}");
        assert!(!ended.err.contains("panicked"), "{}", ended.err);
    }
}

fn raw_frame(total: u32, mark: u32, content: &[u8]) -> Vec<u8> {
    [&total.to_be_bytes()[..], &mark.to_be_bytes(), content].concat()
}

fn json_frame(header: &str) -> Vec<u8> {
    raw_frame(
        4 + header.len() as u32,
        header.len() as u32,
        header.as_bytes(),
    )
}

/// A binary header up to the remark's length, then this.
fn binary_frame(remark_len: &[u8], rest: &[u8]) -> Vec<u8> {
    let header = [
        &310_i16.to_be_bytes()[..],
        &[0],
        &500_i16.to_be_bytes(),
        &[0, 0, 0, 1],
        &[0; 4],
        remark_len,
        rest,
    ]
    .concat();
    raw_frame(
        4 + header.len() as u32,
        1 << 24 | header.len() as u32,
        &header,
    )
}
