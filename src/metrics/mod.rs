//! What is measured, under which name, and how it is written for Prometheus and for OpenTelemetry.
//!
//! [`families`] is the table of all metrics: those of RocketMQ 5.5's broker with its names, labels and bounds, and ours. [`Histogram`] counts.
//! [`text`] writes samples, [`samples`] reads them back, and [`otlp`] makes of them what a collector takes. Nothing here knows a broker.
//!
//! A scrape is made section by section ([`Section`]): what one walk over topics or groups finds makes the samples of all families of the
//! section. So the samples of a family stand together, as the format wants it, also where several shards have some.

pub mod families;
#[cfg(test)]
mod golden_tests;
mod histogram;
pub mod otlp;
#[cfg(test)]
mod page;
pub mod samples;
pub mod text;

pub use families::{Family, Kind, Section, Switch};
pub use histogram::Histogram;
pub use text::{NodeLabels, Number};
