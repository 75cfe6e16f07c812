//! The message that the tests of replication send, and the queue it goes to.

use std::io;

use ringmq::wire::codes::request;

use super::TOPIC;
use crate::client::{Client, Reply};
use crate::oracle::Queue;
use crate::requests;

pub fn queue() -> Queue {
    Queue {
        topic: TOPIC.into(),
        id: 0,
    }
}

/// Of a message whose body is a number and some more bytes.
pub async fn send(client: &mut Client, number: u64, properties: &str) -> Reply {
    try_send(client, number, properties).await.unwrap()
}

/// An error: the connection ended.
pub async fn try_send(client: &mut Client, number: u64, properties: &str) -> io::Result<Reply> {
    let body = [&number.to_be_bytes()[..], &vec![7; number as usize % 900]].concat();
    let fields = requests::send_to(TOPIC, properties);
    let fields = fields.ext();
    let sent = client.call(request::SEND_MESSAGE_V2, &fields, &body);
    sent.await
}
