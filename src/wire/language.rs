//! The language of a client (`LanguageCode.java`): a byte in one codec, a name in the other.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::loose_json::is_same_name;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Language {
    Java = 0,
    Cpp = 1,
    Dotnet = 2,
    Python = 3,
    Delphi = 4,
    Erlang = 5,
    Ruby = 6,
    Other = 7,
    Http = 8,
    Go = 9,
    Php = 10,
    Oms = 11,
    Rust = 12,
    NodeJs = 13,
}

/// By byte.
const ALL: [(Language, &str); 14] = [
    (Language::Java, "JAVA"),
    (Language::Cpp, "CPP"),
    (Language::Dotnet, "DOTNET"),
    (Language::Python, "PYTHON"),
    (Language::Delphi, "DELPHI"),
    (Language::Erlang, "ERLANG"),
    (Language::Ruby, "RUBY"),
    (Language::Other, "OTHER"),
    (Language::Http, "HTTP"),
    (Language::Go, "GO"),
    (Language::Php, "PHP"),
    (Language::Oms, "OMS"),
    (Language::Rust, "RUST"),
    (Language::NodeJs, "NODE_JS"),
];

impl Language {
    /// An unknown byte is [`Language::Other`].
    pub fn from_byte(byte: u8) -> Self {
        ALL.get(usize::from(byte))
            .map_or(Self::Other, |(language, _)| *language)
    }

    /// By name, or by number, as fastjson reads an enum.
    pub fn from_name(name: &str) -> Self {
        match name.parse() {
            Ok(byte) => Self::from_byte(byte),
            Err(_) => ALL
                .iter()
                .find(|(_, known)| *known == name || is_same_name(known, name))
                .map_or(Self::Other, |(language, _)| *language),
        }
    }

    pub const fn byte(self) -> u8 {
        self as u8
    }

    pub const fn name(self) -> &'static str {
        ALL[self as usize].1
    }
}

impl Serialize for Language {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Language {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::from_name(&String::deserialize(deserializer)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_names() {
        for (byte, (language, name)) in ALL.iter().enumerate() {
            assert_eq!(language.byte() as usize, byte);
            assert_eq!(Language::from_byte(byte as u8), *language);
            assert_eq!(Language::from_name(name), *language);
            assert_eq!(Language::from_name(&byte.to_string()), *language);
        }
        assert_eq!(Language::from_byte(14), Language::Other);
        assert_eq!(Language::from_name("COBOL"), Language::Other);
    }
}
