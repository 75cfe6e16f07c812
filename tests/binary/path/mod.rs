//! Protects the path of a message through the built binary: sent over TCP in either codec, kept on a real disk, found
//! again by everything that clients ask for.

mod groups;
mod reading;
mod routes;
mod sending;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::common::client::{
    Client, Message, Reply, now_ms, properties, pull_from, send_to, waiting,
};
use crate::common::{Broker, Options, SMALL, wait_until};
use ringmq::message::ids::parse_offset_message_id;
use ringmq::message::properties::find;
use ringmq::wire::codes::{V4_9_4, request, response};
use ringmq::wire::consumer::{ConsumerGroup, ConsumerList, UnregisterClient};
use ringmq::wire::lock::{LockBatch, LockedQueues};
use ringmq::wire::offset::{
    Boundary, QueryConsumerOffset, QueueRequest, SearchOffset, UpdateConsumerOffset,
};
use ringmq::wire::pull::PullRequest;
use ringmq::wire::query::ViewMessage;
use ringmq::wire::register::RegisterBrokerBody;
use ringmq::wire::route::TopicRouteData;
use ringmq::wire::send::SendRequest;
use ringmq::wire::send_back::SendBack;
use ringmq::wire::topic::TopicConfig;
use ringmq::wire::{Codec, MessageQueue, Value, loose_json};
use tempfile::TempDir;

const CODECS: [Codec; 2] = [Codec::Json, Codec::Rocketmq];

/// A broker on a store that goes with it.
fn start(options: &Options<'_>) -> (TempDir, Broker) {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = Broker::start(&folder.path().join("store"), options);
    (folder, broker)
}

fn one(reply: Reply) -> Message {
    let mut messages = reply.ok().messages();
    assert_eq!(messages.len(), 1, "{messages:?}");
    messages.remove(0)
}

#[test]
fn an_unknown_request_is_answered_as_such() {
    let (_folder, broker) = start(&Options::small());
    for addr in [broker.addr(), broker.namesrv] {
        for codec in CODECS {
            let mut client = Client::with_codec(addr, codec);
            let reply = client.ask(9999, &[("a", Value::Str("b"))], b"body");
            assert_eq!(reply.remark, " request type 9999 not supported");
            reply.with_code(response::REQUEST_CODE_NOT_SUPPORTED);
        }
    }
}
