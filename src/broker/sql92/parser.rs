//! Tokens to expressions: a method for each rule of RocketMQ's `SelectorParser.jj`.

use super::expression::{Expressions, MAX_DEPTH, Node, NodeId, Place};
use super::lexer::{Kind, Lexer, Token};
use super::value::Comparison;
use super::{Selector, SqlError, number};
use crate::broker::limits::MAX_EXPRESSION_BYTES;

pub(super) fn parse(text: &str) -> Result<Selector, SqlError> {
    if text.len() > MAX_EXPRESSION_BYTES {
        return Err(SqlError::TooLong {
            limit: MAX_EXPRESSION_BYTES,
        });
    }
    let mut lexer = Lexer::new(text);
    let token = lexer.next()?;
    let mut parser = Parser {
        lexer,
        token,
        depth: 0,
        expressions: Expressions::default(),
    };
    let root = parser.or()?;
    let root = parser.expressions.boolean(root)?;
    Ok(Selector {
        expressions: parser.expressions,
        root,
    })
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    /// The next one.
    token: Token<'a>,
    /// Parentheses and signs that are open.
    depth: usize,
    expressions: Expressions,
}

impl<'a> Parser<'a> {
    fn or(&mut self) -> Result<NodeId, SqlError> {
        self.chain(Kind::Or, Self::and, Node::Or)
    }

    fn and(&mut self) -> Result<NodeId, SqlError> {
        self.chain(Kind::And, Self::equality, Node::And)
    }

    /// Many in one: `((a OR b) OR c)` has the same outcome as `OR(a, b, c)`, and costs no depth.
    fn chain(
        &mut self,
        between: Kind,
        part: fn(&mut Self) -> Result<NodeId, SqlError>,
        whole: fn(Box<[NodeId]>) -> Node,
    ) -> Result<NodeId, SqlError> {
        let first = part(self)?;
        if self.token.kind != between {
            return Ok(first);
        }
        // An operand is looked at when the next one is there, as RocketMQ does: of two errors it names the first.
        let mut parts = vec![first];
        while self.take(between)? {
            let next = part(self)?;
            if let [first] = parts[..] {
                parts[0] = self.expressions.boolean(first)?;
            }
            parts.push(self.expressions.boolean(next)?);
        }
        self.expressions.add(whole(parts.into()))
    }

    fn equality(&mut self) -> Result<NodeId, SqlError> {
        let mut left = self.comparison()?;
        loop {
            left = match self.token.kind {
                Kind::Equal => {
                    self.advance()?;
                    let right = self.comparison()?;
                    self.expressions.equal(left, right)?
                }
                Kind::NotEqual => {
                    self.advance()?;
                    let right = self.comparison()?;
                    let equal = self.expressions.equal(left, right)?;
                    self.expressions.not(equal)?
                }
                Kind::Is => {
                    self.advance()?;
                    let not = self.take(Kind::Not)?;
                    self.expect(Kind::Null, "\"NULL\"")?;
                    let null = self.expressions.is_null(left)?;
                    match not {
                        true => self.expressions.not(null)?,
                        false => null,
                    }
                }
                _ => return Ok(left),
            };
        }
    }

    fn comparison(&mut self) -> Result<NodeId, SqlError> {
        let mut left = self.unary()?;
        loop {
            let first = self.token;
            left = match first.kind {
                Kind::Greater => self.order(left, Comparison::Greater)?,
                Kind::GreaterEqual => self.order(left, Comparison::GreaterEqual)?,
                Kind::Less => self.order(left, Comparison::Less)?,
                Kind::LessEqual => self.order(left, Comparison::LessEqual)?,
                Kind::Not => {
                    self.advance()?;
                    match self.predicate(left, true)? {
                        Some(left) => left,
                        None => return Err(self.lexer.unexpected(&first, "a comparison")),
                    }
                }
                _ => match self.predicate(left, false)? {
                    Some(left) => left,
                    None => return Ok(left),
                },
            };
        }
    }

    fn order(&mut self, left: NodeId, comparison: Comparison) -> Result<NodeId, SqlError> {
        self.advance()?;
        let right = self.unary()?;
        self.expressions.order(left, comparison, right)
    }

    /// What may stand behind NOT, too.
    fn predicate(&mut self, left: NodeId, not: bool) -> Result<Option<NodeId>, SqlError> {
        let predicate = match self.token.kind {
            Kind::Contains => self.search(left, Place::Anywhere, not)?,
            Kind::StartsWith => self.search(left, Place::Start, not)?,
            Kind::EndsWith => self.search(left, Place::End, not)?,
            Kind::Between => self.between(left, not)?,
            Kind::In => self.is_in(left, not)?,
            _ => return Ok(None),
        };
        Ok(Some(predicate))
    }

