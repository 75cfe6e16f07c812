//! What is pushed, from the settings of a broker or of a controller.

use std::time::Duration;

use super::defaults::Config;
use super::metrics::MetricsExporter;
use super::push::{
    BATCH_POINTS, COLLECTOR, CollectorAddress, INTERVALS_MS, Push, PushHeaders, PushedTo,
    TIMEOUTS_MS,
};
use super::rule::{Rule, Switch};

/// What broker.conf and controller.conf say of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PushSettings {
    target: String,
    headers: Vec<(String, String)>,
    timeout_ms: u64,
    interval_ms: u64,
    log_interval_ms: u64,
    in_delta: bool,
    batch_points: usize,
}

impl Default for PushSettings {
    fn default() -> Self {
        Self::of(&Config::default())
    }
}

impl PushSettings {
    fn of(config: &Config) -> Self {
        Self {
            target: config.push_target.clone(),
            headers: config.push_headers.clone(),
            timeout_ms: config.push_timeout_ms,
            interval_ms: config.push_interval_ms,
            log_interval_ms: config.metrics_log_interval_ms,
            in_delta: config.metrics_in_delta,
            batch_points: config.push_batch_points,
        }
    }

    /// Takes a property, if it is one of these.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "metricsGrpcExporterTarget" => CollectorAddress.read(value).map(|it| self.target = it),
            "metricsGrpcExporterHeader" => PushHeaders.read(value).map(|it| self.headers = it),
            "metricGrpcExporterTimeOutInMills" => {
                TIMEOUTS_MS.read(value).map(|it| self.timeout_ms = it)
            }
            "metricGrpcExporterIntervalInMills" => {
                INTERVALS_MS.read(value).map(|it| self.interval_ms = it)
            }
            "metricLoggingExporterIntervalInMills" => {
                INTERVALS_MS.read(value).map(|it| self.log_interval_ms = it)
            }
            "metricsInDelta" => Switch.read(value).map(|it| self.in_delta = it),
            "metricsExportBatchMaxDataPoints" => {
                BATCH_POINTS.read(value).map(|it| self.batch_points = it)
            }
            _ => Ok(()),
        }
    }

    /// What is pushed by this exporter.
    pub fn push(&self, exporter: MetricsExporter) -> Option<Push> {
        let (to, interval_ms) = match exporter {
            MetricsExporter::Disable | MetricsExporter::Prometheus => return None,
            MetricsExporter::Log => (PushedTo::Log, self.log_interval_ms),
            MetricsExporter::Collector => {
                let to = PushedTo::Collector {
                    address: self.target.clone(),
                    headers: self.headers.clone(),
                    timeout: Duration::from_millis(self.timeout_ms),
                };
                (to, self.interval_ms)
            }
        };
        Some(Push {
            to,
            interval: Duration::from_millis(interval_ms),
            in_delta: self.in_delta,
            batch_points: self.batch_points,
        })
    }

    /// The setting that is missing, its value, and what would be allowed.
    pub fn misfit(&self, exporter: MetricsExporter) -> Option<(&'static str, String, String)> {
        let is_missing = exporter == MetricsExporter::Collector && self.target.is_empty();
        is_missing.then(|| {
            let allowed = format!("{COLLECTOR}, as metricsExporterType is OTLP_GRPC");
            ("metricsGrpcExporterTarget", String::new(), allowed)
        })
    }
}

impl Config {
    /// `None`: nothing is.
    pub fn metrics_push(&self) -> Option<Push> {
        PushSettings::of(self).push(self.metrics_exporter)
    }

    /// See [`PushSettings::misfit`].
    pub(super) fn misfit_of_push(&self) -> Option<(&'static str, String, String)> {
        PushSettings::of(self).misfit(self.metrics_exporter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_exporter_has_its_interval() {
        let mut settings = PushSettings::default();
        for (key, value) in [
            ("metricsGrpcExporterTarget", "http://otel:4317"),
            ("metricsGrpcExporterHeader", "a:b"),
            ("metricGrpcExporterTimeOutInMills", "5"),
            ("metricGrpcExporterIntervalInMills", "1000"),
            ("metricLoggingExporterIntervalInMills", "2000"),
            ("metricsInDelta", "true"),
            ("metricsExportBatchMaxDataPoints", "7"),
            ("another", "x"),
        ] {
            assert_eq!(settings.set(key, value), Ok(()), "{key}");
        }
        let of = |exporter| settings.push(exporter);
        let to = PushedTo::Collector {
            address: "http://otel:4317".into(),
            headers: vec![("a".into(), "b".into())],
            timeout: Duration::from_millis(5),
        };
        let push = of(MetricsExporter::Collector).unwrap();
        assert_eq!((&push.to, push.interval), (&to, Duration::from_secs(1)));
        assert!(push.in_delta && push.batch_points == 7);
        let log = of(MetricsExporter::Log).unwrap();
        assert_eq!(
            (log.to, log.interval),
            (PushedTo::Log, Duration::from_secs(2))
        );
        assert_eq!(of(MetricsExporter::Prometheus), None);
        assert_eq!(of(MetricsExporter::Disable), None);
    }

    #[test]
    fn a_push_needs_a_collector() {
        let settings = PushSettings::default();
        let (name, _, _) = settings.misfit(MetricsExporter::Collector).unwrap();
        assert_eq!(name, "metricsGrpcExporterTarget");
        assert_eq!(settings.misfit(MetricsExporter::Log), None);
    }
}
