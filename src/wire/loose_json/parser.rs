//! Reads the dialect into a [`Value`].
//!
//! Beyond standard JSON it accepts single quotes, comments, stray and missing commas, `+1`, `007`, `1.`, Java's suffixes of numbers,
//! `Set[...]`, the escapes of JavaScript and NULs at the end (all of which fastjson2 accepts), and bare keys (fastjson 1 did).

use serde_json::{Map, Number, Value};

use super::BodyError;

/// Deeper than any body of the protocol, shallow enough for the stack.
pub(super) const MAX_DEPTH: usize = 64;

/// Parses one value and what white space is around it. Keys that are objects become their JSON text,
/// and members that are null are left out.
pub fn parse(body: &[u8]) -> Result<Value, BodyError> {
    let text = String::from_utf8_lossy(body);
    let mut parser = Parser {
        text: text.trim_end_matches('\0'),
        at: 0,
    };
    let value = parser.value(0)?;
    parser.end()?;
    Ok(value)
}

pub(super) struct Parser<'a> {
    pub(super) text: &'a str,
    pub(super) at: usize,
}

impl Parser<'_> {
    pub(super) fn value(&mut self, depth: usize) -> Result<Value, BodyError> {
        if depth == MAX_DEPTH {
            return Err(BodyError::TooDeep { limit: MAX_DEPTH });
        }
        match self.token() {
            Some('{') => self.object(depth).map(Value::Object),
            Some('[') => self.array(depth).map(Value::Array),
            Some(quote @ ('"' | '\'')) => self.string(quote).map(Value::String),
            _ => self.literal(depth),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Map<String, Value>, BodyError> {
        self.advance();
        let mut map = Map::new();
        loop {
            match self.token() {
                Some('}') => {
                    self.advance();
                    return Ok(map);
                }
                Some(',') => self.advance(),
                _ => {
                    let key = self.key(depth)?;
                    if self.token() != Some(':') {
                        return Err(self.error("':'"));
                    }
                    self.advance();
                    let value = self.value(depth + 1)?;
                    match value {
                        Value::Null => map.remove(&key),
                        value => map.insert(key, value),
                    };
                }
            }
        }
    }

    pub(super) fn key(&mut self, depth: usize) -> Result<String, BodyError> {
        match self.token() {
            Some(quote @ ('"' | '\'')) => self.string(quote),
            Some('{' | '[') => self.value(depth + 1).map(|key| key.to_string()),
            _ => self.word().map(str::to_owned),
        }
    }

    fn array(&mut self, depth: usize) -> Result<Vec<Value>, BodyError> {
        self.advance();
        let mut items = Vec::new();
        loop {
            match self.token() {
                Some(']') => {
                    self.advance();
                    return Ok(items);
                }
                Some(',') => self.advance(),
                _ => items.push(self.value(depth + 1)?),
            }
        }
    }

    /// A string in standard JSON is what serde_json reads; another quote is made the usual one.
    pub(super) fn string(&mut self, quote: char) -> Result<String, BodyError> {
        let start = self.at;
        self.advance();
        let mut text = String::new();
        loop {
            match self.next() {
                Some(end) if end == quote => return Ok(text),
                Some('\\') => text.push(self.escape()?),
                Some(plain) => text.push(plain),
                None => {
                    return Err(BodyError::Syntax {
                        at: start,
                        expected: "a string's end",
                    });
                }
            }
        }
    }

    fn escape(&mut self) -> Result<char, BodyError> {
        match self.next() {
            Some('n') => Ok('\n'),
            Some('r') => Ok('\r'),
            Some('t') => Ok('\t'),
            Some('b') => Ok('\u{8}'),
            Some('f' | 'F') => Ok('\u{c}'),
            Some('v') => Ok('\u{b}'),
            Some(digit @ '0'..='7') => Ok(char::from(digit as u8 - b'0')),
            Some('u') => self.unicode(),
            Some('x') => Ok(char::from(self.hex(2)? as u8)),
            Some(plain) => Ok(plain),
            None => Err(self.error("an escape")),
        }
    }

    fn unicode(&mut self) -> Result<char, BodyError> {
        let first = self.hex(4)?;
        if (0xD800..0xDC00).contains(&first) && self.rest().starts_with("\\u") {
            let after_first = self.at;
            self.at += 2;
            let second = self.hex(4)?;
            if let Some(Ok(character)) = char::decode_utf16([first, second]).next() {
                return Ok(character);
            }
            self.at = after_first;
        }
        Ok(char::from_u32(u32::from(first)).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn hex(&mut self, len: usize) -> Result<u16, BodyError> {
        let digits = self
            .text
            .get(self.at..self.at + len)
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let number = digits.and_then(|digits| u16::from_str_radix(digits, 16).ok());
        let number = number.ok_or_else(|| self.error("hex digits"))?;
        self.at += len;
        Ok(number)
    }

    fn literal(&mut self, depth: usize) -> Result<Value, BodyError> {
        let start = self.at;
        let rest = self.rest();
        if let Some(len) = ["Set[", "TreeSet["]
            .iter()
            .find(|set| rest.starts_with(**set))
            .map(|set| set.len() - 1)
        {
            self.at += len;
            return self.value(depth);
        }
        match self.word()? {
            "null" => Ok(Value::Null),
            "true" => Ok(Value::Bool(true)),
            "false" => Ok(Value::Bool(false)),
            number => parse_number(number).ok_or(BodyError::Syntax {
                at: start,
                expected: "a value",
            }),
        }
    }

    /// Letters, digits and what numbers and names have besides.
    pub(super) fn word(&mut self) -> Result<&str, BodyError> {
        let rest = self.rest();
        let is_part =
            |part: char| part.is_alphanumeric() || matches!(part, '+' | '-' | '.' | '_' | '$');
        let len = rest.find(|part| !is_part(part)).unwrap_or(rest.len());
        if len == 0 {
            return Err(self.error("a value"));
        }
        let start = self.at;
        self.at += len;
        Ok(self.text.get(start..self.at).unwrap_or_default())
    }

    /// The next character that is neither white space nor in a comment.
    pub(super) fn token(&mut self) -> Option<char> {
        loop {
            let rest = self.rest();
            let is_space = |part: char| part.is_whitespace() || part == '\u{8}';
            self.at += rest.len() - rest.trim_start_matches(is_space).len();
            let rest = self.rest();
            let comment = if rest.starts_with("//") {
                rest.find('\n').map_or(rest.len(), |end| end + 1)
            } else if rest.starts_with("/*") {
                // One without an end is no comment, and its slash begins no value.
                match rest.get(2..).and_then(|inside| inside.find("*/")) {
                    Some(end) => end + 4,
                    None => return Some('/'),
                }
            } else {
                return rest.chars().next();
            };
            self.at += comment;
        }
    }

    /// Nothing is left but a comma.
    pub(super) fn end(&mut self) -> Result<(), BodyError> {
        if self.token() == Some(',') {
            self.advance();
        }
        match self.token() {
            None => Ok(()),
            Some(_) => Err(self.error("the end")),
        }
    }

    fn next(&mut self) -> Option<char> {
        let next = self.rest().chars().next()?;
        self.at += next.len_utf8();
        Some(next)
    }

    pub(super) fn advance(&mut self) {
        self.next();
    }

    pub(super) fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    pub(super) fn error(&self, expected: &'static str) -> BodyError {
        BodyError::Syntax {
            at: self.at,
            expected,
        }
    }
}

/// Java's `1L 1S 1B` are whole numbers, its `1F 1D` are not.
fn parse_number(text: &str) -> Option<Value> {
    let begins_well = |first: char| first.is_ascii_digit() || "+-.".contains(first);
    if !text.starts_with(begins_well) || !text.contains(|digit: char| digit.is_ascii_digit()) {
        return None;
    }
    let digits = text.strip_suffix(['L', 'S', 'B']).unwrap_or(text);
    if let Ok(number) = digits.parse::<i64>() {
        return Some(Value::from(number));
    }
    if let Ok(number) = digits.parse::<u64>() {
        return Some(Value::from(number));
    }
    let digits = text.strip_suffix(['F', 'D']).unwrap_or(text);
    Number::from_f64(digits.parse().ok()?).map(Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn parsed(text: &str) -> Value {
        parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn dialect() {
        assert_eq!(parsed("{0:\"a\", -1 : 2}"), json!({"0": "a", "-1": 2}));
        assert_eq!(
            parsed("{{\"b\":1,\"a\":\"x\"}:3}"),
            json!({"{\"a\":\"x\",\"b\":1}": 3})
        );
        assert_eq!(
            parsed("{'a':'it\\'s',b_c:[1,2,],}\n"),
            json!({"a": "it's", "b_c": [1, 2]})
        );
        assert_eq!(
            parsed("[1.5,true,null,18446744073709551615]"),
            json!([1.5, true, null, u64::MAX])
        );
        assert_eq!(
            parsed(r#""\ud83d\ude00\u00fc\ud83dx\/""#),
            json!("😀ü\u{fffd}x/")
        );
    }

    #[test]
    fn errors() {
        for bad in [
            "", "{", "[1", "{\"a\"}", "{\"a\":}", "\"", "\"\\u12", "{} x", "nul", "{\"a\":1",
            "NaN", "}",
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
        for deep in ["[", "{\"a\":", "{{"] {
            assert!(parse(deep.repeat(100_000).as_bytes()).is_err());
        }
        assert_eq!(
            parse("[".repeat(65).as_bytes()),
            Err(BodyError::TooDeep { limit: 64 })
        );
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "[{}\\[\\],:\"'\\\\a0-9.u \u{e9}-]{0,40}", bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = parse(text.as_bytes());
            let _ = parse(&bytes);
        }

        #[test]
        fn standard_json_is_part_of_it(texts in prop::collection::vec(any::<String>(), 0..4), number: i64, real in -1e9f64..1e9) {
            let value = json!({"a": texts, "b": {"c": [number, real]}});
            prop_assert_eq!(parse(value.to_string().as_bytes()).unwrap(), value);
        }
    }
}
