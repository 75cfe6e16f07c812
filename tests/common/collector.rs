//! A collector of OpenTelemetry's metrics: the server side of what a broker pushes, in this process.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::metrics::v1::{Metric, metric};
use tokio::sync::oneshot;
use tonic::codec::CompressionEncoding;
use tonic::codegen::Service;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

/// It listens until it is dropped.
pub struct Collector {
    pub addr: SocketAddr,
    received: Received,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Pushed {
    pub headers: MetadataMap,
    pub request: ExportMetricsServiceRequest,
}

impl Pushed {
    /// With the name of the scope of each.
    pub fn metrics(&self) -> impl Iterator<Item = (&str, &Metric)> {
        let resources = self.request.resource_metrics.iter();
        let scopes = resources.flat_map(|resource| &resource.scope_metrics);
        scopes.flat_map(|metrics| {
            let scope = metrics.scope.as_ref().expect("a scope");
            metrics.metrics.iter().map(|metric| (&*scope.name, metric))
        })
    }

    pub fn points(&self) -> usize {
        let points = |(_, metric): (_, &Metric)| match metric.data.as_ref().expect("points") {
            metric::Data::Gauge(gauge) => gauge.data_points.len(),
            metric::Data::Sum(sum) => sum.data_points.len(),
            metric::Data::Histogram(histogram) => histogram.data_points.len(),
            other => panic!("{other:?}"),
        };
        self.metrics().map(points).sum()
    }
}

#[derive(Clone, Default)]
struct Received {
    pushed: Arc<Mutex<Vec<Pushed>>>,
    /// Points of each request that are refused.
    refused: i64,
}

#[tonic::async_trait]
impl MetricsService for Received {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let (headers, _, request) = request.into_parts();
        let pushed = Pushed { headers, request };
        let mut all = self.pushed.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(pushed);
        let partial_success = (self.refused > 0).then(|| ExportMetricsPartialSuccess {
            rejected_data_points: self.refused,
            error_message: "too old".to_owned(),
        });
        Ok(Response::new(ExportMetricsServiceResponse {
            partial_success,
        }))
    }
}

impl Collector {
    pub fn start(addr: SocketAddr) -> Self {
        Self::refusing(addr, 0)
    }

    /// It refuses so many points of each request.
    pub fn refusing(addr: SocketAddr, refused: i64) -> Self {
        let listener = TcpListener::bind(addr).expect("the port is free");
        let addr = listener.local_addr().expect("it has an address");
        listener.set_nonblocking(true).expect("it can be");
        let received = Received {
            refused,
            ..Received::default()
        };
        let server = MetricsServiceServer::new(received.clone())
            .accept_compressed(CompressionEncoding::Gzip)
            .send_compressed(CompressionEncoding::Gzip)
            .max_decoding_message_size(64 << 20);
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let serving = async move {
                let accepting = std::pin::pin!(accept(listener, server));
                futures_util::future::select(accepting, stopped).await;
            };
            runtime.expect("a runtime").block_on(serving);
        });
        Self {
            addr,
            received,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// What has come since the last call.
    pub fn take(&self) -> Vec<Pushed> {
        let mut pushed = self
            .received
            .pushed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *pushed)
    }
}

impl Drop for Collector {
    /// Its connections end with it.
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn accept(listener: TcpListener, server: MetricsServiceServer<Received>) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        let server = server.clone();
        let answer = service_fn(move |request| {
            let mut server = server.clone();
            async move { server.call(request).await }
        });
        let connection = http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(stream), answer);
        tokio::spawn(connection);
    }
}
