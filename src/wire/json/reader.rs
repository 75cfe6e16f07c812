//! The decoder: one pass over the text, without recursion.

use std::ops::Range;

use crate::wire::Language;
use crate::wire::fields::{Fields, HeaderError, Parts, Span};
use crate::wire::loose_json::integer;

/// Nesting of a skipped value; one bit of a `u64` for each level.
const MAX_DEPTH: u32 = 64;

pub(super) fn read(raw: &str, fields: &mut Fields) -> Result<Parts, HeaderError> {
    let mut parts = Parts::default();
    let mut reader = Reader::new(raw);
    reader.skip_space();
    reader.expect(b'{', "'{'")?;
    while let Some(key) = reader.key(fields)? {
        match key.text(raw, fields) {
            "extFields" => reader.ext_fields(fields)?,
            "code" => parts.code = reader.number("code", fields)?,
            "flag" => parts.flag = reader.number("flag", fields)?,
            "opaque" => {
                let start = reader.at;
                parts.opaque = reader.number("opaque", fields)?;
                fields.opaque = start..reader.at;
            }
            "version" => parts.version = reader.number("version", fields)?,
            "language" => {
                if let Some(span) = reader.scalar(fields)? {
                    parts.language = Language::from_name(span.text(raw, fields));
                }
            }
            "remark" => parts.remark = reader.scalar(fields)?,
            _ => reader.skip_value()?,
        }
    }
    reader.skip_space();
    reader.at += usize::from(reader.peek() == Some(b','));
    reader.skip_space();
    if reader
        .bytes
        .get(reader.at..)
        .is_some_and(|rest| rest.iter().any(|byte| *byte != 0))
    {
        return Err(reader.error("the end"));
    }
    Ok(parts)
}

impl Span {
    fn text<'a>(self, raw: &'a str, fields: &'a Fields) -> &'a str {
        self.of(raw, &fields.text)
    }
}

