//! RocketMQ's other properties, which have no effect here (`without_effect.rs`) or one value only, and suggestions for misspelt names.
//!
//! The names are those of RocketMQ 5.x (`BrokerConfig`, `MessageStoreConfig`, `NettyServerConfig`, `NettyClientConfig`,
//! `AuthConfig`), so that an existing broker.conf is accepted, and only an unknown name causes a warning.

use super::rule::{Rule, Switch};
use super::{properties, without_effect};

/// A property whose effect operators rely on (access control, replication) and which is not supported: only the value that turns it
/// off is accepted: ignoring another one would suggest that it takes effect.
pub struct Unsupported {
    pub name: &'static str,
    pub accepted: &'static str,
    pub why: &'static str,
}

pub const UNSUPPORTED: &[Unsupported] = &[
    Unsupported {
        name: "enableAutoInSyncReplicas",
        accepted: "false",
        why: "a send waits for as many replicas as inSyncReplicas says",
    },
    Unsupported {
        name: "enableDLegerCommitLog",
        accepted: "false",
        why: "replicas follow a master instead",
    },
    Unsupported {
        name: "isBrokerContainer",
        accepted: "false",
        why: "one process holds one broker per core instead",
    },
    Unsupported {
        name: "mappedFileSizeConsumeQueue",
        accepted: "6000000",
        why: "ConsumeQueue files have 300,000 entries, RocketMQ's default",
    },
    Unsupported {
        name: "storePathBrokerIdentity",
        accepted: "",
        why: "brokerIdentity is in storePathRootDir",
    },
    Unsupported {
        name: "storePathEpochFile",
        accepted: "",
        why: "epochFileCheckpoint is in storePathRootDir",
    },
    Unsupported {
        name: "storeType",
        accepted: "default",
        why: "ConsumeQueues are files, not RocksDB",
    },
    Unsupported {
        name: "syncFromLastFile",
        accepted: "false",
        why: "a new replica copies the whole log",
    },
    Unsupported {
        name: "useTLS",
        accepted: "false",
        why: "tls.enable=true turns TLS on for what this broker asks of others",
    },
];

impl Unsupported {
    pub fn accepts(&self, value: &str) -> bool {
        value.eq_ignore_ascii_case(self.accepted)
    }

    pub fn allowed(&self) -> String {
        format!("{} ({})", self.accepted, self.why)
    }
}

pub fn unsupported(name: &str) -> Option<&'static Unsupported> {
    UNSUPPORTED
        .iter()
        .find(|unsupported| unsupported.name == name)
}

/// A property that names a class.
pub struct Classes {
    pub name: &'static str,
    /// Those that may be named.
    pub known: &'static [&'static str],
}

/// Java classes that a broker.conf names: RocketMQ's own do what is done here, and another class would do something else. The strategies with a state check fewer
/// requests than the others; here every request is checked.
#[rustfmt::skip]
const CLASSES: &[Classes] = &[
    Classes { name: "authenticationProvider", known: &["org.apache.rocketmq.auth.authentication.provider.DefaultAuthenticationProvider"] },
    Classes { name: "authenticationMetadataProvider", known: &["org.apache.rocketmq.auth.authentication.provider.LocalAuthenticationMetadataProvider"] },
    Classes { name: "authenticationStrategy", known: &["org.apache.rocketmq.auth.authentication.strategy.StatelessAuthenticationStrategy",
        "org.apache.rocketmq.auth.authentication.strategy.StatefulAuthenticationStrategy"] },
    Classes { name: "authorizationProvider", known: &["org.apache.rocketmq.auth.authorization.provider.DefaultAuthorizationProvider"] },
    Classes { name: "authorizationMetadataProvider", known: &["org.apache.rocketmq.auth.authorization.provider.LocalAuthorizationMetadataProvider"] },
    Classes { name: "authorizationStrategy", known: &["org.apache.rocketmq.auth.authorization.strategy.StatelessAuthorizationStrategy",
        "org.apache.rocketmq.auth.authorization.strategy.StatefulAuthorizationStrategy"] },
];

impl Classes {
    /// Nothing is RocketMQ's default.
    pub fn accepts(&self, value: &str) -> bool {
        value.is_empty() || self.known.contains(&value)
    }

    pub fn allowed(&self) -> String {
        format!("nothing, or {}", self.known.join(" or "))
    }
}

pub fn classes(name: &str) -> Option<&'static Classes> {
    CLASSES.iter().find(|classes| classes.name == name)
}

/// RocketMQ's name for a controller in the process of a name server; here also in that of a broker.
const CONTROLLER_INSIDE: &str = "enableControllerInNamesrv";

/// Properties of a controller in the same process, which reads them itself (`cli/controller.rs`).
const OF_CONTROLLER: [&str; 10] = [
    CONTROLLER_INSIDE,
    "controllerDLegerGroup",
    "controllerDLegerPeers",
    "controllerDLegerSelfId",
    "controllerStorePath",
    "controllerType",
    "enableElectUncleanMaster",
    "notifyBrokerRoleChanged",
    "ringmqBrokerSilenceLimitMillis",
    "scanNotActiveBrokerInterval",
];

pub fn is_of_controller(name: &str) -> bool {
    OF_CONTROLLER.contains(&name)
}

/// Whether the file starts a controller in the process that reads it: the last line of that name counts.
pub fn asks_for_controller(text: &str) -> Result<bool, String> {
    let of_name = |entry: &properties::Entry| entry.key == CONTROLLER_INSIDE;
    let Some(properties::Entry { value, .. }) = properties::parse(text).into_iter().rfind(of_name)
    else {
        return Ok(false);
    };
    let read: Result<bool, String> = Switch.read(&value);
    read.map_err(|allowed| format!("{CONTROLLER_INSIDE}={value}: {allowed}"))
}

pub fn is_known(name: &str) -> bool {
    without_effect::find(name).is_some()
}

/// The name nearest to `name`, if it is near enough to be what was meant.
pub fn nearest(name: &str, ours: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    // Bounds the distance's cost; no property has a longer name.
    if name.len() > 64 {
        return None;
    }
    let candidates = ours
        .chain(UNSUPPORTED.iter().map(|unsupported| unsupported.name))
        .chain(without_effect::names());
    let (distance, nearest) = candidates
        .map(|known| (distance(name, known), known))
        .min()?;
    (distance <= 1 + name.len() / 6).then_some(nearest)
}

/// Levenshtein's distance, with upper and lower case taken for the same.
fn distance(left: &str, right: &str) -> usize {
    strsim::levenshtein(&left.to_lowercase(), &right.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        assert_eq!(distance("listenPort", "listenport"), 0);
        assert_eq!(distance("lisenPort", "listenPort"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }

    #[test]
    fn a_slip_of_the_pen_finds_its_name() {
        let ours = || ["listenPort", "brokerName"].into_iter();
        assert_eq!(nearest("lisenPort", ours()), Some("listenPort"));
        assert_eq!(
            nearest("sendMessageThreadPoolNum", ours()),
            Some("sendMessageThreadPoolNums")
        );
        assert_eq!(nearest("somethingElseEntirely", ours()), None);
        assert_eq!(nearest(&"x".repeat(100_000), ours()), None);
    }

    #[test]
    fn names_are_listed_once() {
        let mut names: Vec<&str> = without_effect::names().collect();
        names.extend(UNSUPPORTED.iter().map(|unsupported| unsupported.name));
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
