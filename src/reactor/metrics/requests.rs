//! By request and response code: how long requests took.

use super::super::core::Core;
use super::super::latencies::{Kind, Outcome, write_kinds};
use crate::broker::metrics::{Scrape, Turn};
use crate::io::Io;
use crate::metrics::families::RPC_LATENCY;
use crate::metrics::text::truth;
use crate::wire::codes::{request, response};

pub(super) fn write_some<I: Io>(core: &Core<I>, scrape: &mut Scrape) -> Turn {
    let latencies = core.connections.latencies();
    write_kinds(
        latencies,
        scrape,
        |scrape, kind, [request, response], took| {
            let labels = [
                request,
                response,
                ("result", result(kind)),
                ("is_long_polling", truth(kind.is_parked)),
            ];
            let labels = match is_transferred(kind) {
                true => &labels[..3],
                false => &labels[..],
            };
            scrape.histogram(&RPC_LATENCY, labels, took);
        },
    )
}

/// RocketMQ counts what it sends from the page cache without the last label.
fn is_transferred(kind: &Kind) -> bool {
    let is_query = matches!(
        kind.request,
        request::QUERY_MESSAGE | request::VIEW_MESSAGE_BY_ID
    );
    is_query && kind.response == response::SUCCESS
}

/// RocketMQ's word for it.
fn result(kind: &Kind) -> &'static str {
    match kind.outcome {
        Outcome::Success => "success",
        Outcome::Oneway => "oneway",
        Outcome::NotWritten => "write_channel_failed",
        Outcome::Overflow => "not_told_apart",
    }
}
