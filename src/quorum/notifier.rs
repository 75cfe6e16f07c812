//! Sends notifications of role changes (1008) to brokers, each on a connection of its own. A broker that misses it asks within 5 s (1004).

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::access::Links;
use super::secured::connect;
use crate::controller::Notice;

const LIMIT: Duration = Duration::from_secs(1);
const TRIES: u32 = 3;
/// Connections to brokers at a time.
const AT_A_TIME: usize = 256;

#[derive(Clone)]
pub struct Notifier {
    links: Links,
    /// The newest epoch that a broker is to be told. An older notice is not tried again.
    newest: Arc<Mutex<BTreeMap<(String, i64), i32>>>,
    permits: Arc<Semaphore>,
}

impl Notifier {
    pub fn new(links: Links) -> Self {
        Self {
            links,
            newest: Arc::default(),
            permits: Arc::new(Semaphore::new(AT_A_TIME)),
        }
    }

    pub fn send(&self, notice: Notice) {
        let key = (notice.broker_name.clone(), notice.broker_id);
        self.with_newest(|newest| {
            let epoch = newest.entry(key).or_insert(notice.master_epoch);
            *epoch = notice.master_epoch.max(*epoch);
        });
        let notifier = self.clone();
        tokio::spawn(async move { notifier.deliver(notice).await });
    }

    async fn deliver(&self, notice: Notice) {
        let Ok(_permit) = self.permits.acquire().await else {
            return;
        };
        let (name, id, epoch) = (&notice.broker_name, notice.broker_id, notice.master_epoch);
        let key = (name.clone(), id);
        for _ in 0..TRIES {
            if self.with_newest(|newest| newest.get(&key) != Some(&epoch)) {
                return;
            }
            match timeout(LIMIT, deliver_once(&notice, &self.links)).await {
                Ok(Ok(())) => {
                    info!(broker = %name, id, epoch, "told a broker who the master is");
                    break;
                }
                Ok(Err(error)) => {
                    warn!(broker = %name, id, address = %notice.broker_address, %error, "a broker cannot be told who the master is")
                }
                Err(_) => {
                    warn!(broker = %name, id, address = %notice.broker_address, "a broker does not take the notice of the master")
                }
            }
            sleep(LIMIT).await;
        }
        self.with_newest(|newest| {
            if newest.get(&key) == Some(&epoch) {
                newest.remove(&key);
            }
        });
    }

    fn with_newest<T>(&self, work: impl FnOnce(&mut BTreeMap<(String, i64), i32>) -> T) -> T {
        work(&mut self.newest.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn deliver_once(notice: &Notice, links: &Links) -> io::Result<()> {
    let mut stream = connect(&notice.broker_address, &links.security).await?;
    let (fields, mut signature) = (notice.fields(), String::new());
    let fields = links.signed(&fields.ext(), &notice.body, &mut signature);
    stream.write_all(&notice.frame(&fields)).await?;
    stream.shutdown().await?;
    // The broker closes after it has read all. It has it, even if it does not close in time.
    let mut rest = [0; 256];
    while timeout(LIMIT / 2, stream.read(&mut rest))
        .await
        .is_ok_and(|read| read.is_ok_and(|len| len > 0))
    {}
    Ok(())
}
