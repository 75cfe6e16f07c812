//! Checks before anything is created or registered: no port is in use, and the store is a directory that no process has open.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tracing::warn;

use super::metrics;
use super::setup::shard_dir;
use crate::config::{Config, MetricsExporter};
use crate::ring::linux::is_locked;

pub fn check(config: &Config) -> Result<()> {
    check_store(config)?;
    check_ports(&ports(config))
}

/// A single port, named by its setting.
pub fn check_port(addr: SocketAddr, setting: &'static str) -> Result<()> {
    check_ports(&[Port { addr, setting }])
}

/// A port that the process will listen on.
pub struct Port {
    pub addr: SocketAddr,
    /// The flag or property that it comes from.
    pub setting: &'static str,
}

/// All ports of a broker with these settings.
pub fn ports(config: &Config) -> Vec<Port> {
    let at = |port, setting| Port {
        addr: SocketAddr::new(config.bind_address, port),
        setting,
    };
    let mut ports = Vec::new();
    if config.has_builtin_namesrv() {
        ports.push(at(
            config.namesrv_port,
            "--namesrv-port, or namesrvPort in broker.conf",
        ));
    }
    for shard in 0..config.shards() {
        let port = config.shard_port(shard);
        ports.push(at(port, "--port, or listenPort in broker.conf"));
        let vip = "--port, or listenPort in broker.conf; clients with the VIP channel on use the port 2 below it";
        ports.push(at(port - 2, vip));
    }
    if config.health_port != 0 {
        ports.push(at(
            config.health_port,
            "--health-port, or healthPort in broker.conf",
        ));
    }
    if config.metrics_exporter == MetricsExporter::Prometheus {
        ports.push(Port {
            addr: metrics::addr(config),
            setting: "metricsPromExporterPort in broker.conf",
        });
    }
    ports
}

/// All are bound at the same time and released together, so that a port that is configured twice is found, too.
fn check_ports(ports: &[Port]) -> Result<()> {
    let give_up = Instant::now() + RELEASE_TIME;
    let mut bound = Vec::new();
    for Port { addr, setting } in ports {
        let error = match bind(*addr, give_up) {
            Ok(listener) => {
                bound.push(listener);
                continue;
            }
            Err(error) => error,
        };
        let ip = addr.ip();
        match error.kind() {
            ErrorKind::AddrInUse => bail!(
                "port {} is in use, perhaps by another broker or name server: stop it, or choose another port ({setting})",
                addr.port()
            ),
            ErrorKind::PermissionDenied => bail!(
                "port {} may not be used by this user: choose one above 1023 ({setting})",
                addr.port()
            ),
            ErrorKind::AddrNotAvailable => {
                bail!("{ip} is no address of this machine (bindAddress)")
            }
            _ => bail!("cannot listen on {addr}: {error} ({setting})"),
        }
    }
    Ok(())
}

/// How long a port in use is tried again. The kernel closes the listeners of a killed process from a work queue: on a busy
/// machine some time after the process has ended, because the accept requests of its ring hold them.
const RELEASE_TIME: Duration = Duration::from_secs(2);
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

fn bind(addr: SocketAddr, give_up: Instant) -> std::io::Result<TcpListener> {
    loop {
        match TcpListener::bind(addr) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < give_up => {
                std::thread::sleep(BETWEEN_TRIES);
            }
            result => return result,
        }
    }
}

fn check_store(config: &Config) -> Result<()> {
    let dir = &config.store_dir;
    if dir.symlink_metadata().is_ok() && !dir.exists() {
        bail!("the store {} is a link that leads nowhere", dir.display());
    }
    if dir.exists() && !dir.is_dir() {
        bail!(
            "the store {} is a file: give a directory (--store)",
            dir.display()
        );
    }
    for shard in 0..config.shards() {
        let dir = shard_dir(config, shard);
        // A lock that cannot be examined is reported by the start itself. So is one without a living owner: the writes of a
        // killed process hold it for a moment, and the start waits for them.
        if is_locked(&dir.join("lock")).unwrap_or(false)
            && let Some(owner) = living_owner(&dir)
        {
            bail!(
                "the store {} is in use by {owner}: stop it, or choose another directory (--store)",
                dir.display(),
            );
        }
    }
    if let Some(kind @ ("tmpfs" | "ramfs")) = file_system(dir).as_deref() {
        warn!(
            "the store {} is on {kind}: its messages are lost with the next boot",
            dir.display()
        );
    }
    Ok(())
}

