//! Looks at the disk of a store, in a process of its own: a call that a stalled disk does not complete keeps its process from ending, whatever
//! kills it. That process writes down what it is about to do before it does it; doctor reads that, and does not wait for it in the end.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use super::running;
use crate::cli::devices::Disks;
use crate::cli::doctor::device::{Device, DiskFacts, Owner, Writes};
use crate::cli::kernel_text::chosen;
use crate::cli::preflight;
use crate::ring::linux::space;

/// Flushed writes; the first one allocates, and is not counted.
const WRITES: usize = 8;
/// No further write is begun after that.
const LONG_ENOUGH: Duration = Duration::from_millis(1_200);
const BLOCK: [u8; 4096] = [0; 4096];

/// The other process, as doctor sees it.
pub struct Looking {
    lines: Receiver<DiskFacts>,
    latest: DiskFacts,
}

impl Looking {
    /// At the directory that the log is in, or will be; `store` has the lock.
    pub fn start(store: &Path, dir: &Path) -> io::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["doctor", "--look-at-disk"])
            .arg(dir)
            .arg("--store")
            .arg(store)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // It may outlive this process, and must not keep the reader of its stderr waiting.
            .stderr(Stdio::null())
            .spawn()?;
        let (to_lines, lines) = channel();
        let printed = child.stdout.take();
        std::thread::spawn(move || {
            let printed = printed
                .into_iter()
                .flat_map(|out| BufReader::new(out).lines());
            for line in printed.map_while(Result::ok) {
                let Ok(facts) = serde_json::from_str(&line) else {
                    continue;
                };
                if to_lines.send(facts).is_err() {
                    break;
                }
            }
            let _ = child.wait();
        });
        let latest = DiskFacts {
            dir: dir.display().to_string(),
            ..DiskFacts::default()
        };
        Ok(Self { lines, latest })
    }

    /// Who has the store open: known at once, or not before the disk answers.
    pub fn owner(&mut self, until: Instant) -> Option<Owner> {
        while self.latest.doing.is_empty() || self.latest.doing == OWNER {
            if !self.next(until) {
                break;
            }
        }
        self.latest.owner.clone()
    }

    /// All that it has found until then.
    pub fn finish(mut self, until: Instant) -> DiskFacts {
        while self.next(until) {}
        self.latest
    }

    fn next(&mut self, until: Instant) -> bool {
        let left = until.saturating_duration_since(Instant::now());
        match self.lines.recv_timeout(left) {
            Ok(facts) => {
                self.latest = facts;
                true
            }
            Err(_) => false,
        }
    }
}

const OWNER: &str = "reading which process has the store open";

/// The other process itself.
pub fn look(store: &Path, dir: &Path) {
    let mut facts = DiskFacts {
        dir: dir.display().to_string(),
        ..DiskFacts::default()
    };
    let say = |facts: &mut DiskFacts, doing: &str| {
        facts.doing = doing.to_owned();
        let line = serde_json::to_string(facts).unwrap_or_default();
        // Nobody may listen any more.
        let _ = writeln!(io::stdout(), "{line}");
    };
    say(&mut facts, OWNER);
    facts.owner = [store.to_owned(), store.join("shard-0")]
        .iter()
        .find_map(|dir| preflight::owner(dir))
        .map(|(name, pid)| Owner {
            name,
            pid,
            settings: running::settings(pid),
        });
    say(&mut facts, "asking the file system for its type and space");
    let existing = nearest(dir);
    facts.unusable = unusable(dir);
    facts.file_system = preflight::file_system(&existing);
    if let Ok(space) = space(&existing) {
        (facts.total_bytes, facts.available_bytes) = (space.total_bytes, space.available_bytes);
    }
    facts.devices = devices(&existing);
    if facts.unusable.is_none() {
        say(
            &mut facts,
            "making a file of 4 KiB, writing to it and flushing it",
        );
        let probed = probe(&existing, &mut facts);
        facts.conclude(probed);
    }
    say(&mut facts, "");
}

impl DiskFacts {
    /// What the end of the probe says.
    fn conclude(&mut self, probed: io::Result<()>) {
        use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem, StorageFull};
        let Err(error) = probed else { return };
        match error.kind() {
            StorageFull => {}
            PermissionDenied => self.denied = Some(error.to_string()),
            ReadOnlyFilesystem => {
                self.unusable = Some(format!("no file can be made in it: {error}"));
            }
            _ => self.error = Some(format!("a write, or the flush behind it: {error}")),
        }
    }
}

