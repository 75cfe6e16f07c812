//! A broker's number in its group, as RocketMQ keeps it in the store's directory.
//!
//! ```text
//! brokerIdentity       cluster#broker name#id
//! brokerIdentity-temp  cluster#broker name#id#address;milliseconds
//! ```
//! The second one is written before the controller gives the number to this broker, and removed when the first one is there. Its last part
//! is the *check code*: by it the controller knows a broker that asks for the same number once more, as the answer was lost.

use crate::replication::members::MemberId;

pub const FILE: &str = "brokerIdentity";
pub const CLAIM_FILE: &str = "brokerIdentity-temp";

/// The group that a broker belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupName {
    pub cluster: String,
    pub broker_name: String,
}

/// A number that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub id: MemberId,
    pub check_code: String,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    #[error("{text:?} is not what it should be, such as {expected}")]
    Text {
        text: String,
        expected: &'static str,
    },
    #[error("it is of the broker {broker_name} of the cluster {cluster}")]
    Other {
        cluster: String,
        broker_name: String,
    },
}

/// The group of a broker, and its number in it.
pub fn read(text: &str) -> Result<(GroupName, MemberId), IdentityError> {
    let expected = "DefaultCluster#broker-a#1";
    let [cluster, broker_name, id] = parts(text, expected)?;
    let group = GroupName {
        cluster: cluster.to_owned(),
        broker_name: broker_name.to_owned(),
    };
    Ok((group, id_of(id, text, expected)?))
}

impl GroupName {
    pub fn identity_text(&self, id: MemberId) -> String {
        format!("{}#{}#{id}", self.cluster, self.broker_name)
    }

    pub fn claim_text(&self, claim: &Claim) -> String {
        let Claim { id, check_code } = claim;
        format!("{}#{check_code}", self.identity_text(*id))
    }

    pub fn read_identity(&self, text: &str) -> Result<MemberId, IdentityError> {
        let (group, id) = read(text)?;
        self.check(&group.cluster, &group.broker_name)?;
        Ok(id)
    }

    pub fn read_claim(&self, text: &str) -> Result<Claim, IdentityError> {
        let expected = "DefaultCluster#broker-a#1#127.0.0.1:10911;1700000000000";
        let [cluster, broker_name, id, check_code] = parts(text, expected)?;
        self.check(cluster, broker_name)?;
        Ok(Claim {
            id: id_of(id, text, expected)?,
            check_code: check_code.to_owned(),
        })
    }

    fn check(&self, cluster: &str, broker_name: &str) -> Result<(), IdentityError> {
        match self.cluster == cluster && self.broker_name == broker_name {
            true => Ok(()),
            false => Err(IdentityError::Other {
                cluster: cluster.to_owned(),
                broker_name: broker_name.to_owned(),
            }),
        }
    }
}

fn parts<'t, const N: usize>(
    text: &'t str,
    expected: &'static str,
) -> Result<[&'t str; N], IdentityError> {
    let parts: Vec<_> = text.trim_end().split('#').collect();
    parts.try_into().map_err(|_| wrong(text, expected))
}

fn id_of(id: &str, text: &str, expected: &'static str) -> Result<MemberId, IdentityError> {
    let id = id.parse().ok().filter(|id| *id > 0);
    id.ok_or_else(|| wrong(text, expected))
}

fn wrong(text: &str, expected: &'static str) -> IdentityError {
    IdentityError::Text {
        text: text.to_owned(),
        expected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group() -> GroupName {
        GroupName {
            cluster: "DefaultCluster".into(),
            broker_name: "broker-a".into(),
        }
    }

    #[test]
    fn the_files_are_rocketmqs() {
        let claim = Claim {
            id: 2,
            check_code: "127.0.0.1:10911;1700000000000".into(),
        };
        let text = group().claim_text(&claim);
        assert_eq!(
            text,
            "DefaultCluster#broker-a#2#127.0.0.1:10911;1700000000000"
        );
        assert_eq!(group().read_claim(&text), Ok(claim));
        let text = group().identity_text(2);
        assert_eq!(text, "DefaultCluster#broker-a#2");
        assert_eq!(group().read_identity(&text), Ok(2));
        assert_eq!(group().read_identity(&format!("{text}\n")), Ok(2));
    }

    #[test]
    fn what_is_no_identity_is_refused() {
        for text in [
            "",
            "x",
            "DefaultCluster#broker-a",
            "DefaultCluster#broker-a#0",
            "DefaultCluster#broker-a#-1",
            "DefaultCluster#broker-a#1#2",
            "DefaultCluster#broker-a#99999999999999999999",
        ] {
            let read = group().read_identity(text);
            assert!(matches!(read, Err(IdentityError::Text { .. })), "{text}");
        }
        let other = group().read_identity("DefaultCluster#broker-b#1");
        assert!(matches!(other, Err(IdentityError::Other { .. })));
        assert!(group().read_claim("DefaultCluster#broker-a#1").is_err());
    }
}
