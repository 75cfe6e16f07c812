//! [`Client`]: the handle on a thread that does all the client's work.

use std::future::Future;
use std::rc::Rc;
use std::sync::{Arc, mpsc as std_mpsc};
use std::thread;

use tokio::sync::mpsc;
use tokio::task::{LocalSet, spawn_local};

use super::ClientError;
use super::config::ClientConfig;
use super::pending::Pending;
use super::requests;
use super::session::Session;

/// A client of one cluster; what producers and consumers are made from. Clones are handles on the same client.
///
/// It ends, and unregisters from the brokers, at [`shutdown`](Self::shutdown), or when the last handle on it is dropped, those of its
/// producers and consumers included.
#[derive(Clone)]
pub struct Client {
    jobs: mpsc::UnboundedSender<Job>,
    id: Arc<str>,
}

/// Something to do on the client's thread.
type Job = Box<dyn FnOnce(&Rc<Session>) + Send>;

impl Client {
    /// Starts the client's thread. It sends no request yet.
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

    /// Stops consumers when their listeners have returned, saves their offsets and unregisters from the brokers. What is asked of the client
    /// afterwards ends with [`ClientError::Stopped`].
    pub fn shutdown(&self) -> Pending<()> {
        self.call(|session| async move {
            session.leave().await;
            Ok(())
        })
    }

    /// Starts `work` on the client's thread.
    pub(super) fn call<T, W>(
        &self,
        work: impl FnOnce(Rc<Session>) -> W + Send + 'static,
    ) -> Pending<T>
    where
        T: Send + 'static,
        W: Future<Output = Result<T, ClientError>> + 'static,
    {
        let (answer, pending) = Pending::new();
        self.call_then(work, move |result| {
            // The caller may have dropped its end.
            let _ = answer.send(result);
        });
        pending
    }

    /// The same, with `done` called on the client's thread.
    pub(super) fn call_then<T, W>(
        &self,
        work: impl FnOnce(Rc<Session>) -> W + Send + 'static,
        done: impl FnOnce(Result<T, ClientError>) + Send + 'static,
    ) where
        W: Future<Output = Result<T, ClientError>> + 'static,
    {
        let job: Job = Box::new(|session| {
            if session.has_left() {
                return done(Err(ClientError::Stopped));
            }
            let working = work(Rc::clone(session));
            spawn_local(async move { done(working.await) });
        });
        // The thread ends only after the last handle, or by a panic, which drops `done` and with it the answer.
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
        Err(error) => return report(starter, Err(ClientError::Start(error))),
    };
    let local = LocalSet::new();
    local.block_on(&runtime, async {
        let session = match Session::start(config) {
            Ok((session, requests)) => {
                spawn_local(requests::answer(Rc::clone(&session), requests));
                session
            }
            Err(error) => return report(starter, Err(error)),
        };
        report(starter, Ok(session.instance.client_id.clone()));
        while let Some(job) = jobs.recv().await {
            job(&session);
        }
        session.leave().await;
    });
    drop(local);
    // A listener that never returns does not keep the process.
    runtime.shutdown_background();
}

fn report(
    starter: &std_mpsc::Sender<Result<String, ClientError>>,
    result: Result<String, ClientError>,
) {
    // It waits for exactly this.
    let _ = starter.send(result);
}
