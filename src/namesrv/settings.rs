//! What can be changed in a running name server (`mqadmin updateNamesrvConfig`), in RocketMQ's names.

use crate::config::properties;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Routes carry `orderTopicConf`. Off, as clients without ordered topics need not pay for the look-up.
    pub order_message_enable: bool,
    /// The reply to a registration contains the ordered topics.
    pub return_order_topic_config_to_broker: bool,
    /// The lists by cluster and unit, and the list of all, which is large where there are very many topics.
    pub enable_topic_list: bool,
    pub enable_all_topic_list: bool,
    /// A topic that a broker's complete report does not have is forgotten.
    pub delete_topic_with_broker_registration: bool,
    /// The lowest replica acts for a missing master.
    pub support_acting_master: bool,
    /// Shown only: where the name server listens.
    pub listen_port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpdateError {
    /// Properties that locate files. They cannot change at run time.
    #[error("where files are cannot be changed")]
    Forbidden,
    #[error("{property}={value}: true or false")]
    Value { property: String, value: String },
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            order_message_enable: false,
            return_order_topic_config_to_broker: true,
            enable_topic_list: true,
            enable_all_topic_list: true,
            delete_topic_with_broker_registration: false,
            support_acting_master: false,
            listen_port: 9876,
        }
    }
}

const FORBIDDEN: [&str; 4] = [
    "configBlackList",
    "configStorePath",
    "kvConfigPath",
    "rocketmqHome",
];

impl Settings {
    /// In a running name server: as [`read`](Self::read), but for what cannot change.
    pub fn update(&mut self, text: &str) -> Result<(), UpdateError> {
        let is_forbidden = |entry: &properties::Entry| FORBIDDEN.contains(&entry.key.as_str());
        if properties::parse(text).iter().any(is_forbidden) {
            return Err(UpdateError::Forbidden);
        }
        self.read(text)
    }

    /// Takes all of the properties, or none. Names without a meaning here are ignored, as RocketMQ does.
    pub fn read(&mut self, text: &str) -> Result<(), UpdateError> {
        let mut updated = self.clone();
        for properties::Entry { key, value, .. } in properties::parse(text) {
            let Some((_, field)) = updated.fields().into_iter().find(|(name, _)| *name == key)
            else {
                continue;
            };
            *field = match value.to_ascii_lowercase().as_str() {
                "true" => true,
                "false" => false,
                _ => {
                    return Err(UpdateError::Value {
                        property: key,
                        value,
                    });
                }
            };
        }
        *self = updated;
        Ok(())
    }

    /// What GET_NAMESRV_CONFIG shows: also what cannot be changed.
    pub fn shown(&self) -> String {
        format!(
            "listenPort={}\n{}",
            self.listen_port,
            self.properties_text()
        )
    }

    pub fn properties_text(&self) -> String {
        let mut text = String::new();
        for (name, value) in self.clone().fields() {
            text.push_str(&format!("{name}={value}\n"));
        }
        text
    }

    fn fields(&mut self) -> [(&'static str, &mut bool); 6] {
        [
            (
                "deleteTopicWithBrokerRegistration",
                &mut self.delete_topic_with_broker_registration,
            ),
            ("enableAllTopicList", &mut self.enable_all_topic_list),
            ("enableTopicList", &mut self.enable_topic_list),
            ("orderMessageEnable", &mut self.order_message_enable),
            (
                "returnOrderTopicConfigToBroker",
                &mut self.return_order_topic_config_to_broker,
            ),
            ("supportActingMaster", &mut self.support_acting_master),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn updates_are_taken_whole_or_not_at_all() {
        let mut settings = Settings::default();
        settings
            .update("orderMessageEnable=true\nlistenPort=1\n")
            .unwrap();
        assert!(settings.order_message_enable);
        let refused = settings.update("orderMessageEnable=false\nenableTopicList=maybe\n");
        assert_eq!(
            refused,
            Err(UpdateError::Value {
                property: "enableTopicList".into(),
                value: "maybe".into()
            })
        );
        assert_eq!(
            settings.update("orderMessageEnable=false\nkvConfigPath=/x\n"),
            Err(UpdateError::Forbidden)
        );
        assert!(settings.order_message_enable);
    }

    #[test]
    fn what_is_shown_can_be_read_again() {
        let mut settings = Settings {
            enable_topic_list: false,
            support_acting_master: true,
            ..Settings::default()
        };
        let text = settings.properties_text();
        assert!(text.contains("enableTopicList=false\n"));
        let shown = settings.clone();
        settings = Settings::default();
        settings.update(&text).unwrap();
        assert_eq!(settings, shown);
    }
}
