//! What a metric is called in OpenTelemetry's protocol. Exporters for Prometheus make its other name of it: they add the unit.

use super::super::families::Family;

/// The label in which Prometheus has the scope.
pub const SCOPE_LABEL: &str = "otel_scope_name";

/// Scope of what is not RocketMQ's.
const OURS: &str = "ringmq";

/// Name and unit as RocketMQ registers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instrument {
    pub name: &'static str,
    pub unit: &'static str,
}

/// The units that are part of a name for Prometheus.
const UNITS: [&str; 4] = ["milliseconds", "microseconds", "seconds", "bytes"];

/// RocketMQ's that are not made of their other name: those have the unit in it here, too, and this one has another text for it.
const KEPT: [&str; 2] = [
    "rocketmq_storage_flush_behind_bytes",
    "rocketmq_storage_dispatch_behind_bytes",
];
const IN_MS: &str = "rocketmq_finish_message_latency";

impl Family {
    pub fn scope(&self) -> &'static str {
        let mut fixed = self.fixed.iter();
        let scope = fixed.find(|(name, _)| *name == SCOPE_LABEL);
        scope.map_or(OURS, |(_, scope)| scope)
    }

    /// Ours have their unit in the name here, too: one of bytes and one of seconds may differ in nothing else.
    pub fn instrument(&self) -> Instrument {
        let of_unit = |unit: &'static str| {
            let without = self.name.strip_suffix(unit)?.strip_suffix('_')?;
            let is_kept = self.scope() == OURS || KEPT.contains(&self.name);
            let name = if is_kept { self.name } else { without };
            let unit = if name == IN_MS { "ms" } else { unit };
            Some(Instrument { name, unit })
        };
        let plain = Instrument {
            name: self.name,
            unit: "",
        };
        UNITS.into_iter().find_map(of_unit).unwrap_or(plain)
    }
}

/// What the values of an attribute are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    Text,
    Truth,
    Whole,
}

/// As RocketMQ has them.
pub fn values_of(label: &str) -> Values {
    match label {
        "is_system" | "is_retry" | "is_long_polling" => Values::Truth,
        "queue_id" => Values::Whole,
        _ => Values::Text,
    }
}
