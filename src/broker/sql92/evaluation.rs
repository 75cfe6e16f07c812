//! What an expression says of a message (RocketMQ: the `evaluate` methods of the expressions).
//!
//! A property is a string or null. Where it meets a number or a boolean it is read as one of the same type. If it is none
//! the whole evaluation fails, and the message is not wanted; AND and OR stop at a decisive part before that.

use super::expression::{Expressions, Node, NodeId, Place};
use super::value::{Comparison, Failed, Value, equal, order};
use crate::message::properties;

impl Expressions {
    pub fn is_true(&self, id: NodeId, properties: &[u8]) -> bool {
        self.evaluate(id, properties) == Ok(Value::Bool(true))
    }

    /// Recurses as deeply as the expression, whose depth is bounded.
    pub fn evaluate<'a>(&'a self, id: NodeId, properties: &'a [u8]) -> Result<Value<'a>, Failed> {
        let value = |id| self.evaluate(id, properties);
        Ok(match self.node(id) {
            Node::Property(name) => {
                properties::find(properties, name).map_or(Value::Null, Value::Text)
            }
            Node::Negate(part) => match value(*part)? {
                Value::Int(number) => Value::Int(number.wrapping_neg()),
                Value::Long(number) => Value::Long(number.wrapping_neg()),
                Value::Double(number) => Value::Double(-number),
                _ => Value::Null,
            },
            Node::Not(part) => match value(*part)? {
                Value::Bool(value) => Value::Bool(!value),
                _ => Value::Null,
            },
            Node::Cast(part) => match value(*part)? {
                Value::Null => Value::Null,
                value => Value::Bool(value == Value::Bool(true)),
            },
            Node::And(parts) => self.decide(parts, false, properties)?,
            Node::Or(parts) => self.decide(parts, true, properties)?,
            Node::Compare {
                left,
                comparison: Comparison::Equal,
                right,
            } => equal(value(*left)?, value(*right)?)?,
            Node::Compare {
                left,
                comparison,
                right,
            } => match value(*left)? {
                Value::Null => Value::Null,
                left => order(left, *comparison, value(*right)?)?,
            },
            Node::In {
                property,
                texts,
                not,
            } => match value(*property)? {
                Value::Text(text) => {
                    let is_in = texts.binary_search_by(|other| (**other).cmp(text)).is_ok();
                    Value::Bool(is_in != *not)
                }
                _ => Value::Null,
            },
            Node::Search {
                within,
                place,
                text,
                not,
            } => match value(*within)? {
                // Searching for nothing finds nothing and misses nothing.
                Value::Text(within) if !text.is_empty() => {
                    Value::Bool(place.has(within, text) != *not)
                }
                _ => Value::Bool(false),
            },
            constant => constant.value().unwrap_or(Value::Null),
        })
    }

    /// AND and OR, of which `decisive` is the value that needs no other.
    fn decide<'a>(
        &'a self,
        parts: &[NodeId],
        decisive: bool,
        properties: &'a [u8],
    ) -> Result<Value<'a>, Failed> {
        let mut is_known = true;
        for part in parts {
            match self.evaluate(*part, properties)? {
                Value::Bool(value) if value == decisive => return Ok(Value::Bool(decisive)),
                Value::Bool(_) => {}
                _ => is_known = false,
            }
        }
        Ok(match is_known {
            true => Value::Bool(!decisive),
            false => Value::Null,
        })
    }
}

impl Place {
    fn has(self, within: &str, text: &str) -> bool {
        match self {
            Self::Anywhere => within.contains(text),
            Self::Start => within.starts_with(text),
            Self::End => within.ends_with(text),
        }
    }
}
