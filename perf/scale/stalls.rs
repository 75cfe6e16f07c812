//! The broker's own count of polls that held its core for more than `stallWarnMillis`.

use std::net::SocketAddr;

use ringmq::wire::codes::request;
use ringmq::wire::loose_json;
use ringmq::wire::stats::KvTable;

use crate::caller::{Caller, Result};

#[derive(Clone, Copy)]
pub struct Stalls {
    all: Figures,
    own: Figures,
}

#[derive(Clone, Copy)]
struct Figures {
    count: u64,
    max_ms: u64,
}

/// `None`: a broker that does not count them, such as an older one.
pub fn of(broker: SocketAddr) -> Result<Option<Stalls>> {
    let mut caller = Caller::connect(broker)?;
    let (_, body) = caller.ask(request::GET_BROKER_RUNTIME_INFO, &[], &[])?;
    let info: KvTable = loose_json::from_slice(body)?;
    let figure = |name| info.table.get(name).and_then(|text| text.parse().ok());
    let figures = |count, max_ms| {
        let figures = figure(count).zip(figure(max_ms));
        figures.map(|(count, max_ms)| Figures { count, max_ms })
    };
    let all = figures("ringmqStalls", "ringmqStallMaxMs");
    let own = figures("ringmqStallsOwn", "ringmqStallOwnMaxMs");
    Ok(all.zip(own).map(|(all, own)| Stalls { all, own }))
}

/// How many there were in between: of the broker's own making, and all. The broker keeps the longest one since its start; it is
/// shown if it is from in between.
pub fn difference(before: Option<Stalls>, after: Option<Stalls>) -> String {
    let (Some(before), Some(after)) = (before, after) else {
        return "not counted".into();
    };
    let own = between(before.own, after.own);
    let all = between(before.all, after.all);
    format!("{own}, {all}")
}

fn between(before: Figures, after: Figures) -> String {
    let count = after.count - before.count;
    match after.max_ms > before.max_ms {
        true => format!("{count} (max {} ms)", after.max_ms),
        false if count > 0 => format!("{count} (max <= {} ms)", after.max_ms),
        false => "0".into(),
    }
}
