//! Reads the members of large objects one after another, so that a large body takes many short turns and not a long one.
//!
//! ```text
//! {"offsetTable":{"T@g":{0:5,1:7}, ... }, ... }       values at the paths [offsetTable, T@g, 0], [offsetTable, T@g, 1], ...
//! ```

use serde::de::DeserializeOwned;

use super::parser::{MAX_DEPTH, Parser};
use super::{BodyError, Lenient, from_value};

/// What is read of a body in one turn, and at most [`MAX_VALUE_BYTES`] more.
pub const BYTES_PER_TURN: usize = 8 * 1024;

/// A key or value is read in one piece. No row of a table is so long.
pub const MAX_VALUE_BYTES: usize = 32 * 1024;

/// A body that is being read.
#[derive(Debug)]
pub struct Members {
    text: String,
    at: usize,
    turn_ends: usize,
    /// The objects around this place, from the outermost on; whether each is alone in an array, which counts as the object.
    open: Vec<bool>,
    /// Keys from the outermost object to the member that was read last.
    path: Vec<String>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Begin,
    BetweenMembers,
    InFrontOfValue,
    /// So many brackets deep in a value that is not wanted.
    Skipping(usize),
    End,
}

/// What to do with a member's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// It is read with [`Members::value`].
    Value,
    /// It is an object, whose members are read.
    Members,
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// A value that is wanted, at [`Members::path`].
    Value,
    /// The next call begins the next turn.
    TurnEnds,
    End,
}

impl Members {
    /// Only this checks all of the body at once: that it is UTF-8, some gigabytes a second. Other bytes are replaced.
    pub fn of(body: Vec<u8>) -> Self {
        let text = String::from_utf8(body);
        let mut text =
            text.unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
        text.truncate(text.trim_end_matches('\0').len());
        Self {
            text,
            at: 0,
            turn_ends: BYTES_PER_TURN,
            open: Vec::new(),
            path: Vec::new(),
            state: State::Begin,
        }
    }

    /// Keys from the outermost object to the member that was read last.
    pub fn path(&self) -> &[String] {
        &self.path
    }

    /// Goes on to the next value that is wanted.
    pub fn next(&mut self, want: impl Fn(&[String]) -> Want) -> Result<Next, BodyError> {
        assert!(self.state != State::InFrontOfValue, "a value is not read");
        loop {
            if self.state != State::End && self.at >= self.turn_ends {
                self.turn_ends = (self.at / BYTES_PER_TURN + 1) * BYTES_PER_TURN;
                return Ok(Next::TurnEnds);
            }
            match self.state {
                State::Begin => {
                    self.state = State::BetweenMembers;
                    if !self.enter()? {
                        self.end()?;
                    }
                }
                State::BetweenMembers => match self.key()? {
                    None => self.leave()?,
                    Some(key) => {
                        self.path.truncate(self.open.len() - 1);
                        self.path.push(key);
                        match want(&self.path) {
                            Want::Value => {
                                self.state = State::InFrontOfValue;
                                return Ok(Next::Value);
                            }
                            Want::Members => drop(self.enter()?),
                            Want::Nothing => self.state = State::Skipping(0),
                        }
                    }
                },
                State::Skipping(depth) => self.state = self.skip(depth)?,
                State::End => return Ok(Next::End),
                State::InFrontOfValue => unreachable!("asserted above"),
            }
        }
    }

    /// Reads the value in front of which [`Self::next`] has stopped.
    pub fn value<T: DeserializeOwned>(&mut self) -> Result<T, BodyError> {
        assert!(self.state == State::InFrontOfValue, "there is no value");
        self.state = State::BetweenMembers;
        let depth = self.open.len();
        self.read(|parser| {
            if matches!(parser.token(), Some('{' | '[')) {
                // Standard JSON, which is most of it, takes the shorter way.
                let values = serde_json::Deserializer::from_str(parser.rest());
                let mut values = values.into_iter::<T>();
                if let Some(Ok(value)) = values.next() {
                    parser.at += values.byte_offset();
                    return Ok(value);
                }
            }
            from_value(parser.value(depth)?)
        })
    }

