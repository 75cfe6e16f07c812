//! The runtime of the load generator: on io_uring where this process may use it, else on epoll.

use std::future::Future;
use std::sync::OnceLock;

use tokio::task::LocalSet;

use super::stream::Transport;

impl Transport {
    /// What this process may use.
    pub fn fastest() -> Self {
        static FASTEST: OnceLock<Transport> = OnceLock::new();
        *FASTEST.get_or_init(|| match io_uring::IoUring::new(2) {
            Ok(_) => Self::Uring,
            Err(_) => Self::Epoll,
        })
    }

    /// Runs a future on this thread, on a runtime that this transport works on, with room for so many operations at a time. Tasks are started
    /// with [`tokio::task::spawn_local`].
    pub fn run<T>(self, operations: usize, future: impl Future<Output = T>) -> std::io::Result<T> {
        match self {
            Self::Uring => {
                let mut ring = tokio_uring::uring_builder();
                ring.setup_coop_taskrun();
                let entries = (operations as u32 + 256).next_power_of_two().min(32 << 10);
                let mut builder = tokio_uring::builder();
                Ok(builder.entries(entries).uring_builder(&ring).start(future))
            }
            Self::Epoll => {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()?;
                Ok(LocalSet::new().block_on(&runtime, future))
            }
        }
    }

    /// Lets other tasks run, and takes what has completed.
    pub async fn turn(self) {
        match self {
            Self::Uring => drop(tokio_uring::no_op().await),
            Self::Epoll => tokio::task::yield_now().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_run_on_either_transport() {
        for transport in [Transport::fastest(), Transport::Epoll] {
            let ran = transport.run(1, async move {
                let task = tokio::task::spawn_local(async { 5 });
                transport.turn().await;
                task.await.unwrap()
            });
            assert_eq!(ran.unwrap(), 5);
        }
    }
}