fn living_owner(dir: &Path) -> Option<String> {
    let (name, pid) = owner(dir)?;
    Some(format!("{name}, process {pid}"))
}

/// Name and process that have the store open, by the file `abort`, in which a broker of either kind leaves its process id.
pub fn owner(dir: &Path) -> Option<(String, u32)> {
    let text = std::fs::read_to_string(dir.join("abort")).ok()?;
    let (name, pid) = text
        .trim()
        .rsplit_once(' ')
        .unwrap_or(("a broker", text.trim()));
    let pid: u32 = pid.parse().ok()?;
    (pid != std::process::id() && is_alive(pid)).then(|| (name.to_owned(), pid))
}

/// A process that has ended and was not waited for is not alive.
fn is_alive(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    let status = status.unwrap_or_default();
    // The name before the state is in parentheses and may contain any character.
    let state = status
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.chars().next());
    state.is_some_and(|state| !['Z', 'X'].contains(&state))
}

/// The type of the file system that holds the directory, or would if it were made.
pub fn file_system(dir: &Path) -> Option<String> {
    let existing = dir.ancestors().find_map(|dir| dir.canonicalize().ok())?;
    let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
    type_at(&mounts, &existing)
}

fn type_at(mounts: &str, dir: &Path) -> Option<String> {
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (point, kind) = (fields.next()?, fields.next()?);
        dir.starts_with(point).then_some((point.len(), kind))
    });
    // Of two at one place the later hides the earlier.
    let (_, kind) = mounts.max_by_key(|(len, _)| *len)?;
    Some(kind.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_of_a_port_in_use_is_named() {
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = |setting| Port {
            addr: held.local_addr().unwrap(),
            setting,
        };
        let error = check_ports(&[taken("--health-port")])
            .unwrap_err()
            .to_string();
        assert!(error.contains("--health-port"), "{error}");
        let port = held.local_addr().unwrap().port().to_string();
        assert_eq!(error.matches(&port).count(), 1, "{error}");
    }

    #[test]
    fn a_port_that_is_released_a_moment_later_is_no_error() {
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = Port {
            addr: held.local_addr().unwrap(),
            setting: "--port",
        };
        let release = std::thread::spawn(move || {
            std::thread::sleep(5 * BETWEEN_TRIES);
            drop(held);
        });
        check_ports(&[port]).unwrap();
        release.join().unwrap();
    }

    #[test]
    fn each_port_of_each_shard_is_looked_at() {
        let config = Config {
            cores: vec![0, 1],
            health_port: 8080,
            ..Config::default()
        };
        let ports: Vec<u16> = ports(&config).iter().map(|port| port.addr.port()).collect();
        assert_eq!(ports, [9876, 10911, 10909, 10921, 10919, 8080]);
        let joins = Config {
            namesrv: vec!["10.0.0.1:9876".into()],
            ..Config::default()
        };
        assert!(
            super::ports(&joins)
                .iter()
                .all(|port| port.addr.port() != 9876)
        );
    }

    #[test]
    fn the_nearest_mount_point_counts() {
        let mounts = "/dev/vda1 / ext4 rw 0 0\ntmpfs /dev/shm tmpfs rw 0 0\n/dev/vdb /data/store xfs rw 0 0\n";
        for (dir, kind) in [
            ("/root/store", "ext4"),
            ("/dev/shm/store", "tmpfs"),
            ("/data/store", "xfs"),
            ("/data/storeroom", "ext4"),
        ] {
            assert_eq!(
                type_at(mounts, Path::new(dir)).as_deref(),
                Some(kind),
                "{dir}"
            );
        }
    }

    #[test]
    fn the_owner_is_named_by_what_it_left_while_it_lives() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(living_owner(dir.path()), None);
        // Process 1 runs as long as the machine; no process has the number 0.
        for (text, expected) in [
            ("ringmq 1", Some("ringmq, process 1")),
            ("1\n", Some("a broker, process 1")),
            ("ringmq 0", None),
        ] {
            std::fs::write(dir.path().join("abort"), text).unwrap();
            assert_eq!(living_owner(dir.path()).as_deref(), expected);
        }
        let own = format!("ringmq {}", std::process::id());
        std::fs::write(dir.path().join("abort"), own).unwrap();
        assert_eq!(
            living_owner(dir.path()),
            None,
            "of an earlier process with this number"
        );
    }
}