pub(super) struct Reader<'a> {
    raw: &'a str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(raw: &'a str) -> Self {
        let bytes = raw.as_bytes();
        Self { raw, bytes, at: 0 }
    }

    /// Goes on behind what is the same as there. Returns how many bytes further on it is here, modulo 2^64; `None`: it is not the same.
    pub(super) fn pass_same(&mut self, other: &str, there: Range<usize>) -> Option<usize> {
        let by = self.at.wrapping_sub(there.start);
        let same = other.as_bytes().get(there)?;
        let here = self.bytes.get(self.at..self.at + same.len())?;
        self.at += same.len();
        (here == same).then_some(by)
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// Reads the next key of an object up to its value; `None` at the closing `}`. The opening `{` is read already.
    fn key(&mut self, fields: &mut Fields) -> Result<Option<Span>, HeaderError> {
        loop {
            match self.next_token() {
                Some(b'}') => {
                    self.at += 1;
                    return Ok(None);
                }
                // fastjson accepts stray commas, so a separator needs no special case.
                Some(b',') => self.at += 1,
                Some(quote @ (b'"' | b'\'')) => {
                    let key = self.string(quote, fields)?;
                    self.skip_space();
                    self.expect(b':', "':'")?;
                    self.skip_space();
                    return Ok(Some(key));
                }
                _ => return Err(self.error("a key or '}'")),
            }
        }
    }

    fn ext_fields(&mut self, fields: &mut Fields) -> Result<(), HeaderError> {
        if self.peek() != Some(b'{') {
            return self.skip_value();
        }
        self.at += 1;
        loop {
            if let Some((key, value, place)) = self.plain_field() {
                fields.push(key, value)?;
                fields.places.push(place);
                continue;
            }
            let Some(key) = self.key(fields)? else {
                return Ok(());
            };
            let start = self.at;
            if let Some(value) = self.scalar(fields)? {
                fields.push(key, value)?;
                fields.places.push(start..self.at);
            }
        }
    }

    /// `"key":"value"` without white space or escapes, and a comma: nearly all fields look like this. `None` reads nothing.
    fn plain_field(&mut self) -> Option<(Span, Span, Range<usize>)> {
        let start = self.at;
        let field = self.plain_string().and_then(|key| {
            if self.peek() != Some(b':') {
                return None;
            }
            self.at += 1;
            let start = self.at;
            let value = self.plain_string()?;
            let place = start..self.at;
            self.at += usize::from(self.peek() == Some(b','));
            Some((key, value, place))
        });
        if field.is_none() {
            self.at = start;
        }
        field
    }

    fn plain_string(&mut self) -> Option<Span> {
        if self.peek() != Some(b'"') {
            return None;
        }
        self.at += 1;
        let start = self.at;
        if self.run_of_plain() != Some(b'"') {
            return None;
        }
        let end = self.at;
        self.at += 1;
        Some(Span::in_raw(start, end))
    }

    /// A string, or the text of a number or boolean. `None` for null, and for an object or array, which no field has.
    #[inline]
    pub(super) fn scalar(&mut self, fields: &mut Fields) -> Result<Option<Span>, HeaderError> {
        match self.peek() {
            Some(quote @ (b'"' | b'\'')) => self.string(quote, fields).map(Some),
            Some(b'{' | b'[') => self.skip_value().map(|()| None),
            _ => {
                let span = self.literal()?;
                let text = span.text(self.raw, fields);
                Ok((text != "null").then_some(span))
            }
        }
    }

    /// Null is 0, as for a Java `int`.
    pub(super) fn number(
        &mut self,
        field: &'static str,
        fields: &mut Fields,
    ) -> Result<i32, HeaderError> {
        let at = self.at;
        let Some(span) = self.scalar(fields)? else {
            return Ok(0);
        };
        let text = span.text(self.raw, fields);
        if let Ok(number) = text.parse() {
            return Ok(number);
        }
        let number = integer(text.trim()).and_then(|number| i32::try_from(number).ok());
        number.ok_or(HeaderError::Number { field, at })
    }

    /// Skips a value of any kind without recursion: the open brackets are the bits of `open`.
    fn skip_value(&mut self) -> Result<(), HeaderError> {
        let mut depth = 0;
        let mut open = 0u64;
        loop {
            match self.next_token() {
                Some(quote @ (b'"' | b'\'')) => self.skip_string(quote)?,
                Some(bracket @ (b'{' | b'[')) => {
                    if depth == MAX_DEPTH {
                        return Err(HeaderError::TooDeep { limit: MAX_DEPTH });
                    }
                    self.at += 1;
                    depth += 1;
                    open = open << 1 | u64::from(bracket == b'{');
                    continue;
                }
                Some(bracket @ (b'}' | b']'))
                    if depth > 0 && (open & 1 == 1) == (bracket == b'}') =>
                {
                    self.at += 1;
                    depth -= 1;
                    open >>= 1;
                }
                Some(b',' | b':') if depth > 0 => {
                    self.at += 1;
                    continue;
                }
                _ => {
                    self.literal()?;
                }
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }

    fn skip_string(&mut self, quote: u8) -> Result<(), HeaderError> {
        self.at += 1;
        loop {
            match self.run_up_to(quote) {
                Some(end) if end == quote => {
                    self.at += 1;
                    return Ok(());
                }
                Some(_) => self.at += 2,
                None => return Err(self.error("a closing quote")),
            }
        }
    }

    /// A number, `true`, `false` or `null`.
    fn literal(&mut self) -> Result<Span, HeaderError> {
        let start = self.at;
        while let Some(b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'+' | b'-' | b'.') = self.peek() {
            self.at += 1;
        }
        if self.at == start {
            return Err(self.error("a value"));
        }
        Ok(Span::in_raw(start, self.at))
    }

    /// The string whose opening quote is next. Without escapes its span is in the header's own bytes.
    fn string(&mut self, quote: u8, fields: &mut Fields) -> Result<Span, HeaderError> {
        let start = self.at + 1;
        match self.plain_string() {
            Some(span) => Ok(span),
            None => {
                self.at = start;
                self.unescape(start, quote, fields)
            }
        }
    }

    fn unescape(
        &mut self,
        start: usize,
        quote: u8,
        fields: &mut Fields,
    ) -> Result<Span, HeaderError> {
        let text_start = fields.text.len();
        let mut clean_from = start;
        loop {
            let stop = self.run_up_to(quote);
            fields
                .text
                .push_str(self.raw.get(clean_from..self.at).unwrap_or_default());
            match stop {
                Some(end) if end == quote => {
                    self.at += 1;
                    return Ok(Span::in_text(text_start, fields.text.len()));
                }
                Some(_) => {
                    self.at += 1;
                    let unescaped = self.escape()?;
                    fields.text.push(unescaped);
                    clean_from = self.at;
                }
                None => return Err(self.error("a closing quote")),
            }
        }
    }

    /// The character of an escape whose backslash is read.
    fn escape(&mut self) -> Result<char, HeaderError> {
        // The separators of properties, U+0001 and U+0002, are the most frequent escapes.
        if let Some([b'u', b'0', b'0', b'0', digit @ b'1'..=b'7']) = self
            .bytes
            .get(self.at..)
            .and_then(|rest| rest.first_chunk())
        {
            self.at += 5;
            return Ok(char::from(digit - b'0'));
        }
        let letter = self.peek().ok_or_else(|| self.error("an escape"))?;
        let plain = match letter {
            b'u' => {
                self.at += 1;
                return self.unicode_escape();
            }
            b'x' => {
                self.at += 1;
                let code = self.hex(2)?;
                return Ok(char::from(code as u8));
            }
            b'"' | b'\\' | b'/' | b'\'' | b' ' => char::from(letter),
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'b' => '\u{8}',
            b'f' | b'F' => '\u{c}',
            b'v' => '\u{b}',
            digit @ b'0'..=b'7' => char::from(digit - b'0'),
            _ => return Err(self.error("an escape")),
        };
        self.at += 1;
        Ok(plain)
    }

    /// A lone half of a surrogate pair becomes U+FFFD. It is no character; Java would encode it as `?`.
    fn unicode_escape(&mut self) -> Result<char, HeaderError> {
        let first = self.hex(4)?;
        if !(0xD800..0xDC00).contains(&first) {
            return Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        let after_first = self.at;
        if self.bytes.get(self.at..self.at + 2) == Some(b"\\u") {
            self.at += 2;
            let second = self.hex(4)?;
            if (0xDC00..0xE000).contains(&second) {
                let pair = 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
                return Ok(char::from_u32(pair).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.at = after_first;
        }
        Ok(char::REPLACEMENT_CHARACTER)
    }

    fn hex(&mut self, len: usize) -> Result<u32, HeaderError> {
        let digits = self
            .bytes
            .get(self.at..self.at + len)
            .ok_or_else(|| self.error("hex digits"))?;
        let mut number = 0;
        for digit in digits {
            let digit = char::from(*digit)
                .to_digit(16)
                .ok_or_else(|| self.error("hex digits"))?;
            number = number << 4 | digit;
        }
        self.at += len;
        Ok(number)
    }

    /// Advances to the next `quote` or backslash, and returns it.
    fn run_up_to(&mut self, quote: u8) -> Option<u8> {
        if quote == b'"' {
            return self.run_of_plain();
        }
        while let Some(byte) = self.peek() {
            if byte == quote || byte == b'\\' {
                return Some(byte);
            }
            self.at += 1;
        }
        None
    }

    /// Advances to the next double quote or backslash, eight bytes at a time, and returns it.
    #[inline]
    fn run_of_plain(&mut self) -> Option<u8> {
        while let Some(chunk) = self
            .bytes
            .get(self.at..)
            .and_then(|rest| rest.first_chunk())
        {
            let hits = hits_of(u64::from_le_bytes(*chunk));
            if hits != 0 {
                self.at += (hits.trailing_zeros() / 8) as usize;
                return self.peek();
            }
            self.at += 8;
        }
        while let Some(byte) = self.peek() {
            if byte == b'"' || byte == b'\\' {
                return Some(byte);
            }
            self.at += 1;
        }
        None
    }

    /// Skips white space and comments. An unterminated comment is not skipped and is an error as a token.
    fn skip_space(&mut self) {
        loop {
            match self.peek() {
                Some(b' ' | b'\n' | b'\r' | b'\t' | 8 | 12) => self.at += 1,
                Some(b'/') => match self.comment_len() {
                    Some(len) => self.at += len,
                    None => return,
                },
                _ => return,
            }
        }
    }

    #[cold]
    fn comment_len(&self) -> Option<usize> {
        let rest = self.raw.get(self.at..)?;
        if rest.starts_with("//") {
            return Some(rest.find('\n').map_or(rest.len(), |end| end + 1));
        }
        let inside = rest.strip_prefix("/*")?;
        Some(inside.find("*/")? + 4)
    }

    fn next_token(&mut self) -> Option<u8> {
        self.skip_space();
        self.peek()
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn expect(&mut self, byte: u8, expected: &'static str) -> Result<(), HeaderError> {
        if self.peek() != Some(byte) {
            return Err(self.error(expected));
        }
        self.at += 1;
        Ok(())
    }

    #[cold]
    fn error(&self, expected: &'static str) -> HeaderError {
        HeaderError::Json {
            at: self.at,
            expected,
        }
    }
}

/// The lowest set bit is in the first byte that is `"` or `\`. (Higher ones may be false: a borrow runs upwards only.)
fn hits_of(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = 0x8080_8080_8080_8080;
    let zero_bytes = |word: u64| word.wrapping_sub(ONES) & !word & TOPS;
    zero_bytes(word ^ (ONES * b'"' as u64)) | zero_bytes(word ^ (ONES * b'\\' as u64))
}
