//! An OpenTelemetry collector, over gRPC.

use std::time::Duration;

use anyhow::{Context, Result};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::metrics::v1::ResourceMetrics;
use tonic::codec::CompressionEncoding;
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue, MetadataMap};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

pub struct Collector {
    endpoint: Endpoint,
    headers: MetadataMap,
    timeout: Duration,
    /// `None`: the last one is not to be used again.
    channel: Option<Channel>,
}

impl Collector {
    /// It is connected to with the first request.
    pub fn new(address: String, headers: &[(String, String)], timeout: Duration) -> Result<Self> {
        let endpoint = Endpoint::from_shared(address).context("metricsGrpcExporterTarget")?;
        let mut map = MetadataMap::new();
        for (name, value) in headers {
            let key: AsciiMetadataKey = name.parse().context("metricsGrpcExporterHeader")?;
            let value: AsciiMetadataValue = value.parse().context("metricsGrpcExporterHeader")?;
            map.append(key, value);
        }
        Ok(Self {
            endpoint: endpoint.connect_timeout(timeout),
            headers: map,
            timeout,
            channel: None,
        })
    }

    /// Returns what the collector says of points that it has not taken. An error is one of all of them.
    pub async fn send(&mut self, metrics: ResourceMetrics) -> Result<Option<String>, String> {
        // A connection whose other end is gone without a word takes requests as before.
        let channel = self.channel.take();
        let channel = channel.unwrap_or_else(|| self.endpoint.connect_lazy());
        // Collectors written in Go compress the answer to a compressed request, whatever the client accepts.
        let mut client = MetricsServiceClient::new(channel.clone())
            .send_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Gzip);
        let mut request = Request::new(ExportMetricsServiceRequest {
            resource_metrics: vec![metrics],
        });
        *request.metadata_mut() = self.headers.clone();
        let answer = tokio::time::timeout(self.timeout, client.export(request)).await;
        let answer = answer.map_err(|_| format!("no answer after {:?}", self.timeout))?;
        let answer = answer.map_err(|status| text_of(&status))?.into_inner();
        self.channel = Some(channel);
        let partial = answer.partial_success;
        let refused = partial.filter(|it| it.rejected_data_points > 0);
        Ok(refused.map(|it| format!("{} points: {}", it.rejected_data_points, it.error_message)))
    }
}

/// With the reasons, of which some repeat what they are the reason for.
fn text_of(status: &Status) -> String {
    let mut text = format!("{:?}: {}", status.code(), status.message());
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        let reason = error.to_string();
        if !text.contains(&reason) {
            text.push_str(&format!(": {reason}"));
        }
        source = error.source();
    }
    text
}
