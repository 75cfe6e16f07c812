//! Values, and how two of them compare (RocketMQ: `ComparisonExpression`).
//!
//! A property is a string or null. Compared with a number or a boolean it is read as a value of that type. If it cannot be
//! read so, the comparison fails.

use std::cmp::Ordering;

use super::number::{double, integer};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    Int(i32),
    Long(i64),
    Double(f64),
    Text(&'a str),
}

/// The expression has no value for this message: a property cannot be read as the type that it is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failed;

impl Value<'_> {
    pub fn is_bool(&self) -> bool {
        matches!(self, Self::Bool(_))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    Greater,
    GreaterEqual,
    Less,
    LessEqual,
}

impl Comparison {
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::Greater => ">",
            Self::GreaterEqual => ">=",
            Self::Less => "<",
            Self::LessEqual => "<=",
        }
    }

    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Equal => ordering.is_eq(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterEqual => ordering.is_ge(),
            Self::Less => ordering.is_lt(),
            Self::LessEqual => ordering.is_le(),
        }
    }
}

pub(super) fn equal<'a>(left: Value<'_>, right: Value<'_>) -> Result<Value<'a>, Failed> {
    Ok(match (left, right) {
        (Value::Null, Value::Null) => Value::Bool(true),
        (Value::Null, _) => Value::Null,
        (_, Value::Null) => Value::Bool(false),
        _ => Value::Bool(compare(left, right)?.is_eq()),
    })
}

pub(super) fn order<'a>(
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
