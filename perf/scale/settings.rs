//! The sizes of the loads, from the environment.

use std::str::FromStr;
use std::time::Duration;

use crate::caller::Result;

#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Of the bystander's first report.
    pub quiet: Duration,
    /// Of a load that does not end by itself.
    pub seconds: Duration,
    pub pulls: usize,
    pub consumers: usize,
    pub subscriptions: usize,
    pub batch: usize,
    pub topics: usize,
    pub queues: usize,
    pub clients: usize,
    pub strangers: usize,
    pub dashboards: usize,
    pub commits_per_s: u64,
    pub sends_per_s: u64,
}

impl Settings {
    pub fn from_env() -> Result<Settings> {
        Ok(Settings {
            quiet: Duration::from_secs(variable("QUIET_SECONDS", 5)?),
            seconds: Duration::from_secs(variable("SECONDS_PER_RUN", 10)?),
            pulls: variable("PULLS", 50_000)?,
            consumers: variable("CONSUMERS", 3_000)?,
            subscriptions: variable("SUBSCRIPTIONS", 20_000)?,
            batch: variable("BATCH", 140_000)?,
            topics: variable("TOPICS", 10_000)?,
            queues: variable("QUEUES", 8)?,
            clients: variable("CLIENTS", 10_000)?,
            strangers: variable("STRANGERS", 5_000)?,
            dashboards: variable("DASHBOARDS", 4)?,
            commits_per_s: variable("COMMITS_PER_S", 10_000)?,
            sends_per_s: variable("SENDS_PER_S", 1_000)?,
        })
    }
}

fn variable<T: FromStr>(name: &str, default: T) -> Result<T> {
    match std::env::var(name) {
        Err(_) => Ok(default),
        Ok(text) => {
            let parsed = text.parse();
            parsed.map_err(|_| format!("{name} is {text:?}, not a number").into())
        }
    }
}
