//! Names of topics, groups and clients, as RocketMQ's clients check and make them (`Validators`, `TopicValidator`, `MixAll`,
//! `ClientConfig.buildMQClientId`).

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU32, Ordering};

const MAX_TOPIC_CHARS: usize = 127;
const MAX_RETRY_TOPIC_CHARS: usize = 255;
const MAX_GROUP_CHARS: usize = 120;
const RETRY_PREFIX: &str = "%RETRY%";
const DLQ_PREFIX: &str = "%DLQ%";

pub fn retry_topic(group: &str) -> String {
    format!("{RETRY_PREFIX}{group}")
}

pub fn check_topic(topic: &str) -> Result<(), String> {
    let derived = topic.starts_with(RETRY_PREFIX) || topic.starts_with(DLQ_PREFIX);
    let limit = if derived {
        MAX_RETRY_TOPIC_CHARS
    } else {
        MAX_TOPIC_CHARS
    };
    check("topic", topic, limit)
}

pub fn check_group(group: &str) -> Result<(), String> {
    check("group", group, MAX_GROUP_CHARS)
}

fn check(what: &str, name: &str, limit: usize) -> Result<(), String> {
    if name.trim().is_empty() {
        return Err(format!("the {what} is blank"));
    }
    let legal = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '%' | '|' | '_' | '-');
    if let Some(illegal) = name.chars().find(|c| !legal(c)) {
        return Err(format!(
            "the {what} {name:?} has the illegal character {illegal:?}; letters, digits and %|_- are allowed"
        ));
    }
    if name.len() > limit {
        return Err(format!(
            "the {what} {name:?} has {} characters, the limit is {limit}",
            name.len()
        ));
    }
    Ok(())
}

/// Differs from every other client's in the cluster: brokers tell the members of a group apart by it.
pub fn client_id(ip: IpAddr, instance: Option<&str>) -> String {
    static STARTED: AtomicU32 = AtomicU32::new(0);
    match instance {
        Some(instance) => format!("{ip}@{instance}"),
        None => {
            let nth = STARTED.fetch_add(1, Ordering::Relaxed);
            let (pid, now_ms) = (std::process::id(), super::unix_ms());
            format!("{ip}@{pid}#{now_ms}{nth}")
        }
    }
}

/// The address that this machine has for others: IPv4 and not loopback where there is one.
pub fn own_ip() -> IpAddr {
    let mut ips: Vec<IpAddr> = if_addrs::get_if_addrs()
        .unwrap_or_default()
        .into_iter()
        .map(|interface| interface.ip())
        .collect();
    ips.sort_by_key(|ip| (ip.is_loopback(), !ip.is_ipv4()));
    ips.first().copied().unwrap_or(Ipv4Addr::LOCALHOST.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_as_brokers_do() {
        assert_eq!(check_topic("a-B_1|%"), Ok(()));
        assert_eq!(check_topic(&retry_topic(&"g".repeat(200))), Ok(()));
        assert_eq!(check_group(&"g".repeat(120)), Ok(()));
        for topic in ["", " ", "a.b", "ü", &"t".repeat(128)] {
            assert!(check_topic(topic).is_err(), "{topic:?}");
        }
        assert!(check_group(&"g".repeat(121)).unwrap_err().contains("120"));
    }

    #[test]
    fn clients_of_one_process_differ() {
        let ip = own_ip();
        assert_ne!(client_id(ip, None), client_id(ip, None));
        assert_eq!(client_id([10, 0, 0, 1].into(), Some("x")), "10.0.0.1@x");
    }
}
