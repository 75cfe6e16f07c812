//! Expressions, and which of them may be put together (RocketMQ: the `create...` methods of `ComparisonExpression`,
//! `UnaryExpression`, `LogicExpression`).
//!
//! Expressions are in one list and refer to each other by index. An expression comes after its parts, so there are no cycles. Depth
//! and steps follow from those of the parts and are bounded here.

use std::cmp::Ordering;
use std::fmt::Write;

use super::SqlError;
use super::effort::MAX_STEPS;
use super::names::{NameId, Names};
use super::number::double_text;
use super::value::{Comparison, Value, compare};

/// Levels of an expression, one for each level of an evaluation's recursion. An expression written by hand is not nested as deeply.
pub(super) const MAX_DEPTH: usize = 128;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NodeId(u32);

#[derive(Debug)]
pub(super) enum Node {
    Null,
    Bool(bool),
    Int(i32),
    Long(i64),
    Double(f64),
    Text(Box<str>),
    Property {
        name: Box<str>,
        id: NameId,
    },
    Negate(NodeId),
    Not(NodeId),
    /// A property where a boolean is wanted.
    Cast(NodeId),
    And(Box<[NodeId]>),
    Or(Box<[NodeId]>),
    Compare {
        left: NodeId,
        comparison: Comparison,
        right: NodeId,
    },
    In {
        property: NodeId,
        /// Sorted.
        texts: Box<[Box<str>]>,
        not: bool,
    },
    Search {
        within: NodeId,
        place: Place,
        text: Box<str>,
        not: bool,
    },
}

/// Where a text is searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Anywhere,
    Start,
    End,
}

#[derive(Debug, Default)]
pub(super) struct Expressions {
    nodes: Vec<Node>,
    pub(super) names: Names,
    sizes: Vec<Size>,
}

#[derive(Clone, Copy, Debug)]
struct Size {
    depth: usize,
    cost: usize,
}

impl Expressions {
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    pub fn cost(&self, id: NodeId) -> usize {
        self.size(id).cost
    }

    pub fn add(&mut self, node: Node) -> Result<NodeId, SqlError> {
        let parts = match &node {
            Node::Negate(part) | Node::Not(part) | Node::Cast(part) => std::slice::from_ref(part),
            Node::Search { within: part, .. } | Node::In { property: part, .. } => {
                std::slice::from_ref(part)
            }
            Node::And(parts) | Node::Or(parts) => parts,
            Node::Compare { left, right, .. } => &[*left, *right],
            _ => &[],
        };
        let sizes = parts.iter().map(|part| self.size(*part));
        let size = sizes.fold(Size { depth: 1, cost: 1 }, |size, part| Size {
            depth: size.depth.max(part.depth + 1),
            cost: size.cost + part.cost,
        });
        if size.depth > MAX_DEPTH {
            return Err(SqlError::TooDeep { limit: MAX_DEPTH });
        }
        if size.cost > MAX_STEPS || self.nodes.len() > MAX_STEPS {
            return Err(SqlError::TooCostly { limit: MAX_STEPS });
        }
        let id = NodeId(self.nodes.len() as u32);
        self.nodes.push(node);
        self.sizes.push(size);
        Ok(id)
    }

    pub fn property(&mut self, name: &str) -> Result<NodeId, SqlError> {
        let id = self.names.id(name);
        let name = name.into();
        self.add(Node::Property { name, id })
    }

    pub fn boolean(&mut self, id: NodeId) -> Result<NodeId, SqlError> {
        match self.node(id) {
            node if node.is_boolean() => Ok(id),
            Node::Property { .. } => self.add(Node::Cast(id)),
            _ => Err(SqlError::NotBoolean(self.text(id))),
        }
    }

    pub fn not(&mut self, id: NodeId) -> Result<NodeId, SqlError> {
        let id = self.boolean(id)?;
        self.add(Node::Not(id))
    }

    pub fn equal(&mut self, left: NodeId, right: NodeId) -> Result<NodeId, SqlError> {
        for side in [left, right] {
            if let Node::Null = self.node(side) {
                return Err(SqlError::NoEquality(self.text(side)));
            }
        }
        if let (Node::Bool(_), Node::Int(_) | Node::Long(_) | Node::Double(_) | Node::Text(_)) =
            (self.node(left), self.node(right))
        {
            let (left, right) = (self.text(left), self.text(right));
            return Err(SqlError::NotComparable { left, right });
        }
        self.compare(left, Comparison::Equal, right)
    }

    pub fn is_null(&mut self, id: NodeId) -> Result<NodeId, SqlError> {
        let null = self.add(Node::Null)?;
        self.compare(id, Comparison::Equal, null)
    }

    /// Greater or less than: of what is or may become a number.
    pub fn order(
        &mut self,
        left: NodeId,
        comparison: Comparison,
        right: NodeId,
    ) -> Result<NodeId, SqlError> {
        for side in [left, right] {
            let node = self.node(side);
            if node.is_boolean() || matches!(node, Node::Text(_)) {
                return Err(SqlError::NoOrder(self.text(side)));
            }
        }
        self.compare(left, comparison, right)
    }

