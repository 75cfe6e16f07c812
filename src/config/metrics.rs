//! The settings of the metrics: who exports them, where, and with which labels.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use super::rule::{Address, Rule};
use crate::metrics::{Section, families};

/// How metrics leave the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricsExporter {
    Disable,
    /// They are pushed to an OpenTelemetry collector.
    Collector,
    /// An HTTP endpoint for Prometheus.
    Prometheus,
    Log,
}

/// The names of `metricsExporterType`, or their numbers.
pub struct ExporterName;

impl Rule<MetricsExporter> for ExporterName {
    fn read(&self, text: &str) -> Result<MetricsExporter, String> {
        match text {
            "DISABLE" | "0" => Ok(MetricsExporter::Disable),
            "OTLP_GRPC" | "1" => Ok(MetricsExporter::Collector),
            "PROM" | "2" => Ok(MetricsExporter::Prometheus),
            "LOG" | "3" => Ok(MetricsExporter::Log),
            _ => Err("DISABLE, OTLP_GRPC, PROM or LOG".into()),
        }
    }

    fn show(&self, value: &MetricsExporter) -> String {
        match value {
            MetricsExporter::Disable => "DISABLE".into(),
            MetricsExporter::Collector => "OTLP_GRPC".into(),
            MetricsExporter::Prometheus => "PROM".into(),
            MetricsExporter::Log => "LOG".into(),
        }
    }
}

/// The ports of an endpoint.
pub const PORTS: RangeInclusive<u16> = 1..=u16::MAX;

/// Labels with their values: `name:value` with `,` between them; and whose samples get them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricsLabels {
    OfBroker,
    OfController,
}

impl Rule<Vec<(String, String)>> for MetricsLabels {
    fn read(&self, text: &str) -> Result<Vec<(String, String)>, String> {
        let pairs = text.split(',').filter(|pair| !pair.is_empty());
        let labels: Option<Vec<_>> = pairs
            .map(|pair| {
                let (name, value) = pair.split_once(':')?;
                let is_one = !value.contains(':') && is_label(name) && !self.is_taken(name);
                is_one.then(|| (name.to_owned(), value.to_owned()))
            })
            .collect();
        let is_once = |labels: &Vec<(String, String)>| {
            let names = labels.iter().map(|(name, _)| name);
            names.collect::<std::collections::BTreeSet<_>>().len() == labels.len()
        };
        labels.filter(is_once).ok_or_else(|| {
            "NAME:VALUE, several with , between them, such as region:eu,team:orders; a name has letters, digits and _, and is none that a \
             metric has already"
                .into()
        })
    }

    fn show(&self, value: &Vec<(String, String)>) -> String {
        let pairs = value.iter().map(|(name, value)| format!("{name}:{value}"));
        pairs.collect::<Vec<_>>().join(",")
    }
}

fn is_label(name: &str) -> bool {
    let mut bytes = name.bytes();
    let is_letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    bytes.next().is_some_and(is_letter)
        && bytes.all(|byte| is_letter(byte) || byte.is_ascii_digit())
        && !name.starts_with("__")
}

impl MetricsLabels {
    fn shows(self, section: Section) -> bool {
        (section == Section::Controller) == (self == Self::OfController)
    }

    /// Whether a sample would have two labels of this name.
    fn is_taken(self, name: &str) -> bool {
        let mut shown = families::ALL.iter();
        name == "le"
            || shown.any(|family| {
                self.shows(family.section)
                    && (family.labels.contains(&name)
                        || family.fixed.iter().any(|(fixed, _)| *fixed == name))
            })
    }
}

/// Nothing: at the broker's own address.
impl Rule<Option<IpAddr>> for Address {
    fn read(&self, text: &str) -> Result<Option<IpAddr>, String> {
        if text.is_empty() {
            return Ok(None);
        }
        let address = Rule::<IpAddr>::read(self, text);
        address
            .map(Some)
            .map_err(|allowed| format!("{allowed}, or nothing"))
    }

    fn show(&self, value: &Option<IpAddr>) -> String {
        value.map(|address| address.to_string()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exporters_by_name_and_by_number() {
        assert_eq!(ExporterName.read("PROM"), Ok(MetricsExporter::Prometheus));
        assert_eq!(ExporterName.read("2"), Ok(MetricsExporter::Prometheus));
        assert_eq!(ExporterName.read("0"), Ok(MetricsExporter::Disable));
        for (name, number) in [("OTLP_GRPC", "1"), ("LOG", "3")] {
            let exporter = ExporterName.read(name).unwrap();
            assert_eq!(ExporterName.read(number), Ok(exporter));
            assert_eq!(ExporterName.show(&exporter), name);
        }
        for other in ["OTLP", "4", "", "prom"] {
            assert!(ExporterName.read(other).is_err(), "{other}");
        }
    }

    #[test]
    fn labels_come_back_as_they_were_written() {
        let labels = MetricsLabels::OfBroker.read("region:eu,team:a b").unwrap();
        assert_eq!(labels[1], ("team".into(), "a b".into()));
        assert_eq!(MetricsLabels::OfBroker.show(&labels), "region:eu,team:a b");
        assert_eq!(MetricsLabels::OfBroker.read(""), Ok(Vec::new()));
        for wrong in [
            "a",
            "a:b:c",
            ":b",
            "1a:b",
            "a-b:c",
            "__a:b",
            "topic:x",
            "le:1",
            "otel_scope_name:x",
            "a:1,a:2",
        ] {
            assert!(MetricsLabels::OfBroker.read(wrong).is_err(), "{wrong}");
        }
    }
}
