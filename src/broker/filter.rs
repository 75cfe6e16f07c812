//! Subscriptions as filters (RocketMQ: `FilterAPI`, `ExpressionMessageFilter`, `ExpressionForRetryMessageFilter`).
//!
//! A TAG expression is held against ConsumeQueue entries, each with the hash of its message's tag. Clients check the tag
//! itself again, so letting too much through is harmless and letting too little through loses messages. An SQL92
//! expression ([`super::sql92`]) needs the message itself, and no client checks it again.

use std::collections::VecDeque;
use std::rc::Rc;

use super::limits::{MAX_SELECTOR_BYTES, MAX_SELECTORS};
use super::sql92::{Effort, Selector};
use crate::message::{Check, Record, java_hash, properties};

/// Few tags are searched one by one, which needs no sorting and no hashing.
const FEW: usize = 16;

/// Which queue entries pass a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagFilter {
    All,
    /// Hashes of the wanted tags, sorted.
    Codes(Rc<[i32]>),
}

impl TagFilter {
    /// From a TAG expression: tags separated by `||`; `*` or nothing is all.
    pub fn parse(expression: &str) -> Result<Self, NoTags> {
        if matches!(expression, "" | "*") {
            return Ok(Self::All);
        }
        let codes: Vec<i32> = tags(expression).map(java_hash).collect();
        if codes.is_empty() {
            return Err(NoTags);
        }
        Ok(Self::of_codes(codes))
    }

    /// From the hashes that a heartbeat brings along.
    pub fn of_codes(mut codes: Vec<i32>) -> Self {
        codes.sort_unstable();
        codes.dedup();
        Self::Codes(codes.into())
    }

    pub fn matches(&self, tags_code: i64) -> bool {
        match self {
            Self::All => true,
            // Only 32 bits of the entry are the hash.
            Self::Codes(codes) if codes.len() <= FEW => codes.contains(&(tags_code as i32)),
            Self::Codes(codes) => codes.binary_search(&(tags_code as i32)).is_ok(),
        }
    }
}

/// Which messages pass a subscription, by their properties.
#[derive(Clone, Debug)]
pub enum PropertyFilter {
    Selector(Rc<Selector>),
    /// Of a retry topic: the subscriptions to the topics where its messages were at first (`filterSupportRetry`). What
    /// came from elsewhere passes.
    ByOrigin(Rc<[(Box<str>, Rc<Selector>)]>),
}

/// Filters are alike if they are the same parsed expressions.
impl PartialEq for PropertyFilter {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Selector(one), Self::Selector(other)) => Rc::ptr_eq(one, other),
            (Self::ByOrigin(some), Self::ByOrigin(others)) => {
                let mut pairs = some.iter().zip(&**others);
                some.len() == others.len()
                    && pairs.all(|(one, other)| one.0 == other.0 && Rc::ptr_eq(&one.1, &other.1))
            }
            _ => false,
        }
    }
}

impl PropertyFilter {
    /// Whether a whole record passes. One that cannot be decoded does not.
    pub fn matches(&self, record: &[u8], effort: &mut Effort) -> bool {
        Record::decode(record, Check::Layout)
            .is_ok_and(|record| self.matches_properties(record.properties, effort))
    }

    /// As [`Self::matches`], in a look that may cost so much; `None`: it has cost that, and ends here.
    pub fn look(&self, record: &[u8], effort: &mut Effort) -> Option<bool> {
        effort.is_left().then(|| self.matches(record, effort))
    }

    fn matches_properties(&self, properties: &[u8], effort: &mut Effort) -> bool {
        match self {
            Self::Selector(selector) => selector.matches(properties, effort),
            Self::ByOrigin(origins) => {
                let origin = properties::find(properties, properties::RETRY_TOPIC);
                let mut origins = origins.iter();
                origins
                    .find(|(topic, _)| Some(&**topic) == origin)
                    .is_none_or(|(_, selector)| selector.matches(properties, effort))
            }
        }
    }

