//! What each setting means, from its row: for the page of all settings and for `ringmq broker --explain`.

use super::defaults::{Config, PROPERTIES, Property};
use super::{known, meant, without_effect};

/// One setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// In broker.conf.
    pub name: &'static str,
    pub default: String,
    /// The allowed values in words.
    pub allowed: String,
    /// Can be changed in the running broker.
    pub is_hot: bool,
    pub meaning: &'static str,
}

/// Why there is nothing to say about a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotExplained {
    #[error("{name} has no effect here: {why}; allowed is {allowed}")]
    Unsupported {
        name: String,
        allowed: String,
        why: &'static str,
    },
    #[error("{name} is a setting of RocketMQ without an effect here: {why}")]
    WithoutEffect { name: String, why: &'static str },
    #[error("{0} is a setting of a controller: `ringmq controller --help`")]
    OfController(String),
    #[error("{name} names a class of Java; only RocketMQ's own are accepted: {}", .classes.join(", "))]
    Class {
        name: String,
        classes: &'static [&'static str],
    },
    #[error("there is no setting {name}{}", .meant.map(|meant| format!("; did you mean {meant}?")).unwrap_or_default())]
    Unknown {
        name: String,
        meant: Option<&'static str>,
    },
}

/// All settings, in the order of their rows.
pub fn all() -> impl Iterator<Item = Explained> {
    let defaults = Config::default();
    PROPERTIES
        .iter()
        .map(move |property| explained(property, &defaults))
}

pub fn one(name: &str) -> Result<Explained, NotExplained> {
    if let Some(property) = Property::find(name) {
        return Ok(explained(property, &Config::default()));
    }
    let name = name.to_owned();
    if let Some(classes) = known::classes(&name) {
        let classes = classes.known;
        return Err(NotExplained::Class { name, classes });
    }
    Err(match known::unsupported(&name) {
        Some(unsupported) => NotExplained::Unsupported {
            allowed: unsupported.accepted.to_owned(),
            why: unsupported.why,
            name,
        },
        None if known::is_of_controller(&name) => NotExplained::OfController(name),
        None => match without_effect::find(&name) {
            Some(without_effect) => NotExplained::WithoutEffect {
                why: without_effect.why,
                name,
            },
            None => NotExplained::Unknown {
                meant: meant(&name),
                name,
            },
        },
    })
}

fn explained(property: &Property, defaults: &Config) -> Explained {
    Explained {
        name: property.name,
        default: (property.show)(defaults),
        allowed: property.allowed(),
        is_hot: property.is_hot,
        meaning: property.doc.trim(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_explained_from_its_row() {
        let found = one("flushDiskType").unwrap();
        assert_eq!(
            (found.default.as_str(), found.is_hot),
            ("ASYNC_FLUSH", false)
        );
        assert_eq!(found.allowed, "SYNC_FLUSH or ASYNC_FLUSH");
        assert!(found.meaning.contains("default"));
        assert!(one("brokerPermission").unwrap().is_hot);
        assert!(all().any(|each| each == found));
    }

    #[test]
    fn what_is_no_setting_is_told_apart() {
        let said = |name| one(name).unwrap_err().to_string();
        assert!(said("isBrokerContainer").contains("false"));
        assert_eq!(
            said("sendMessageThreadPoolNums"),
            "sendMessageThreadPoolNums is a setting of RocketMQ without an effect here: each core has one thread, which does all work of its queues"
        );
        assert!(said("authorizationProvider").contains("DefaultAuthorizationProvider"));
        assert!(said("flushDiskTyp").contains("did you mean flushDiskType?"));
        assert_eq!(said("qqqqqqqq"), "there is no setting qqqqqqqq");
    }
}
