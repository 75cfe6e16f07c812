//! Writes bodies: [`to_vec`] in the dialect, [`to_standard_vec`] in standard JSON.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{CharEscape, CompactFormatter, Formatter, PrettyFormatter};

/// Writes a body in the dialect.
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    write_with(value, Loose { key: Key::None })
}

/// Appends a body in the dialect.
pub fn write<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    append_with(out, value, Loose { key: Key::None });
}

/// Writes standard JSON in ASCII, as Java does for clients from 4.9.4 on (`BrowserCompatible`).
pub fn to_standard_vec<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    write_with(value, Ascii)
}

/// Appends a value in the dialect as fastjson writes files: each member on a line of its own. `depth` tabs stand before the
/// line in which the value begins.
pub fn write_indented<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T, depth: usize) {
    let mut lines = PrettyFormatter::with_indent(b"\t");
    for _ in 0..depth {
        let begun = lines.begin_object(&mut io::sink());
        debug_assert!(begun.is_ok(), "a sink takes everything");
    }
    let loose = Loose { key: Key::None };
    append_with(out, value, Indented { loose, lines });
}

fn write_with<T: Serialize + ?Sized>(value: &T, formatter: impl Formatter) -> Vec<u8> {
    let mut out = Vec::new();
    append_with(&mut out, value, formatter);
    out
}

fn append_with<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T, formatter: impl Formatter) {
    let written = value.serialize(&mut serde_json::Serializer::with_formatter(out, formatter));
    assert!(
        written.is_ok(),
        "a body of ours that is no JSON: {written:?}"
    );
}

/// Which kind of key is being written.
enum Key {
    None,
    Begun,
    Text,
    Number,
    Object,
}

/// Holds a key's opening quote back until it is known whether it needs one.
struct Loose {
    key: Key,
}

impl Loose {
    /// A number in place of a key's text.
    fn number(&mut self) {
        if matches!(self.key, Key::Begun) {
            self.key = Key::Number;
        }
    }
}

impl Formatter for Loose {
    fn begin_object_key<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.key = Key::Begun;
        CompactFormatter.begin_object_key(writer, first)
    }

    fn end_object_key<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.key = Key::None;
        Ok(())
    }

    fn begin_string<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        match self.key {
            Key::None => writer.write_all(b"\""),
            _ => Ok(()),
        }
    }

    fn end_string<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        match self.key {
            Key::None | Key::Text => writer.write_all(b"\""),
            Key::Begun => writer.write_all(b"\"\""),
            Key::Number | Key::Object => Ok(()),
        }
    }

    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        if matches!(self.key, Key::Begun) {
            if fragment.starts_with('{') {
                self.key = Key::Object;
            } else {
                self.key = Key::Text;
                writer.write_all(b"\"")?;
            }
        }
        writer.write_all(fragment.as_bytes())
    }

    fn write_char_escape<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        if matches!(self.key, Key::Begun) {
            self.key = Key::Text;
            writer.write_all(b"\"")?;
        }
        match (&self.key, escape) {
            (Key::Object, CharEscape::Quote) => writer.write_all(b"\""),
            (Key::Object, CharEscape::ReverseSolidus) => writer.write_all(b"\\"),
            (_, escape) => CompactFormatter.write_char_escape(writer, escape),
        }
    }

    fn write_i32<W: ?Sized + Write>(&mut self, writer: &mut W, value: i32) -> io::Result<()> {
        self.number();
        CompactFormatter.write_i32(writer, value)
    }

    fn write_i64<W: ?Sized + Write>(&mut self, writer: &mut W, value: i64) -> io::Result<()> {
        self.number();
        CompactFormatter.write_i64(writer, value)
    }

    fn write_u32<W: ?Sized + Write>(&mut self, writer: &mut W, value: u32) -> io::Result<()> {
        self.number();
        CompactFormatter.write_u32(writer, value)
    }

    fn write_u64<W: ?Sized + Write>(&mut self, writer: &mut W, value: u64) -> io::Result<()> {
        self.number();
        CompactFormatter.write_u64(writer, value)
    }
}

/// [`Loose`] with the lines and tabs of `PrettyFormatter`; no space behind a colon.
struct Indented {
    loose: Loose,
    lines: PrettyFormatter<'static>,
}

/// Forwards methods of [`Formatter`] to one of the two.
macro_rules! forward {
    ($($to:ident: $name:ident($($arg:ident: $kind:ty),*);)*) => {$(
        fn $name<W: ?Sized + Write>(&mut self, writer: &mut W $(, $arg: $kind)*) -> io::Result<()> {
            self.$to.$name(writer $(, $arg)*)
        }
    )*};
}

impl Formatter for Indented {
    forward! {
        lines: begin_array();
        lines: end_array();
        lines: begin_array_value(first: bool);
        lines: end_array_value();
        lines: begin_object();
        lines: end_object();
        lines: end_object_value();
        loose: end_object_key();
        loose: begin_string();
        loose: end_string();
        loose: write_string_fragment(fragment: &str);
        loose: write_char_escape(escape: CharEscape);
        loose: write_i32(value: i32);
        loose: write_i64(value: i64);
        loose: write_u32(value: u32);
        loose: write_u64(value: u64);
    }

    fn begin_object_key<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.lines.begin_object_key(writer, first)?;
        // The comma has been written.
        self.loose.begin_object_key(writer, true)
    }
}

struct Ascii;

impl Formatter for Ascii {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        if fragment.is_ascii() {
            return writer.write_all(fragment.as_bytes());
        }
        for unit in fragment.encode_utf16() {
            match u8::try_from(unit) {
                Ok(ascii @ 0..0x80) => writer.write_all(&[ascii])?,
                _ => write!(writer, "\\u{unit:04x}")?,
            }
        }
        Ok(())
    }
}