/// The directory, or the lowest one above it that exists.
fn nearest(dir: &Path) -> PathBuf {
    let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    let existing = dir.ancestors().find(|dir| dir.is_dir());
    existing.unwrap_or(Path::new("/")).to_owned()
}

fn unusable(dir: &Path) -> Option<String> {
    let found = dir.symlink_metadata().ok()?;
    if dir.is_dir() {
        return None;
    }
    Some(match found.is_symlink() {
        true => "it is a link that leads nowhere".to_owned(),
        false => "it is a file".to_owned(),
    })
}

/// Its file has no name while it is written to, so that nothing is left behind.
fn probe(dir: &Path, facts: &mut DiskFacts) -> io::Result<()> {
    let path = dir.join(format!("ringmq-doctor-{}.probe", std::process::id()));
    let made = OpenOptions::new().write(true).create_new(true).open(&path);
    let file = made?;
    facts.has_direct = has_direct(&path);
    std::fs::remove_file(&path)?;
    facts.writes = Some(writes(&file)?);
    Ok(())
}

fn has_direct(path: &Path) -> Option<bool> {
    let mut options = OpenOptions::new();
    options.write(true).custom_flags(libc::O_DIRECT);
    match options.open(path) {
        Ok(_) => Some(true),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Some(false),
        Err(_) => None,
    }
}

fn writes(file: &File) -> io::Result<Writes> {
    let began = Instant::now();
    let mut took_us = Vec::new();
    for nth in 0..=WRITES {
        let begins = Instant::now();
        file.write_all_at(&BLOCK, 0)?;
        file.sync_data()?;
        let us = begins.elapsed().as_micros() as u64;
        let is_last = began.elapsed() > LONG_ENOUGH;
        if nth > 0 || is_last {
            took_us.push(us);
        }
        if is_last {
            break;
        }
    }
    took_us.sort_unstable();
    Ok(Writes {
        count: took_us.len() as u32,
        median_us: took_us[took_us.len() / 2],
        longest_us: took_us[took_us.len() - 1],
    })
}

fn devices(dir: &Path) -> Vec<Device> {
    let disks = Disks::below(&[dir.to_owned()]);
    disks.in_sysfs().filter_map(device).collect()
}

fn device(sysfs: &Path) -> Option<Device> {
    let read = |name: &str| {
        let text = std::fs::read_to_string(sysfs.join("queue").join(name));
        text.map(|text| text.trim().to_owned()).unwrap_or_default()
    };
    let schedulers = read("scheduler");
    Some(Device {
        name: sysfs.file_name()?.to_str()?.to_owned(),
        has_volatile_cache: read("write_cache") == "write back",
        has_fua: read("fua") == "1",
        scheduler: chosen(&schedulers).unwrap_or(&schedulers).to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_at_a_directory_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let mut facts = DiskFacts::default();
        probe(dir.path(), &mut facts).unwrap();
        assert_eq!(facts.writes.unwrap().count as usize, WRITES);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert_eq!(nearest(&dir.path().join("not/there")), dir.path());
    }

    #[test]
    fn what_is_no_directory_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(unusable(&file).as_deref(), Some("it is a file"));
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path().join("nowhere"), &link).unwrap();
        assert!(unusable(&link).unwrap().contains("nowhere"));
        assert_eq!(unusable(dir.path()), None);
        assert_eq!(unusable(&dir.path().join("absent")), None);
    }

    #[test]
    fn what_this_user_may_not_is_no_fault_of_the_disk() {
        let of = |errno| {
            let mut facts = DiskFacts::default();
            facts.conclude(Err(io::Error::from_raw_os_error(errno)));
            let is = [&facts.denied, &facts.unusable, &facts.error];
            is.map(Option::is_some)
        };
        assert_eq!(of(libc::EACCES), [true, false, false]);
        assert_eq!(of(libc::EPERM), [true, false, false]);
        assert_eq!(of(libc::EROFS), [false, true, false]);
        assert_eq!(of(libc::EIO), [false, false, true]);
        assert_eq!(of(libc::ENOSPC), [false, false, false]);
    }
}
