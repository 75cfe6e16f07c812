//! The name servers and what they lead to. What is known is written down at once, as the time may be over before all is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Instant;

use futures_util::future::{join, join_all};

use super::brokers;
use super::notes::{Notes, Seen};
use super::plan::Plan;
use super::remote::{TRANSPORT, ask, connect};
use crate::cli::doctor::broker::BrokerFacts;
use crate::cli::doctor::failure::Failure;
use crate::cli::doctor::routes::NameServerFacts;
use crate::wire::codes::request;
use crate::wire::loose_json;
use crate::wire::route::ClusterInfo;

/// Brokers that are looked at.
const MAX_BROKERS: usize = 64;

pub struct Gathering {
    notes: Notes,
    done: Receiver<()>,
}

impl Gathering {
    pub fn start(plan: Plan) -> Self {
        let (notes, (tell, done)) = (Notes::default(), channel());
        let written = notes.clone();
        std::thread::spawn(move || {
            let gathered = TRANSPORT.run(64, gather(&plan, &written));
            if let Err(error) = gathered {
                written.left_out(format!("brokers ({error})"));
            }
            let _ = tell.send(());
        });
        Self { notes, done }
    }

    pub fn finish(self, until: Instant) -> Seen {
        let left = until.saturating_duration_since(Instant::now());
        if self.done.recv_timeout(left) == Err(RecvTimeoutError::Timeout) {
            self.notes.left_out("what had not answered in time".into());
        }
        self.notes.write().clone()
    }
}

async fn gather(plan: &Plan, notes: &Notes) {
    let named = plan.servers.iter();
    let named = join_all(named.map(|addr| server(addr, true, plan, notes)));
    let guessed = plan.guesses.iter();
    let guessed = join_all(guessed.map(|addr| server(addr, false, plan, notes)));
    let (named, guessed) = join(named, guessed).await;
    let mut found = Found {
        routed: named.into_iter().chain(guessed).flatten().collect(),
        alone: None,
    };
    if found.routed.is_empty() && plan.servers.is_empty() {
        found = by_brokers(plan, notes).await;
    }
    let known = found.brokers();
    if known.len() > MAX_BROKERS {
        notes.left_out(format!(
            "{} of {} brokers",
            known.len() - MAX_BROKERS,
            known.len()
        ));
    }
    let chosen: Vec<BrokerFacts> = known.into_values().take(MAX_BROKERS).collect();
    let count = chosen.len();
    notes.write().brokers = chosen;
    join_all((0..count).map(|place| brokers::look(place, plan, notes))).await;
}

#[derive(Default)]
struct Found {
    /// What name servers know.
    routed: Vec<ClusterInfo>,
    /// Without a name server.
    alone: Option<BrokerFacts>,
}

impl Found {
    /// By name and id.
    fn brokers(self) -> BTreeMap<(String, i64), BrokerFacts> {
        let of = |broker: BrokerFacts| ((broker.name.clone(), broker.id), broker);
        let mut known: BTreeMap<_, _> = self.alone.into_iter().map(of).collect();
        let routed = self.routed.into_iter();
        for broker in routed.flat_map(|info| info.broker_addr_table.into_values()) {
            let addrs = broker.broker_addrs.into_iter();
            known.extend(addrs.map(|(id, addr)| {
                of(BrokerFacts {
                    name: broker.broker_name.clone(),
                    id,
                    addr,
                    ..BrokerFacts::default()
                })
            }));
        }
        known
    }
}

/// The brokers that a name server knows. A guess that is no name server is none without a word.
async fn server(addr: &str, is_named: bool, plan: &Plan, notes: &Notes) -> Option<ClusterInfo> {
    let asked = async {
        let remote = connect(addr, plan.tls.as_ref(), plan.credentials.as_ref()).await?;
        ask(&remote, request::GET_BROKER_CLUSTER_INFO, &[]).await
    };
    let answered = asked.await;
    if !matches!(answered, Err(Failure::Away(_))) {
        notes.write().speaking.insert(addr.to_owned());
    }
    if is_named || answered.is_ok() {
        let error = answered.as_ref().err().cloned();
        let addr = addr.to_owned();
        notes.write().servers.push(NameServerFacts { addr, error });
    }
    loose_json::from_slice(&answered.ok()?.body).ok()
}

/// Of the brokers among the guesses: what their own name servers know, or else the broker itself.
async fn by_brokers(plan: &Plan, notes: &Notes) -> Found {
    let speaking: Vec<String> = notes.write().speaking.iter().cloned().collect();
    let mut found = Found::default();
    let mut silent = None;
    let mut asked = BTreeSet::new();
    for addr in speaking {
        let settings = async {
            let remote = connect(&addr, plan.tls.as_ref(), plan.credentials.as_ref()).await?;
            ask(&remote, request::GET_BROKER_CONFIG, &[]).await
        };
        let settings = match settings.await {
            Ok(answer) => brokers::settings(&answer.body),
            Err(Failure::Refused { .. }) => {
                silent.get_or_insert(brokers::alone(&BTreeMap::new(), addr));
                continue;
            }
            Err(Failure::Away(_)) => continue,
        };
        let servers = settings.get("namesrvAddr").map_or("", |servers| servers);
        for server_addr in servers.split(';').filter(|addr| !addr.is_empty()) {
            if asked.insert(server_addr.to_owned()) {
                let known = server(server_addr, true, plan, notes).await;
                found.routed.extend(known);
            }
        }
        let own_port = settings.get("listenPort").map_or("", |port| port);
        let is_first = found.routed.is_empty() && found.alone.is_none();
        if is_first && addr.ends_with(&format!(":{own_port}")) {
            found.alone = Some(brokers::alone(&settings, addr));
        }
    }
    if found.routed.is_empty() {
        // It does not tell its settings; what it does tell, `brokers` finds out.
        found.alone = found.alone.or(silent);
    }
    found
}
