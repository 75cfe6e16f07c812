//! What `ringmq broker` prints instead of starting: the configuration of a start (`-p` and `-m`, as RocketMQ's `mqbroker`), and what a
//! setting means (`--explain`).

use anyhow::Result;
use clap::Args;

use super::usage::UsageError;
use crate::config::{Config, explain, properties};

#[derive(Args, Clone, Debug, Default)]
#[group(multiple = false)]
pub struct ShowArgs {
    /// Print the configuration that the broker would have, as lines of broker.conf, and end
    #[arg(short = 'p', long = "print-config", alias = "printConfigItem")]
    pub all: bool,

    /// The same, with the settings alone that RocketMQ calls important
    #[arg(
        short = 'm',
        long = "print-important-config",
        alias = "printImportantConfig"
    )]
    pub important: bool,

    /// Print what a setting of broker.conf means, its default and what is allowed, and end; without NAME of all settings
    #[arg(long, value_name = "NAME")]
    pub explain: Option<Option<String>>,
}

/// What RocketMQ 5.5.0 marks with `@ImportantField`, out of what has an effect here.
const IMPORTANT: &[&str] = &[
    "autoCreateSubscriptionGroup",
    "autoCreateTopicEnable",
    "brokerClusterName",
    "brokerIP1",
    "brokerId",
    "brokerName",
    "brokerRole",
    "deleteWhen",
    "diskMaxUsedSpaceRatio",
    "fileReservedTime",
    "flushDiskType",
    "flushIntervalCommitLog",
    "listenPort",
    "maxMessageSize",
    "mappedFileSizeCommitLog",
    "namesrvAddr",
    "slaveReadEnable",
    "storePathCommitLog",
    "storePathRootDir",
    "traceTopicEnable",
    "transactionCheckInterval",
    "transactionCheckMax",
    "transactionTimeOut",
];

impl ShowArgs {
    /// What to print of a broker with this configuration; `None`: it is to start.
    pub fn of_config(&self, config: &Config) -> Option<String> {
        let text = config.properties_text();
        match (self.all, self.important) {
            (true, _) => Some(text),
            (false, true) => Some(important(&text)),
            (false, false) => None,
        }
    }

    /// What `--explain` prints.
    pub fn explained(&self) -> Option<Result<String>> {
        let name = self.explain.as_ref()?;
        Some(match name {
            None => Ok(explain::all().map(|setting| paragraph(&setting)).collect()),
            Some(name) => explain::one(name)
                .map(|setting| paragraph(&setting))
                .map_err(|error| UsageError::new(error.to_string()).into()),
        })
    }
}

fn important(text: &str) -> String {
    let mut shown = String::new();
    for properties::Entry { key, value, .. } in properties::parse(text) {
        if IMPORTANT.contains(&key.as_str()) {
            properties::write(&mut shown, &key, &value);
        }
    }
    shown
}

fn paragraph(setting: &explain::Explained) -> String {
    let change = match setting.is_hot {
        true => "in the running broker, too (mqadmin updateBrokerConfig)",
        false => "at the start only",
    };
    let default = match setting.default.as_str() {
        "" => "none",
        default => default,
    };
    let mut text = format!(
        "{}\n  default  {default}\n  allowed  {}\n  set      {change}\n",
        setting.name, setting.allowed
    );
    if !setting.meaning.is_empty() {
        text.push_str(&format!("  {}\n", setting.meaning));
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_important_ones_exist_and_are_few() {
        let text = Config::default().properties_text();
        let shown = important(&text);
        assert_eq!(shown.lines().count(), IMPORTANT.len(), "{shown}");
        assert!(shown.contains("flushDiskType=ASYNC_FLUSH\n"));
        let args = ShowArgs {
            all: true,
            ..ShowArgs::default()
        };
        assert_eq!(args.of_config(&Config::default()), Some(text));
        let none = ShowArgs::default();
        assert_eq!(none.of_config(&Config::default()), None);
    }

    #[test]
    fn a_setting_is_a_paragraph() {
        let explain = |name: Option<&str>| {
            let args = ShowArgs {
                explain: Some(name.map(str::to_owned)),
                ..ShowArgs::default()
            };
            args.explained().unwrap()
        };
        let text = explain(Some("brokerPermission")).unwrap();
        assert!(text.starts_with(
            "brokerPermission\n  default  6\n  allowed  a whole number from 0 to 7\n  set      in the running broker"
        ));
        assert!(explain(None).unwrap().contains(&text));
        let error = explain(Some("brokerPermision")).unwrap_err();
        assert!(error.is::<UsageError>());
        assert!(error.to_string().contains("did you mean brokerPermission?"));
    }
}