    pub fn between(&mut self, id: NodeId, low: NodeId, high: NodeId) -> Result<NodeId, SqlError> {
        if let (Some(lower), Some(higher)) = (self.node(low).value(), self.node(high).value()) {
            if lower == Value::Null || higher == Value::Null {
                return Err(SqlError::NullBound);
            }
            let illegal = || SqlError::Bounds {
                low: self.value_text(low),
                high: self.value_text(high),
            };
            match compare(higher, lower) {
                Ok(Ordering::Less) => return Err(illegal()),
                Ok(_) => {}
                Err(_) => match (higher, lower) {
                    (Value::Text(text), _) | (_, Value::Text(text)) if !higher.is_bool() => {
                        return Err(SqlError::Number(text.to_owned()));
                    }
                    _ => return Err(illegal()),
                },
            }
        }
        let not_below = self.order(id, Comparison::GreaterEqual, low)?;
        let not_above = self.order(id, Comparison::LessEqual, high)?;
        self.add(Node::And([not_below, not_above].into()))
    }

    pub fn not_between(
        &mut self,
        id: NodeId,
        low: NodeId,
        high: NodeId,
    ) -> Result<NodeId, SqlError> {
        let below = self.order(id, Comparison::Less, low)?;
        let above = self.order(id, Comparison::Greater, high)?;
        self.add(Node::Or([below, above].into()))
    }

    pub fn is_in(
        &mut self,
        property: NodeId,
        mut texts: Vec<Box<str>>,
        not: bool,
    ) -> Result<NodeId, SqlError> {
        let Node::Property { .. } = self.node(property) else {
            return Err(SqlError::InWithoutProperty(self.text(property)));
        };
        texts.sort_unstable();
        self.add(Node::In {
            property,
            texts: texts.into(),
            not,
        })
    }

    fn compare(
        &mut self,
        left: NodeId,
        comparison: Comparison,
        right: NodeId,
    ) -> Result<NodeId, SqlError> {
        self.add(Node::Compare {
            left,
            comparison,
            right,
        })
    }

    fn size(&self, id: NodeId) -> Size {
        self.sizes[id.0 as usize]
    }

    /// As RocketMQ's errors write it; of a large one the beginning.
    fn text(&self, id: NodeId) -> String {
        let mut out = String::new();
        self.write(id, &mut out);
        out
    }

    fn value_text(&self, id: NodeId) -> String {
        match self.node(id) {
            Node::Text(text) => text.to_string(),
            Node::Bool(value) => value.to_string(),
            _ => self.text(id),
        }
    }

    fn write(&self, id: NodeId, out: &mut String) {
        const ENOUGH: usize = 1000;
        if out.len() > ENOUGH {
            return;
        }
        // Writing into a String does not fail.
        let _ = match self.node(id) {
            Node::Null => write!(out, "NULL"),
            Node::Bool(value) => write!(out, "{}", if *value { "TRUE" } else { "FALSE" }),
            Node::Int(value) => write!(out, "{value}"),
            Node::Long(value) => write!(out, "{value}"),
            Node::Double(value) => write!(out, "{}", double_text(*value)),
            Node::Text(text) => write!(out, "'{}'", text.replace('\'', "''")),
            Node::Property { name, .. } => write!(out, "{name}"),
            Node::Cast(part) => return self.write(*part, out),
            Node::Negate(part) => return self.write_unary("-", *part, out),
            Node::Not(part) => return self.write_unary("NOT", *part, out),
            Node::Search {
                within, place, not, ..
            } => return self.write_unary(symbol(*place, *not), *within, out),
            Node::And(parts) => return self.write_chain("&&", parts, out),
            Node::Or(parts) => return self.write_chain("||", parts, out),
            Node::Compare {
                left,
                comparison,
                right,
            } => return self.write_chain(comparison.symbol(), &[*left, *right], out),
            Node::In {
                property,
                texts,
                not,
            } => {
                self.write(*property, out);
                let symbol = if *not { "NOT IN" } else { "IN" };
                write!(out, " {symbol} ( {} )", texts.join(", "))
            }
        };
    }

    fn write_unary(&self, symbol: &str, part: NodeId, out: &mut String) {
        out.extend(["(", symbol, " "]);
        self.write(part, out);
        out.push(')');
    }

    /// `((a && b) && c)`
    fn write_chain(&self, symbol: &str, parts: &[NodeId], out: &mut String) {
        out.extend(std::iter::repeat_n('(', parts.len() - 1));
        for (place, part) in parts.iter().enumerate() {
            if place > 0 {
                out.extend([" ", symbol, " "]);
            }
            self.write(*part, out);
            if place > 0 {
                out.push(')');
            }
        }
    }
}

impl Node {
    fn is_boolean(&self) -> bool {
        matches!(
            self,
            Node::Null
                | Node::Bool(_)
                | Node::Not(_)
                | Node::Cast(_)
                | Node::And(_)
                | Node::Or(_)
                | Node::Compare { .. }
                | Node::In { .. }
                | Node::Search { .. }
        )
    }

    /// That of a constant.
    pub fn value(&self) -> Option<Value<'_>> {
        Some(match self {
            Node::Null => Value::Null,
            Node::Bool(value) => Value::Bool(*value),
            Node::Int(value) => Value::Int(*value),
            Node::Long(value) => Value::Long(*value),
            Node::Double(value) => Value::Double(*value),
            Node::Text(text) => Value::Text(text),
            _ => return None,
        })
    }
}

fn symbol(place: Place, not: bool) -> &'static str {
    match (place, not) {
        (Place::Anywhere, false) => "CONTAINS",
        (Place::Anywhere, true) => "NOT CONTAINS",
        (Place::Start, false) => "STARTSWITH",
        (Place::Start, true) => "NOT STARTSWITH",
        (Place::End, false) => "ENDSWITH",
        (Place::End, true) => "NOT ENDSWITH",
    }
}
