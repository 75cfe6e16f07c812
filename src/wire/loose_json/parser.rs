//! Reads the dialect into a [`Value`]. Deliberately more lenient than what anybody writes: single quotes, bare keys, stray commas.

use serde_json::{Map, Number, Value};

use super::BodyError;

/// Deeper than any body of the protocol, shallow enough for the stack.
const MAX_DEPTH: usize = 64;

/// Parses one value and what white space is around it. Keys that are objects become their JSON text,
/// and members that are null are left out.
pub fn parse(body: &[u8]) -> Result<Value, BodyError> {
    let text = String::from_utf8_lossy(body);
    let mut parser = Parser { text: &text, at: 0 };
    let value = parser.value(0)?;
    match parser.token() {
        None => Ok(value),
        Some(_) => Err(parser.error("the end")),
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl Parser<'_> {
    fn value(&mut self, depth: usize) -> Result<Value, BodyError> {
        if depth == MAX_DEPTH {
            return Err(BodyError::TooDeep { limit: MAX_DEPTH });
        }
        match self.token() {
            Some('{') => self.object(depth).map(Value::Object),
            Some('[') => self.array(depth).map(Value::Array),
            Some(quote @ ('"' | '\'')) => self.string(quote).map(Value::String),
            _ => self.literal(),
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
                    if !value.is_null() {
                        map.insert(key, value);
                    }
                }
            }
        }
    }

    fn key(&mut self, depth: usize) -> Result<String, BodyError> {
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
    fn string(&mut self, quote: char) -> Result<String, BodyError> {
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
            Some('f') => Ok('\u{c}'),
            Some('u') => self.unicode(),
            Some(plain) => Ok(plain),
            None => Err(self.error("an escape")),
        }
    }

    fn unicode(&mut self) -> Result<char, BodyError> {
        let first = self.hex4()?;
        if (0xD800..0xDC00).contains(&first) && self.rest().starts_with("\\u") {
            let after_first = self.at;
            self.at += 2;
            let second = self.hex4()?;
            if let Some(Ok(character)) = char::decode_utf16([first, second]).next() {
                return Ok(character);
            }
            self.at = after_first;
        }
        Ok(char::from_u32(u32::from(first)).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn hex4(&mut self) -> Result<u16, BodyError> {
        let digits = self
            .text
            .get(self.at..self.at + 4)
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let number = digits.and_then(|digits| u16::from_str_radix(digits, 16).ok());
        let number = number.ok_or_else(|| self.error("4 hex digits"))?;
        self.at += 4;
        Ok(number)
    }

    fn literal(&mut self) -> Result<Value, BodyError> {
        let start = self.at;
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
    fn word(&mut self) -> Result<&str, BodyError> {
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

    fn token(&mut self) -> Option<char> {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.rest().chars().next()?;
        self.at += next.len_utf8();
        Some(next)
    }

    fn advance(&mut self) {
        self.next();
    }

    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn error(&self, expected: &'static str) -> BodyError {
        BodyError::Syntax {
            at: self.at,
            expected,
        }
    }
}

fn parse_number(text: &str) -> Option<Value> {
    if let Ok(number) = text.parse::<i64>() {
        return Some(Value::from(number));
    }
    if let Ok(number) = text.parse::<u64>() {
        return Some(Value::from(number));
    }
    Number::from_f64(text.parse().ok()?).map(Value::Number)
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
