//! All samples of the process, section by section: for the HTTP endpoint, a collector, and the log.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;

use super::super::health::Board;
use super::desk::{Desk, Mailbox, desk};
use crate::broker::metrics::{KnownTimes, Scrape};
use crate::metrics::families::{IO_BACKEND, RECOVERED, SCRAPE_MISSED, SHARD_STATE};
use crate::metrics::text;
use crate::metrics::{Family, NodeLabels, Section};
use crate::quorum::Figures;
use crate::reactor::Health;

/// The samples of a section, by family.
pub type Texts = Vec<(&'static Family, String)>;

/// Of all shards of the process.
pub struct Exporter {
    pub board: Board,
    /// In the order of the board.
    pub nodes: Vec<Node>,
    pub controller: Option<Controller>,
    /// Names of those that are switched on.
    pub families: BTreeSet<&'static str>,
    pub sections: Vec<Section>,
}

/// A shard, to be asked.
pub struct Node {
    labels: Arc<NodeLabels>,
    desk: Desk,
    /// Store times that its last scrape has read from disk.
    times: Mutex<KnownTimes>,
    missed: AtomicU64,
}

/// A controller in this process.
pub struct Controller {
    pub figures: Figures,
    pub labels: Vec<(String, String)>,
}

impl Exporter {
    /// Whether some samples of the section are exported.
    pub fn has(&self, section: Section) -> bool {
        let mut families = section.families();
        families.any(|family| self.families.contains(family.name))
    }

    /// Shards that do not answer are added to `silent`, and those that are there are not asked.
    pub async fn section(&self, section: Section, silent: &mut BTreeSet<usize>) -> Texts {
        match section {
            Section::Process => self.states().into(),
            Section::Controller => {
                let controller = self.controller.iter();
                let texts = controller.map(|it| it.figures.samples(&it.labels));
                texts.flatten().collect()
            }
            _ => self.of_shards(section, silent).await,
        }
    }

    /// What is known of the shards without asking them.
    fn states(&self) -> [(&'static Family, String); 4] {
        let [mut states, mut backends, mut recovered, mut missed] = [const { String::new() }; 4];
        let io = self.board.io();
        for (node, (_, health)) in self.nodes.iter().zip(self.board.all()) {
            let labels = [("state", state(&health))];
            text::sample(&SHARD_STATE, &node.labels, &labels, 1_u64, &mut states);
            let labels = [("backend", io.name), ("reason", &*io.reason)];
            text::sample(&IO_BACKEND, &node.labels, &labels, 1_u64, &mut backends);
            let done = match &health {
                Health::Opening(progress) => progress.percent().min(100) as f64 / 100.0,
                _ => 1.0,
            };
            text::sample(&RECOVERED, &node.labels, &[], done, &mut recovered);
            let count = node.missed.load(Ordering::Relaxed);
            text::sample(&SCRAPE_MISSED, &node.labels, &[], count, &mut missed);
        }
        [
            (&SHARD_STATE, states),
            (&IO_BACKEND, backends),
            (&RECOVERED, recovered),
            (&SCRAPE_MISSED, missed),
        ]
    }

    async fn of_shards(&self, section: Section, silent: &mut BTreeSet<usize>) -> Texts {
        let families = section.families();
        let mut texts: Vec<_> = families.map(|family| (family, String::new())).collect();
        for (index, node) in self.nodes.iter().enumerate() {
            let is_asked = self
                .board
                .health(index)
                .is_some_and(|health| answers(&health));
            if !is_asked || silent.contains(&index) {
                continue;
            }
            if node.write(section, &mut texts).await.is_none() {
                node.missed.fetch_add(1, Ordering::Relaxed);
                silent.insert(index);
            }
        }
        texts
    }
}

impl Node {
    pub fn new(labels: NodeLabels) -> Result<(Self, Mailbox)> {
        let (desk, mailbox) = desk()?;
        let node = Self {
            labels: Arc::new(labels),
            desk,
            times: Mutex::default(),
            missed: AtomicU64::new(0),
        };
        Ok((node, mailbox))
    }

    /// Appends its samples of a section. `None`: it does not answer.
    async fn write(&self, section: Section, texts: &mut [(&'static Family, String)]) -> Option<()> {
        let known = match section {
            Section::Lag => std::mem::take(&mut *self.times()),
            _ => KnownTimes::default(),
        };
        let mut scrape = Box::new(Scrape::new(section, self.labels.clone(), known));
        loop {
            let mut scraped = self.desk.ask(scrape).await?;
            for ((_, text), (_, more)) in texts.iter_mut().zip(scraped.scrape.take_texts()) {
                text.push_str(&more);
            }
            if scraped.is_done {
                if section == Section::Lag {
                    *self.times() = scraped.scrape.into_times();
                }
                return Some(());
            }
            scrape = scraped.scrape;
        }
    }

    fn times(&self) -> std::sync::MutexGuard<'_, KnownTimes> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a shard in this state answers.
fn answers(health: &Health) -> bool {
    !matches!(health, Health::Opening(_) | Health::Stopping)
}

fn state(health: &Health) -> &'static str {
    match health {
        Health::Opening(_) => "recovering",
        Health::Serving => "serving",
        Health::Following => "following",
        Health::Fenced(_) => "fenced",
        Health::Full(_) => "full",
        Health::Stopping => "stopping",
    }
}