    /// Steps that one message takes at most, but for those that its texts take.
    pub fn cost(&self) -> usize {
        match self {
            Self::Selector(selector) => selector.cost(),
            Self::ByOrigin(origins) => {
                let costs = origins.iter().map(|(_, selector)| selector.cost());
                costs.max().unwrap_or(1)
            }
        }
    }
}

/// Expressions that pulls have brought along, as every such pull brings its own again; the last ones used
/// (RocketMQ: `SelectorParser.PARSE_CACHE`).
#[derive(Debug, Default)]
pub struct Selectors {
    recent: VecDeque<(Box<str>, Rc<Selector>)>,
}

impl Selectors {
    pub fn find_or_parse(
        &mut self,
        expression_type: &str,
        expression: &str,
    ) -> Result<Rc<Selector>, String> {
        let mut recent = self.recent.iter();
        match recent.position(|(text, _)| **text == *expression) {
            Some(place) if expression_type == SQL92 => self.recent.swap(0, place),
            _ => {
                let selector = selector(expression_type, expression)?;
                self.recent.push_front((expression.into(), selector));
                self.forget_oldest();
            }
        }
        Ok(self.recent[0].1.clone())
    }

    /// How many there are, and the bytes of their texts.
    pub fn size(&self) -> (usize, usize) {
        let texts = self.recent.iter().map(|(text, _)| text.len());
        (self.recent.len(), texts.sum())
    }

    fn forget_oldest(&mut self) {
        let mut bytes = 0;
        let fitting = self
            .recent
            .iter()
            .take(MAX_SELECTORS)
            .take_while(|(text, _)| {
                bytes += text.len();
                bytes <= MAX_SELECTOR_BYTES
            });
        let fitting = fitting.count().max(1);
        self.recent.truncate(fitting);
    }
}

/// The expression in its parsed form, or what is wrong with it.
pub fn selector(expression_type: &str, expression: &str) -> Result<Rc<Selector>, String> {
    match expression_type {
        SQL92 => Selector::parse(expression)
            .map(Rc::new)
            .map_err(|error| error.to_string()),
        _ => Err(format!(
            "there is no filter of the type {expression_type}, but TAG and {SQL92}"
        )),
    }
}

const SQL92: &str = "SQL92";

/// An expression of nothing but separators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoTags;

/// The tags of an expression.
pub fn tags(expression: &str) -> impl Iterator<Item = &str> {
    expression
        .split("||")
        .map(str::trim)
        .filter(|tag| !tag.is_empty())
}

/// Clients that name no type mean `TAG`.
pub fn is_tag_type(expression_type: Option<&str>) -> bool {
    matches!(expression_type, None | Some("" | "TAG"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::tags_code;
    use proptest::prelude::*;

    #[test]
    fn expressions() {
        assert_eq!(TagFilter::parse(""), Ok(TagFilter::All));
        assert_eq!(TagFilter::parse("*"), Ok(TagFilter::All));
        assert_eq!(TagFilter::parse(" || "), Err(NoTags));
        let filter = TagFilter::parse("TagA || TagB||").unwrap();
        assert_eq!(filter, TagFilter::of_codes(vec![2_598_920, 2_598_919]));
        assert!(filter.matches(tags_code("TagB")));
        assert!(!filter.matches(tags_code("TagC")));
        assert!(!filter.matches(0));
    }

    #[test]
    fn types() {
        assert!(is_tag_type(None) && is_tag_type(Some("")) && is_tag_type(Some("TAG")));
        assert!(!is_tag_type(Some("SQL92")));
    }

    proptest! {
        #[test]
        fn every_tag_of_an_expression_passes(tags in prop::collection::vec("[^| *\\s]{1,6}", 1..40)) {
            let filter = TagFilter::parse(&tags.join(" || ")).unwrap();
            for tag in &tags {
                prop_assert!(filter.matches(tags_code(tag)));
            }
        }
    }
}
