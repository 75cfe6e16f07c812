//! What a request touches, and what its user must be allowed to do with it: one row for a code, as RocketMQ 5.5.0 has it
//! (`DefaultAuthorizationContextBuilder` and the annotations of the headers). For the codes that 5.5.0 leaves open to every user there is the row of its next
//! release.
//!
//! A field is read as its handler reads it: of a field that was sent twice, or under two names, the last counts. Bodies are decoded as their handlers do.

mod bodies;
mod broker;
mod controller;
mod namesrv;

pub use controller::is_administration as administers_controller;
pub use namesrv::{
    is_administration as administers_namesrv, is_open_reading as namesrv_reads_are_open,
};

use std::ops::ControlFlow;

use super::asked::{Asked, Place};
use super::resource::{Actions, Kind, Target};
use crate::message::names;
use crate::wire::Ext;
use crate::wire::codes::request::{
    CONSUME_MESSAGE_DIRECTLY, CONSUMER_SEND_MSG_BACK, END_TRANSACTION, HEART_BEAT,
    RESUME_CHECK_HALF_MESSAGE, VIEW_MESSAGE_BY_ID,
};

/// One of the actions must be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need<'a> {
    pub target: Target<'a>,
    pub any_of: Actions,
}

/// A request without rights that could be checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The code has no row.
    Unmapped,
    /// The body is not what the code asks for.
    Unreadable,
}

/// What is needed of a topic that the request does not name: that of the message whose place in the log it states. `None`: the code states none.
pub fn of_message(code: i32, topic: &str) -> Option<Need<'_>> {
    let any_of = match code {
        VIEW_MESSAGE_BY_ID => Actions::GET.or(Actions::SUB),
        CONSUMER_SEND_MSG_BACK | CONSUME_MESSAGE_DIRECTLY => Actions::SUB,
        END_TRANSACTION => Actions::PUB,
        RESUME_CHECK_HALF_MESSAGE => Actions::UPDATE,
        _ => return None,
    };
    Some(need_of(Kind::Topic, Some(topic), any_of))
}

/// Where the rows of a code come from.
enum Needs {
    Rows(&'static [Row]),
    Body(bodies::OfBody),
}

/// A need, and where the name of its resource is.
struct Row {
    kind: Kind,
    name: NameIn,
    any_of: Actions,
}

/// Names that are looked at one by one, in one turn. More than the topics of any consumer.
const MAX_LISTED: usize = 1_024;

enum NameIn {
    /// A field by its names. Without it the name is the text `null`, as at RocketMQ.
    Field(&'static [&'static str]),
    /// Without the field there is no need.
    Optional(&'static str),
    /// Without the field all resources of the kind are needed.
    OrAll(&'static str),
    /// Each of a list, which may be missing. A list above [`MAX_LISTED`] needs all resources of the kind.
    Each(&'static str, char),
    /// The cluster of the broker; of a name server and of a controller all clusters.
    Cluster,
    All,
}

impl Row {
    const fn topic(fields: &'static [&'static str], any_of: Actions) -> Self {
        Self::new(Kind::Topic, NameIn::Field(fields), any_of)
    }

    const fn group(fields: &'static [&'static str], any_of: Actions) -> Self {
        Self::new(Kind::Group, NameIn::Field(fields), any_of)
    }

    const fn cluster(any_of: Actions) -> Self {
        Self::new(Kind::Cluster, NameIn::Cluster, any_of)
    }

    const fn new(kind: Kind, name: NameIn, any_of: Actions) -> Self {
        Self { kind, name, any_of }
    }
}

/// Where needs go; it may break off.
pub type Visit<'v, B> = &'v mut dyn FnMut(Need<'_>) -> ControlFlow<B>;

/// Passes on everything that the request needs, until `visit` breaks off.
pub fn each<B>(asked: &Asked<'_>, visit: Visit<'_, B>) -> Result<ControlFlow<B>, Refused> {
    let needs = match asked.place {
        Place::Broker { .. } => broker::needs(asked.header.code),
        Place::NameServer => namesrv::needs(asked.header.code),
        Place::Controller => controller::needs(asked.header.code),
    };
    match needs.ok_or(Refused::Unmapped)? {
        Needs::Rows(rows) => {
            for row in rows {
                let flow = of_row(row, asked, visit);
                if flow.is_break() {
                    return Ok(flow);
                }
            }
            Ok(ControlFlow::Continue(()))
        }
        Needs::Body(of_body) => {
            let needs = of_body(asked.body).map_err(|_| Refused::Unreadable)?;
            // A client may only produce; every other list has what it is about.
            if needs.is_empty() && asked.header.code != HEART_BEAT {
                return Err(Refused::Unmapped);
            }
            for (kind, name, any_of) in &needs {
                let flow = of_resource(*kind, Some(name), *any_of, visit);
                if flow.is_break() {
                    return Ok(flow);
                }
            }
            Ok(ControlFlow::Continue(()))
        }
    }
}

/// Whether there is a row for the code.
#[cfg(test)]
pub fn is_mapped(place: Place<'_>, code: i32) -> bool {
    match place {
        Place::Broker { .. } => broker::needs(code).is_some(),
        Place::NameServer => namesrv::needs(code).is_some(),
        Place::Controller => controller::needs(code).is_some(),
    }
}

fn of_row<B>(row: &Row, asked: &Asked<'_>, visit: Visit<'_, B>) -> ControlFlow<B> {
    let ext = &asked.header.ext;
    let given = |field: &str| ext.find(field).filter(|text| !text.is_empty());
    let name = match row.name {
        NameIn::Field(fields) => Some(last_of(ext, fields).unwrap_or("null")),
        NameIn::Optional(field) => match given(field) {
            Some(name) => Some(name),
            None => return ControlFlow::Continue(()),
        },
        NameIn::OrAll(field) => given(field),
        NameIn::Each(field, separator) => {
            let listed = given(field).unwrap_or_default();
            let names = || listed.split(separator).filter(|name| !name.is_empty());
            if names().nth(MAX_LISTED).is_some() {
                return of_resource(row.kind, None, row.any_of, visit);
            }
            for name in names() {
                of_resource(row.kind, Some(name), row.any_of, visit)?;
            }
            return ControlFlow::Continue(());
        }
        NameIn::Cluster => asked.place.cluster(),
        NameIn::All => None,
    };
    of_resource(row.kind, name, row.any_of, visit)
}

fn of_resource<B>(
    kind: Kind,
    name: Option<&str>,
    any_of: Actions,
    visit: Visit<'_, B>,
) -> ControlFlow<B> {
    visit(need_of(kind, name, any_of))
}

/// A retry topic is its group's, and who writes to it consumes in the group.
fn need_of(kind: Kind, name: Option<&str>, any_of: Actions) -> Need<'_> {
    let has_retries = matches!(kind, Kind::Topic | Kind::Group);
    let group = name.filter(|_| has_retries).and_then(names::retry_group);
    let (kind, name, any_of) = match group {
        Some(group) if any_of.has_any_of(Actions::PUB) => (Kind::Group, Some(group), Actions::SUB),
        Some(group) => (Kind::Group, Some(group), any_of),
        None => (kind, name, any_of),
    };
    Need {
        target: Target { kind, name },
        any_of,
    }
}

/// Of a field with several names the one that was sent last, as `header_fields!` reads it.
fn last_of<'a>(ext: &Ext<'a>, fields: &[&str]) -> Option<&'a str> {
    let mut sent = ext.iter().rev();
    sent.find(|(key, _)| fields.contains(key))
        .map(|(_, value)| value)
}
