//! The process and its kernel, from `/proc` and `/sys`: nothing here reaches a disk.

use std::time::{Instant, SystemTime};

use crate::cli::doctor::clock::ClockFacts;
use crate::cli::doctor::device::Owner;
use crate::cli::doctor::limits::LimitFacts;
use crate::cli::doctor::uring::UringFacts;
use crate::cli::kernel_text::{chosen, field};
use crate::cli::setup::share_descriptors;
use crate::config::{Config, IoChoice};
use crate::ring;
use crate::ring::linux::{descriptor_limit, discipline, memlock_limit};

pub fn uring(config: &Config) -> UringFacts {
    let status = read("/proc/self/status");
    UringFacts {
        refused: ring::probe().err(),
        is_filtered: field(&status, "Seccomp:").is_some_and(|mode| mode != "0"),
        is_unwanted: config.io == IoChoice::Portable,
    }
}

/// Of the running broker, or of this process if there is none or it may not be looked at.
pub fn limits(config: &Config, owner: Option<&Owner>) -> LimitFacts {
    let running = owner.and_then(|owner| {
        let limits = read(&format!("/proc/{}/limits", owner.pid));
        let of = |name| hard_limit(&limits, name);
        Some((owner, of("Max locked memory")?, of("Max open files")?))
    });
    let (subject, process, memlock_bytes, descriptors) = match running {
        Some((owner, memlock, open_files)) => (
            format!("{}, process {}", owner.name, owner.pid),
            owner.pid.to_string(),
            memlock,
            open_files.unwrap_or(u64::from(u32::MAX)),
        ),
        None => (
            "this process".to_owned(),
            "self".to_owned(),
            memlock_limit(),
            descriptor_limit().into(),
        ),
    };
    let shards = config.shards() as u64;
    let status = read(&format!("/proc/{process}/status"));
    LimitFacts {
        subject,
        memlock_bytes,
        locks_anything: field(&status, "CapEff:").is_some_and(has_ipc_lock),
        log_buffer_bytes: config.log_buffer_bytes * shards,
        huge_bytes: free_huge_bytes(&read("/proc/meminfo")),
        transparent: chosen(&read("/sys/kernel/mm/transparent_hugepage/enabled"))
            .map(str::to_owned),
        queue_bytes: config.consume_queue_memory_bytes * shards,
        descriptors,
        open_descriptors: running.and_then(|(owner, ..)| open_descriptors(owner.pid)),
        connections: share_descriptors(descriptors as usize, config.shards()).shard as u64,
    }
}

/// The two clocks, to be compared later.
pub struct Clocks {
    unix: SystemTime,
    monotonic: Instant,
}

impl Clocks {
    pub fn read() -> Self {
        Self {
            unix: SystemTime::now(),
            monotonic: Instant::now(),
        }
    }

    pub fn facts(&self) -> ClockFacts {
        let now = Self::read();
        let unix_ms = match now.unix.duration_since(self.unix) {
            Ok(ahead) => ahead.as_millis() as i64,
            Err(behind) => -(behind.duration().as_millis() as i64),
        };
        let monotonic_ms = (now.monotonic - self.monotonic).as_millis() as i64;
        ClockFacts {
            discipline: discipline().ok(),
            stepped_ms: unix_ms - monotonic_ms,
        }
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn has_ipc_lock(capabilities: &str) -> bool {
    const CAP_IPC_LOCK: u64 = 1 << 14;
    u64::from_str_radix(capabilities, 16).is_ok_and(|bits| bits & CAP_IPC_LOCK != 0)
}

/// Of a line `Max open files  1024  524288  files`; `Some(None)`: no limit.
fn hard_limit(limits: &str, name: &str) -> Option<Option<u64>> {
    let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
    match line.split_whitespace().nth(1)? {
        "unlimited" => Some(None),
        number => Some(Some(number.parse().ok()?)),
    }
}

fn open_descriptors(pid: u32) -> Option<u64> {
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    Some(open.count() as u64)
}

fn free_huge_bytes(meminfo: &str) -> u64 {
    let number = |name| {
        let line = field(meminfo, name)?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    let free = number("HugePages_Free:").unwrap_or(0);
    free * number("Hugepagesize:").unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_proc() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max open files            1024                 524288               files     \n\
                      Max locked memory         65536                unlimited            bytes     \n";
        assert_eq!(hard_limit(limits, "Max open files"), Some(Some(524_288)));
        assert_eq!(hard_limit(limits, "Max locked memory"), Some(None));
        assert_eq!(hard_limit(limits, "Max cpu time"), None);
        assert!(has_ipc_lock("000001ffffffffff") && !has_ipc_lock("00000000a80425fb"));
        let meminfo = "HugePages_Free:       10\nHugepagesize:       2048 kB\n";
        assert_eq!(free_huge_bytes(meminfo), 20 << 20);
    }
}
