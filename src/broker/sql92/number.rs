//! Numbers as Java reads them from a property (`Integer.valueOf`, `Long.valueOf`, `Double.valueOf`) and writes them into a
//! remark. Digits of other scripts and hexadecimal floating point, which Java would take too, are no numbers here.

use std::str::FromStr;

/// An optional sign, then decimal digits.
pub(super) fn integer<N: FromStr>(text: &str) -> Option<N> {
    text.parse().ok()
}

/// Surrounded by blanks perhaps, with a suffix `d` or `f` perhaps; too large a number is infinite.
pub(super) fn double(text: &str) -> Option<f64> {
    let text = text.trim_matches(|c: char| c <= ' ');
    let (sign, unsigned) = match text.as_bytes().first()? {
        b'-' => (-1.0, &text[1..]),
        b'+' => (1.0, &text[1..]),
        _ => (1.0, text),
    };
    match unsigned {
        // Java has one NaN, without a sign.
        "NaN" => return Some(f64::NAN),
        "Infinity" => return Some(sign * f64::INFINITY),
        _ => {}
    }
    let digits = unsigned
        .strip_suffix(['d', 'D', 'f', 'F'])
        .unwrap_or(unsigned);
    let is_number = |c: u8| c.is_ascii_digit() || matches!(c, b'.' | b'e' | b'E' | b'+' | b'-');
    // Rust takes a second sign as little as Java, but also "inf" and "nan".
    let starts_well = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    if !starts_well || !digits.bytes().all(is_number) {
        return None;
    }
    Some(sign * digits.parse::<f64>().ok()?)
}

/// `Double.toString`
pub(super) fn double_text(value: f64) -> String {
    if value == 0.0 || (1e-3..1e7).contains(&value.abs()) {
        return format!("{value:?}");
    }
    let text = format!("{value:E}");
    match text.split_once('E') {
        Some((mantissa, exponent)) if !mantissa.contains('.') => format!("{mantissa}.0E{exponent}"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles() {
        for (text, value) in [
            ("1", 1.0),
            (" -1.5e1\t", -15.0),
            ("+.5d", 0.5),
            ("2.F", 2.0),
            ("1e400", f64::INFINITY),
            ("-Infinity", f64::NEG_INFINITY),
        ] {
            assert_eq!(double(text), Some(value), "{text}");
        }
        assert!(double("-NaN").unwrap().is_nan());
        for text in [
            "", " ", "-", "+-1", "--1", "inf", "nan", "1dd", "d", ".", "e1", "1e", "1_0",
            "\u{a0}1", "é",
        ] {
            assert_eq!(double(text), None, "{text}");
        }
    }

    #[test]
    fn integers() {
        assert_eq!(integer::<i32>("+7"), Some(7));
        assert_eq!(integer::<i32>("2147483648"), None);
        assert_eq!(integer::<i64>("-9223372036854775808"), Some(i64::MIN));
        assert_eq!(integer::<i64>(" 1"), None);
        assert_eq!(integer::<i64>("-"), None);
    }

    #[test]
    fn texts() {
        let texts = [1.5, 0.001, 1e7, 1.25e-9, -3e20].map(double_text);
        assert_eq!(texts, ["1.5", "0.001", "1.0E7", "1.25E-9", "-3.0E20"]);
    }
}
