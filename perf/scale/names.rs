//! The names of the topics, groups and clients of the loads.

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
