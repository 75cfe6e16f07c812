//! The broker's settings as Java properties: 25, 26.

use std::collections::BTreeMap;

use crate::broker::reply::Reply;
use crate::broker::{Broker, BrokerConfig, ConfigFile, Effect, Refusal};
use crate::wire::codes::response;
use crate::wire::loose_json;

const HOUR_MS: u64 = 3_600_000;

/// A setting by RocketMQ's name.
struct Setting {
    name: &'static str,
    show: fn(&BrokerConfig) -> String,
    /// None: fixed at the start.
    change: Option<fn(&mut BrokerConfig, &str) -> Option<()>>,
}

macro_rules! setting {
    ($name:literal, $($field:ident).+) => {
        Setting {
            name: $name,
            show: |config| config.$($field).+.to_string(),
            change: Some(|config, text| {
                config.$($field).+ = text.parse().ok()?;
                Some(())
            }),
        }
    };
    ($name:literal, fixed $show:expr) => {
        Setting {
            name: $name,
            show: $show,
            change: None,
        }
    };
}

/// A number within the limits that broker.conf has, too.
macro_rules! within {
    ($name:literal, $($field:ident).+, $limits:expr) => {
        Setting {
            name: $name,
            show: |config| config.$($field).+.to_string(),
            change: Some(|config, text| {
                let value = text.parse().ok()?;
                config.$($field).+ = Some(value).filter(|value| $limits.contains(value))?;
                Some(())
            }),
        }
    };
}

/// A share of the disk.
macro_rules! percent {
    ($name:literal, $field:ident) => {
        Setting {
            name: $name,
            show: |config| config.retention.$field.to_string(),
            change: Some(|config, text| {
                let percent = text.parse().ok()?;
                config.retention.$field =
                    Some(percent).filter(|percent| (1..100).contains(percent))?;
                Some(())
            }),
        }
    };
}

