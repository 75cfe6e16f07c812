//! Questions of the exporter's thread to a shard. They go through a channel and a bell; the shard never waits for the exporter.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::broker::metrics::Scrape;
use crate::reactor::metrics::{ScrapeRequest, Scraped, Scrapes};
use crate::ring::linux::{Doorbell, Machine};

/// How long a shard may take for one answer. Some are recovering, and a busy one gives a scrape a slice in each round.
const PATIENCE: Duration = Duration::from_secs(5);

/// The exporter's side.
#[derive(Clone)]
pub struct Desk {
    questions: Sender<Question>,
    bell: Doorbell,
}

/// The shard's side.
pub struct Mailbox {
    questions: Receiver<Question>,
    bell: Doorbell,
}

struct Question {
    scrape: Box<Scrape>,
    answer: oneshot::Sender<Scraped>,
}

/// Both sides.
pub fn desk() -> io::Result<(Desk, Mailbox)> {
    let (to_shard, questions) = channel();
    let bell = Doorbell::new()?;
    let desk = Desk {
        questions: to_shard,
        bell: bell.clone(),
    };
    Ok((desk, Mailbox { questions, bell }))
}

impl Desk {
    /// `None`: the shard did not answer in time, or has ended.
    pub async fn ask(&self, scrape: Box<Scrape>) -> Option<Scraped> {
        let (answer, answered) = oneshot::channel();
        self.questions.send(Question { scrape, answer }).ok()?;
        self.bell.ring();
        let answered = tokio::time::timeout(PATIENCE, answered).await;
        answered.ok()?.ok()
    }
}

impl Mailbox {
    /// As the reactor of this machine takes them.
    pub fn on<M: Machine>(self, machine: M) -> Scrapes {
        let mailbox = std::rc::Rc::new(self);
        Scrapes {
            next: Box::new(move || {
                let (mailbox, machine) = (mailbox.clone(), machine.clone());
                Box::pin(async move { mailbox.next(&machine).await })
            }),
        }
    }

    async fn next(&self, machine: &impl Machine) -> ScrapeRequest {
        loop {
            // Of those that nobody waits for any more none is answered.
            let question = self
                .questions
                .try_iter()
                .find(|question| !question.answer.is_closed());
            if let Some(Question { scrape, answer }) = question {
                let answer = Box::new(move |scraped| drop(answer.send(scraped)));
                return ScrapeRequest { scrape, answer };
            }
            if machine.wait(&self.bell).await.is_err() {
                // It can only fail with the reactor itself.
                std::future::pending::<()>().await;
            }
        }
    }
}
