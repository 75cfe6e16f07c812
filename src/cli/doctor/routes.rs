//! Where the name servers lead: brokers that do not answer, groups without a master.

use std::collections::BTreeMap;

use super::broker::{Answer, BrokerFacts, MASTER_ID};
use super::failure::Failure;
use super::finding::{Fault, Finding};

#[derive(Clone, Debug)]
pub struct NameServerFacts {
    pub addr: String,
    /// Why it does not say what it knows.
    pub error: Option<Failure>,
}

pub fn findings(servers: &[NameServerFacts], brokers: &[BrokerFacts]) -> Vec<Finding> {
    let servers = servers.iter().filter_map(server);
    let mut found: Vec<Finding> = servers.chain(brokers.iter().filter_map(broker)).collect();
    found.extend(groups_without_master(brokers));
    found
}

fn server(server: &NameServerFacts) -> Option<Finding> {
    let error = server.error.as_ref()?;
    let subject = format!("name server {}", server.addr);
    Some(error.refusal(&*subject).unwrap_or_else(|| {
        Finding::new(
            Fault::NameServerAway,
            subject,
            error.to_string(),
            "start it (ringmq namesrv, or ringmq broker with the built-in one), or take it out of namesrvAddr of brokers and clients",
        )
    }))
}

fn broker(broker: &BrokerFacts) -> Option<Finding> {
    let late = |seen: String| {
        let todo =
            "run doctor again; ringmq doctor on the broker's host looks at its disk and cores";
        Finding::new(Fault::Unanswered, broker.subject(), seen, todo)
    };
    match &broker.first {
        Answer::Some(_) => None,
        Answer::None => Some(late("its figures did not come in time".to_owned())),
        Answer::Failed(error) => Some(match error.refusal(broker.subject()) {
            Some(refusal) => refusal,
            None if broker.is_alone => late(error.to_string()),
            None => nowhere(broker, error),
        }),
    }
}

fn nowhere(broker: &BrokerFacts, error: &Failure) -> Finding {
    Finding::new(
        Fault::RouteToNowhere,
        broker.subject(),
        format!("the name server has it, and: {error}"),
        format!(
            "start it, or open the port; if it is up, brokerIP1 is an address that others cannot reach: set it in broker.conf \
             (--advertise). A broker that is gone leaves the routes after 2 minutes; mqadmin wipeWritePerm -b {} keeps producers \
             away until then",
            broker.name
        ),
    )
}

fn groups_without_master(brokers: &[BrokerFacts]) -> Vec<Finding> {
    let mut groups: BTreeMap<&str, Vec<&BrokerFacts>> = BTreeMap::new();
    // The others of its group are not known of one that was found alone.
    for broker in brokers.iter().filter(|broker| !broker.is_alone) {
        groups.entry(&broker.name).or_default().push(broker);
    }
    let headless = groups
        .into_iter()
        .filter(|(_, members)| members.iter().all(|member| member.id != MASTER_ID));
    headless
        .map(|(name, members)| {
            let addrs: Vec<&str> = members.iter().map(|member| &*member.addr).collect();
            Finding::new(
                Fault::NoMaster,
                name,
                format!("only slaves are registered: {}", addrs.join(", ")),
                "start the master; with controllers, mqadmin getControllerMetaData -a CONTROLLER and getSyncStateSet say why none is elected",
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::broker::Sample;
    use super::*;

    fn broker(name: &str, id: i64, first: Answer) -> BrokerFacts {
        BrokerFacts {
            name: name.into(),
            id,
            addr: format!("10.0.0.{id}:10911"),
            first,
            ..BrokerFacts::default()
        }
    }

    fn faults(servers: &[NameServerFacts], brokers: &[BrokerFacts]) -> Vec<Fault> {
        let found = findings(servers, brokers);
        found.iter().map(|found| found.fault).collect()
    }

    #[test]
    fn what_does_not_answer_is_named() {
        let well = || Answer::Some(Sample::default());
        let away = || Failure::Away("connection refused".into());
        let server = |error: Option<Failure>| NameServerFacts {
            addr: "10.0.0.9:9876".into(),
            error,
        };
        assert_eq!(faults(&[server(None)], &[broker("a", 0, well())]), []);
        assert_eq!(
            faults(&[server(Some(away()))], &[]),
            [Fault::NameServerAway]
        );
        let dead = broker("a", 0, Answer::Failed(away()));
        assert_eq!(faults(&[], &[dead]), [Fault::RouteToNowhere]);
        assert_eq!(
            faults(&[], &[broker("a", 0, Answer::None)]),
            [Fault::Unanswered]
        );
        assert_eq!(faults(&[], &[broker("a", 1, well())]), [Fault::NoMaster]);
        let group = [broker("a", 1, well()), broker("a", 0, well())];
        assert_eq!(faults(&[], &group), []);
    }

    #[test]
    fn an_answer_with_any_code_is_an_answer() {
        for code in [1, 3, 16] {
            let no = || Failure::Refused {
                code,
                remark: "no".into(),
            };
            let server = NameServerFacts {
                addr: "10.0.0.9:9876".into(),
                error: Some(no()),
            };
            let broker = broker("a", 0, Answer::Failed(no()));
            let found = findings(&[server], &[broker]);
            assert_eq!(found.len(), 2);
            for found in found {
                assert_eq!(found.fault, Fault::Denied);
                assert_eq!(found.todo.contains("--access-key"), code == 16);
            }
        }
    }

    /// A slave that no name server was asked about.
    #[test]
    fn a_broker_alone_is_not_judged_by_routes() {
        let alone = |first| BrokerFacts {
            is_alone: true,
            ..broker("a", 1, first)
        };
        let well = Answer::Some(Sample::default());
        assert_eq!(faults(&[], &[alone(well)]), []);
        let away = Answer::Failed(Failure::Away("closed".into()));
        assert_eq!(faults(&[], &[alone(away)]), [Fault::Unanswered]);
    }
}