    /// Reads one thing with a parser that sees no more than one may have.
    fn read<T>(
        &mut self,
        read: impl FnOnce(&mut Parser<'_>) -> Result<T, BodyError>,
    ) -> Result<T, BodyError> {
        let end = self.text.floor_char_boundary(self.at + MAX_VALUE_BYTES);
        let mut parser = Parser {
            text: self.text.get(..end).unwrap_or_default(),
            at: self.at,
        };
        let value = read(&mut parser);
        let at = parser.at;
        if at >= end && end < self.text.len() {
            return Err(BodyError::TooLong {
                at: self.at,
                limit: MAX_VALUE_BYTES,
            });
        }
        self.at = at;
        value
    }

    /// The next key of the innermost object; `None`: it ends.
    fn key(&mut self) -> Result<Option<String>, BodyError> {
        let depth = self.open.len();
        self.read(|parser| {
            loop {
                match parser.token() {
                    Some('}') => {
                        parser.advance();
                        return Ok(None);
                    }
                    Some(',') => parser.advance(),
                    _ => {
                        let key = parser.key(depth)?;
                        if parser.token() != Some(':') {
                            return Err(parser.error("':'"));
                        }
                        parser.advance();
                        return Ok(Some(key));
                    }
                }
            }
        })
    }

    /// Begins to read the value's members; `false`: there is none, and the value is read.
    fn enter(&mut self) -> Result<bool, BodyError> {
        let depth = self.open.len();
        if depth == MAX_DEPTH {
            return Err(BodyError::TooDeep { limit: MAX_DEPTH });
        }
        let entered = self.read(|parser| {
            let is_in_array = parser.token() == Some('[');
            if is_in_array {
                parser.advance();
            }
            match parser.token() {
                Some('{') => parser.advance(),
                _ if is_in_array => return Err(parser.error("an object")),
                _ => {
                    Lenient(parser.value(depth)?).members().map_err(content)?;
                    return Ok(None);
                }
            }
            Ok(Some(is_in_array))
        })?;
        self.open.extend(entered);
        Ok(entered.is_some())
    }

    /// Behind the end of the innermost object.
    fn leave(&mut self) -> Result<(), BodyError> {
        if self.open.pop() == Some(true) {
            self.read(|parser| {
                while parser.token() == Some(',') {
                    parser.advance();
                }
                match parser.token() {
                    Some(']') => {
                        parser.advance();
                        Ok(())
                    }
                    _ => Err(parser.error("the end of an array of one object")),
                }
            })?;
        }
        match self.open.is_empty() {
            true => self.end(),
            false => Ok(()),
        }
    }

    fn end(&mut self) -> Result<(), BodyError> {
        self.state = State::End;
        self.read(|parser| parser.end())
    }

    /// Skips a token of a value that is not wanted.
    fn skip(&mut self, depth: usize) -> Result<State, BodyError> {
        if depth + self.open.len() == MAX_DEPTH {
            return Err(BodyError::TooDeep { limit: MAX_DEPTH });
        }
        self.read(|parser| {
            let depth = match parser.token() {
                Some('{' | '[') => {
                    parser.advance();
                    depth + 1
                }
                Some('}' | ']') if depth > 0 => {
                    parser.advance();
                    depth - 1
                }
                Some(',' | ':') if depth > 0 => {
                    parser.advance();
                    depth
                }
                Some(quote @ ('"' | '\'')) => {
                    parser.string(quote)?;
                    depth
                }
                _ => {
                    parser.word()?;
                    if parser.rest().starts_with('[') {
                        // `Set[...]`
                        return Ok(State::Skipping(depth));
                    }
                    depth
                }
            };
            Ok(match depth {
                0 => State::BetweenMembers,
                depth => State::Skipping(depth),
            })
        })
    }
}

fn content(error: serde_json::Error) -> BodyError {
    BodyError::Content {
        reason: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    /// All of a body at the paths that are wanted, and how many turns that takes.
    fn read_all(
        body: &str,
        want: impl Fn(&[String]) -> Want,
    ) -> Result<(Vec<(String, Value)>, usize), BodyError> {
        let mut members = Members::of(body.as_bytes().to_vec());
        let (mut values, mut turns) = (Vec::new(), 1);
        loop {
            match members.next(&want)? {
                Next::Value => {
                    let value = members.value()?;
                    values.push((members.path().join("/"), value));
                }
                Next::TurnEnds => turns += 1,
                Next::End => return Ok((values, turns)),
            }
        }
    }

    /// Values of `a/*`.
    fn of_a(path: &[String]) -> Want {
        match path {
            [table] if table == "a" => Want::Members,
            [_, _] => Want::Value,
            _ => Want::Nothing,
        }
    }

    fn values(body: &str) -> Result<Vec<(String, Value)>, BodyError> {
        read_all(body, of_a).map(|(values, _)| values)
    }

    #[test]
    fn the_dialect_at_any_depth() {
        let rows = vec![
            ("a/0".to_owned(), json!({"x": 1})),
            ("a/k".to_owned(), json!(2)),
        ];
        for body in [
            r#"{"a":{"0":{"x":1},"k":2}}"#,
            r#" {/* */'b':[1,{"a":[]}],c:Set["a",{}],,a:{0:{"x":1L},"k":2,},"z":null} , "#,
            r#"{"a":[{0:{"x":1},"k":2}],"b":"}"}"#,
            "[{\"a\":{0:{\"x\":1},\"k\":2}}]\0\0",
        ] {
            assert_eq!(values(body), Ok(rows.clone()), "{body}");
        }
        for nothing in ["{}", "null", r#"{"a":null}"#, r#"{"a":""}"#, r#"{"b":7}"#] {
            assert_eq!(values(nothing), Ok(Vec::new()), "{nothing}");
        }
    }

    #[test]
    fn what_is_broken_is_an_error() {
        for bad in [
            "",
            "{",
            "7",
            "[]",
            "{\"a\"}",
            "{\"a\":{\"k\":}}",
            "{\"a\":{\"k\":1}",
            "{}x",
            "{\"a\":[{}{}]}",
            "{\"a\":7}",
            "{\"b\":[}",
            "{\"b\":",
            "{\"b\":{\"c\"",
        ] {
            assert!(values(bad).is_err(), "{bad}");
        }
        let deep = format!("{{\"b\":{}", "[".repeat(100_000));
        assert_eq!(values(&deep), Err(BodyError::TooDeep { limit: MAX_DEPTH }));
    }

    #[test]
    fn a_turn_reads_so_many_bytes() {
        let rows: Vec<_> = (0..10_000).map(|n| format!("\"row{n}\":{n}")).collect();
        let rows = rows.join(",");
        for (table, count) in [("a", 10_000), ("skipped", 0)] {
            let body = format!("{{\"{table}\":{{{rows}}}}}");
            let (values, turns) = read_all(&body, of_a).unwrap();
            assert_eq!(values.len(), count);
            let most = body.len() / BYTES_PER_TURN + 1;
            assert!(turns > most * 9 / 10 && turns <= most, "{turns} of {most}");
        }
    }

    /// Not even a hostile body makes a turn long.
    #[test]
    fn no_key_or_value_is_longer_than_allowed() {
        let most = MAX_VALUE_BYTES;
        let long = "x".repeat(most);
        for body in [
            format!("{{\"a\":{{\"k\":\"{long}\"}}}}"),
            format!("{{\"a\":{{\"{long}\":1}}}}"),
            format!("{{\"skipped\":\"{long}\"}}"),
            format!("{{\"a\":{{\"k\":[{}1]}}}}", "1,".repeat(most / 2)),
            format!("{}{{}}", " ".repeat(most)),
            format!("{{{}", ",".repeat(most + 2)),
            format!("{{\"a\":{{\"k\":1{}}}}}", "0".repeat(most)),
        ] {
            let error = values(&body).unwrap_err();
            let is_too_long = matches!(error, BodyError::TooLong { .. });
            assert!(is_too_long, "{error}: {}", body.get(..20).unwrap());
        }
        let fits = "x".repeat(most - 8);
        let body = format!("{{\"a\":{{\"k\":\"{fits}\",\"l\":\"{fits}\"}}}}");
        assert_eq!(values(&body).unwrap().len(), 2);
    }

    proptest! {
        #[test]
        fn as_the_whole_body(texts in prop::collection::btree_map(any::<String>(), any::<String>(), 0..9), other: String) {
            let body = json!({"0": {"a": [other]}, "a": texts, "b": other});
            let expected: Vec<_> = texts.iter().map(|(key, text)| (format!("a/{key}"), json!(text))).collect();
            prop_assert_eq!(values(&body.to_string()).unwrap(), expected);
        }

        #[test]
        fn arbitrary_text_never_panics(text in "[{}\\[\\],:\"'\\\\a0-9.u \u{e9}-]{0,40}") {
            let _ = values(&text);
            let _ = values(&format!("{{\"a\":{{{text}"));
        }
    }
}
