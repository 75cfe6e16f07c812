//! The names of the topics, groups and clients of the loads, and the topics themselves.

use std::net::SocketAddr;

use ringmq::wire::codes::{request, response};
use ringmq::wire::loose_json;
use ringmq::wire::topic::{TopicConfig, TopicConfigList};

use crate::caller::{Caller, Result};

/// Clients of one group.
const GROUP_SIZE: usize = 10;

pub fn topic(number: usize) -> String {
    format!("perf-scale-{number:06}")
}

pub fn group(client: usize) -> String {
    format!("perf-scale-group-{:05}", client / GROUP_SIZE)
}

pub fn client_id(client: usize) -> String {
    format!("127.0.0.1@{client}")
}

/// Topics created with one request.
const TOPICS_AT_ONCE: usize = 500;

pub fn make_topics(broker: SocketAddr, names: Vec<String>, queues: usize) -> Result<()> {
    let config = |topic_name: String| TopicConfig {
        topic_name,
        read_queue_nums: queues as i32,
        write_queue_nums: queues as i32,
        ..TopicConfig::default()
    };
    let all: Vec<_> = names.into_iter().map(config).collect();
    let mut caller = Caller::connect(broker)?;
    for some in all.chunks(TOPICS_AT_ONCE) {
        let body = loose_json::to_vec(&TopicConfigList {
            topic_config_list: some.to_vec(),
        });
        let (code, _) = caller.ask(request::UPDATE_AND_CREATE_TOPIC_LIST, &[], &body)?;
        if code != response::SUCCESS {
            return Err(format!("topics were not created: {code}").into());
        }
    }
    Ok(())
}
