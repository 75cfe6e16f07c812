//! How a request family's header fields become a struct, and back.
//!
//! `header_fields!` writes for each struct `decode`, one pass over the fields that ignores unknown ones (`bname`, `ns`, `ReqT`, ...),
//! and `ext`, the fields for [`frame::write`](super::frame::write).

use super::Value;

/// A header field that is missing or cannot be read. Answered with [`SYSTEM_ERROR`](super::codes::response::SYSTEM_ERROR).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    pub field: &'static str,
    /// The text of the field, truncated; `None` if the field is missing.
    pub got: Option<String>,
}

impl FieldError {
    const SHOWN_CHARS: usize = 64;

    pub(super) const fn missing(field: &'static str) -> Self {
        Self { field, got: None }
    }

    pub(super) fn wrong(field: &'static str, got: &str) -> Self {
        Self {
            field,
            got: Some(got.chars().take(Self::SHOWN_CHARS).collect()),
        }
    }
}

impl std::fmt::Display for FieldError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.got {
            None => write!(formatter, "the custom field <{}> is null", self.field),
            Some(got) => write!(
                formatter,
                "the custom field <{}> cannot be {got:?}",
                self.field
            ),
        }
    }
}

impl std::error::Error for FieldError {}

/// A type that a header field may have.
pub trait Field<'a>: Sized {
    /// `None` if the text is not one.
    fn parse(text: &'a str) -> Option<Self>;

    /// What a missing field is; `None` if it must not be missing.
    fn absent() -> Option<Self> {
        None
    }

    fn value(&self) -> Value<'_>;
}

impl<'a> Field<'a> for &'a str {
    fn parse(text: &'a str) -> Option<Self> {
        Some(text)
    }

    fn value(&self) -> Value<'_> {
        Value::Str(self)
    }
}

impl<'a> Field<'a> for i32 {
    fn parse(text: &'a str) -> Option<Self> {
        text.parse().ok()
    }

    fn value(&self) -> Value<'_> {
        Value::I64(i64::from(*self))
    }
}

impl<'a> Field<'a> for i64 {
    fn parse(text: &'a str) -> Option<Self> {
        text.parse().ok()
    }

    fn value(&self) -> Value<'_> {
        Value::I64(*self)
    }
}

/// As `Boolean.parseBoolean`: any text but "true" is false. A missing field is false, the default of every such field.
impl<'a> Field<'a> for bool {
    fn parse(text: &'a str) -> Option<Self> {
        Some(text.eq_ignore_ascii_case("true"))
    }

    fn absent() -> Option<Self> {
        Some(false)
    }

    fn value(&self) -> Value<'_> {
        Value::Bool(*self)
    }
}

/// An empty text is read as a missing field.
impl<'a, T: Field<'a>> Field<'a> for Option<T> {
    fn parse(text: &'a str) -> Option<Self> {
        if text.is_empty() {
            Some(None)
        } else {
            T::parse(text).map(Some)
        }
    }

    fn absent() -> Option<Self> {
        Some(None)
    }

    fn value(&self) -> Value<'_> {
        self.as_ref().map_or(Value::Absent, T::value)
    }
}

/// Defines a struct by its header fields: `"wireName" => name: Type`. Names after `|` are other spellings that are read.
/// The fields of a reply are listed in the order of Java's `HashMap`, so that the bytes are the same as RocketMQ's.
macro_rules! header_fields {
    (
        $(#[$doc:meta])*
        pub struct $name:ident $(<$life:lifetime>)? {
            $($(#[$field_doc:meta])* $key:literal $(| $alias:literal)* => $field:ident: $type:ty,)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name $(<$life>)? {
            $($(#[$field_doc])* pub $field: $type,)*
        }

        impl $(<$life>)? $name $(<$life>)? {
            pub fn decode(ext: &$crate::wire::request::ext_type!($($life)?)) -> Result<Self, $crate::wire::FieldError> {
                use $crate::wire::request::{Field, FieldError};
                $(let mut $field: Option<$type> = None;)*
                for (key, text) in ext.iter() {
                    match key {
                        $($key $(| $alias)* => {
                            let value = <$type as Field>::parse(text);
                            $field = Some(value.ok_or_else(|| FieldError::wrong(concat!($key $(, "|", $alias)*), text))?);
                        })*
                        _ => {}
                    }
                }
                Ok(Self {
                    $($field: match $field.or_else(<$type as Field>::absent) {
                        Some(value) => value,
                        None => return Err(FieldError::missing(concat!($key $(, "|", $alias)*))),
                    },)*
                })
            }

            /// The fields to write.
            pub fn ext(&self) -> [(&'static str, $crate::wire::Value<'_>); [$($key),*].len()] {
                [$(($key, $crate::wire::request::Field::value(&self.$field)),)*]
            }
        }
    };
}
pub(crate) use header_fields;

/// `Ext` with the struct's own lifetime, or any if it borrows nothing.
macro_rules! ext_type {
    ($life:lifetime) => { $crate::wire::Ext<$life> };
    () => { $crate::wire::Ext<'_> };
}
pub(crate) use ext_type;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::header::with_fields;

    header_fields! {
        pub struct Sample<'a> {
            "name" | "n" => name: &'a str,
            "size" => size: i32,
            "limit" => limit: Option<i64>,
            "force" => force: bool,
        }
    }

    #[test]
    fn missing_and_wrong_fields_are_named() {
        let decode = |fields: &[(&str, &str)]| {
            with_fields(fields, |ext| {
                Sample::decode(ext).map(|sample| format!("{sample:?}"))
            })
        };
        assert_eq!(decode(&[("size", "1")]), Err(FieldError::missing("name|n")));
        assert_eq!(decode(&[("n", "x")]), Err(FieldError::missing("size")));
        assert_eq!(
            decode(&[("n", "x"), ("size", "abc")]),
            Err(FieldError::wrong("size", "abc"))
        );
        assert_eq!(
            decode(&[("n", "x"), ("size", "")]),
            Err(FieldError::wrong("size", ""))
        );
        assert_eq!(
            decode(&[("n", "x"), ("size", "2147483648")]),
            Err(FieldError::wrong("size", "2147483648"))
        );
        assert_eq!(
            decode(&[("n", "x"), ("size", "1"), ("limit", "1.5")]),
            Err(FieldError::wrong("limit", "1.5"))
        );
        let sample = |fields: &[(&str, &str)]| decode(fields).unwrap();
        assert_eq!(
            sample(&[
                ("bname", "b"),
                ("name", ""),
                ("size", "-1"),
                ("limit", ""),
                ("force", "TRUE")
            ]),
            r#"Sample { name: "", size: -1, limit: None, force: true }"#
        );
        assert_eq!(
            sample(&[
                ("name", "a"),
                ("name", "b"),
                ("size", "+7"),
                ("limit", "9"),
                ("force", "1")
            ]),
            r#"Sample { name: "b", size: 7, limit: Some(9), force: false }"#
        );
    }

    #[test]
    fn absent_fields_are_not_written() {
        let sample = Sample {
            name: "a",
            size: -1,
            limit: None,
            force: true,
        };
        let expected = [
            ("name", Value::Str("a")),
            ("size", Value::I64(-1)),
            ("limit", Value::Absent),
            ("force", Value::Bool(true)),
        ];
        assert_eq!(sample.ext(), expected);
    }

    #[test]
    fn errors_read_like_javas() {
        assert_eq!(
            FieldError::missing("topic").to_string(),
            "the custom field <topic> is null"
        );
        assert_eq!(
            FieldError::wrong("queueId", "abc").to_string(),
            "the custom field <queueId> cannot be \"abc\""
        );
    }
}
