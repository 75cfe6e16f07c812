//! What a request is answered with, and why it is refused.

use crate::wire::codes::response;
use crate::wire::frame::MAX_FRAME_BYTES;
use crate::wire::header::Ext;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    pub code: i32,
    pub remark: Option<String>,
    pub ext: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

const HEADER_LIMIT_BYTES: usize = 256 << 10;
const BODY_LIMIT_BYTES: usize = 14 << 20;
const _: () = assert!(6 * HEADER_LIMIT_BYTES + BODY_LIMIT_BYTES < MAX_FRAME_BYTES);

/// A request that is not followed, in RocketMQ's code and words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    code: i32,
    remark: String,
}

impl Reply {
    pub fn success() -> Self {
        Self {
            code: response::SUCCESS,
            ..Self::default()
        }
    }

    pub fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.ext.push((name, value.to_string()));
        self
    }

    /// Itself, or if no frame could carry it a word about that. A name or value that a client chose comes back in a reply,
    /// where JSON may take six bytes for one; and a cluster can have more topics than fit one list.
    pub fn bounded(self) -> Self {
        let in_header = self
            .remark
            .iter()
            .chain(self.ext.iter().map(|(_, value)| value));
        let header_bytes: usize = in_header.map(String::len).sum();
        if header_bytes > HEADER_LIMIT_BYTES || self.body.len() > BODY_LIMIT_BYTES {
            let body_bytes = self.body.len();
            let remark = format!(
                "the answer has {header_bytes} bytes of fields and {body_bytes} of body: too long"
            );
            return Refused::error(remark).into();
        }
        self
    }

    pub fn with_body(self, body: impl Into<Vec<u8>>) -> Self {
        Self {
            body: body.into(),
            ..self
        }
    }
}

impl From<Refused> for Reply {
    fn from(Refused { code, remark }: Refused) -> Self {
        Self {
            code,
            remark: Some(remark),
            ..Self::default()
        }
    }
}

impl Refused {
    pub fn new(code: i32, remark: impl Into<String>) -> Self {
        Self {
            code,
            remark: remark.into(),
        }
    }

    /// RocketMQ's code for everything that went wrong and has no code of its own.
    pub fn error(remark: impl Into<String>) -> Self {
        Self::new(response::SYSTEM_ERROR, remark)
    }
}

/// A field that the request cannot do without.
pub fn required<'a>(ext: &'a Ext<'_>, name: &str) -> Result<&'a str, Refused> {
    ext.find(name)
        .ok_or_else(|| Refused::error(format!("the custom field <{name}> is null")))
}

/// A number that may be absent, but not unreadable.
pub fn number(ext: &Ext<'_>, name: &str) -> Result<Option<i64>, Refused> {
    let Some(text) = ext.find(name).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let number = text.parse().map_err(|_| {
        Refused::error(format!("the custom field <{name}> is not a number: {text}"))
    })?;
    Ok(Some(number))
}

/// Java's idea of a boolean: everything that is not `true` is false.
pub fn switch(ext: &Ext<'_>, name: &str) -> Option<bool> {
    ext.find(name).map(|text| text.eq_ignore_ascii_case("true"))
}
