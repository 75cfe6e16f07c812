//! How fastjson reads a number, a switch and an enum's name from text.

/// An integer: a fraction is cut off, `true` is 1, nothing and `null` are 0, and a comma between digits means nothing.
pub fn integer(text: &str) -> Option<i128> {
    match text {
        "" | "null" | "false" => return Some(0),
        "true" => return Some(1),
        _ => {}
    }
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    let begins_well =
        text.starts_with(|first: char| first.is_ascii_digit() || "+-.".contains(first));
    let plain = text
        .trim_end_matches(['L', 'S', 'B', 'F', 'D'])
        .replace(',', "");
    // As a float only with a digit: Rust would also read `+inf`.
    if !begins_well || !plain.contains(|digit: char| digit.is_ascii_digit()) {
        return None;
    }
    plain.parse().ok().or_else(|| whole(plain.parse().ok()?))
}

/// The whole part of a float, unless no integer of Java is that large.
pub fn whole(number: f64) -> Option<i128> {
    (number.abs() < 1e19).then_some(number as i128)
}

/// `true`, `1` and `Y` are true; `false`, `0`, `N` and nothing are false; other texts are neither.
pub fn switch(text: &str) -> Option<bool> {
    let is = |names: &[&str]| names.iter().any(|name| name.eq_ignore_ascii_case(text));
    if is(&["true", "1", "Y"]) {
        Some(true)
    } else if is(&["false", "0", "N", "", "null"]) {
        Some(false)
    } else {
        None
    }
}

/// Whether two names are the same but for case and `_`, `-` and blanks.
pub fn is_same_name(left: &str, right: &str) -> bool {
    fn significant(name: &str) -> impl Iterator<Item = u8> {
        let letters = name.bytes().filter(|byte| !b"_- ".contains(byte));
        letters.map(|byte| byte.to_ascii_lowercase())
    }
    significant(left).eq(significant(right))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn integers() {
        for (text, number) in [
            ("7", 7),
            ("-7", -7),
            ("+7", 7),
            ("007", 7),
            ("7.9", 7),
            ("-7.9", -7),
            ("1e2", 100),
            ("1E+2", 100),
            ("1,000", 1000),
            ("7L", 7),
            ("7.5D", 7),
            (".5", 0),
            ("1.", 1),
            ("", 0),
            ("null", 0),
            ("true", 1),
            ("false", 0),
            ("9223372036854775807", i128::from(i64::MAX)),
            ("18446744073709551615", i128::from(u64::MAX)),
        ] {
            assert_eq!(integer(text), Some(number), "{text}");
        }
        for bad in [
            "abc", " 1", "1 ", "0x10", "NaN", "inf", "+inf", "-", ".", "1.5.2", "--1", "1e999",
            "TRUE",
        ] {
            assert_eq!(integer(bad), None, "{bad}");
        }
    }

    #[test]
    fn names() {
        for same in [
            "CONSUME_POP",
            "consume_pop",
            "ConsumePop",
            "consume-pop",
            " Consume Pop ",
        ] {
            assert!(is_same_name("CONSUME_POP", same), "{same}");
        }
        assert!(!is_same_name("CONSUME_POP", "CONSUME_POPS"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[-+.,0-9eELSBFDx ]{0,24}|\\PC{0,8}") {
            let _ = (integer(&text), switch(&text));
        }

        #[test]
        fn javas_integers_come_back(number: i64) {
            prop_assert_eq!(integer(&number.to_string()), Some(i128::from(number)));
        }
    }
}
