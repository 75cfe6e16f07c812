//! The broker's settings as Java properties: 25, 26. Which there are, and what is allowed, is said by the rows of [`crate::config`].

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::broker::{Broker, BrokerConfig, ConfigFile, Effect, Refusal, suffix};
use crate::config::{ChangeError, Changed, Config, properties};
use crate::wire::Reply;
use crate::wire::codes::response;
use crate::wire::loose_json;

/// Properties that say where files are (RocketMQ: `configBlackList`).
const FORBIDDEN: &[&str] = &["brokerConfigPath", "configBlackList", "rocketmqHome"];

const CONTROLLERS: &str = "controllerAddr";

impl Broker {
    /// All of the changes or none. They are kept, and take precedence over broker.conf at the next start. (RocketMQ ignores names
    /// that it does not know and values that it cannot read.)
    pub(in crate::broker) fn update_config(
        &mut self,
        body: &[u8],
        now_ms: u64,
    ) -> Result<Reply, Refusal> {
        let text = std::str::from_utf8(body)
            .map_err(|_| Refusal::new(response::SYSTEM_ERROR, "the properties are not UTF-8"))?;
        let mut settings = self.config.settings.clone();
        let changes = properties::parse(text);
        let mut without_effect = Vec::new();
        for properties::Entry { key, value, .. } in &changes {
            if change(&mut settings, key, value)? == Changed::WithoutEffect {
                without_effect.push(key.clone());
            }
        }
        let before_permission = self.config.broker_permission;
        self.follow(settings);
        if self.config.broker_permission != before_permission {
            self.topics.changed(now_ms);
            self.effects.push(Effect::RegisterAll);
        }
        if !changes.is_empty() {
            let changes = changes.into_iter();
            self.changed_settings
                .extend(changes.map(|entry| (entry.key, entry.value)));
            self.persist(ConfigFile::Settings);
        }
        let mut reply = Reply::ok();
        if !without_effect.is_empty() {
            let names = without_effect.join(", ");
            reply.remark = Some(format!("kept, but without effect in this broker: {names}").into());
        }
        Ok(reply)
    }

    /// All settings as they are now, and what was set besides and has no effect.
    pub(in crate::broker) fn config_text(&self) -> Result<Reply, Refusal> {
        let entries = properties::parse(&self.config.settings.properties_text());
        let entries = entries.into_iter().map(|entry| (entry.key, entry.value));
        let mut values: BTreeMap<String, String> = entries.collect();
        for (name, value) in &self.changed_settings {
            values.entry(name.clone()).or_insert_with(|| value.clone());
        }
        let version = loose_json::to_vec(&self.topics.version());
        Ok(Reply {
            body: lines(&values).into_bytes(),
            ..Reply::ok().with("version", String::from_utf8_lossy(&version))
        })
    }

    /// What administrators have changed in this or an earlier life of the broker: the content of the file.
    pub(in crate::broker) fn changed_settings_text(&self) -> String {
        let text = lines(&self.changed_settings);
        format!(
            "# Changed in the running broker (mqadmin updateBrokerConfig). Takes precedence over broker.conf. To undo a change, delete its line.\n{text}"
        )
    }

    /// Loads what an earlier life has kept. A line that is not allowed any more is dropped; the error names the last of them.
    pub(in crate::broker) fn load_changed_settings(&mut self, text: &str) -> Result<(), Refusal> {
        let mut result = Ok(());
        let mut settings = self.config.settings.clone();
        for properties::Entry { key, value, .. } in properties::parse(text) {
            match change(&mut settings, &key, &value) {
                Ok(_) => {
                    self.changed_settings.insert(key, value);
                }
                Err(refusal) => result = Err(refusal),
            }
        }
        self.follow(settings);
        result
    }

    /// The controllers that an administrator has named in the running broker, also in an earlier life of it.
    pub fn named_controllers(&self) -> Option<Vec<SocketAddr>> {
        self.changed_settings.get(CONTROLLERS)?;
        ip_addresses(&self.config.settings.controllers)
    }

    /// Applies changed settings, and passes on what other rooms have to know.
    fn follow(&mut self, settings: Config) {
        let BrokerConfig {
            retention,
            admission,
            trace_on,
            settings: before,
            ..
        } = self.config.clone();
        self.config.follow(settings);
        if self.config.retention != retention {
            let retention = self.config.retention.clone();
            self.effects.push(Effect::KeepBy(retention));
        }
        if self.config.admission != admission {
            self.effects.push(Effect::Admit(self.config.admission));
        }
        if self.config.trace_on != trace_on {
            self.suffix = suffix(&self.config).into();
            self.effects.push(Effect::SayTraceOn(self.config.trace_on));
        }
        let slow_ms = self.config.settings.slow_request_ms;
        if slow_ms != before.slow_request_ms {
            self.effects.push(Effect::LogSlowRequests(slow_ms));
        }
        let controllers = &self.config.settings.controllers;
        if *controllers != before.controllers
            && let Some(addrs) = ip_addresses(controllers)
        {
            self.effects.push(Effect::UseControllers(addrs));
        }
    }
}

/// `None`: one of them is a host name.
fn ip_addresses(addresses: &[String]) -> Option<Vec<SocketAddr>> {
    addresses
        .iter()
        .map(|address| address.parse().ok())
        .collect()
}

fn change(settings: &mut Config, name: &str, value: &str) -> Result<Changed, Refusal> {
    if FORBIDDEN.contains(&name) {
        return Err(Refusal::new(
            response::NO_PERMISSION,
            "Can not update config in black list.",
        ));
    }
    let changed = settings.change(name, value).map_err(|error| match error {
        ChangeError::Fixed { .. } => Refusal::new(
            response::NO_PERMISSION,
            format!("Can not update config in black list: {error}"),
        ),
        ChangeError::Value { .. } | ChangeError::Unknown { .. } => {
            Refusal::new(response::SYSTEM_ERROR, error.to_string())
        }
    })?;
    // A look-up of a name may take seconds, and this thread answers messages.
    if name == CONTROLLERS && ip_addresses(&settings.controllers).is_none() {
        let remark = format!(
            "{name}={value}: in the running broker allowed are IP addresses with ports; host names are resolved when it starts"
        );
        return Err(Refusal::new(response::SYSTEM_ERROR, remark));
    }
    Ok(changed)
}

fn lines(values: &BTreeMap<String, String>) -> String {
    let mut text = String::new();
    for (name, value) in values {
        properties::write(&mut text, name, value);
    }
    text
}
