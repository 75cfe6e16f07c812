//! Subscriptions as filters on ConsumeQueue entries (RocketMQ: `FilterAPI`, `ExpressionMessageFilter`).
//!
//! An entry holds the hash of its message's tag. Clients check the tag itself again, so letting too much through is
//! harmless and letting too little through loses messages.

use std::rc::Rc;

use crate::message::java_hash;

/// Few tags are searched one by one, which needs no sorting and no hashing.
const FEW: usize = 16;

/// Which entries a consumer wants.
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

/// `TAG` is what clients mean who do not say.
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
