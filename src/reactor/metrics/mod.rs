//! Answers the process when Prometheus asks it for the figures of this shard.
//!
//! A [`Scrape`] comes from the process's thread, is filled here in slices that take their share of the rounds, and goes back. So a scrape of ten thousand
//! topics delays a send by a slice at most, and nothing of it stays here.

mod figures;
mod limits;
mod requests;
mod waiting;

use std::rc::Rc;

use futures_util::future::LocalBoxFuture;

pub(super) use self::waiting::WaitingRequests;
use super::core::Core;
use super::namesrv::Names;
use super::rounds::SLICE_UNITS;
use super::view::View;
use crate::broker::metrics::{Scrape, Turn};
use crate::broker::step::MessagePlace;
use crate::broker::store_view::At;
use crate::io::{Io, yield_now};
use crate::metrics::Section;

/// A section that is asked for.
pub struct ScrapeRequest {
    pub scrape: Box<Scrape>,
    pub answer: Box<dyn FnOnce(Scraped)>,
}

/// What there is of a section now.
pub struct Scraped {
    pub scrape: Box<Scrape>,
    /// There is no more.
    pub is_done: bool,
}

/// Where a shard gets them from.
pub struct Scrapes {
    pub next: Box<dyn Fn() -> LocalBoxFuture<'static, ScrapeRequest>>,
}

/// Writes the next samples of a section.
pub(super) type WriteSome = Box<dyn Fn(&mut Scrape) -> Turn>;

/// Who is asked, besides the shard of the present term.
pub(super) struct Asked {
    pub scrapes: Scrapes,
    /// The name server beside it.
    pub names: Option<WriteSome>,
}

/// Answers one after another, for as long as the term is.
pub(super) async fn run<I: Io>(
    core: Rc<Core<I>>,
    asked: Rc<Asked>,
    waiting: impl Fn() -> WaitingRequests,
) {
    loop {
        let ScrapeRequest { mut scrape, answer } = (asked.scrapes.next)().await;
        let is_done = fill(&core, &asked, &mut scrape, &waiting).await;
        answer(Scraped { scrape, is_done });
    }
}

/// The same of a name server alone.
pub(super) async fn run_namesrv<I: Io>(names: Rc<Names<I>>, scrapes: Scrapes) {
    loop {
        let ScrapeRequest { mut scrape, answer } = (scrapes.next)().await;
        while names.write_figures(&mut scrape) == Turn::More {
            yield_now().await;
        }
        names.write_openings(&mut scrape);
        let is_done = true;
        answer(Scraped { scrape, is_done });
    }
}

/// Until it is full, or all is in it, which is returned.
async fn fill<I: Io>(
    core: &Core<I>,
    asked: &Asked,
    scrape: &mut Scrape,
    waiting: &impl Fn() -> WaitingRequests,
) -> bool {
    loop {
        core.rounds.take(SLICE_UNITS).await;
        let turn = match scrape.section() {
            Section::Shard => {
                figures::write(core, scrape, &waiting());
                Turn::Done
            }
            Section::NameServer => {
                let names = asked.names.as_ref();
                names.map_or(Turn::Done, |names| names(scrape))
            }
            Section::Requests => requests::write_some(core, scrape),
            _ => {
                let (store, now_ms) = (&View { core }, core.now_ms());
                scrape.turn(&core.broker.borrow(), At { now_ms, store })
            }
        };
        match turn {
            Turn::Done => return true,
            Turn::More if scrape.is_full() => return false,
            Turn::More => {}
            Turn::Times(places) => {
                let times = store_times(core, &places).await;
                scrape.times(times);
            }
        }
    }
}

/// Of a message that cannot be read nothing is known.
async fn store_times<I: Io>(core: &Core<I>, places: &[MessagePlace]) -> Vec<Option<i64>> {
    let mut times = Vec::with_capacity(places.len());
    for place in places {
        times.push(match core.store.find_queue(&place.topic, place.queue_id) {
            Some(queue) => core
                .store
                .store_time(queue, place.offset)
                .await
                .ok()
                .flatten(),
            None => None,
        });
    }
    times
}
