//! What defaults depend on outside of the configuration: the home directory, the host's name, its address, its cores, its memory.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use super::memory::limit_bytes;
use super::rule::core_list;

#[derive(Clone, Debug)]
pub struct Surroundings {
    pub home: PathBuf,
    pub host_name: String,
    /// The address under which others most likely reach this machine.
    pub address: IpAddr,
    /// The cores that this process may run on.
    pub cores: Vec<usize>,
    /// The environment's `NAMESRV_ADDR`, if it is set.
    pub namesrv: Option<String>,
    /// Of this process's control group.
    pub memory_limit_bytes: Option<u64>,
}

/// The environment variable that names the name servers to RocketMQ's brokers and tools.
pub(super) const NAMESRV: &str = "NAMESRV_ADDR";

impl Surroundings {
    /// Reads them from this process and machine. What cannot be found out becomes the most modest value.
    pub fn observe() -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
        Self {
            home: home.map_or_else(|| PathBuf::from("."), PathBuf::from),
            host_name: read("/proc/sys/kernel/hostname").trim().to_owned(),
            address: address(default_route_interface(&read("/proc/net/route"))),
            cores: allowed_cores(&read("/proc/self/status")).unwrap_or_else(|| vec![0]),
            namesrv: std::env::var(NAMESRV).ok().filter(|text| !text.is_empty()),
            memory_limit_bytes: limit_bytes(),
        }
    }
}

/// The first IPv4 address of the interface that the default route leaves by. Without such a route no other machine is known to reach
/// this machine from outside, and the address is loopback.
fn address(interface: Option<String>) -> IpAddr {
    let addresses = if_addrs::get_if_addrs().unwrap_or_default();
    addresses
        .into_iter()
        .filter(|candidate| Some(&candidate.name) == interface.as_ref())
        .map(|candidate| candidate.ip())
        .find(|ip| ip.is_ipv4() && !ip.is_loopback())
        .unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

/// `/proc/net/route`: a header, then `Iface Destination Gateway Flags RefCnt Use Metric Mask ...`, addresses in hex.
fn default_route_interface(table: &str) -> Option<String> {
    let routes = table.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let is_default = fields.get(1) == Some(&"00000000") && fields.get(7) == Some(&"00000000");
        let metric = fields.get(6)?.parse::<u32>().ok()?;
        is_default
            .then(|| fields.first().map(|name| (metric, String::from(*name))))
            .flatten()
    });
    routes.min().map(|(_, name)| name)
}

/// The line `Cpus_allowed_list: 0-3,7`: what taskset, a cpuset or a container left of the machine.
fn allowed_cores(status: &str) -> Option<Vec<usize>> {
    let list = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    core_list(list.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_route_of_the_lowest_metric() {
        let table = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
                     wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n\
                     eth0\t00000000\t0100000A\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
                     eth1\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
        assert_eq!(default_route_interface(table).as_deref(), Some("eth0"));
        assert_eq!(default_route_interface("Iface\n\nlo 0\n"), None);
    }

    #[test]
    fn cores_left_by_a_cpuset() {
        assert_eq!(
            allowed_cores("Name:\tx\nCpus_allowed_list:\t0-1,4\n"),
            Some(vec![0, 1, 4])
        );
        assert_eq!(allowed_cores("Name:\tx\n"), None);
    }

    #[test]
    fn this_machine_has_a_core_and_an_address() {
        let here = Surroundings::observe();
        assert!(!here.cores.is_empty() && !here.address.is_unspecified());
    }
}
