//! The value of an expression for a message (RocketMQ: the `evaluate` methods of the expressions).
//!
//! A property is a string or null. Compared with a number or a boolean it is read as a value of that type. If it cannot be read
//! so, the whole evaluation fails and the message is not wanted; AND and OR stop at a decisive part before that.

use super::effort::Steps;
use super::expression::{Expressions, Node, NodeId, Place};
use super::names::NameId;
use super::value::{Comparison, Failed, Value, equal, order};

/// The message that is evaluated.
#[derive(Clone, Copy)]
struct Message<'a> {
    properties: &'a [u8],
    steps: &'a Steps,
}

impl Expressions {
    /// The value for a message with these properties. Fails when all `steps` are taken.
    pub fn value<'a>(
        &'a self,
        id: NodeId,
        properties: &'a [u8],
        steps: &'a Steps,
    ) -> Result<Value<'a>, Failed> {
        let is_read = steps.take_text(properties.len()) && steps.take(self.names.len() / 8);
        if !is_read {
            return Err(Failed);
        }
        self.names.read(properties);
        self.evaluate(id, Message { properties, steps })
    }

    /// Recurses as deeply as the expression, whose depth is bounded.
    fn evaluate<'a>(&'a self, id: NodeId, message: Message<'a>) -> Result<Value<'a>, Failed> {
        if !message.steps.take(1) {
            return Err(Failed);
        }
        let value = |id| self.evaluate(id, message);
        Ok(match self.node(id) {
            Node::Property { id, .. } => self.value_of(*id, message)?,
            Node::Negate(part) => negative(value(*part)?),
            Node::Not(part) => match value(*part)? {
                Value::Bool(value) => Value::Bool(!value),
                _ => Value::Null,
            },
            Node::Cast(part) => match value(*part)? {
                Value::Null => Value::Null,
                value => Value::Bool(value == Value::Bool(true)),
            },
            Node::And(parts) => self.decide(parts, false, message)?,
            Node::Or(parts) => self.decide(parts, true, message)?,
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
            } => is_in(value(*property)?, texts, *not, message.steps)?,
            Node::Search {
                within,
                place,
                text,
                not,
            } => search(value(*within)?, *place, text, *not, message.steps)?,
            constant => {
                let value = constant.value().unwrap_or(Value::Null);
                read(value, message.steps)?
            }
        })
    }

    fn value_of<'a>(&self, id: NameId, message: Message<'a>) -> Result<Value<'a>, Failed> {
        let Some(bytes) = self.names.value(id, message.properties) else {
            return Ok(Value::Null);
        };
        if !message.steps.take_text(bytes.len()) {
            return Err(Failed);
        }
        Ok(std::str::from_utf8(bytes).map_or(Value::Null, Value::Text))
    }

    /// AND and OR, of which `decisive` is the value that needs no other.
    fn decide<'a>(
        &'a self,
        parts: &[NodeId],
        decisive: bool,
        message: Message<'a>,
    ) -> Result<Value<'a>, Failed> {
        let mut is_known = true;
        for part in parts {
            match self.evaluate(*part, message)? {
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

fn read<'a>(value: Value<'a>, steps: &Steps) -> Result<Value<'a>, Failed> {
    match value {
        Value::Text(text) if !steps.take_text(text.len()) => Err(Failed),
        value => Ok(value),
    }
}

fn negative<'a>(value: Value<'_>) -> Value<'a> {
    match value {
        Value::Int(number) => Value::Int(number.wrapping_neg()),
        Value::Long(number) => Value::Long(number.wrapping_neg()),
        Value::Double(number) => Value::Double(-number),
        _ => Value::Null,
    }
}

/// `texts` are sorted.
fn is_in<'a>(
    value: Value<'_>,
    texts: &[Box<str>],
    not: bool,
    steps: &Steps,
) -> Result<Value<'a>, Failed> {
    let Value::Text(text) = value else {
        return Ok(Value::Null);
    };
    let compared = texts.len().max(1).ilog2() as usize + 1;
    if !steps.take_text(text.len() * compared) {
        return Err(Failed);
    }
    let is_in = texts.binary_search_by(|other| (**other).cmp(text)).is_ok();
    Ok(Value::Bool(is_in != not))
}

/// An empty text is found nowhere, and is not missing anywhere either.
fn search<'a>(
    within: Value<'_>,
    place: Place,
    text: &str,
    not: bool,
    steps: &Steps,
) -> Result<Value<'a>, Failed> {
    let Value::Text(within) = within else {
        return Ok(Value::Bool(false));
    };
    if text.is_empty() {
        return Ok(Value::Bool(false));
    }
    if !steps.take_text(text.len()) {
        return Err(Failed);
    }
    let is_found = match place {
        Place::Anywhere => within.contains(text),
        Place::Start => within.starts_with(text),
        Place::End => within.ends_with(text),
    };
    Ok(Value::Bool(is_found != not))
}
