//! A controller's settings, in RocketMQ's names (`ControllerConfig.java`) and one of ringmq's own.

use crate::config::properties;

/// Three heartbeats of ringmq's brokers (`brokerHeartbeatInterval`). A client of RocketMQ gives up a send after 3 s: if another master is in
/// the route of a client that polls each second by then, its next send arrives. A broker of RocketMQ, whose interval is 1 s, has three of its intervals.
pub const SILENCE_LIMIT_MS: u64 = 1_500;

pub const SCAN_INTERVAL_MS: u64 = 50;

/// What may change in a running controller. Each controller has its own; those of the leader decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Without a live member of the SyncStateSet, elect any live broker: acknowledged messages may be lost.
    pub elect_unclean_master: bool,
    /// Tell brokers about an election at once (1008); otherwise they learn of it when they ask, every 5 s.
    pub notify_brokers: bool,
    /// How often silent brokers are looked for.
    pub scan_interval_ms: u64,
    /// How long a broker may be silent, if it does not state less, nor send more seldom.
    pub silence_limit_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            elect_unclean_master: false,
            notify_brokers: true,
            scan_interval_ms: SCAN_INTERVAL_MS,
            silence_limit_ms: SILENCE_LIMIT_MS,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpdateError {
    /// Properties that locate files. They cannot change at run time.
    #[error("a property that locates files")]
    Forbidden,
    #[error("{property}={value}: allowed is {allowed}")]
    Value {
        property: String,
        value: String,
        allowed: &'static str,
    },
}

const FORBIDDEN: [&str; 3] = ["configBlackList", "configStorePath", "rocketmqHome"];

enum Field<'a> {
    Is(&'a mut bool),
    Number(&'a mut u64, std::ops::RangeInclusive<u64>, &'static str),
}

impl Settings {
    /// As [`read`](Self::read), for a running controller.
    pub fn update(&mut self, text: &str) -> Result<(), UpdateError> {
        let is_forbidden = |key: &str| FORBIDDEN.contains(&key);
        if properties::parse(text)
            .iter()
            .any(|entry| is_forbidden(&entry.key))
        {
            return Err(UpdateError::Forbidden);
        }
        self.read(text)
    }

    /// Takes all of the properties, or none. Names without a meaning here are ignored, as RocketMQ does.
    pub fn read(&mut self, text: &str) -> Result<(), UpdateError> {
        let mut updated = self.clone();
        for properties::Entry { key, value, .. } in properties::parse(text) {
            updated.set(key, value)?;
        }
        *self = updated;
        Ok(())
    }

    fn set(&mut self, key: String, value: String) -> Result<(), UpdateError> {
        let field = self.fields().into_iter().find(|(name, _)| *name == key);
        let allowed = match field {
            None => return Ok(()),
            Some((_, Field::Is(is))) => {
                let read = match value.to_ascii_lowercase().as_str() {
                    "true" => Some(true),
                    "false" => Some(false),
                    _ => None,
                };
                if let Some(read) = read {
                    *is = read;
                    return Ok(());
                }
                "true or false"
            }
            Some((_, Field::Number(number, range, allowed))) => {
                let read = value.parse().ok();
                if let Some(read) = read.filter(|read| range.contains(read)) {
                    *number = read;
                    return Ok(());
                }
                allowed
            }
        };
        Err(UpdateError::Value {
            property: key,
            value,
            allowed,
        })
    }

    /// A line each, as they are kept and shown.
    pub fn properties_text(&self) -> String {
        let mut text = String::new();
        for (name, field) in self.clone().fields() {
            let value = match field {
                Field::Is(is) => is.to_string(),
                Field::Number(number, ..) => number.to_string(),
            };
            text.push_str(&format!("{name}={value}\n"));
        }
        text
    }

    fn fields(&mut self) -> [(&'static str, Field<'_>); 4] {
        const MS: &str = "10 to 60000";
        [
            (
                "enableElectUncleanMaster",
                Field::Is(&mut self.elect_unclean_master),
            ),
            (
                "notifyBrokerRoleChanged",
                Field::Is(&mut self.notify_brokers),
            ),
            (
                "ringmqBrokerSilenceLimitMillis",
                Field::Number(&mut self.silence_limit_ms, 10..=60_000, MS),
            ),
            (
                "scanNotActiveBrokerInterval",
                Field::Number(&mut self.scan_interval_ms, 10..=60_000, MS),
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn updates_are_taken_whole_or_not_at_all() {
        let mut settings = Settings::default();
        let text = "enableElectUncleanMaster=true\nscanNotActiveBrokerInterval=5000\ncontrollerThreadPoolNums=16\n";
        settings.update(text).unwrap();
        assert!(settings.elect_unclean_master && settings.scan_interval_ms == 5_000);
        for wrong in [
            "notifyBrokerRoleChanged=maybe",
            "scanNotActiveBrokerInterval=-1",
            "ringmqBrokerSilenceLimitMillis=9",
        ] {
            let before = settings.clone();
            let refused = settings.update(&format!("enableElectUncleanMaster=false\n{wrong}\n"));
            assert!(matches!(refused, Err(UpdateError::Value { .. })), "{wrong}");
            assert_eq!(settings, before);
        }
        assert_eq!(
            settings.update("configStorePath=/x"),
            Err(UpdateError::Forbidden)
        );
    }

    #[test]
    fn what_is_kept_can_be_read_again() {
        let settings = Settings {
            elect_unclean_master: true,
            notify_brokers: false,
            scan_interval_ms: 20,
            silence_limit_ms: 700,
        };
        let mut read = Settings::default();
        read.update(&settings.properties_text()).unwrap();
        assert_eq!(read, settings);
    }
}
