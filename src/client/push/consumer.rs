//! The push consumer as an application holds it.

use std::sync::Arc;

use super::config::{PushConfig, Verdict};
use super::member::Member;
use crate::client::app::Client;
use crate::client::pending::Pending;
use crate::client::received::Received;

/// Consumes as a member of a group until it is shut down or dropped.
///
/// ```no_run
/// use ringmq::client::{Client, ClientConfig, ConsumeFrom, PushConfig, Subscription, Verdict};
///
/// # fn handle(body: &[u8]) -> std::io::Result<()> { Ok(()) }
/// # async fn example() -> Result<(), ringmq::client::ClientError> {
/// let client = Client::start(ClientConfig::new("127.0.0.1:9876"))?;
/// let config = PushConfig {
///     from: ConsumeFrom::First,
///     ..PushConfig::new("billing", vec![Subscription::tags("Orders", "created || paid")])
/// };
/// let consumer = client
///     .push_consumer(config, |messages| {
///         for message in messages {
///             if handle(&message.body).is_err() {
///                 return Verdict::Later;
///             }
///         }
///         Verdict::Consumed
///     })
///     .await?;
/// // ...
/// consumer.shutdown().await?;
/// # Ok(())
/// # }
/// ```
pub struct PushConsumer {
    client: Client,
    /// `None` once it has left.
    group: Option<String>,
}

impl Client {
    /// Joins the group. `listener` is called on separate threads and may block; a panic is [`Verdict::Later`].
    pub fn push_consumer(
        &self,
        config: PushConfig,
        listener: impl Fn(&[Arc<Received>]) -> Verdict + Send + Sync + 'static,
    ) -> Pending<PushConsumer> {
        let client = self.clone();
        self.call(|session| async move {
            config.check()?;
            let group = config.group.clone();
            let instance = &session.instance;
            let member = Member::prepare(instance, config, Arc::new(listener)).await?;
            session.add_consumer(&member)?;
            member.join(instance).await;
            Ok(PushConsumer {
                client,
                group: Some(group),
            })
        })
    }
}

impl PushConsumer {
    /// Waits for running listeners, saves the offsets and leaves the group.
    pub fn shutdown(mut self) -> Pending<()> {
        self.leave()
    }

    fn leave(&mut self) -> Pending<()> {
        let group = self.group.take();
        self.client.call(|session| async move {
            if let Some(member) = group.and_then(|group| session.consumer(&group)) {
                session.remove_consumer(&member).await;
            }
            Ok(())
        })
    }
}

impl Drop for PushConsumer {
    fn drop(&mut self) {
        if self.group.is_some() {
            // The shutdown continues without the caller.
            drop(self.leave());
        }
    }
}
