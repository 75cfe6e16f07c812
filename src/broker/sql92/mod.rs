//! SQL92 subscriptions: which messages, by their properties (RocketMQ: the module `filter`).
//!
//! [`Selector::parse`] makes of an expression what [`Selector::matches`] holds against a message. The grammar is that of
//! `SelectorParser.jj`, with what follows from it: behind the first token that cannot belong to the expression
//! everything is ignored, so `a = 007` means `a = 0`.
//!
//! | | |
//! |---|---|
//! | `lexer.rs` | text to tokens, one at a time |
//! | `parser.rs` | tokens to expressions |
//! | `expression.rs` | expressions, and which of them may be put together |
//! | `names.rs` | the properties that an expression names |
//! | `evaluation.rs` | expressions and properties to values |
//! | `value.rs` | values and how they compare |
//! | `number.rs` | numbers as Java reads and writes them |
//! | `effort.rs` | what evaluations cost, and how much they may |
//!
//! Nothing allocates while a message is evaluated. Length, depth and steps of an expression are bounded when it is parsed, where
//! RocketMQ's stack overflows. What its texts take depends on the message, and is bounded when it is evaluated.

mod effort;
mod evaluation;
mod expression;
mod lexer;
mod names;
mod number;
mod parser;
#[cfg(test)]
mod tests;
mod value;

pub use effort::{Effort, MAX_STEPS};

use effort::Steps;
use expression::{Expressions, NodeId};
use value::Value;

/// A parsed expression.
#[derive(Debug)]
pub struct Selector {
    expressions: Expressions,
    root: NodeId,
}

/// Why an expression is refused, in RocketMQ's words where it has some.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SqlError {
    #[error("Lexical error at line {line}, column {column}.  Encountered: {encountered}")]
    Lexical {
        line: usize,
        column: usize,
        encountered: String,
    },
    #[error(
        "Encountered \"{encountered}\" at line {line}, column {column}.\nWas expecting: {expected}"
    )]
    Syntax {
        encountered: String,
        line: usize,
        column: usize,
        expected: &'static str,
    },
    #[error("Expression will not result in a boolean value: {0}")]
    NotBoolean(String),
    #[error("Value '{0}' cannot be compared.")]
    NoOrder(String),
    #[error("'{0}' cannot be compared.")]
    NoEquality(String),
    #[error("'{left}' cannot be compared with '{right}'")]
    NotComparable { left: String, right: String },
    #[error("Illegal values of between, values can not be null!")]
    NullBound,
    #[error(
        "Illegal values of between, left value({low}) must less than or equal to right value({high})"
    )]
    Bounds { low: String, high: String },
    #[error("Expected a property for In expression, got: {0}")]
    InWithoutProperty(String),
    #[error("For input string: \"{0}\"")]
    Number(String),
    #[error("{0} is greater than 1.7976931348623157E308")]
    TooLarge(String),
    #[error("{0} is less than 4.9E-324")]
    TooSmall(String),
    #[error("The expression is nested deeper than {limit} levels")]
    TooDeep { limit: usize },
    #[error("The expression is longer than {limit} bytes")]
    TooLong { limit: usize },
    #[error("The expression takes more than {limit} steps to evaluate")]
    TooCostly { limit: usize },
}

impl Selector {
    pub fn parse(text: &str) -> Result<Self, SqlError> {
        parser::parse(text)
    }

    /// Whether a message with these properties is wanted. One that cannot be evaluated is not: its property is no number where
    /// the expression has one, or it takes more than [`MAX_STEPS`].
    pub fn matches(&self, properties: &[u8], effort: &mut Effort) -> bool {
        let steps = Steps::new();
        let value = self.expressions.value(self.root, properties, &steps);
        effort.spend(steps.taken());
        value == Ok(Value::Bool(true))
    }

    /// Steps that an evaluation takes at most, but for those that its texts take.
    pub fn cost(&self) -> usize {
        self.expressions.cost(self.root)
    }
}
