//! Java's `String.hashCode`, which RocketMQ stores (tag codes) and compares.

/// `s[0]*31^(n-1) + ... + s[n-1]` over UTF-16 units, in wrapping 32-bit arithmetic.
pub fn java_hash(text: &str) -> i32 {
    java_hash_on(0, text)
}

/// The hash of a text that continues one with this hash.
pub fn java_hash_on(before: i32, text: &str) -> i32 {
    if text.is_ascii() {
        // Four at a time: each step would otherwise wait for the one before.
        let (fours, rest) = text.as_bytes().as_chunks::<4>();
        let hash = fours.iter().fold(before, |hash, four| {
            let [a, b, c, d] = four.map(i32::from);
            let these = a * (31 * 31 * 31) + b * (31 * 31) + c * 31 + d;
            hash.wrapping_mul(31 * 31 * 31 * 31).wrapping_add(these)
        });
        return rest
            .iter()
            .fold(hash, |hash, byte| step(hash, (*byte).into()));
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
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn is_the_sum_that_java_defines(text in "[ -~]{0,40}|.{0,10}", before: i32) {
            prop_assert_eq!(java_hash_on(before, &text), text.encode_utf16().fold(before, step));
        }
    }

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
