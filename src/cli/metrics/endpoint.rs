//! What asks for metrics, at one HTTP port, for Prometheus (`metricsExporterType=PROM`).
//!
//! | | |
//! |---|---|
//! | `GET /metrics` | all samples; with `?name[]=NAME`, also several times, only those of these metrics; compressed for a client that takes gzip |
//! | `GET /-/healthy` | 200 |
//!
//! The shards are asked section by section. So the memory that a scrape takes is that of the largest section: some 2 KiB for each topic that has messages.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use http_body_util::{Either, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, StatusCode, header};
use tokio::sync::Semaphore;

use super::super::http::Server;
use super::NICENESS;
use super::body::ScrapeBody;
use super::exporter::Exporter;
use super::page::{Page, page};
use crate::metrics::text::CONTENT_TYPE;

/// How long a scrape may take. Prometheus gives up after 10 s, if it is not told otherwise.
const PATIENCE: Duration = Duration::from_secs(60);

/// Scrapes at a time; others wait. Each has a section in memory, also while its client does not read.
const MAX_SCRAPES: usize = 4;

#[derive(Clone)]
struct Endpoint {
    exporter: Arc<Exporter>,
    /// See [`MAX_SCRAPES`].
    turn: Arc<Semaphore>,
}

/// Answers until the process ends. `setting` is what the address comes from.
pub fn serve(exporter: Exporter, addr: SocketAddr, setting: &'static str) -> Result<()> {
    let server = Server {
        name: "metrics",
        addr,
        setting,
        patience: PATIENCE,
        niceness: NICENESS,
    };
    let endpoint = Endpoint {
        exporter: Arc::new(exporter),
        turn: Arc::new(Semaphore::new(MAX_SCRAPES)),
    };
    server.serve(move |request| {
        let endpoint = endpoint.clone();
        async move { endpoint.answer(&request).await }
    })
}

type Answer = Response<Either<Full<Bytes>, ScrapeBody>>;

impl Endpoint {
    async fn answer(self, request: &Request<Incoming>) -> Answer {
        match page(request.method(), request.uri().path()) {
            Page::Metrics if request.method() == Method::HEAD => {
                answer(StatusCode::OK, CONTENT_TYPE, text_of(""))
            }
            Page::Metrics => self.scrape(request).await,
            Page::Fixed { code, kind, text } => answer(code, kind, text_of(text)),
        }
    }

    async fn scrape(self, request: &Request<Incoming>) -> Answer {
        let wanted = wanted(request.uri().query().unwrap_or_default());
        let takes_gzip = request.headers().get_all(header::ACCEPT_ENCODING);
        let takes_gzip = takes_gzip
            .iter()
            .any(|value| takes_gzip_in(value.as_bytes()));
        let turn = self.turn.acquire_owned().await;
        let turn = turn.expect("it is never closed");
        let body = ScrapeBody::new(self.exporter, wanted, takes_gzip, turn);
        let mut response = answer(StatusCode::OK, CONTENT_TYPE, Either::Right(body));
        if takes_gzip {
            let gzip = header::HeaderValue::from_static("gzip");
            response
                .headers_mut()
                .insert(header::CONTENT_ENCODING, gzip);
        }
        response
    }
}

fn text_of(text: &'static str) -> Either<Full<Bytes>, ScrapeBody> {
    Either::Left(Full::new(Bytes::from_static(text.as_bytes())))
}

fn answer<B>(code: StatusCode, kind: &'static str, body: B) -> Response<B> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    let kind = header::HeaderValue::from_static(kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// The values of `name[]` in a query.
fn wanted(query: &str) -> Vec<String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let named = pairs.filter(|(key, _)| matches!(*key, "name[]" | "name%5B%5D" | "name%5b%5d"));
    named.map(|(_, value)| value.to_owned()).collect()
}

fn takes_gzip_in(value: &[u8]) -> bool {
    let mut codings = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    codings.any(|coding| {
        let mut parts = coding.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        parts.next() == Some(b"gzip") && parts.next() != Some(b"q=0")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_asked_for_by_name() {
        let query = "name[]=rocketmq_messages_in&x=y&name%5B%5D=rocketmq_message_size_bucket";
        assert_eq!(
            wanted(query),
            ["rocketmq_messages_in", "rocketmq_message_size_bucket"]
        );
    }

    #[test]
    fn gzip_is_for_those_that_take_it() {
        for accepted in ["gzip", "deflate, gzip;q=0.5", "gzip , br"] {
            assert!(takes_gzip_in(accepted.as_bytes()), "{accepted}");
        }
        for accepted in ["", "br", "gzip;q=0", "xgzip"] {
            assert!(!takes_gzip_in(accepted.as_bytes()), "{accepted}");
        }
    }
}
