//! The last header of a connection, by which the next one is read: a client's requests differ in a few values only.
//!
//! ```text
//! last  {"code":310,"extFields":{"a":"group","e":"3","i":"KEYS\u00017","m":"false"},"flag":0,"opaque":41,"version":513}
//! next  {"code":310,"extFields":{"a":"group","e":"0","i":"KEYS\u00018","m":"false"},"flag":0,"opaque":42,"version":513}
//!       same                                |v|    |value       |same                              |v |same
//! ```
//! If the bytes between these values are the same, so are all keys and all other values. The values themselves are read by the
//! [`Reader`], which begins and ends each of them where it would if it read the whole header. If there is any other difference, it does
//! read the whole header, and what differed counts as such a value from then on.

use std::ops::Range;

use super::reader::{self, Reader};
use crate::wire::fields::{Fields, HeaderError, Parts, Span};

/// Longer headers are not learned, as each connection keeps one.
const MAX_BYTES: usize = 2048;

/// A header and where its values are.
#[derive(Debug, Default)]
pub(in crate::wire) struct Learned {
    raw: String,
    parts: Parts,
    /// Keys and values; a value that may differ is `None`.
    fields: Vec<(Span, Option<Span>)>,
    /// The values that may differ, in the order of their places.
    values: Vec<Value>,
}

/// A value that may differ: of a field, or the opaque.
#[derive(Clone, Debug)]
struct Value {
    /// With its quotes.
    place: Range<usize>,
    /// Fields before it.
    index: usize,
    is_opaque: bool,
}

/// Decodes a header: by the learned one if it is like that.
pub(in crate::wire) fn read(
    raw: &str,
    fields: &mut Fields,
    learned: &mut Learned,
) -> Result<Parts, HeaderError> {
    if let Some(parts) = learned.read(raw, fields) {
        return Ok(parts);
    }
    fields.clear();
    let parts = reader::read(raw, fields)?;
    learned.learn(raw, &parts, fields);
    Ok(parts)
}

impl Learned {
    /// `None` if the header is not like the learned one; what is in `fields` then is of no use.
    fn read(&self, raw: &str, fields: &mut Fields) -> Option<Parts> {
        if self.raw.is_empty() {
            return None;
        }
        let mut reader = Reader::new(raw);
        let mut parts = self.parts;
        let (mut from, mut next) = (0, 0);
        for value in &self.values {
            let by = reader.pass_same(&self.raw, from..value.place.start)?;
            self.push_same(next..value.index, by, fields)?;
            next = value.index;
            if value.is_opaque {
                parts.opaque = reader.number("opaque", fields).ok()?;
            } else {
                let text = reader.scalar(fields).ok()??;
                fields.push(self.fields.get(next)?.0.moved(by), text).ok()?;
                next += 1;
            }
            from = value.place.end;
        }
        let by = reader.pass_same(&self.raw, from..self.raw.len())?;
        self.push_same(next..self.fields.len(), by, fields)?;
        reader.is_at_end().then_some(parts)
    }

    /// Fields with the same values, whose places have moved.
    fn push_same(&self, which: Range<usize>, by: usize, fields: &mut Fields) -> Option<()> {
        for (key, value) in self.fields.get(which)? {
            fields.push(key.moved(by), value.as_ref()?.moved(by)).ok()?;
        }
        Some(())
    }

    fn learn(&mut self, raw: &str, parts: &Parts, fields: &Fields) {
        let before = std::mem::take(self);
        let has_plain_keys = fields.all.iter().all(|(key, _)| key.is_in_raw());
        let has_opaque = !fields.opaque.is_empty();
        if raw.len() > MAX_BYTES || !has_plain_keys || !has_opaque || parts.remark.is_some() {
            return;
        }
        self.raw.push_str(raw);
        self.parts = *parts;
        let places = fields.places.iter();
        for (index, (field, place)) in fields.all.iter().zip(places).enumerate() {
            let (key, value) = *field;
            let may_differ = !value.is_in_raw() || before.differs(index, raw, key, value);
            self.fields.push((key, (!may_differ).then_some(value)));
            if may_differ {
                self.values.push(Value {
                    place: place.clone(),
                    index,
                    is_opaque: false,
                });
            }
        }
        let opaque = Value {
            place: fields.opaque.clone(),
            index: self
                .fields
                .partition_point(|(key, _)| key.is_before(fields.opaque.start)),
            is_opaque: true,
        };
        let at = self
            .values
            .partition_point(|value| value.place.start < opaque.place.start);
        self.values.insert(at, opaque);
    }

