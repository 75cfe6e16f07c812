//! The block devices below a directory, and the alarm between shards whose stores share one.
//!
//! A device reports the loss of its cache once for each file, to the flush that asks next. So an error in one store is the only
//! report of what the stores beside it may have lost. The shard that gets it raises the alarms of these; each is fenced by its own
//! reactor (`reactor::Neighbours`).

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use crate::ring::linux::{Doorbell, Machine};

/// Raised once, from any thread; one reactor waits for it.
#[derive(Clone)]
pub struct Alarm {
    reason: Arc<OnceLock<String>>,
    bell: Doorbell,
}

impl Alarm {
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            reason: Arc::default(),
            bell: Doorbell::new()?,
        })
    }

    /// Never blocks. The first reason stays.
    pub fn raise(&self, reason: &str) {
        if self.reason.set(reason.to_owned()).is_ok() {
            self.bell.ring();
        }
    }

    /// Done, with the reason, when it has been raised.
    pub async fn raised<M: Machine>(self, machine: M) -> String {
        loop {
            // It can only fail with the reactor itself.
            let rung = machine.wait(&self.bell).await;
            match self.reason.get() {
                Some(reason) => return reason.clone(),
                None if rung.is_err() => std::future::pending::<()>().await,
                None => {}
            }
        }
    }
}

/// The disks that a store is on: whole disks, whatever partitions and volumes are between. `None`: not known, as with a file system
/// that has devices of its own (btrfs, overlayfs) or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disks(Option<BTreeSet<PathBuf>>);

impl Disks {
    /// Of all these directories, which need not exist yet.
    pub fn below(dirs: &[PathBuf]) -> Self {
        let mut disks = BTreeSet::new();
        for dir in dirs {
            let device = device_of(dir).map(|device| device_dir(Path::new("/sys"), device));
            let Some(of_dir) = device.and_then(|device| disks_of(&device).ok()) else {
                return Self(None);
            };
            disks.extend(of_dir);
        }
        Self(Some(disks))
    }

    /// Their directories in sysfs; none if they are not known.
    pub fn in_sysfs(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().flatten().map(PathBuf::as_path)
    }

    /// Disks that are not known may be any.
    pub fn share_one_with(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(these), Some(others)) => !these.is_disjoint(others),
            _ => true,
        }
    }
}

/// Number of the device of a directory, or of the lowest one above it that exists.
fn device_of(dir: &Path) -> Option<u64> {
    let dir = std::path::absolute(dir).ok()?;
    let mut levels = dir.ancestors();
    levels.find_map(|level| Some(fs::metadata(level).ok()?.dev()))
}

fn device_dir(sysfs: &Path, device: u64) -> PathBuf {
    let name = format!("{}:{}", libc::major(device), libc::minor(device));
    sysfs.join("dev/block").join(name)
}

/// By a device's directory in sysfs: a partition is below its disk, and a volume names what it is made of.
fn disks_of(device: &Path) -> io::Result<BTreeSet<PathBuf>> {
    let mut device = device.canonicalize()?;
    if device.join("partition").exists() {
        device.pop();
    }
    let mut disks = BTreeSet::new();
    let parts = device.join("slaves");
    if parts.exists() {
        for part in fs::read_dir(parts)? {
            disks.extend(disks_of(&part?.path())?);
        }
    }
    if disks.is_empty() {
        disks.insert(device);
    }
    Ok(disks)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// Two disks; the first has partitions, and a volume lies on the second of these and on the other disk.
    fn sysfs() -> tempfile::TempDir {
        let sysfs = tempfile::tempdir().unwrap();
        let at = |path: &str| sysfs.path().join(path);
        for (name, number, is_partition) in [
            ("sda", "8:0", false),
            ("sda/sda1", "8:1", true),
            ("sda/sda2", "8:2", true),
            ("sdb", "8:16", false),
            ("dm-0", "253:0", false),
        ] {
            fs::create_dir_all(at("devices").join(name)).unwrap();
            fs::create_dir_all(at("dev/block")).unwrap();
            let device = at("devices").join(name);
            if is_partition {
                fs::write(device.join("partition"), "1").unwrap();
            }
            symlink(device, at("dev/block").join(number)).unwrap();
        }
        fs::create_dir_all(at("devices/dm-0/slaves")).unwrap();
        for (name, of) in [("sda2", "sda/sda2"), ("sdb", "sdb")] {
            let part = at("devices/dm-0/slaves").join(name);
            symlink(at("devices").join(of), part).unwrap();
        }
        sysfs
    }

    #[test]
    fn stores_share_a_disk_below_partitions_and_volumes() {
        let sysfs = sysfs();
        let disks = |major, minor| {
            let device = device_dir(sysfs.path(), libc::makedev(major, minor));
            Disks(disks_of(&device).ok())
        };
        let (sda1, sda2, sdb, volume) = (disks(8, 1), disks(8, 2), disks(8, 16), disks(253, 0));
        assert!(sda1.share_one_with(&sda2));
        assert!(!sda1.share_one_with(&sdb));
        assert!(volume.share_one_with(&sdb) && volume.share_one_with(&sda1));
        let unknown = disks(0, 40);
        assert_eq!(unknown, Disks(None));
        assert!(unknown.share_one_with(&sdb), "it may be the same");
    }

    #[test]
    fn an_alarm_reaches_the_reactor_of_another_thread() {
        let alarm = Alarm::new().unwrap();
        let raised = alarm.clone();
        let other = std::thread::spawn(move || {
            raised.raise("first");
            raised.raise("second");
        });
        let config = crate::portable::PortableConfig::default();
        let reason = crate::portable::Portable::start(config, |io| alarm.raised(io)).unwrap();
        assert_eq!(reason, "first");
        other.join().unwrap();
    }

    #[test]
    fn a_store_that_is_not_there_yet_is_on_the_disk_of_what_is_above_it() {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("store/shard-1/commitlog");
        assert!(device_of(dir.path()).is_some());
        assert_eq!(device_of(&below), device_of(dir.path()));
    }
}
