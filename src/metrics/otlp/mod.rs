//! Samples in OpenTelemetry's protocol (OTLP), as RocketMQ's own exporter sends them: with its names and units, one scope (`broker-meter`), no resource.

mod batch;
mod deltas;
mod names;
mod points;
#[cfg(test)]
mod tests;

pub use batch::Batch;
pub use points::{Point, Points};
