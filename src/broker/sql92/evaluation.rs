//! What an expression says of a message (RocketMQ: the `evaluate` methods of the expressions).
//!
//! A property is a string or null. Where it meets a number or a boolean it is read as one of the same type. If it is none
//! the whole evaluation fails, and the message is not wanted; AND and OR stop at a decisive part before that.

use std::cmp::Ordering;

use super::expression::{Comparison, Expressions, Node, NodeId, Place};
use super::number::{double, integer};
use crate::message::properties;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    Int(i32),
    Long(i64),
    Double(f64),
    Text(&'a str),
}

/// The expression says nothing of this message: a property is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failed;

impl Value<'_> {
    pub fn is_bool(&self) -> bool {
        matches!(self, Self::Bool(_))
    }
}

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

fn equal<'a>(left: Value<'_>, right: Value<'_>) -> Result<Value<'a>, Failed> {
    Ok(match (left, right) {
        (Value::Null, Value::Null) => Value::Bool(true),
        (Value::Null, _) => Value::Null,
        (_, Value::Null) => Value::Bool(false),
        _ => Value::Bool(compare(left, right)?.is_eq()),
    })
}

fn order<'a>(
    left: Value<'_>,
    comparison: Comparison,
    right: Value<'_>,
) -> Result<Value<'a>, Failed> {
    let ordering = match (left, right) {
        (_, Value::Null) => return Ok(Value::Null),
        // Strings have no order, but numbers in them have.
        (Value::Text(left), Value::Text(right)) => compare(
            Value::Double(double(left).ok_or(Failed)?),
            Value::Double(double(right).ok_or(Failed)?),
        )?,
        _ => compare(left, right)?,
    };
    Ok(Value::Bool(comparison.holds(ordering)))
}

/// `ComparisonExpression.__compare`: what cannot be compared is less, except that Java fails to make a boolean of itself
/// if it meets a string on its right.
pub(super) fn compare(left: Value<'_>, right: Value<'_>) -> Result<Ordering, Failed> {
    use Value::{Bool, Text};
    Ok(match (left, right) {
        (Bool(left), Bool(right)) => left.cmp(&right),
        (Text(left), Text(right)) => left.cmp(right),
        (Text(left), Bool(right)) => left.eq_ignore_ascii_case("true").cmp(&right),
        (Bool(_), Text(_)) => return Err(Failed),
        (Text(left), right) => compare(number_like(left, right)?, right)?,
        (left, Text(right)) => compare(left, number_like(right, left)?)?,
        _ => match (whole(left), whole(right), real(left), real(right)) {
            (Some(left), Some(right), ..) => left.cmp(&right),
            // All of Java's NaNs are equal and greater than the rest.
            (_, _, Some(left), Some(right)) => left.total_cmp(&right),
            _ => Ordering::Less,
        },
    })
}

/// The text as a number of the same type as the other.
fn number_like<'a>(text: &str, other: Value<'_>) -> Result<Value<'a>, Failed> {
    let number = match other {
        Value::Int(_) => integer(text).map(Value::Int),
        Value::Long(_) => integer(text).map(Value::Long),
        _ => double(text).map(Value::Double),
    };
    number.ok_or(Failed)
}

fn whole(value: Value<'_>) -> Option<i64> {
    match value {
        Value::Int(number) => Some(number.into()),
        Value::Long(number) => Some(number),
        _ => None,
    }
}

fn real(value: Value<'_>) -> Option<f64> {
    match value {
        Value::Double(number) => Some(number),
        _ => whole(value).map(|number| number as f64),
    }
}
