//! Converts values to the types of their fields, as fastjson does.
//!
//! A [`Lenient`] is a parsed value that is converted to the requested type: text to an integer, a number to text, a single element to a
//! list. Values that fastjson refuses are refused here too, with few exceptions.

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::{Error, Map, Value, map};

use super::numbers;

pub struct Lenient(pub Value);

impl Lenient {
    /// A list of one scalar is that scalar, where a scalar is wanted.
    fn scalar(self) -> Self {
        match self.0 {
            Value::Array(mut items) if matches!(&*items, [item] if !item.is_object() && !item.is_array()) => {
                Self(items.pop().unwrap_or(Value::Null))
            }
            other => Self(other),
        }
    }

    fn integer(&self) -> Result<i128, Error> {
        let number = match &self.0 {
            Value::Null => Some(0),
            Value::Bool(is_true) => Some(i128::from(*is_true)),
            Value::Number(number) => {
                let signed = number.as_i64().map(i128::from);
                let unsigned = || number.as_u64().map(i128::from);
                signed
                    .or_else(unsigned)
                    .or_else(|| numbers::whole(number.as_f64()?))
            }
            Value::String(text) => numbers::integer(text),
            Value::Array(_) | Value::Object(_) => None,
        };
        number.ok_or_else(|| self.unfit("an integer"))
    }

    fn float(&self) -> Result<f64, Error> {
        let number = match &self.0 {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => {
                let number = text.parse().ok().filter(|number: &f64| number.is_finite());
                number.or_else(|| numbers::integer(text).map(|number| number as f64))
            }
            _ => self.integer().ok().map(|number| number as f64),
        };
        number.ok_or_else(|| self.unfit("a number"))
    }

    fn switch(&self) -> Result<bool, Error> {
        let is_true = match &self.0 {
            Value::Null => Some(false),
            Value::Bool(is_true) => Some(*is_true),
            Value::Number(number) => Some(matches!(number.as_i64(), Some(1 | -1))),
            Value::String(text) => numbers::switch(text),
            Value::Array(_) | Value::Object(_) => None,
        };
        is_true.ok_or_else(|| self.unfit("true or false"))
    }

    fn text(self) -> String {
        match self.0 {
            Value::String(text) => text,
            Value::Null => String::new(),
            other => other.to_string(),
        }
    }

    /// A value of its own is a list of one; an empty text is an empty list, and an element that is null is none.
    fn items(self) -> Result<Vec<Value>, Error> {
        match self.0 {
            Value::Array(mut items) => {
                items.retain(|item| !item.is_null());
                Ok(items)
            }
            Value::Null => Ok(Vec::new()),
            Value::String(text) if text.is_empty() || text == "null" => Ok(Vec::new()),
            single => Ok(vec![single]),
        }
    }

    pub(super) fn members(self) -> Result<Map<String, Value>, Error> {
        match self.0 {
            Value::Object(members) => Ok(members),
            Value::Null => Ok(Map::new()),
            Value::String(text) if text.is_empty() || text == "null" => Ok(Map::new()),
            // A struct or map in a list of its own.
            Value::Array(items) if matches!(&*items, [Value::Object(_)]) => {
                match items.into_iter().next() {
                    Some(Value::Object(members)) => Ok(members),
                    _ => Ok(Map::new()),
                }
            }
            other => Err(Self(other).unfit("an object")),
        }
    }

    fn unfit(&self, wanted: &str) -> Error {
        let shown: String = self.0.to_string().chars().take(64).collect();
        Error::custom(format_args!("{shown} is not {wanted}"))
    }
}

macro_rules! integers {
    ($($method:ident $visit:ident $type:ty,)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            let scalar = self.scalar();
            let number = <$type>::try_from(scalar.integer()?);
            visitor.$visit(number.map_err(|_| scalar.unfit(concat!("a number of ", stringify!($type))))?)
        }
    )*};
}

impl<'de> Deserializer<'de> for Lenient {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Array(items) => visitor.visit_seq(Items(items.into_iter())),
            Value::Object(members) => visitor.visit_map(Members::of(members)),
            scalar => scalar.deserialize_any(visitor),
        }
    }

    integers! {
        deserialize_i8 visit_i8 i8,
        deserialize_i16 visit_i16 i16,
        deserialize_i32 visit_i32 i32,
        deserialize_i64 visit_i64 i64,
        deserialize_u8 visit_u8 u8,
        deserialize_u16 visit_u16 u16,
        deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64,
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_f64(self.scalar().float()?)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_f64(self.scalar().float()?)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_bool(self.scalar().switch()?)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_string(self.scalar().text())
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_string(self.scalar().text())
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(Items(self.items()?.into_iter()))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_map(Members::of(self.members()?))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_map(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i128 u128 char bytes byte_buf unit unit_struct tuple tuple_struct enum identifier
    }
}

struct Items(std::vec::IntoIter<Value>);

impl<'de> SeqAccess<'de> for Items {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        self.0
            .next()
            .map(|item| seed.deserialize(Lenient(item)))
            .transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

struct Members {
    rest: map::IntoIter,
    value: Option<Value>,
}

impl Members {
    fn of(members: Map<String, Value>) -> Self {
        Self {
            rest: members.into_iter(),
            value: None,
        }
    }
}

impl<'de> MapAccess<'de> for Members {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let Some((key, value)) = self.rest.next() else {
            return Ok(None);
        };
        self.value = Some(value);
        seed.deserialize(Lenient(Value::String(key))).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(Lenient(self.value.take().unwrap_or(Value::Null)))
    }
}
