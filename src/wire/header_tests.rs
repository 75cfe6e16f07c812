//! Both codecs: round trips, and every oddity of real clients.

use super::super::fields::{Fields, MAX_FIELDS};
use super::super::frame;
use super::super::head::{Head, Value};
use super::*;
use proptest::prelude::*;

/// What `check` makes of a header with these fields.
pub fn with_fields<T>(fields: &[(&str, &str)], check: impl FnOnce(&Ext<'_>) -> T) -> T {
    let mut decoded = Fields::default();
    for (key, value) in fields {
        let [key, value] = [key, value].map(|text| {
            let start = decoded.text.len();
            decoded.text.push_str(text);
            Span::in_text(start, decoded.text.len())
        });
        decoded.push(key, value).unwrap();
    }
    check(&Ext {
        raw: "",
        text: &decoded.text,
        fields: &decoded.all,
    })
}

/// What `check` makes of a request with these fields, from the newest client.
pub fn with_request<T>(
    code: i32,
    fields: &[(&str, &str)],
    check: impl FnOnce(&Header<'_>) -> T,
) -> T {
    with_fields(fields, |ext| {
        check(&Header {
            code,
            language: Language::Java,
            version: 513,
            opaque: 1,
            flag: 0,
            remark: None,
            ext: *ext,
        })
    })
}

/// What `check` makes of a JSON header.
fn with_json<T>(header: &[u8], check: impl FnOnce(Result<Header<'_>, HeaderError>) -> T) -> T {
    with_header(Codec::Json, header, check)
}

fn with_header<T>(
    codec: Codec,
    header: &[u8],
    check: impl FnOnce(Result<Header<'_>, HeaderError>) -> T,
) -> T {
    let frame = Frame {
        codec,
        header,
        body: &[],
        len: 8 + header.len(),
    };
    check(decode(&frame, &mut Scratch::default()))
}

fn fields_of(header: &[u8]) -> Vec<(String, String)> {
    with_json(header, |header| owned(&header.unwrap().ext))
}

fn owned(ext: &Ext<'_>) -> Vec<(String, String)> {
    ext.iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

fn pairs(fields: &[(&str, &str)]) -> Vec<(String, String)> {
    fields
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

#[test]
fn java_request() {
    let json = br#"{"code":310,"extFields":{"a":"P","i":"KEYS\u0001k\u0002"},"flag":2,"language":"JAVA","opaque":-4,"serializeTypeCurrentRPC":"JSON","version":513}"#;
    with_json(json, |header| {
        let header = header.unwrap();
        assert_eq!(
            (header.code, header.flag, header.opaque, header.version),
            (310, 2, -4, 513)
        );
        assert_eq!((header.language, header.remark), (Language::Java, None));
        assert!(header.is_oneway() && !header.is_response());
        assert_eq!(header.ext.find("i"), Some("KEYS\u{1}k\u{2}"));
        assert_eq!(header.ext.find("z"), None);
    });
}

#[test]
fn raw_numbers_and_booleans_in_fields() {
    let json = br#"{"extFields":{"queueId":0,"big":-9223372036854775808,"real":1.5e3,"unitMode":false,"batch":true}}"#;
    let expected = [
        ("queueId", "0"),
        ("big", "-9223372036854775808"),
        ("real", "1.5e3"),
        ("unitMode", "false"),
        ("batch", "true"),
    ];
    assert_eq!(fields_of(json), pairs(&expected));
}

#[test]
fn fields_null_absent_empty_or_no_object() {
    for json in [
        "{}",
        r#"{"extFields":null}"#,
        r#"{"extFields":{}}"#,
        r#"{"extFields":[1,{"a":"b"}]}"#,
        r#"{"extFields":"x"}"#,
    ] {
        assert_eq!(fields_of(json.as_bytes()), [], "{json}");
    }
    assert_eq!(
        fields_of(br#"{"extFields":{"a":null,"b":"null","c":{"d":"e"},"f":["g"],"h":""}}"#),
        pairs(&[("b", "null"), ("h", "")])
    );
}

#[test]
fn unknown_keys_are_skipped() {
    let json = br#"{"x":{"y":[1,{"z":"}]\"\\"}],"w":null},"code":11,"v":[[],{}],"u":-1.5,"t":"\"","opaque":7}"#;
    with_json(json, |header| {
        let header = header.unwrap();
        assert_eq!((header.code, header.opaque), (11, 7));
    });
}

#[test]
fn white_space_and_nulls() {
    let json = b" {\t\"code\" : 34 ,\r\n \"language\" :\"CPP\", \"remark\": null, \"version\":\"333\" , \"flag\":null}\n\n";
    with_json(json, |header| {
        let header = header.unwrap();
        assert_eq!(
            (header.code, header.language, header.version, header.remark),
            (34, Language::Cpp, 333, None)
        );
    });
}

#[test]
fn languages() {
    for (text, language) in [
        ("\"GO\"", Language::Go),
        ("9", Language::Go),
        ("\"ADA\"", Language::Other),
        ("null", Language::Java),
    ] {
        with_json(format!("{{\"language\":{text}}}").as_bytes(), |header| {
            assert_eq!(header.unwrap().language, language)
        });
    }
}

#[test]
fn escapes() {
    let json = r#"{"remark":"a\"\\\/\b\f\n\r\tz\u0041\u00fc\ud83d\ude00\ud83dx\ude00\ud83d\u0042","extFields":{"\u006bey":"ü😀"}}"#;
    with_json(json.as_bytes(), |header| {
        let header = header.unwrap();
        assert_eq!(
            header.remark,
            Some("a\"\\/\u{8}\u{c}\n\r\tzAü😀\u{fffd}x\u{fffd}\u{fffd}B")
        );
        assert_eq!(header.ext.find("key"), Some("ü😀"));
    });
}

#[test]
fn the_last_of_two_fields_counts() {
    with_json(br#"{"extFields":{"a":"1","a":"2"}}"#, |header| {
        assert_eq!(header.unwrap().ext.find("a"), Some("2"))
    });
}

#[test]
fn what_is_not_utf8_is_repaired() {
    let json = b"{\"code\":10,\"extFields\":{\"KEYS\":\"\xb0\xa1-\\u0001\"}}";
    with_json(json, |header| {
        assert_eq!(
            header.unwrap().ext.find("KEYS"),
            Some("\u{fffd}\u{fffd}-\u{1}")
        )
    });
}

#[test]
fn depth_is_bounded() {
    let nested = |open: &str, close: &str, depth| {
        format!("{{\"x\":{}1{}}}", open.repeat(depth), close.repeat(depth))
    };
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        with_json(nested(open, close, 64).as_bytes(), |header| {
            assert!(header.is_ok())
        });
        with_json(nested(open, close, 65).as_bytes(), |header| {
            assert_eq!(header.unwrap_err(), HeaderError::TooDeep { limit: 64 })
        });
        with_json(nested(open, "", 1_000_000).as_bytes(), |header| {
            assert!(header.is_err())
        });
    }
}

#[test]
fn bad_json() {
    let bad = [
        "",
        "[]",
        "null",
        "{",
        "{\"code\"}",
        "{\"code\":}",
        "{\"code\":1",
        "{\"code\":1}x",
        "{code:1}",
        "{\"a\":[}]}",
        "{\"a\":\"\\",
        "{\"a\":\"\\x\"}x",
        "{\"remark\":\"\\u12\"}",
        "{\"remark\":\"\\",
        "{\"remark\":\"\\u",
        "{\"extFields\":{\"a\":\"b}",
        "{\"a\":]}",
    ];
    for json in bad {
        with_json(json.as_bytes(), |header| {
            assert!(
                matches!(header, Err(HeaderError::Json { .. })),
                "{json}: {header:?}"
            )
        });
    }
    for json in [
        "{\"code\":2147483648}",
        "{\"code\":-2147483649.5}",
        "{\"code\":NaN}",
        "{\"code\":\"x\"}",
    ] {
        with_json(json.as_bytes(), |header| {
            assert!(
                matches!(header, Err(HeaderError::Number { field: "code", .. })),
                "{json}"
            )
        });
    }
}

#[test]
fn fields_are_bounded() {
    let many = |count: usize| format!("{{\"extFields\":{{{}}}}}", vec!["\"a\":1"; count].join(","));
    with_json(many(MAX_FIELDS).as_bytes(), |header| {
        assert_eq!(header.unwrap().ext.iter().count(), MAX_FIELDS)
    });
    with_json(many(MAX_FIELDS + 1).as_bytes(), |header| {
        assert_eq!(header.unwrap_err(), HeaderError::TooManyFields)
    });
}

#[test]
fn binary_lengths_are_bounded() {
    let head = Head {
        codec: Codec::Rocketmq,
        code: 11,
        language: Language::Go,
        version: 317,
        opaque: 7,
        flag: 0,
        remark: Some("why"),
    };
    let mut out = Vec::new();
    frame::write(
        &mut out,
        &head,
        &[("k", Value::Str("v")), ("n", Value::I64(-1))],
        b"",
    );
    let header = &out[8..];
    for len in 0..header.len() {
        with_header(Codec::Rocketmq, &header[..len], |header| {
            assert!(
                matches!(header, Err(HeaderError::Truncated { .. })),
                "{len}"
            )
        });
    }
    for at in [13, 20, 24, 27] {
        let mut header = header.to_vec();
        header[at] = 0xFF;
        with_header(Codec::Rocketmq, &header, |header| {
            assert!(matches!(header, Err(HeaderError::Truncated { .. })), "{at}")
        });
    }
}

#[test]
fn empty_strings_are_null_in_binary() {
    let head = Head {
        codec: Codec::Rocketmq,
        code: -1,
        language: Language::Rust,
        version: 1,
        opaque: -2,
        flag: 3,
        remark: Some(""),
    };
    let mut out = Vec::new();
    frame::write(
        &mut out,
        &head,
        &[
            ("k", Value::Str("")),
            ("b", Value::Bool(true)),
            ("", Value::I64(1)),
        ],
        b"",
    );
    let frame = frame::split(&out).unwrap().unwrap();
    let mut scratch = Scratch::default();
    let header = decode(&frame, &mut scratch).unwrap();
    assert_eq!((header.code, header.opaque, header.remark), (-1, -2, None));
    assert_eq!(owned(&header.ext), pairs(&[("b", "true")]));
}

#[test]
fn written_like_java() {
    let head = Head {
        codec: Codec::Json,
        code: 0,
        language: Language::Java,
        version: 513,
        opaque: 4,
        flag: 1,
        remark: Some("a\nb\u{1}\"ü"),
    };
    let mut out = b"before".to_vec();
    frame::write(
        &mut out,
        &head,
        &[
            ("z", Value::Absent),
            ("offset", Value::I64(i64::MIN)),
            ("b", Value::Bool(false)),
        ],
        b"body",
    );
    let json = r#"{"code":0,"extFields":{"offset":"-9223372036854775808","b":"false"},"flag":1,"language":"JAVA","opaque":4,"remark":"a\nb\u0001\"ü","serializeTypeCurrentRPC":"JSON","version":513}"#;
    let mut expected = b"before".to_vec();
    expected.extend_from_slice(&(json.len() as u32 + 8).to_be_bytes());
    expected.extend_from_slice(&(json.len() as u32).to_be_bytes());
    expected.extend_from_slice(json.as_bytes());
    expected.extend_from_slice(b"body");
    assert_eq!(out, expected);
}

prop_compose! {
    fn any_head()(
        json: bool, code: i16, language in 0u8..14, version: i16, opaque: i32, flag: i32, remark: Option<String>,
    ) -> (Head<'static>, Option<String>) {
        let codec = if json { Codec::Json } else { Codec::Rocketmq };
        let language = Language::from_byte(language);
        (Head { codec, code: code.into(), language, version: version.into(), opaque, flag, remark: None }, remark)
    }
}

proptest! {
    #[test]
    fn round_trip(
        (head, remark) in any_head(),
        fields in prop::collection::vec((".{1,9}", ".{1,40}|[\u{1}\u{2}\"\\\\\u{1f600}]{1,20}"), 0..9),
        body: Vec<u8>,
    ) {
        let head = Head { remark: remark.as_deref(), ..head };
        let ext: Vec<_> = fields.iter().map(|(key, value)| (key.as_str(), Value::Str(value))).collect();
        let mut out = Vec::new();
        frame::write(&mut out, &head, &ext, &body);
        let frame = frame::split(&out).unwrap().unwrap();
        prop_assert_eq!((frame.codec, frame.body, frame.len), (head.codec, body.as_slice(), out.len()));
        let mut scratch = Scratch::default();
        let header = decode(&frame, &mut scratch).unwrap();
        prop_assert_eq!(
            (header.code, header.language, header.version, header.opaque, header.flag),
            (head.code, head.language, head.version, head.opaque, head.flag)
        );
        let expected = head.remark.filter(|remark| head.codec == Codec::Json || !remark.is_empty());
        prop_assert_eq!(header.remark, expected);
        prop_assert_eq!(owned(&header.ext), fields);
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..80),
        text in "[{}\\[\\],:\"\\\\a-f0-9u \u{e9}]{0,60}",
    ) {
        for codec in [Codec::Json, Codec::Rocketmq] {
            with_header(codec, &bytes, |_| ());
            with_header(codec, text.as_bytes(), |_| ());
            with_header(codec, format!("{{\"extFields\":{{\"a\":\"{text}").as_bytes(), |_| ());
        }
    }
}
