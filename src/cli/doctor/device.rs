//! The disk of the store: its file system, its space, its device, and how long a flushed write takes now.

use serde::{Deserialize, Serialize};

use super::finding::{Fault, Finding};
use crate::message::size;

/// What a process of its own has seen so far: it may hang in the disk.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DiskFacts {
    pub dir: String,
    /// What it does now; empty when it is done.
    pub doing: String,
    /// The process that has the store open.
    pub owner: Option<Owner>,
    /// Why this user may not try the directory; the broker's may be allowed to.
    pub denied: Option<String>,
    /// Why the directory cannot be used.
    pub unusable: Option<String>,
    pub file_system: Option<String>,
    pub total_bytes: u64,
    pub available_bytes: u64,
    pub devices: Vec<Device>,
    /// `None`: not tried.
    pub has_direct: Option<bool>,
    pub writes: Option<Writes>,
    pub error: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    pub name: String,
    pub pid: u32,
    /// Of a ringmq: its broker.conf and flags, as text.
    pub settings: Option<String>,
}

/// As its directory in sysfs has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    pub name: String,
    /// The device forgets what was not flushed.
    pub has_volatile_cache: bool,
    /// A single write can be flushed.
    pub has_fua: bool,
    pub scheduler: String,
}

/// How long flushed writes of 4 KiB took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Writes {
    pub count: u32,
    pub median_us: u64,
    pub longest_us: u64,
}

/// Limits that the broker goes by.
#[derive(Clone, Copy, Debug)]
pub struct DiskLimits {
    /// `diskMaxUsedSpaceRatio`
    pub max_used_percent: u64,
    /// `waitTimeMillsInSendQueue`
    pub late_ms: u64,
}

/// A chosen bound: flushed writes of a single disk, and mostly of network disks, take less.
const SLOW_US: u64 = 30_000;

pub fn findings(disk: &DiskFacts, limits: DiskLimits) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut find = |fault, seen: String, todo: &str| {
        found.push(Finding::new(fault, &*disk.dir, seen, todo));
    };
    if let Some(why) = &disk.unusable {
        let todo = "give a directory on a file system that is mounted for writing (--store, storePathRootDir)";
        find(Fault::StoreUnusable, why.clone(), todo);
    }
    if let Some((fault, seen)) = file_system(disk) {
        find(
            fault,
            seen,
            "put the store on ext4 or XFS (--store, storePathRootDir)",
        );
    }
    if let Some((fault, seen)) = use_of(disk, limits) {
        find(fault, seen, MORE_SPACE);
    }
    if let Some((fault, seen, todo)) = writes(disk, limits) {
        find(fault, seen, todo);
    }
    for device in &disk.devices {
        if device.has_volatile_cache && !device.has_fua {
            let seen = format!("{}: write cache on, no FUA", device.name);
            let todo = "use a disk with power-loss protection where p99 of sync sends matters; nothing is lost either way";
            find(Fault::VolatileCache, seen, todo);
        }
        if ["bfq", "cfq"].contains(&&*device.scheduler) {
            let seen = format!("{}: {}", device.name, device.scheduler);
            let todo = format!("echo none > /sys/block/{}/queue/scheduler", device.name);
            find(Fault::Scheduler, seen, &todo);
        }
    }
    found
}

pub const MORE_SPACE: &str = "make the disk larger, or keep less: lower fileReservedTime or commitLogMaxBytes in broker.conf, or \
    mqadmin updateBrokerConfig -b ADDR -k fileReservedTime -v HOURS and mqadmin deleteExpiredCommitLog -b ADDR";

fn file_system(disk: &DiskFacts) -> Option<(Fault, String)> {
    let kind = disk
        .file_system
        .as_deref()
        .unwrap_or("an unknown file system");
    if ["tmpfs", "ramfs"].contains(&kind) {
        return Some((Fault::VolatileStore, format!("it is on {kind}")));
    }
    (disk.has_direct == Some(false)).then(|| {
        (
            Fault::NoDirectIo,
            format!("{kind}: an open with O_DIRECT is refused"),
        )
    })
}

fn use_of(disk: &DiskFacts, limits: DiskLimits) -> Option<(Fault, String)> {
    let used = used_percent(disk.total_bytes, disk.available_bytes)?;
    (used >= limits.max_used_percent).then(|| {
        let seen = format!(
            "{used} % used, {} of {} free; diskMaxUsedSpaceRatio is {}",
            size::show(disk.available_bytes),
            size::show(disk.total_bytes),
            limits.max_used_percent
        );
        (Fault::DiskNearlyFull, seen)
    })
}

