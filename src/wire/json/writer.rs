//! The encoder.

use crate::wire::head::{Head, Value};

/// Keys sorted, as fastjson does, and nothing where Java has null.
pub(in crate::wire) fn write(out: &mut Vec<u8>, head: &Head<'_>, ext: &[(&str, Value<'_>)]) {
    out.extend_from_slice(b"{\"code\":");
    write_integer(out, i64::from(head.code));
    if !ext.is_empty() {
        out.extend_from_slice(b",\"extFields\":{");
        write_fields(out, ext);
        out.push(b'}');
    }
    out.extend_from_slice(b",\"flag\":");
    write_integer(out, i64::from(head.flag));
    out.extend_from_slice(b",\"language\":\"");
    out.extend_from_slice(head.language.name().as_bytes());
    out.extend_from_slice(b"\",\"opaque\":");
    write_integer(out, i64::from(head.opaque));
    if let Some(remark) = head.remark {
        out.extend_from_slice(b",\"remark\":\"");
        write_escaped(out, remark);
        out.push(b'"');
    }
    out.extend_from_slice(b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":");
    write_integer(out, i64::from(head.version));
    out.push(b'}');
}

fn write_fields(out: &mut Vec<u8>, ext: &[(&str, Value<'_>)]) {
    let mut first = true;
    for (key, value) in ext {
        if *value == Value::Absent {
            continue;
        }
        out.extend_from_slice(if first { b"\"" } else { b",\"" });
        first = false;
        write_escaped(out, key);
        out.extend_from_slice(b"\":\"");
        match value {
            Value::Absent => {}
            Value::Str(text) => write_escaped(out, text),
            Value::I64(number) => write_integer(out, *number),
            Value::Bool(true) => out.extend_from_slice(b"true"),
            Value::Bool(false) => out.extend_from_slice(b"false"),
        }
        out.push(b'"');
    }
}

fn write_integer(out: &mut Vec<u8>, number: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn write_escaped(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    // Without a way out of the loop it is compiled to a few vector instructions.
    if !bytes
        .iter()
        .fold(false, |any, byte| any | is_escaped(*byte))
    {
        return out.extend_from_slice(bytes);
    }
    let mut clean_from = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if !is_escaped(*byte) {
            continue;
        }
        out.extend_from_slice(&bytes[clean_from..at]);
        clean_from = at + 1;
        match *byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            8 => out.extend_from_slice(b"\\b"),
            12 => out.extend_from_slice(b"\\f"),
            control => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(control >> 4)]);
                out.push(HEX[usize::from(control & 15)]);
            }
        }
    }
    out.extend_from_slice(&bytes[clean_from..]);
}

fn is_escaped(byte: u8) -> bool {
    (byte < b' ') | (byte == b'"') | (byte == b'\\')
}
