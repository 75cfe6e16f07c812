//! Alert rules for Prometheus.

pub const RULES: &str = include_str!("alerts.yml");