    /// Whether the value of the field with this index is another one here, or was once.
    fn differs(&self, index: usize, raw: &str, key: Span, value: Span) -> bool {
        let Some((known_key, known_value)) = self.fields.get(index) else {
            return false;
        };
        let is_same = |known: &Span, now: Span| known.of(&self.raw, "") == now.of(raw, "");
        is_same(known_key, key)
            && !known_value
                .as_ref()
                .is_some_and(|known| is_same(known, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a header says, or its error.
    fn shown(raw: &str, fields: &Fields, parts: &Result<Parts, HeaderError>) -> String {
        let text = |span: &Span| span.of(raw, &fields.text).to_owned();
        match parts {
            Err(error) => error.to_string(),
            Ok(parts) => {
                let all = fields
                    .all
                    .iter()
                    .map(|(key, value)| (text(key), text(value)));
                let remark = parts.remark.map(|span| text(&span));
                let Parts {
                    code,
                    language,
                    version,
                    opaque,
                    flag,
                    ..
                } = parts;
                let all: Vec<_> = all.collect();
                format!("{code} {language:?} {version} {opaque} {flag} {remark:?} {all:?}")
            }
        }
    }

    /// Reads the headers one after the other. Returns for each whether it was read by the one before.
    fn read_all(headers: &[String]) -> Vec<bool> {
        let (mut learned, mut fields) = (Learned::default(), Fields::default());
        let mut were_known = Vec::new();
        for raw in headers {
            fields.clear();
            were_known.push(learned.read(raw, &mut fields).is_some());
            fields.clear();
            let parts = read(raw, &mut fields, &mut learned);
            let mut alone = Fields::default();
            let expected = reader::read(raw, &mut alone);
            assert_eq!(
                shown(raw, &fields, &parts),
                shown(raw, &alone, &expected),
                "{raw}"
            );
        }
        were_known
    }

    fn send(queue: &str, properties: &str, opaque: &str) -> String {
        format!(
            r#"{{"code":310,"extFields":{{"a":"group","b":"topic","e":{queue},"i":"{properties}","m":"false"}},"flag":0,"language":"JAVA","opaque":{opaque},"serializeTypeCurrentRPC":"JSON","version":513}}"#
        )
    }

    #[test]
    fn a_request_like_the_last_one_is_known() {
        let headers = [
            send("\"1\"", r"KEYS\u00017\u0002", "9"),
            send("\"1\"", r"KEYS\u0001\u00e4 \\ longer\u0002", "10"),
            send("\"12\"", "", "-11"),
            send("\"3\"", "x", "\"12\""),
            send("4", "x", "13"),
        ];
        // The queue differs for the first time in the third.
        assert_eq!(read_all(&headers), [false, true, false, true, true]);
    }

    #[test]
    fn what_is_not_like_it_is_read_as_a_whole() {
        let known = send("\"1\"", r"KEYS\u00017\u0002", "9");
        for other in [
            known.replace("\"m\"", "\"n\""),
            known.replace("\"b\"", "\"\\u0062\""),
            known.replace("310", "311"),
            known.replace("JAVA", "GO"),
            known.replace(":9,", ":null,"),
            known.replace(":9,", ":9x,"),
            known.replace("\"9\"", "{}"),
            known.replace("KEYS", "\"KEYS"),
            known.replace("\\u0001", "\\u00zz"),
            known.replace("false\"", "false\",\"x\":\"y\""),
            format!("{known}\0\0"),
            format!("{known}x"),
            known[..known.len() - 1].to_owned(),
            String::new(),
        ] {
            read_all(&[known.clone(), other.clone(), known.clone(), other]);
        }
    }

    #[test]
    fn a_long_header_is_not_kept() {
        let long = send("\"1\"", &"x".repeat(MAX_BYTES), "9");
        assert_eq!(read_all(&[long.clone(), long]), [false, false]);
    }

    fn value() -> impl Strategy<Value = String> {
        prop_oneof![
            4 => "[a-z0-9]{0,4}".prop_map(|text| format!("\"{text}\"")),
            1 => Just(r#""k\u0001v\u0002\n\"ä""#.to_owned()),
            1 => "'[a-z\"]{0,3}'",
            1 => "-?[0-9]{1,3}",
            1 => Just("null".to_owned()),
            1 => Just(r#"{"x":[1,"2"]}"#.to_owned()),
        ]
    }

    fn header() -> impl Strategy<Value = String> {
        let key = prop_oneof![9 => "[a-c]", 1 => Just(r"\u0061".to_owned())];
        let fields = prop::collection::vec((key, value()), 2..5);
        let opaque =
            prop_oneof![9 => "[0-9]{1,3}", 1 => "\"[0-9]{1,3}\"", 1 => Just("null".to_owned())];
        let edit = prop::option::weighted(0.2, (any::<prop::sample::Index>(), "[\"\\\\{},:a0 ]?"));
        (fields, opaque, any::<bool>(), edit).prop_map(|(fields, opaque, is_first, edit)| {
            let fields: Vec<_> = fields
                .iter()
                .map(|(key, value)| format!("\"{key}\":{value}"))
                .collect();
            let ext = format!("\"extFields\":{{{}}}", fields.join(","));
            let opaque = format!("\"opaque\":{opaque}");
            let (one, two) = if is_first {
                (opaque, ext)
            } else {
                (ext, opaque)
            };
            let mut raw = format!("{{\"code\":1,{one},{two}}}");
            if let Some((at, with)) = edit {
                let places: Vec<_> = raw.char_indices().map(|(at, _)| at).collect();
                let at = *at.get(&places);
                let len = raw[at..].chars().next().map_or(0, char::len_utf8);
                raw.replace_range(at..at + len, &with);
            }
            raw
        })
    }

    proptest! {
        #[test]
        fn learned_or_not_a_header_says_the_same(headers in prop::collection::vec(header(), 1..12)) {
            read_all(&headers);
        }

        /// The same few keys again and again, so that most are known.
        #[test]
        fn values_of_all_kinds_differ(values in prop::collection::vec((value(), "[a-z]{0,3}", "[0-9]{1,4}"), 2..12)) {
            let headers: Vec<_> = values.iter().map(|(queue, properties, opaque)| send(queue, properties, opaque)).collect();
            read_all(&headers);
        }
    }
}
