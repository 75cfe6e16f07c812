//! What a controller's file says of its metrics.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::metrics::{ExporterName, MetricsExporter, MetricsLabels, PORTS};
use super::push::Push;
use super::push_settings::PushSettings;
use super::rule::{Address, Rule};

/// RocketMQ's controller listens on all addresses, its broker on its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControllerMetrics {
    exporter: MetricsExporter,
    host: IpAddr,
    port: u16,
    push: PushSettings,
    pub labels: Vec<(String, String)>,
}

impl Default for ControllerMetrics {
    fn default() -> Self {
        Self {
            exporter: MetricsExporter::Disable,
            host: Ipv4Addr::UNSPECIFIED.into(),
            port: 5557,
            push: PushSettings::default(),
            labels: Vec::new(),
        }
    }
}

impl ControllerMetrics {
    /// Takes a property, if it is one of the metrics.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let read = match key {
            "metricsExporterType" => ExporterName.read(value).map(|it| self.exporter = it),
            "metricsPromExporterHost" => {
                Rule::<IpAddr>::read(&Address, value).map(|it| self.host = it)
            }
            "metricsPromExporterPort" => PORTS.read(value).map(|it| self.port = it),
            "metricsLabel" => MetricsLabels::OfController
                .read(value)
                .map(|it| self.labels = it),
            _ => self.push.set(key, value),
        };
        read.map_err(|allowed| format!("{key}={value}: allowed is {allowed}"))
    }

    /// What is missing among them.
    pub fn check(&self) -> Result<(), String> {
        let misfit = self.push.misfit(self.exporter);
        misfit.map_or(Ok(()), |(name, value, allowed)| {
            Err(format!("{name}={value}: allowed is {allowed}"))
        })
    }

    /// `None`: nobody asks for them.
    pub fn listen(&self) -> Option<SocketAddr> {
        let is_on = self.exporter == MetricsExporter::Prometheus;
        is_on.then(|| SocketAddr::new(self.host, self.port))
    }

    /// `None`: nothing is pushed or logged.
    pub fn push(&self) -> Option<Push> {
        self.push.push(self.exporter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_controllers_labels_are_its_own() {
        let mut shown = ControllerMetrics::default();
        for taken in ["dledger_operation", "broker_set", "le"] {
            let refused = shown.set("metricsLabel", &format!("{taken}:y"));
            assert!(refused.is_err(), "{taken}");
        }
        // A label of the other's samples.
        assert_eq!(shown.set("metricsLabel", "topic:y"), Ok(()));
        assert!(MetricsLabels::OfBroker.read("dledger_operation:y").is_ok());
    }

    #[test]
    fn a_controllers_port_is_one_that_can_be_asked() {
        let mut shown = ControllerMetrics::default();
        for port in ["0", "65536", "-1", ""] {
            let refused = shown.set("metricsPromExporterPort", port);
            assert!(refused.unwrap_err().contains("1 to 65535"), "{port}");
        }
        assert_eq!(shown.set("metricsPromExporterPort", "65535"), Ok(()));
    }
}
