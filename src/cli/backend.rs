//! Which implementation of [`crate::io`] a thread runs on, and the one place where it is started.

use std::fmt;
use std::future::Future;
use std::io;

use anyhow::{Result, anyhow};
use tracing::warn;

use super::usage::UsageError;
use crate::config::{IoChoice, IoName, Rule};
use crate::portable::{Portable, PortableConfig};
use crate::reactor::IoBackend;
use crate::ring::linux::Machine;
use crate::ring::{self, Ring, RingConfig};

/// What `auto` stands for. For tests that start the binary: each of them then runs on the same implementation.
const VARIABLE: &str = "RINGMQ_IO";

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backend {
    Uring,
    Portable {
        /// Why it is not io_uring.
        reason: String,
    },
}

impl Backend {
    /// What was asked for, or what this machine allows. A warning says why it is not io_uring.
    pub fn choose(asked: IoChoice) -> Result<Self> {
        Self::choose_and_say(asked, |why| {
            warn!(
                "{why}. Until then this runs without io_uring, which takes more CPU; with --io portable it does so without this warning"
            );
        })
    }

    /// What this machine allows, for what is over soon.
    pub fn of_this_machine() -> Result<Self> {
        Self::choose_and_say(IoChoice::Auto, |_| {})
    }

    fn choose_and_say(asked: IoChoice, say: impl FnOnce(&ring::Unsupported)) -> Result<Self> {
        let asked = match (asked, std::env::var(VARIABLE)) {
            (IoChoice::Auto, Ok(text)) if !text.is_empty() => IoName
                .read(&text)
                .map_err(|allowed| UsageError::new(format!("{VARIABLE}={text}: {allowed}")))?,
            _ => asked,
        };
        match (asked, ring::probe()) {
            (IoChoice::Portable, _) => Ok(Self::Portable {
                reason: "it is the one that was asked for".into(),
            }),
            (_, Ok(_)) => Ok(Self::Uring),
            (IoChoice::Uring, Err(why)) => Err(anyhow!(
                "{why}; or start with --io auto, which does without"
            )),
            (IoChoice::Auto, Err(why)) => {
                say(&why);
                Ok(Self::Portable {
                    reason: why.to_string(),
                })
            }
        }
    }

    /// For the shards, which show it.
    pub fn name(&self) -> IoBackend {
        match self {
            Self::Uring => IoBackend {
                name: "uring",
                reason: String::new(),
            },
            Self::Portable { reason } => IoBackend {
                name: "portable",
                reason: reason.clone(),
            },
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name().name)
    }
}

/// What a thread does, whichever implementation it runs on.
pub trait Program {
    type Output;

    fn run<M: Machine>(self, machine: M) -> impl Future<Output = Self::Output>;
}

#[derive(Clone, Copy, Debug, Default)]
pub struct ThreadOptions {
    /// The core to pin the thread to.
    pub core: Option<usize>,
    /// A poll of a task that takes longer is a stall; `None`: as the implementation has it.
    pub stall_limit_ns: Option<u64>,
}

/// Makes this thread a reactor until the program is done.
pub fn start<P: Program>(
    backend: Backend,
    options: ThreadOptions,
    program: P,
) -> io::Result<P::Output> {
    match backend {
        Backend::Uring => {
            let usual = RingConfig::default();
            let config = RingConfig {
                core: options.core,
                stall_limit_ns: options.stall_limit_ns.unwrap_or(usual.stall_limit_ns),
                ..usual
            };
            Ring::start(config, |ring| program.run(ring))
        }
        Backend::Portable { .. } => {
            let usual = PortableConfig::default();
            let config = PortableConfig {
                core: options.core,
                stall_limit_ns: options.stall_limit_ns.unwrap_or(usual.stall_limit_ns),
                ..usual
            };
            Portable::start(config, |portable| program.run(portable))
        }
    }
}
