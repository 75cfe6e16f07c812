//! Java's `String.hashCode`, which RocketMQ stores (tag codes) and compares.

/// `s[0]*31^(n-1) + ... + s[n-1]` over UTF-16 units, in wrapping 32-bit arithmetic.
pub fn java_hash(text: &str) -> i32 {
    java_hash_on(0, text)
}

/// The hash of a text that continues one with this hash.
pub fn java_hash_on(before: i32, text: &str) -> i32 {
    if text.is_ascii() {
        return text
            .bytes()
            .fold(before, |hash, byte| step(hash, byte.into()));
    }
    text.encode_utf16().fold(before, step)
}

/// What a ConsumeQueue entry holds for a tag: its hash, sign-extended; 0 without a tag.
pub fn tags_code(tags: &str) -> i64 {
    java_hash(tags).into()
}

fn step(hash: i32, unit: u16) -> i32 {
    hash.wrapping_mul(31).wrapping_add(unit.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values from `jshell`.
    #[test]
    fn agrees_with_java() {
        assert_eq!(java_hash(""), 0);
        assert_eq!(java_hash("TagA"), 2_598_919);
        assert_eq!(java_hash("hello"), 99_162_322);
        assert_eq!(java_hash("polygenelubricants"), i32::MIN);
        assert_eq!(java_hash("\u{e9}"), 233);
        assert_eq!(java_hash("\u{1F600}"), 1_772_899);
        assert_eq!(tags_code("polygenelubricants"), i64::from(i32::MIN));
    }
}
