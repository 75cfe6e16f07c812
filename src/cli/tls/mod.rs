//! TLS of this process: from its settings and files to what each core has, and again when the files change.
//!
//! ```text
//! thread: looks at the files every second ─► reads all of them ─► to every core ─► counts for its next connection
//!                                                       └─ they cannot be used: one line in the log, what was before stays
//! ```

mod args;
mod files;
mod watch;

use std::sync::mpsc::{Receiver, Sender, channel};

use anyhow::{Result, bail};
use tokio::sync::watch::channel as watch_channel;
use tracing::{info, warn};

pub use self::args::TlsArgs;
use self::files::Source;
use self::watch::Watch;
use crate::config::{Config, TlsMode};
use crate::quorum::SecurityNow;
use crate::ring::linux::{Doorbell, Machine};
use crate::tls::{Secured, Security};

/// A core's side.
pub struct Mailbox {
    first: Security,
    news: Receiver<Security>,
    bell: Doorbell,
}

/// The thread's side of a core.
struct Desk {
    news: Sender<Security>,
    bell: Doorbell,
}

/// Of a broker: a mailbox for each core.
pub fn start(config: &Config) -> Result<Vec<Mailbox>> {
    if config.tls_mode == TlsMode::Enforcing && config.has_builtin_namesrv() && !config.tls_enable {
        bail!(
            "tls.server.mode=enforcing with the built-in name server needs tls.enable=true: this broker registers at its port, too"
        );
    }
    start_for(config, config.shards())
}

/// Of a name server, which is on one core.
pub fn start_one(config: &Config) -> Result<Mailbox> {
    let mut mailboxes = start_for(config, 1)?;
    Ok(mailboxes.remove(0))
}

/// Of a controller.
pub fn start_controller(config: &Config) -> Result<SecurityNow> {
    let (watch, security) = read(config)?;
    let (now, security) = watch_channel(security);
    watch.start(move |security| drop(now.send_replace(security)))?;
    Ok(security)
}

fn start_for(config: &Config, cores: usize) -> Result<Vec<Mailbox>> {
    let (watch, security) = read(config)?;
    let (mut desks, mut mailboxes) = (Vec::new(), Vec::new());
    for _ in 0..cores {
        let (news, to_core) = channel();
        let bell = Doorbell::new()?;
        desks.push(Desk {
            news,
            bell: bell.clone(),
        });
        mailboxes.push(Mailbox {
            first: security.clone(),
            news: to_core,
            bell,
        });
    }
    watch.start(move |security| desks.iter().for_each(|desk| desk.send(&security)))?;
    Ok(mailboxes)
}

/// What cannot be used ends the start.
fn read(config: &Config) -> Result<(Watch, Security)> {
    // It looks at the files before they are read, so that no change is missed.
    let watch = Watch::new(Source::of(config));
    let security = watch.read()?;
    if watch.has_files() || config.tls_test_mode {
        info!(mode = ?config.tls_mode, ?security, "TLS");
    }
    if config.tls_enable && !config.tls_checks_server {
        warn!(
            "tls.enable=true without tls.client.authServer=true: no certificate is checked, and a man in the middle can read and change everything"
        );
    }
    Ok((watch, security))
}

impl Desk {
    fn send(&self, security: &Security) {
        // A core that has ended takes nothing any more.
        if self.news.send(security.clone()).is_ok() {
            self.bell.ring();
        }
    }
}

impl Mailbox {
    /// The machine with its connections secured, now and when the files have changed.
    pub fn over<M: Machine>(self, machine: &M) -> Secured<M> {
        let Self { first, news, bell } = self;
        let secured = Secured::new(machine.clone(), first);
        let (machine, of_task) = (machine.clone(), secured.clone());
        machine.clone().spawn("tls-files", async move {
            // It can only fail with the reactor itself.
            while machine.wait(&bell).await.is_ok() {
                if let Some(newest) = news.try_iter().last() {
                    of_task.set(newest);
                }
            }
        });
        secured
    }
}
