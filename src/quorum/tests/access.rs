//! Controllers that ask for credentials.

use std::sync::Arc;

use super::cluster::{Cluster, NAME, ask, plain};
use crate::auth::{Book, Credentials, Directory, Rules, Signer};
use crate::quorum::{Access, Links};
use crate::wire::Value;
use crate::wire::codes::{CONTROLLER_TO_CONTROLLER, request, response};

fn rules() -> Rules {
    Rules {
        authenticates: true,
        authorizes: true,
        ..Rules::default()
    }
}

fn book(own: &Credentials) -> Arc<Book> {
    let mut directory = Directory::default();
    directory.ensure_super(own).unwrap();
    Arc::new(directory.book())
}

/// Of a controller with these credentials.
fn links(secret: &str) -> Links {
    let own = Credentials::new("broker", secret);
    Links {
        access: Some(Access::new(rules(), book(&own), Some(&own))),
        ..plain()
    }
}

const ELECT: [(&str, Value<'static>); 4] = [
    ("clusterName", Value::Str("c")),
    ("brokerName", Value::Str(NAME)),
    ("brokerId", Value::I64(2)),
    ("designateElect", Value::Bool(true)),
];

#[test]
fn they_believe_each_other_and_brokers_and_no_stranger() {
    let cluster = Cluster::start_with((0..3).map(|_| links("right")).collect());
    cluster.register(1);
    cluster.register(2);
    assert_eq!(cluster.elect(1).code, response::SUCCESS);
    let address = cluster.addresses[cluster.leader()];
    let codes = (1_001..=1_013).chain([request::BROKER_HEARTBEAT, CONTROLLER_TO_CONTROLLER, 0]);
    for code in codes {
        let answer = ask(address, code, &ELECT, b"").unwrap();
        assert_eq!(answer.code, response::NO_PERMISSION, "{code}");
        assert_eq!(answer.remark.as_deref(), Some("username cannot be null."));
    }
    for (name, secret, expected) in [
        ("broker", "wrong", "check signature failed."),
        ("nobody", "right", "User:nobody is not found."),
    ] {
        let signer = Signer::new(&Credentials::new(name, secret));
        let mut signature = String::new();
        let fields = signer.signed(&ELECT, b"", &mut signature);
        let answer = ask(address, request::CONTROLLER_ELECT_MASTER, &fields, b"").unwrap();
        assert_eq!(answer.code, response::NO_PERMISSION);
        assert_eq!(answer.remark.as_deref(), Some(expected));
    }
    assert_eq!(cluster.replica_info().0, Some(1), "nothing has changed");
}

/// Its votes and entries are refused, and it takes none.
#[test]
fn one_with_another_secret_is_no_member() {
    let secrets = ["right", "right", "wrong"];
    let mut cluster = Cluster::start_with(secrets.map(links).into());
    assert_ne!(cluster.leader(), 2);
    cluster.register(1);
    // Of two that do not believe each other none is elected.
    let other = 1 - cluster.leader();
    cluster.stop_node(other);
    let (left, mut signature) = (1 - other, String::new());
    let links = links("right");
    let fields = links.signed(&[], b"", &mut signature);
    let code = request::CONTROLLER_GET_NEXT_BROKER_ID;
    super::cluster::until(|| {
        let answer = ask(cluster.addresses[left], code, &fields, b"")?;
        (answer.code == response::CONTROLLER_NOT_LEADER).then_some(())
    });
    cluster.start_node(other);
    assert_ne!(cluster.leader(), 2);
}
