//! The body of one scrape. A section is asked for when the client has taken the one before.

use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::Write;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::future::BoxFuture;
use hyper::body::{Body, Bytes, Frame};
use tokio::sync::OwnedSemaphorePermit;

use super::exporter::Exporter;
use crate::metrics::text::{self, TARGET_INFO};
use crate::metrics::{Family, Section};

/// What is compressed or sent at once.
const PART_BYTES: usize = 64 << 10;

pub struct ScrapeBody {
    /// Asked for, or to be asked for next.
    next: Option<BoxFuture<'static, Asking>>,
    /// Text that is not sent yet.
    parts: VecDeque<Bytes>,
    gzip: Option<GzEncoder<Vec<u8>>>,
}

/// What it takes to ask for the next section.
struct Asking {
    exporter: Arc<Exporter>,
    wanted: Vec<String>,
    sections: VecDeque<Section>,
    silent: BTreeSet<usize>,
    /// The samples of the section that was asked for.
    text: String,
    _turn: OwnedSemaphorePermit,
}

impl ScrapeBody {
    pub(super) fn new(
        exporter: Arc<Exporter>,
        wanted: Vec<String>,
        takes_gzip: bool,
        turn: OwnedSemaphorePermit,
    ) -> Self {
        let asking = Asking {
            sections: exporter.sections.iter().copied().collect(),
            exporter,
            wanted,
            silent: BTreeSet::new(),
            text: String::new(),
            _turn: turn,
        };
        let gzip = || GzEncoder::new(Vec::new(), Compression::fast());
        Self {
            next: Some(Box::pin(asking.ask())),
            parts: VecDeque::new(),
            gzip: takes_gzip.then(gzip),
        }
    }

    /// Text to be sent, in parts.
    fn send(&mut self, text: String) {
        let mut text = Bytes::from(text);
        while !text.is_empty() {
            let part = text.split_to(PART_BYTES.min(text.len()));
            self.parts.push_back(part);
        }
    }

    /// A part as the client takes it; it may be empty.
    fn encoded(&mut self, part: Bytes) -> Bytes {
        let Some(gzip) = &mut self.gzip else {
            return part;
        };
        gzip.write_all(&part).expect("a vector takes all");
        Bytes::from(std::mem::take(gzip.get_mut()))
    }

    /// What ends it.
    fn end(&mut self) -> Option<Bytes> {
        let gzip = self.gzip.take()?;
        Some(Bytes::from(gzip.finish().expect("a vector takes all")))
    }
}

impl Asking {
    /// Asks for the next section that has something to show.
    async fn ask(mut self) -> Self {
        self.text.clear();
        while let Some(section) = self.sections.pop_front() {
            if !section.families().any(|family| self.shows(family)) {
                continue;
            }
            if section == Section::Process && self.wanted.is_empty() {
                self.text.push_str(TARGET_INFO);
            }
            let samples = self.exporter.section(section, &mut self.silent).await;
            for (family, samples) in samples {
                self.show(family, &samples);
            }
            if !self.text.is_empty() {
                break;
            }
        }
        self
    }

    fn show(&mut self, family: &Family, samples: &str) {
        if !samples.is_empty() && self.shows(family) {
            text::head(family, &mut self.text);
            self.text.push_str(samples);
        }
    }

    /// An empty list of wanted ones stands for all.
    fn shows(&self, family: &Family) -> bool {
        let is_named = |name: &String| names(family, name);
        let is_wanted = self.wanted.is_empty() || self.wanted.iter().any(is_named);
        is_wanted && self.exporter.families.contains(family.name)
    }
}

impl Body for ScrapeBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        loop {
            while let Some(part) = self.parts.pop_front() {
                let encoded = self.encoded(part);
                if !encoded.is_empty() {
                    return Poll::Ready(Some(Ok(Frame::data(encoded))));
                }
            }
            let Some(next) = &mut self.next else {
                return Poll::Ready(self.end().map(|rest| Ok(Frame::data(rest))));
            };
            let Poll::Ready(mut asked) = next.as_mut().poll(context) else {
                return Poll::Pending;
            };
            let text = std::mem::take(&mut asked.text);
            let is_end = text.is_empty() && asked.sections.is_empty();
            self.send(text);
            self.next = match is_end {
                true => None,
                false => Some(Box::pin(asked.ask())),
            };
        }
    }
}

/// Whether `name` is that of the family, or of one of its series.
fn names(family: &Family, name: &str) -> bool {
    let rest = name.strip_prefix(family.name);
    let is_without_total = family.name.strip_suffix("_total") == Some(name);
    is_without_total || matches!(rest, Some("" | "_bucket" | "_count" | "_sum"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::families::{MESSAGE_SIZE, MESSAGES_IN};

    #[test]
    fn a_metric_has_the_names_of_its_series() {
        let (counter, histogram) = ("rocketmq_messages_in", "rocketmq_message_size_bucket");
        assert!(names(&MESSAGES_IN, counter) && !names(&MESSAGES_IN, histogram));
        assert!(names(&MESSAGE_SIZE, histogram) && names(&MESSAGES_IN, MESSAGES_IN.name));
        assert!(!names(&MESSAGE_SIZE, "rocketmq_message"));
    }
}
