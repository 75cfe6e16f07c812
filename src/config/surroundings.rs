//! What defaults depend on outside of the configuration: the home directory, the host's name, its address, its cores, its memory.

use std::ffi::OsString;
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
    /// The environment's `RINGMQ_CORES`, if it is set: how many of the cores a broker runs on that names none.
    pub core_count: Option<String>,
    /// The environment's `JAVA_OPT` and `JAVA_OPT_EXT`: options of a JVM, as scripts of RocketMQ give them.
    pub java_options: String,
    /// The settings of TLS of this machine, if it has such a file.
    pub tls_file: Option<PathBuf>,
    /// Of this process's control group.
    pub memory_limit_bytes: Option<u64>,
}

/// The environment variable that names the name servers to RocketMQ's brokers and tools.
pub(super) const NAMESRV: &str = "NAMESRV_ADDR";
/// Images for containers set it to 1, as there many brokers share the cores of a machine.
pub(super) const CORE_COUNT: &str = "RINGMQ_CORES";

const JAVA_OPTIONS: [&str; 2] = ["JAVA_OPT", "JAVA_OPT_EXT"];
/// RocketMQ's default of `tls.config.file`.
const TLS_FILE: &str = "/etc/rocketmq/tls.properties";

impl Surroundings {
    /// Reads them from this process and machine. What cannot be found out becomes the most modest value.
    pub fn observe() -> Self {
        Self::of("self", |name| std::env::var_os(name))
    }

    /// Of a process of this machine, by its name in `/proc`; `variable` gives a variable of its environment.
    pub fn of(process: &str, variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let variable = |name| variable(name).filter(|text| !text.is_empty());
        let text = |name| variable(name)?.into_string().ok();
        let of_process = |name| format!("/proc/{process}/{name}");
        Self {
            home: variable("HOME").map_or_else(|| PathBuf::from("."), PathBuf::from),
            host_name: read("/proc/sys/kernel/hostname").trim().to_owned(),
            address: address(default_route_interface(&read("/proc/net/route"))),
            cores: allowed_cores(&read(&of_process("status"))).unwrap_or_else(|| vec![0]),
            namesrv: text(NAMESRV),
            core_count: text(CORE_COUNT),
            java_options: JAVA_OPTIONS
                .map(|name| text(name).unwrap_or_default())
                .join(" "),
            tls_file: Some(PathBuf::from(TLS_FILE)).filter(|path| path.exists()),
            memory_limit_bytes: limit_bytes(&of_process("cgroup")),
        }
    }
}

/// So many of the cores, the first by a hash of the host's name: so the containers of a machine do not all begin at its first core. Two of them may begin
/// at the same one.
pub(super) fn some_cores(cores: &[usize], count: usize, host_name: &str) -> Vec<usize> {
    let first = crc32fast::hash(host_name.as_bytes()) as usize % cores.len().max(1);
    let from_first = cores.iter().cycle().skip(first);
    from_first.take(count.min(cores.len())).copied().collect()
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
    fn some_of_the_cores() {
        assert_eq!(some_cores(&[4, 5], 3, "a").len(), 2);
        let one = |host: &str| some_cores(&[0, 1, 2, 3], 1, host);
        let hosts = ["a", "b", "c", "d", "e", "f", "g", "h"];
        let mut found: Vec<_> = hosts.into_iter().flat_map(one).collect();
        assert_eq!(found.len(), 8);
        found.sort_unstable();
        found.dedup();
        assert!(found.len() > 1, "all on one core");
        assert!(some_cores(&[], 1, "a").is_empty());
    }

    #[test]
    fn another_process_has_its_own() {
        let child = std::process::Command::new("sleep").arg("600").spawn();
        let mut child = child.unwrap();
        let variable = |name: &str| match name {
            "HOME" => Some("/home/of-it".into()),
            CORE_COUNT => Some("3".into()),
            NAMESRV => Some("".into()),
            _ => None,
        };
        let of_it = Surroundings::of(&child.id().to_string(), variable);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(of_it.home, PathBuf::from("/home/of-it"));
        assert_eq!(of_it.core_count.as_deref(), Some("3"));
        assert_eq!(of_it.namesrv, None);
        assert_eq!(of_it.cores, Surroundings::observe().cores, "inherited");
        let absent = Surroundings::of("no process", |_| None);
        assert_eq!((absent.home, absent.cores), (".".into(), vec![0]));
    }

    #[test]
    fn this_machine_has_a_core_and_an_address() {
        let here = Surroundings::observe();
        assert!(!here.cores.is_empty() && !here.address.is_unspecified());
    }
}
