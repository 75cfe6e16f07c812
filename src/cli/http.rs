//! A small HTTP server on a thread of its own.

use std::convert::Infallible;
use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;

/// How long no connection is accepted after one could not be.
const RETRY: Duration = Duration::from_millis(100);

/// What a body may fail with.
type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// Where it listens, and under which name.
pub struct Server {
    /// Of the thread, and in the log.
    pub name: &'static str,
    pub addr: SocketAddr,
    /// The setting that the port comes from.
    pub setting: &'static str,
    /// A connection is dropped after this time: a client may send or read nothing.
    pub patience: Duration,
    /// How far behind the shards the thread is, where it shares a core with one (`nice`).
    pub niceness: i32,
}

impl Server {
    /// Answers until the process ends.
    pub fn serve<B, F>(
        self,
        answer: impl Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    ) -> Result<()>
    where
        B: Body<Data: Send, Error: Into<BodyError>> + Send + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
    {
        let Self {
            name,
            addr,
            setting,
            patience,
            niceness,
        } = self;
        let listener = TcpListener::bind(addr);
        let listener = listener.with_context(|| format!("cannot listen on {addr} ({setting})"))?;
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        thread::Builder::new().name(name.into()).spawn(move || {
            // Of this thread. It works without, too.
            let _ = rustix::process::nice(niceness);
            if let Err(error) = runtime.block_on(accept(name, listener, patience, answer)) {
                tracing::error!(%error, "the HTTP server of {name} has ended");
            }
        })?;
        Ok(())
    }
}

async fn accept<B, F>(
    name: &'static str,
    listener: TcpListener,
    patience: Duration,
    answer: impl Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
) -> std::io::Result<()>
where
    B: Body<Data: Send, Error: Into<BodyError>> + Send + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
{
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Of one connection, or because there are no descriptors.
                tracing::warn!(%error, "the HTTP server of {name} cannot accept");
                tokio::time::sleep(RETRY).await;
                continue;
            }
        };
        let answer = answer.clone();
        tokio::spawn(async move {
            let answer = |request| {
                let response = answer(request);
                async move { Ok::<_, Infallible>(response.await) }
            };
            let connection = http1::Builder::new()
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service_fn(answer));
            let _ = tokio::time::timeout(patience, connection).await;
        });
    }
}
