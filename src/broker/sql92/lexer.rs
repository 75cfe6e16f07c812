//! Tokens of an expression, one at a time: what the parser does not ask for may be nonsense (RocketMQ:
//! `SelectorParser.jj`, `SelectorParserTokenManager`). As there the longest token wins.

use super::SqlError;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    End,
    Not,
    And,
    Or,
    Between,
    In,
    True,
    False,
    Null,
    Is,
    Contains,
    StartsWith,
    EndsWith,
    Decimal,
    Floating,
    Text,
    Name,
    Equal,
    NotEqual,
    Greater,
    GreaterEqual,
    Less,
    LessEqual,
    Open,
    Comma,
    Close,
    Plus,
    Minus,
}

const WORDS: &[(&str, Kind)] = &[
    ("NOT", Kind::Not),
    ("AND", Kind::And),
    ("OR", Kind::Or),
    ("BETWEEN", Kind::Between),
    ("IN", Kind::In),
    ("TRUE", Kind::True),
    ("FALSE", Kind::False),
    ("NULL", Kind::Null),
    ("IS", Kind::Is),
    ("CONTAINS", Kind::Contains),
    ("STARTSWITH", Kind::StartsWith),
    ("ENDSWITH", Kind::EndsWith),
];

/// The longer ones first.
const SYMBOLS: &[(&str, Kind)] = &[
    ("<>", Kind::NotEqual),
    (">=", Kind::GreaterEqual),
    ("<=", Kind::LessEqual),
    ("=", Kind::Equal),
    (">", Kind::Greater),
    ("<", Kind::Less),
    ("(", Kind::Open),
    (",", Kind::Comma),
    (")", Kind::Close),
    ("+", Kind::Plus),
    ("-", Kind::Minus),
];

#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'a> {
    pub kind: Kind,
    /// As written.
    pub text: &'a str,
    at: usize,
}

pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    pub fn next(&mut self) -> Result<Token<'a>, SqlError> {
        self.skip();
        let rest = &self.text[self.at..];
        let Some((kind, len)) = token_at(rest) else {
            return Err(self.lexical_error());
        };
        let token = Token {
            kind,
            text: &rest[..len],
            at: self.at,
        };
        self.at += len;
        Ok(token)
    }

    /// That `found` stands where something else should.
    pub fn unexpected(&self, found: &Token<'_>, expected: &'static str) -> SqlError {
        let (line, column) = self.place(found);
        let encountered = match found.kind {
            Kind::End => "<EOF>".to_owned(),
            kind => format!(" {} \"{} \"", name_of(kind), escaped(found.text)),
        };
        SqlError::Syntax {
            encountered,
            line,
            column,
            expected,
        }
    }

    /// Blanks and comments.
    fn skip(&mut self) {
        loop {
            let rest = &self.text[self.at..];
            let blanks = rest.len()
                - rest
                    .trim_start_matches([' ', '\t', '\n', '\r', '\x0C'])
                    .len();
            let skipped = match blanks {
                0 => comment(rest),
                blanks => Some(blanks),
            };
            match skipped {
                Some(len) => self.at += len,
                None => return,
            }
        }
    }

    fn lexical_error(&self) -> SqlError {
        let rest = &self.text[self.at..];
        let (line, column) = self.line_and_column(self.at);
        let encountered = match rest.chars().next() {
            Some('\'') => "<EOF> within a string".to_owned(),
            Some('/') if rest.starts_with("/*") => "<EOF> within a comment".to_owned(),
            Some(c) => format!(
                "\"{}\" ({})",
                escaped(c.encode_utf8(&mut [0; 4])),
                u32::from(c)
            ),
            None => "<EOF>".to_owned(),
        };
        SqlError::Lexical {
            line,
            column,
            encountered,
        }
    }

    /// The end is where the last character is.
    fn place(&self, token: &Token<'_>) -> (usize, usize) {
        match token.kind {
            Kind::End => match self.text.char_indices().next_back() {
                Some((last, _)) => self.line_and_column(last),
                None => (0, 0),
            },
            _ => self.line_and_column(token.at),
        }
    }

    /// Counted from 1.
    fn line_and_column(&self, at: usize) -> (usize, usize) {
        let before = &self.text[..at];
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |end| end + 1);
        (line, before[start..].chars().count() + 1)
    }
}

