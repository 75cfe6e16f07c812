//! The copies of a master: whether its replicas are linked, near, and as many as its sends wait for.

use super::broker::{Answer, BrokerFacts};
use super::finding::{Fault, Finding, Severity};
use crate::message::size;
use crate::wire::admin::HaStatus;

/// A replica that is further behind is lost as a copy for a while.
const FAR_BYTES: i64 = 64 << 20;

pub fn findings(brokers: &[BrokerFacts]) -> Vec<Finding> {
    let answering = brokers.iter();
    let answering = answering.filter(|broker| matches!(broker.first, Answer::Some(_)));
    answering
        .filter_map(|broker| Some((broker, broker.replicas.as_ref()?)))
        .flat_map(|(broker, status)| match status.master {
            true => of_master(broker, status, brokers),
            false => of_slave(broker, status),
        })
        .collect()
}

fn of_master(broker: &BrokerFacts, status: &HaStatus, brokers: &[BrokerFacts]) -> Vec<Finding> {
    let mut found = Vec::new();
    let in_sync = i64::from(status.in_sync_slave_nums) + 1;
    let needed = broker.needed_copies();
    let linked = status.ha_connection_info.len();
    let registered = brokers
        .iter()
        .filter(|other| other.name == broker.name && other.id != broker.id)
        .count();
    let todo = "start the slave, and let it reach the master's port for replicas (haListenPort, the broker's port + 1); the slave's log has the reason";
    if in_sync < needed {
        found.push(Finding::new(
            Fault::ReplicasAway,
            broker.subject(),
            format!("{in_sync} of {needed} copies are in sync, {linked} slaves are linked"),
            todo,
        ));
    } else if linked < registered {
        let seen = format!("{registered} slaves are registered, {linked} are linked to the master");
        let finding = Finding::new(Fault::ReplicasAway, broker.subject(), seen, todo);
        found.push(finding.at(Severity::Warning));
    }
    for link in &status.ha_connection_info {
        if !link.in_sync || link.diff >= FAR_BYTES {
            found.push(Finding::new(
                Fault::ReplicasBehind,
                format!("{}, replica {}", broker.subject(), link.addr),
                format!(
                    "{} behind at {}/s{}",
                    size::show(link.diff.max(0) as u64),
                    size::show(link.transferred_bytes_per_s.max(0) as u64),
                    if link.in_sync {
                        ""
                    } else {
                        ", not in the in-sync set"
                    }
                ),
                "look at the network between them and at the slave's disk (ringmq doctor there)",
            ));
        }
    }
    found
}

fn of_slave(broker: &BrokerFacts, status: &HaStatus) -> Vec<Finding> {
    if status.ha_client_runtime_info.activated {
        return Vec::new();
    }
    let finding = Finding::new(
        Fault::ReplicasAway,
        broker.subject(),
        "this slave is not linked to its master",
        "start the master, or set haMasterAddress; its log says why the link is refused",
    );
    vec![finding.at(Severity::Warning)]
}

#[cfg(test)]
mod tests {
    use super::super::broker::Sample;
    use super::*;
    use crate::wire::admin::{HaClient, HaConnection};

    fn master(settings: &[(&str, &str)], links: Vec<HaConnection>) -> BrokerFacts {
        let settings = settings.iter();
        BrokerFacts {
            name: "broker-a".into(),
            addr: "10.0.0.1:10911".into(),
            first: Answer::Some(Sample::default()),
            settings: settings
                .map(|(name, value)| ((*name).into(), (*value).into()))
                .collect(),
            replicas: Some(HaStatus {
                master: true,
                in_sync_slave_nums: links.iter().filter(|link| link.in_sync).count() as i32,
                ha_connection_info: links,
                ..HaStatus::default()
            }),
            ..BrokerFacts::default()
        }
    }

    fn link(in_sync: bool, diff: i64) -> HaConnection {
        HaConnection {
            addr: "10.0.0.2:40000".into(),
            in_sync,
            diff,
            ..HaConnection::default()
        }
    }

    const SYNC: [(&str, &str); 2] = [("brokerRole", "SYNC_MASTER"), ("inSyncReplicas", "2")];

    fn faults(brokers: &[BrokerFacts]) -> Vec<(Fault, Severity)> {
        let found = findings(brokers);
        found
            .iter()
            .map(|found| (found.fault, found.severity))
            .collect()
    }

    #[test]
    fn a_master_lacks_copies_that_its_sends_wait_for() {
        let away = [(Fault::ReplicasAway, Severity::Error)];
        assert_eq!(faults(&[master(&SYNC, vec![])]), away);
        assert_eq!(faults(&[master(&SYNC, vec![link(true, 0)])]), []);
        assert_eq!(faults(&[master(&[], vec![])]), [], "it is alone");
        let controlled = [("enableControllerMode", "true"), ("minInSyncReplicas", "2")];
        assert_eq!(faults(&[master(&controlled, vec![])]), away);
    }

    #[test]
    fn a_replica_is_behind_by_bytes_or_by_the_set() {
        let behind = [(Fault::ReplicasBehind, Severity::Warning)];
        assert_eq!(faults(&[master(&[], vec![link(true, FAR_BYTES)])]), behind);
        assert_eq!(faults(&[master(&[], vec![link(false, 10)])]), behind);
    }

    #[test]
    fn a_registered_slave_is_linked() {
        let slave = |activated| BrokerFacts {
            name: "broker-a".into(),
            id: 1,
            first: Answer::Some(Sample::default()),
            replicas: Some(HaStatus {
                ha_client_runtime_info: HaClient {
                    activated,
                    ..HaClient::default()
                },
                ..HaStatus::default()
            }),
            ..BrokerFacts::default()
        };
        let warning = (Fault::ReplicasAway, Severity::Warning);
        let linked = master(&[], vec![link(true, 0)]);
        assert_eq!(faults(&[linked, slave(true)]), []);
        assert_eq!(
            faults(&[master(&[], vec![]), slave(false)]),
            [warning, warning]
        );
    }
}
