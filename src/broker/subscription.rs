//! A group's subscription to a topic, as a heartbeat has it.

use std::rc::Rc;

use super::filter::{self, TagFilter};
use super::sql92::Selector;
use crate::message::java_hash;
use crate::wire::heartbeat::SubscriptionData;

/// A group's subscription to a topic.
#[derive(Clone, Debug)]
pub struct Subscription {
    pub data: SubscriptionData,
    pub filter: TagFilter,
    /// Of an expression that is not of tags, if it is one.
    pub selector: Option<Rc<Selector>>,
}

impl Subscription {
    /// What is `known` of an older one spares parsing its expression again: each member of a group has a version of its own.
    pub(super) fn new(data: &SubscriptionData, known: Option<&Subscription>) -> Self {
        let is_all = data.class_filter_mode
            || matches!(&*data.sub_string, "" | "*")
            || !filter::is_tag_type(Some(&data.expression_type));
        let filter = match is_all {
            true => TagFilter::All,
            // Some clients send only one of the two.
            false => TagFilter::of_codes(
                filter::tags(&data.sub_string)
                    .map(java_hash)
                    .chain(data.code_set.iter().copied())
                    .collect(),
            ),
        };
        Self {
            data: data.clone(),
            filter,
            selector: selector_of(data, known),
        }
    }
}

fn selector_of(data: &SubscriptionData, known: Option<&Subscription>) -> Option<Rc<Selector>> {
    let (kind, expression) = (&data.expression_type, &data.sub_string);
    match known {
        _ if filter::is_tag_type(Some(kind)) => None,
        Some(known)
            if known.data.expression_type == *kind && known.data.sub_string == *expression =>
        {
            known.selector.clone()
        }
        _ => filter::selector(kind, expression).ok(),
    }
}
