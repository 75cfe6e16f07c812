//! What this kernel and the process's limits allow, and what to do where that is not enough.

use std::fmt;
use std::fs;
use std::io;

use super::queues::Queues;
use super::recv_buffers::RecvBuffers;
use crate::mem::BLOCK_BYTES;
use crate::ring::linux::{Wait, kernel_release};

/// DEFER_TASKRUN came with 6.1; multishot receive and the ring of buffers before it.
const OLDEST_KERNEL: (u32, u32) = (6, 1);

/// What the kernel allowed; printed at the start.
#[derive(Clone, Debug)]
pub struct Capabilities {
    pub kernel: String,
    /// `NO_IOWAIT`: waiting for completions is not accounted as waiting for the disk, which would keep the core's frequency up.
    pub no_iowait: bool,
    /// The core that the thread is pinned to.
    pub core: Option<usize>,
    pub direct_descriptors: u32,
    pub log_buffer: LogRegistration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogRegistration {
    NotAsked,
    Registered { capacity_bytes: usize },
    Refused(String),
}

/// Why there is no ring, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Unsupported {
    #[error(
        "io_uring is switched off on this host ({why}): set kernel.io_uring_disabled to 0 with sysctl"
    )]
    SwitchedOff { why: String },
    #[error(
        "io_uring is forbidden to this process ({error}): containers forbid it by their seccomp profile, so run with \
         one that allows io_uring_setup, io_uring_enter and io_uring_register (docker, podman: --security-opt \
         seccomp=FILE, with the FILE of `ringmq print seccomp`)"
    )]
    Forbidden { error: io::Error },
    #[error(
        "Linux {kernel} is too old: it takes {}.{} or newer",
        OLDEST_KERNEL.0,
        OLDEST_KERNEL.1
    )]
    OldKernel { kernel: String },
    #[error("no memory for io_uring ({error}): raise the memlock limit (ulimit -l)")]
    NoMemory { error: io::Error },
    #[error("io_uring does not start on Linux {kernel}: {error}")]
    Failed { kernel: String, error: io::Error },
}

/// Tries a small ring, with the calls that a start makes: a filter may forbid one of them alone.
pub fn probe() -> Result<Capabilities, Unsupported> {
    let kernel = kernel_release();
    if parse_release(&kernel).is_some_and(|version| version < OLDEST_KERNEL) {
        return Err(Unsupported::OldKernel { kernel });
    }
    // Longer than the ring that it is registered with.
    let recv_buffers = RecvBuffers::new(1, BLOCK_BYTES);
    let tried = Queues::new(8, false).and_then(|mut queues| {
        recv_buffers.register(&queues)?;
        queues.enter(Wait::No)?;
        Ok(queues)
    });
    let queues = tried.map_err(|error| explain(error, kernel.clone()))?;
    Ok(Capabilities {
        kernel,
        no_iowait: queues.uring().params().is_feature_no_iowait(),
        core: None,
        direct_descriptors: 0,
        log_buffer: LogRegistration::NotAsked,
    })
}

/// Of a ring that could not be made although a small one could.
pub(super) fn unsupported(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), explain(error, kernel_release()))
}

fn explain(error: io::Error, kernel: String) -> Unsupported {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::ENOSYS | libc::EACCES) => match disabled_by_sysctl() {
            Some(value) => Unsupported::SwitchedOff {
                why: format!("kernel.io_uring_disabled is {value}"),
            },
            None => Unsupported::Forbidden { error },
        },
        Some(libc::ENOMEM) => Unsupported::NoMemory { error },
        _ => Unsupported::Failed { kernel, error },
    }
}

fn disabled_by_sysctl() -> Option<String> {
    let value = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok()?;
    let value = value.trim();
    (value != "0").then(|| value.to_owned())
}

fn parse_release(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    let major = parts.next()?.parse().ok()?;
    let minor = parts.next()?.parse().ok()?;
    Some((major, minor))
}

impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "io_uring on Linux {}, ", self.kernel)?;
        match self.core {
            Some(core) => write!(f, "pinned to core {core}, ")?,
            None => write!(f, "not pinned, ")?,
        }
        write!(f, "{} direct descriptors, ", self.direct_descriptors)?;
        write!(f, "{}", self.log_buffer)?;
        if !self.no_iowait {
            write!(f, ", waits count as iowait")?;
        }
        Ok(())
    }
}

impl fmt::Display for LogRegistration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogRegistration::NotAsked => write!(f, "no log buffer registered"),
            LogRegistration::Registered { capacity_bytes } => {
                write!(f, "log buffer of {} MiB registered", capacity_bytes >> 20)
            }
            LogRegistration::Refused(why) => write!(
                f,
                "log buffer not registered ({why}; a higher memlock limit, ulimit -l, makes writes cheaper)"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_releases() {
        assert_eq!(parse_release("6.18.44-fc-v657"), Some((6, 18)));
        assert_eq!(parse_release("5.15.0-91-generic"), Some((5, 15)));
        assert_eq!(parse_release("6.1"), Some((6, 1)));
        assert_eq!(parse_release("rolling"), None);
    }

    #[test]
    fn says_what_to_do() {
        let kernel = || "6.8.0".to_owned();
        let error = |number| explain(io::Error::from_raw_os_error(number), kernel()).to_string();
        assert!(error(libc::ENOMEM).contains("ulimit -l"));
        assert!(error(libc::EINVAL).contains("6.8.0"));
        let forbidden = error(libc::EPERM);
        assert!(
            forbidden.contains("seccomp") || forbidden.contains("kernel.io_uring_disabled"),
            "{forbidden}"
        );
    }
}
