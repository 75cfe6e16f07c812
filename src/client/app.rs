//! [`Client`]: the handle on a thread that does all the client's work.

use std::future::Future;
use std::rc::Rc;
use std::sync::{Arc, mpsc as std_mpsc};
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{LocalSet, spawn_local};

use super::ClientError;
use super::instance::Instance;
use super::pending::Pending;
use crate::wire::Codec;

/// How a client talks to its cluster. The intervals are those of RocketMQ's clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// Name servers, as `host:port;host:port`: one is asked until it fails, then the next.
    pub namesrv: String,
    /// Part of the client's id in place of a unique one. A broadcast consumer finds its offsets under it again; no two clients of
    /// one machine may share it while they run.
    pub instance_name: Option<String>,
    /// How headers are written.
    pub codec: Codec,
    /// `pollNameServerInterval`
    pub route_interval: Duration,
    /// `heartbeatBrokerInterval`
    pub heartbeat_interval: Duration,
    /// `persistConsumerOffsetInterval`
    pub offset_interval: Duration,
    /// How often a consumer checks which queues are its own when nobody tells it that its group has changed.
    pub rebalance_interval: Duration,
}

impl ClientConfig {
    pub fn new(namesrv: impl Into<String>) -> Self {
        Self {
            namesrv: namesrv.into(),
            instance_name: None,
            codec: Codec::Json,
            route_interval: Duration::from_secs(30),
            heartbeat_interval: Duration::from_secs(30),
            offset_interval: Duration::from_secs(5),
            rebalance_interval: Duration::from_secs(20),
        }
    }
}

/// A client of one cluster; what producers and consumers are made from. Clones are handles on the same client.
///
/// It ends, with a farewell to the brokers, at [`shutdown`](Self::shutdown), or when the last handle on it is dropped, those of its
/// producers and consumers included.
#[derive(Clone)]
pub struct Client {
    jobs: mpsc::UnboundedSender<Job>,
    id: Arc<str>,
}

/// Something to do on the client's thread.
pub(super) type Job = Box<dyn FnOnce(&Rc<Instance>) + Send>;

impl Client {
    /// Starts the client's thread. Nothing is asked of the cluster yet.
    pub fn start(config: ClientConfig) -> Result<Self, ClientError> {
        let (jobs, from_handles) = mpsc::unbounded_channel();
        let (to_starter, started) = std_mpsc::channel();
        thread::Builder::new()
            .name("ringmq-client".into())
            .spawn(move || run(config, from_handles, &to_starter))
            .map_err(ClientError::Start)?;
        let id = started.recv().map_err(|_| ClientError::Stopped)??;
        Ok(Self {
            jobs,
            id: id.into(),
        })
    }

    /// The id under which brokers know this client.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Stops consumers when their listeners have returned, saves their offsets and tells the brokers. What is asked of the client
    /// afterwards ends with [`ClientError::Stopped`].
    pub fn shutdown(&self) -> Pending<()> {
        self.call(|instance| async move {
            instance.leave().await;
            Ok(())
        })
    }

    /// Starts `work` on the client's thread.
    pub(super) fn call<T, W>(
        &self,
        work: impl FnOnce(Rc<Instance>) -> W + Send + 'static,
    ) -> Pending<T>
    where
        T: Send + 'static,
        W: Future<Output = Result<T, ClientError>> + 'static,
    {
        let (answer, pending) = Pending::new();
        self.call_then(work, move |result| {
            // Perhaps nobody waits for it.
            let _ = answer.send(result);
        });
        pending
    }

    /// The same, with `done` called on the client's thread.
    pub(super) fn call_then<T, W>(
        &self,
        work: impl FnOnce(Rc<Instance>) -> W + Send + 'static,
        done: impl FnOnce(Result<T, ClientError>) + Send + 'static,
    ) where
        W: Future<Output = Result<T, ClientError>> + 'static,
    {
        let job: Job = Box::new(|instance| {
            if instance.has_left() {
                return done(Err(ClientError::Stopped));
            }
            let working = work(Rc::clone(instance));
            spawn_local(async move { done(working.await) });
        });
        // The thread ends only after the last handle, or by a panic, which then also drops whoever waits.
        let _ = self.jobs.send(job);
    }
}

fn run(
    config: ClientConfig,
    mut jobs: mpsc::UnboundedReceiver<Job>,
    starter: &std_mpsc::Sender<Result<String, ClientError>>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return tell(starter, Err(ClientError::Start(error))),
    };
    let local = LocalSet::new();
    local.block_on(&runtime, async {
        let instance = match Instance::start(config) {
            Ok(instance) => instance,
            Err(error) => return tell(starter, Err(error)),
        };
        tell(starter, Ok(instance.client_id.clone()));
        while let Some(job) = jobs.recv().await {
            job(&instance);
        }
        instance.leave().await;
    });
    drop(local);
    // A listener that never returns does not keep the process.
    runtime.shutdown_background();
}

fn tell(
    starter: &std_mpsc::Sender<Result<String, ClientError>>,
    result: Result<String, ClientError>,
) {
    // It waits for exactly this.
    let _ = starter.send(result);
}