    fn search(&mut self, within: NodeId, place: Place, not: bool) -> Result<NodeId, SqlError> {
        self.advance()?;
        let text = self.text()?;
        self.expressions.add(Node::Search {
            within,
            place,
            text,
            not,
        })
    }

    fn between(&mut self, left: NodeId, not: bool) -> Result<NodeId, SqlError> {
        self.advance()?;
        let low = self.unary()?;
        self.expect(Kind::And, "\"AND\"")?;
        let high = self.unary()?;
        match not {
            true => self.expressions.not_between(left, low, high),
            false => self.expressions.between(left, low, high),
        }
    }

    fn is_in(&mut self, left: NodeId, not: bool) -> Result<NodeId, SqlError> {
        self.advance()?;
        self.expect(Kind::Open, "\"(\"")?;
        let mut texts = vec![self.text()?];
        while self.take(Kind::Comma)? {
            texts.push(self.text()?);
        }
        self.expect(Kind::Close, "\",\" or \")\"")?;
        self.expressions.is_in(left, texts, not)
    }

    fn unary(&mut self) -> Result<NodeId, SqlError> {
        if self.depth == MAX_DEPTH {
            return Err(SqlError::TooDeep { limit: MAX_DEPTH });
        }
        self.depth += 1;
        let id = if self.take(Kind::Plus)? {
            self.unary()?
        } else if self.take(Kind::Minus)? {
            let part = self.unary()?;
            self.expressions.add(Node::Negate(part))?
        } else if self.take(Kind::Not)? {
            let part = self.unary()?;
            self.expressions.not(part)?
        } else {
            self.primary()?
        };
        self.depth -= 1;
        Ok(id)
    }

    fn primary(&mut self) -> Result<NodeId, SqlError> {
        let token = self.token;
        let node = match token.kind {
            Kind::Text => Node::Text(self.text()?),
            Kind::Open => {
                self.advance()?;
                let inside = self.or()?;
                self.expect(Kind::Close, "\")\"")?;
                return Ok(inside);
            }
            Kind::Decimal => decimal(token.text)?,
            Kind::Floating => floating(token.text)?,
            Kind::True => Node::Bool(true),
            Kind::False => Node::Bool(false),
            Kind::Null => Node::Null,
            Kind::Name => {
                self.advance()?;
                return self.expressions.property(token.text);
            }
            _ => {
                return Err(self
                    .lexer
                    .unexpected(&token, "a value, a property or \"(\""));
            }
        };
        if token.kind != Kind::Text {
            self.advance()?;
        }
        self.expressions.add(node)
    }

    fn text(&mut self) -> Result<Box<str>, SqlError> {
        let image = self.token.text;
        self.expect(Kind::Text, "<STRING_LITERAL>")?;
        Ok(image[1..image.len() - 1].replace("''", "'").into())
    }

    fn advance(&mut self) -> Result<(), SqlError> {
        self.token = self.lexer.next()?;
        Ok(())
    }

    fn take(&mut self, kind: Kind) -> Result<bool, SqlError> {
        let is_there = self.token.kind == kind;
        if is_there {
            self.advance()?;
        }
        Ok(is_there)
    }

    fn expect(&mut self, kind: Kind, expected: &'static str) -> Result<(), SqlError> {
        match self.take(kind)? {
            true => Ok(()),
            false => Err(self.lexer.unexpected(&self.token, expected)),
        }
    }
}

/// An int if it is small enough, else a long.
fn decimal(image: &str) -> Result<Node, SqlError> {
    let digits = image.trim_end_matches(['l', 'L']);
    let number: i64 = number::integer(digits).ok_or_else(|| SqlError::Number(digits.to_owned()))?;
    Ok(match i32::try_from(number) {
        Ok(number) => Node::Int(number),
        Err(_) => Node::Long(number),
    })
}

/// Zero is too small, too.
fn floating(image: &str) -> Result<Node, SqlError> {
    match number::double(image) {
        Some(f64::INFINITY) => Err(SqlError::TooLarge(image.to_owned())),
        Some(0.0) => Err(SqlError::TooSmall(image.to_owned())),
        Some(number) => Ok(Node::Double(number)),
        None => Err(SqlError::Number(image.to_owned())),
    }
}