const SETTINGS: &[Setting] = &[
    setting!(
        "allowRecallWhenBrokerNotWriteable",
        recall_when_not_writeable
    ),
    setting!("autoCreateSubscriptionGroup", auto_create_group),
    setting!("autoCreateTopicEnable", auto_create_topic),
    setting!(
        "brokerClusterName",
        fixed | config | config.cluster_name.clone()
    ),
    setting!("brokerId", fixed | _ | 0.to_string()),
    setting!(
        "brokerIP1",
        fixed | config | config.advertise.ip().to_string()
    ),
    setting!("brokerName", fixed | config | config.broker_name.clone()),
    setting!("brokerPermission", broker_permission),
    setting!("channelExpiredTimeout", client_expiry_ms),
    setting!("cleanFileForciblyEnable", retention.clean_forcibly),
    setting!("commitLogMaxBytes", retention.max_log_bytes),
    Setting {
        name: "defaultMessageRequestMode",
        show: |config| config.pop.default_mode.clone(),
        change: Some(|config, text| {
            config.pop.default_mode = matches!(text, "PULL" | "POP").then(|| text.into())?;
            Some(())
        }),
    },
    within!(
        "defaultPopShareQueueNum",
        pop.default_share_queues,
        (-1..=65_536)
    ),
    setting!("defaultTopicQueueNums", default_topic_queue_nums),
    Setting {
        name: "deleteWhen",
        show: |config| show_hours(&config.retention.delete_hours),
        change: Some(|config, text| {
            config.retention.delete_hours = hours(text)?;
            Some(())
        }),
    },
    percent!("diskMaxUsedSpaceRatio", max_used_percent),
    percent!("diskSpaceCleanForciblyRatio", forcible_percent),
    percent!("diskSpaceWarningLevelRatio", warning_percent),
    setting!("enablePopMessageThreshold", pop.limits_in_flight),
    setting!("enablePropertyFilter", property_filter),
    setting!("enableRetryTopicV2", pop.retry_topic_v2),
    Setting {
        name: "fileReservedTime",
        show: |config| (config.retention.reserved_ms / HOUR_MS).to_string(),
        change: Some(|config, text| {
            config.retention.reserved_ms = u64::from(text.parse::<u32>().ok()?) * HOUR_MS;
            Some(())
        }),
    },
    setting!("filterSupportRetry", filter_support_retry),
    setting!(
        "listenPort",
        fixed | config | config.advertise.port().to_string()
    ),
    setting!("litePullMessageEnable", lite_pull),
    setting!("longPollingEnable", long_polling),
    setting!("maxMessageSize", max_message_bytes),
    within!("maxPopPollingSize", pop.max_polls, (1..=10_000_000)),
    setting!("maxTransferBytesOnMessageInMemory", max_pull_bytes),
    setting!("maxTransferCountOnMessageInMemory", max_pull_messages),
    setting!(
        "notifyConsumerIdsChangedEnable",
        notify_consumer_ids_changed
    ),
    within!(
        "popFromRetryProbability",
        pop.retry_first_percent,
        (0..=100)
    ),
    within!(
        "popInflightMessageThreshold",
        pop.in_flight_limit,
        (1..=1_000_000_000)
    ),
    within!("popPollingSize", pop.max_polls_of_queue, (1..=1_000_000)),
    setting!("popResponseReturnActualRetryTopic", pop.shows_retry_topic),
    setting!("recallMessageEnable", recall),
    setting!("regionId", fixed | config | config.region_id.clone()),
    setting!("rejectTransactionMessage", reject_transaction_message),
    setting!("serverLoadBalancerEnable", pop.divides_queues),
    setting!("shortPollingTimeMills", short_polling_ms),
    setting!("storeReplyMessageEnable", store_replies),
    within!(
        "timerMaxDelaySec",
        timer_max_delay_s,
        (0..=1_000_000_000_000)
    ),
    setting!(
        "timerMemoryEntries",
        fixed | config | config.timer_memory_entries.to_string()
    ),
    setting!(
        "timerRollWindowSlot",
        fixed | config | (config.timer_roll_window_ms / 1000).to_string()
    ),
    setting!(
        "timerWheelEnable",
        fixed | config | config.timer_wheel.to_string()
    ),
    setting!("traceOn", fixed | config | config.trace_on.to_string()),
    setting!(
        "traceTopicEnable",
        fixed | config | config.trace_topic.to_string()
    ),
    within!(
        "transactionCheckInterval",
        transaction_check_interval_ms,
        (100..=86_400_000)
    ),
    within!(
        "transactionCheckMax",
        transaction_check_max,
        (1..=1_000_000)
    ),
    within!(
        "transactionOpBatchInterval",
        transaction_op_batch_interval_ms,
        (0..=600_000)
    ),
    within!(
        "transactionOpMsgMaxSize",
        transaction_op_max_bytes,
        (1..=65_536)
    ),
    within!(
        "transactionTimeOut",
        transaction_timeout_ms,
        (0..=86_400_000)
    ),
    setting!("useServerSideResetOffset", server_side_reset),
];

/// What would move files under the running broker (RocketMQ: `configBlackList`).
const FORBIDDEN: &[&str] = &["brokerConfigPath", "configBlackList", "rocketmqHome"];

