//! The client's id (`ClientConfig.buildMQClientId`).

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU32, Ordering};

/// Unique in the cluster: brokers identify the members of a group by it.
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

/// An address of this machine, preferably IPv4 and not loopback.
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
    fn clients_of_one_process_differ() {
        let ip = own_ip();
        assert_ne!(client_id(ip, None), client_id(ip, None));
        assert_eq!(client_id([10, 0, 0, 1].into(), Some("x")), "10.0.0.1@x");
    }
}