pub fn used_percent(total_bytes: u64, available_bytes: u64) -> Option<u64> {
    let used = total_bytes.checked_sub(available_bytes)?;
    let percent = (u128::from(used) * 100).checked_div(total_bytes.into())?;
    u64::try_from(percent).ok()
}

const LOOK_AT_DEVICE: &str = "look at the device: dmesg | tail, smartctl -a, iostat -x 1; move what else writes to it to another disk";

fn writes(disk: &DiskFacts, limits: DiskLimits) -> Option<(Fault, String, &'static str)> {
    if let Some(error) = &disk.error {
        return Some((Fault::DeviceError, error.clone(), LOOK_AT_DEVICE));
    }
    if !disk.doing.is_empty() {
        let seen = format!("it did not come back from this: {}", disk.doing);
        return Some((Fault::DeviceStalled, seen, LOOK_AT_DEVICE));
    }
    let writes = disk.writes?;
    let late_us = limits.late_ms.saturating_mul(1_000);
    (writes.median_us >= SLOW_US || writes.longest_us >= late_us).then(|| {
        let seen = format!(
            "{} flushed writes of 4 KiB: median {:.1} ms, longest {:.1} ms",
            writes.count,
            writes.median_us as f64 / 1e3,
            writes.longest_us as f64 / 1e3
        );
        (Fault::DeviceSlow, seen, LOOK_AT_DEVICE)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: DiskLimits = DiskLimits {
        max_used_percent: 75,
        late_ms: 200,
    };

    fn sound() -> DiskFacts {
        DiskFacts {
            dir: "/store".into(),
            file_system: Some("ext4".into()),
            total_bytes: 100 << 30,
            available_bytes: 50 << 30,
            has_direct: Some(true),
            writes: Some(Writes {
                count: 8,
                median_us: 900,
                longest_us: 20_000,
            }),
            ..DiskFacts::default()
        }
    }

    fn faults(disk: &DiskFacts) -> Vec<Fault> {
        let found = findings(disk, LIMITS);
        found.iter().map(|found| found.fault).collect()
    }

    #[test]
    fn a_sound_disk_has_nothing() {
        assert_eq!(faults(&sound()), []);
        assert_eq!(faults(&DiskFacts::default()), [], "nothing is known yet");
    }

    #[test]
    fn each_fault_of_the_file_system_is_named() {
        let facts = [
            (
                Fault::StoreUnusable,
                DiskFacts {
                    unusable: Some("it is a file".into()),
                    ..sound()
                },
            ),
            (
                Fault::VolatileStore,
                DiskFacts {
                    file_system: Some("tmpfs".into()),
                    ..sound()
                },
            ),
            (
                Fault::NoDirectIo,
                DiskFacts {
                    has_direct: Some(false),
                    ..sound()
                },
            ),
            (
                Fault::DiskNearlyFull,
                DiskFacts {
                    available_bytes: 25 << 30,
                    ..sound()
                },
            ),
        ];
        for (fault, facts) in facts {
            assert_eq!(faults(&facts), [fault]);
        }
        let below = DiskFacts {
            available_bytes: 26 << 30,
            ..sound()
        };
        assert_eq!(faults(&below), []);
    }

    #[test]
    fn slow_and_stalled_and_broken_are_three_things() {
        let writes = |median_us, longest_us| {
            let writes = Writes {
                count: 8,
                median_us,
                longest_us,
            };
            DiskFacts {
                writes: Some(writes),
                ..sound()
            }
        };
        assert_eq!(faults(&writes(30_000, 40_000)), [Fault::DeviceSlow]);
        assert_eq!(faults(&writes(1_000, 200_000)), [Fault::DeviceSlow]);
        let hangs = DiskFacts {
            doing: "a flush".into(),
            writes: None,
            ..sound()
        };
        assert_eq!(faults(&hangs), [Fault::DeviceStalled]);
        let broken = DiskFacts {
            error: Some("EIO".into()),
            ..sound()
        };
        assert_eq!(faults(&broken), [Fault::DeviceError]);
    }

    #[test]
    fn devices_have_notes() {
        let device = |has_volatile_cache, has_fua, scheduler: &str| DiskFacts {
            devices: vec![Device {
                name: "sda".into(),
                has_volatile_cache,
                has_fua,
                scheduler: scheduler.into(),
            }],
            ..sound()
        };
        assert_eq!(faults(&device(true, true, "none")), []);
        assert_eq!(faults(&device(true, false, "none")), [Fault::VolatileCache]);
        assert_eq!(faults(&device(false, false, "bfq")), [Fault::Scheduler]);
    }
}
