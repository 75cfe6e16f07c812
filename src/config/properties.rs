//! Java properties text: `key=value` lines, as `broker.conf` and the name server's configuration are written.
//!
//! The dialect of `java.util.Properties.load`: `#` and `!` open a comment line, `=`, `:` or white space ends the key, a `\` at
//! the end of a line joins the next one to it, and `\t \n \r \f \uXXXX` are the usual escapes.

use std::io;
use std::path::Path;

/// One entry; `line` counts from 1 and is where the entry begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub line: usize,
    pub key: String,
    pub value: String,
}

/// The text of a file. Old ones are often in some other encoding, in comments only: what is not UTF-8 is replaced.
pub fn read_file(path: &Path) -> io::Result<String> {
    let bytes = std::fs::read(path)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Every entry in the order of the text. Any text is valid: a line without a separator is a key with an empty value.
pub fn parse(text: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, first)) = lines.next() {
        let first = first.trim_start();
        if first.is_empty() || first.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = String::from(first);
        while continues(&logical) {
            logical.pop();
            match lines.next() {
                Some((_, next)) => logical.push_str(next.trim_start()),
                None => break,
            }
        }
        let (key, value) = split(&logical);
        entries.push(Entry {
            line: index + 1,
            key: unescape(key),
            value: unescape(value).trim_end().to_owned(),
        });
    }
    entries
}

/// Writes one `key=value` line so that [`parse`] reads the same key and value.
pub fn write(out: &mut String, key: &str, value: &str) {
    escape(out, key, true);
    out.push('=');
    escape(out, value, false);
    out.push('\n');
}

fn continues(line: &str) -> bool {
    (line.len() - line.trim_end_matches('\\').len()) % 2 == 1
}

fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = line
        .char_indices()
        .find(|&(_, c)| {
            let ends = !escaped && (c == '=' || c == ':' || c.is_whitespace());
            escaped = c == '\\' && !escaped;
            ends
        })
        .map_or(line.len(), |(at, _)| at);
    let (key, rest) = line.split_at(end);
    let rest = rest.trim_start();
    (
        key,
        rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start(),
    )
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match rest.next() {
            Some('t') => out.push('\t'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('f') => out.push('\u{c}'),
            Some('u') => {
                let digits: String = rest.clone().take(4).collect();
                let code = u32::from_str_radix(&digits, 16)
                    .ok()
                    .filter(|_| digits.len() == 4);
                match code.and_then(char::from_u32) {
                    Some(c) => {
                        out.push(c);
                        rest.nth(3);
                    }
                    None => out.push('u'),
                }
            }
            Some(other) => out.push(other),
            None => {}
        }
    }
    out
}

fn escape(out: &mut String, text: &str, is_key: bool) {
    let last = text.len() - text.chars().next_back().map_or(0, char::len_utf8);
    for (at, c) in text.char_indices() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\u{c}' => out.push_str("\\f"),
            '=' | ':' | '#' | '!' if is_key => out.extend(['\\', c]),
            // White space at the ends is trimmed by readers (and ends a key), so it has to be spelled out.
            c if c.is_whitespace() && (is_key || at == 0 || at == last) => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pairs(text: &str) -> Vec<(usize, String, String)> {
        parse(text)
            .into_iter()
            .map(|entry| (entry.line, entry.key, entry.value))
            .collect()
    }

    #[test]
    fn the_dialect_of_java() {
        let text = "# comment\n! another\n\n  listenPort = 10911\nbrokerName:broker-a\nflag\n\
                    path=C:\\\\store \nlong=a\\\n   b\nwide=\\u0041\\t|\n";
        assert_eq!(
            pairs(text),
            [
                (4, "listenPort".into(), "10911".into()),
                (5, "brokerName".into(), "broker-a".into()),
                (6, "flag".into(), "".into()),
                (7, "path".into(), "C:\\store".into()),
                (8, "long".into(), "ab".into()),
                (10, "wide".into(), "A\t|".into()),
            ]
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "\\PC*|[\\\\u=: \\n#!a0-9]*") {
            parse(&text);
        }

        #[test]
        fn what_is_written_is_read(key in "[^\\s][\\PC]{0,12}", value in "[\\PC\\t\\n]{0,20}") {
            prop_assume!(value.trim_end() == value);
            let mut text = String::new();
            write(&mut text, &key, &value);
            prop_assert_eq!(pairs(&text), vec![(1, key, value)]);
        }
    }
}
