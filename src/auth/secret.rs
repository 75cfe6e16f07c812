//! A text that is in no log and in no dump, and is overwritten when it is dropped.

use std::fmt;

use zeroize::Zeroizing;

/// What stands for a secret wherever one would be shown.
pub const MASK: &str = "******";

#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself, for a signature or for the file of users.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn is_blank(&self) -> bool {
        self.0.trim().is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_shows_it() {
        let secret = Secret::new("12345678");
        assert_eq!(format!("{secret:?}"), MASK);
        assert_eq!(secret.reveal(), "12345678");
    }
}