/// The token at the beginning, with its length.
fn token_at(rest: &str) -> Option<(Kind, usize)> {
    let Some(first) = rest.bytes().next() else {
        return Some((Kind::End, 0));
    };
    match first {
        b'\'' => Some((Kind::Text, text_len(rest)?)),
        b'0'..=b'9' | b'.' => number(rest.as_bytes()),
        b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'$' => Some(word(rest)),
        _ => {
            let mut symbols = SYMBOLS.iter();
            let (symbol, kind) = symbols.find(|(symbol, _)| rest.starts_with(symbol))?;
            Some((*kind, symbol.len()))
        }
    }
}

fn word(rest: &str) -> (Kind, usize) {
    let is_inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '$');
    let len = rest.find(|c| !is_inside(c)).unwrap_or(rest.len());
    let mut words = WORDS.iter();
    let reserved = words.find(|(word, _)| word.eq_ignore_ascii_case(&rest[..len]));
    (reserved.map_or(Kind::Name, |(_, kind)| *kind), len)
}

/// Length of a string with its quotes; a quote within is written twice. One that does not end is none: a part of it that
/// would pass as a string is followed by a quote, which does not.
fn text_len(rest: &str) -> Option<usize> {
    let mut at = 1;
    loop {
        at += rest[at..].find('\'')? + 1;
        match rest[at..].starts_with('\'') {
            true => at += 1,
            false => return Some(at),
        }
    }
}

fn number(rest: &[u8]) -> Option<(Kind, usize)> {
    let decimal = match rest[0] {
        b'0' => 1,
        _ => match digits(rest) {
            0 => 0,
            len => len + usize::from(matches!(rest.get(len), Some(b'l' | b'L'))),
        },
    };
    match floating_len(rest).unwrap_or(0) {
        0 if decimal == 0 => None,
        len if len > decimal => Some((Kind::Floating, len)),
        _ => Some((Kind::Decimal, decimal)),
    }
}

/// `5.5`, `5.`, `.5`, each with an exponent perhaps; `5E1`.
fn floating_len(rest: &[u8]) -> Option<usize> {
    let whole = digits(rest);
    if rest.get(whole) != Some(&b'.') {
        return match whole {
            0 => None,
            _ => Some(whole + exponent_len(&rest[whole..])?),
        };
    }
    let fraction = digits(&rest[whole + 1..]);
    let len = whole + 1 + fraction;
    (whole + fraction > 0).then(|| len + exponent_len(&rest[len..]).unwrap_or(0))
}

fn exponent_len(rest: &[u8]) -> Option<usize> {
    let sign = match rest {
        [b'e' | b'E', b'+' | b'-', ..] => 1,
        [b'e' | b'E', ..] => 0,
        _ => return None,
    };
    match digits(&rest[1 + sign..]) {
        0 => None,
        digits => Some(1 + sign + digits),
    }
}

fn digits(rest: &[u8]) -> usize {
    rest.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// Length of a comment: `-- ...` with the line's end, without which it is two signs; `/* ... */`.
fn comment(rest: &str) -> Option<usize> {
    if rest.starts_with("--") {
        let end = rest.find(['\n', '\r'])?;
        return Some(end + 1);
    }
    let inside = rest.strip_prefix("/*")?;
    Some(2 + inside.find("*/")? + 2)
}

fn name_of(kind: Kind) -> String {
    let mut named = WORDS.iter().chain(SYMBOLS);
    match named.find(|(_, other)| *other == kind) {
        Some((text, _)) => format!("\"{text}\""),
        None => match kind {
            Kind::Decimal => "<DECIMAL_LITERAL>".to_owned(),
            Kind::Floating => "<FLOATING_POINT_LITERAL>".to_owned(),
            Kind::Text => "<STRING_LITERAL>".to_owned(),
            _ => "<ID>".to_owned(),
        },
    }
}

/// `ParseException.add_escapes`
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{C}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            '"' | '\'' | '\\' => out.extend(['\\', c]),
            ' '..='~' => out.push(c),
            c => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    out
}