impl Broker {
    /// All of the changes or none. They are kept, and stronger than broker.conf at the next start. (RocketMQ passes over names
    /// that it does not know and values that it cannot read.)
    pub(in crate::broker) fn update_config(
        &mut self,
        body: &[u8],
        now_ms: u64,
    ) -> Result<Reply, Refusal> {
        let text = std::str::from_utf8(body)
            .map_err(|_| Refusal::new(response::SYSTEM_ERROR, "the properties are not UTF-8"))?;
        let mut config = self.config.clone();
        let changes = properties(text)?;
        for (name, value) in &changes {
            change(&mut config, name, value)?;
        }
        let before = std::mem::replace(&mut self.config, config);
        if self.config.broker_permission != before.broker_permission {
            self.topics.changed(now_ms);
            self.effects.push(Effect::RegisterAll);
        }
        if self.config.retention != before.retention {
            let retention = self.config.retention.clone();
            self.effects.push(Effect::KeepBy(retention));
        }
        if !changes.is_empty() {
            let owned = changes
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()));
            self.changed_settings.extend(owned);
            self.persist(ConfigFile::Settings);
        }
        Ok(Reply::ok())
    }

    /// What broker.conf and its defaults say, with what has been changed since.
    pub(in crate::broker) fn config_text(&self) -> Result<Reply, Refusal> {
        let start = self.config.start_properties.iter();
        let mut values: BTreeMap<&str, String> = start
            .map(|(name, value)| (&**name, value.clone()))
            .collect();
        for setting in SETTINGS {
            values.insert(setting.name, (setting.show)(&self.config));
        }
        let lines = values
            .into_iter()
            .map(|(name, value)| format!("{name}={value}\n"));
        let version = loose_json::to_vec(&self.topics.version());
        Ok(Reply {
            body: lines.collect::<String>().into_bytes(),
            ..Reply::ok().with("version", String::from_utf8_lossy(&version))
        })
    }

    /// What administrators have changed in this or an earlier life of the broker, as the file that keeps it has it.
    pub(in crate::broker) fn changed_settings_text(&self) -> String {
        let mut text = String::from(
            "# Changed in the running broker (mqadmin updateBrokerConfig); stronger than broker.conf. To go back: delete the line.\n",
        );
        for (name, value) in &self.changed_settings {
            text.push_str(&format!("{name}={value}\n"));
        }
        text
    }

    /// Takes in what an earlier life has kept. What cannot be taken any more is said, and the rest is taken.
    pub(in crate::broker) fn load_changed_settings(&mut self, text: &str) -> Result<(), Refusal> {
        let mut result = Ok(());
        let retention = self.config.retention.clone();
        for line in text.lines() {
            match properties(line) {
                Ok(changes) => {
                    for (name, value) in changes {
                        match change(&mut self.config, name, value) {
                            Ok(()) => {
                                self.changed_settings.insert(name.into(), value.into());
                            }
                            Err(refusal) => result = Err(refusal),
                        }
                    }
                }
                Err(refusal) => result = Err(refusal),
            }
        }
        if self.config.retention != retention {
            let retention = self.config.retention.clone();
            self.effects.push(Effect::KeepBy(retention));
        }
        result
    }
}

fn properties(text: &str) -> Result<Vec<(&str, &str)>, Refusal> {
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with(['#', '!']));
    lines
        .map(|line| match line.split_once('=') {
            Some((name, value)) => Ok((name.trim(), value.trim())),
            None => Err(Refusal::new(
                response::SYSTEM_ERROR,
                format!("property line {line:?} has no ="),
            )),
        })
        .collect()
}

/// `04` or `02;14`
fn hours(text: &str) -> Option<Vec<u8>> {
    let hours = text.split(';').map(|hour| hour.trim().parse().ok());
    hours.map(|hour| hour.filter(|hour| *hour < 24)).collect()
}

fn show_hours(hours: &[u8]) -> String {
    let hours: Vec<String> = hours.iter().map(|hour| format!("{hour:02}")).collect();
    hours.join(";")
}

fn change(config: &mut BrokerConfig, name: &str, value: &str) -> Result<(), Refusal> {
    if FORBIDDEN.contains(&name) {
        return Err(Refusal::new(
            response::NO_PERMISSION,
            "Can not update config in black list.",
        ));
    }
    let Some(setting) = SETTINGS.iter().find(|setting| setting.name == name) else {
        return Err(Refusal::new(
            response::SYSTEM_ERROR,
            format!("{name} is not known here or cannot be changed while the broker runs"),
        ));
    };
    let Some(change) = setting.change else {
        return Err(Refusal::new(
            response::NO_PERMISSION,
            format!("Can not update config in black list: {name} is fixed when the broker starts"),
        ));
    };
    change(config, value).ok_or_else(|| {
        Refusal::new(
            response::SYSTEM_ERROR,
            format!("{name} cannot be {value:?}"),
        )
    })
}
