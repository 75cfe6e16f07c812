//! One broker: its figures twice, its settings, its replicas, and of a master the groups.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use super::groups;
use super::notes::Notes;
use super::plan::Plan;
use super::remote::{ask, connect};
use crate::cli::doctor::broker::{Answer, BrokerFacts, MASTER_ID, Sample};
use crate::cli::doctor::failure::Failure;
use crate::client::Remote;
use crate::config::properties::{self, Entry};
use crate::wire::codes::request;
use crate::wire::loose_json;
use crate::wire::stats::KvTable;

/// Looks at the broker with this place in the notes.
pub async fn look(place: usize, plan: &Plan, notes: &Notes) {
    let (name, id, addr) = {
        let seen = notes.write();
        let broker = &seen.brokers[place];
        (broker.name.clone(), broker.id, broker.addr.clone())
    };
    let connected = connect(&addr, plan.tls.as_ref(), plan.credentials.as_ref()).await;
    let first = match &connected {
        Ok(remote) => sample(remote).await,
        Err(error) => Err(error.clone()),
    };
    let is_there = first.is_ok();
    notes.write().brokers[place].first = match first {
        Ok(sample) => Answer::Some(sample),
        Err(error) => Answer::Failed(error),
    };
    let Ok(remote) = connected else { return };
    if !is_there {
        return;
    }
    match ask(&remote, request::GET_BROKER_CONFIG, &[]).await {
        Ok(answer) => notes.write().brokers[place].settings = settings(&answer.body),
        Err(error) => notes.left_out(format!("settings of {name} ({error})")),
    }
    if let Ok(answer) = ask(&remote, request::GET_BROKER_HA_STATUS, &[]).await {
        notes.write().brokers[place].replicas = loose_json::from_slice(&answer.body).ok();
    }
    let groups = match id {
        MASTER_ID => groups::look(&remote, &name, notes).await,
        _ => Vec::new(),
    };
    tokio::time::sleep_until(plan.second.into()).await;
    match sample(&remote).await {
        Ok(sample) => notes.write().brokers[place].second = Some(sample),
        Err(error) => notes.left_out(format!("a second look at {name} ({error})")),
    }
    groups::look_again(&remote, &name, &groups, notes).await;
}

async fn sample(remote: &Remote) -> Result<Sample, Failure> {
    let answer = ask(remote, request::GET_BROKER_RUNTIME_INFO, &[]).await?;
    let table = loose_json::from_slice::<KvTable>(&answer.body);
    let table = table.map_err(|error| Failure::Refused {
        code: answer.code,
        remark: format!("its figures cannot be read: {error}"),
    })?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    Ok(Sample {
        at_ms: now.map_or(0, |since| since.as_millis() as i64),
        figures: table.table,
    })
}

/// The text of its broker.conf.
pub fn settings(body: &[u8]) -> BTreeMap<String, String> {
    let entries = properties::parse(&String::from_utf8_lossy(body)).into_iter();
    entries
        .map(|Entry { key, value, .. }| (key, value))
        .collect()
}

/// A broker that no name server was asked about.
pub fn alone(settings: &BTreeMap<String, String>, addr: String) -> BrokerFacts {
    let of = |name: &str| settings.get(name).cloned().unwrap_or_default();
    BrokerFacts {
        name: of("brokerName"),
        id: of("brokerId").parse().unwrap_or(MASTER_ID),
        addr,
        is_alone: true,
        ..BrokerFacts::default()
    }
}
