//! The property `__CRC32#`, with which a record ends: the CRC of all bytes before it (`MessageDecoder.createCrc32`).
//!
//! ```text
//! "__CRC32#" 0x01 ten digits, the least significant first 0x02
//! ```

use super::properties::{CRC32, NAME_VALUE_SEPARATOR, PROPERTY_SEPARATOR};

/// Name, digits and both separators.
pub const CRC_PROPERTY_BYTES: usize = CRC32.len() + 1 + 10 + 1;
const _: () = assert!(CRC_PROPERTY_BYTES == 20);

/// RocketMQ keeps CRCs non-negative (`UtilAll.crc32`).
pub(super) fn crc31(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes) & 0x7FFF_FFFF
}

/// Whether `properties` end in the CRC of their record.
pub(super) fn trailing_crc(properties: &[u8]) -> Option<u32> {
    let at = properties.len().checked_sub(CRC_PROPERTY_BYTES)?;
    let digits = properties[at..]
        .strip_prefix(CRC32.as_bytes())?
        .strip_prefix(&[NAME_VALUE_SEPARATOR])?
        .strip_suffix(&[PROPERTY_SEPARATOR])?;
    let mut value = 0_u64;
    for digit in digits.iter().rev() {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value * 10 + u64::from(digit - b'0');
    }
    u32::try_from(value).ok()
}

/// Whether a record that ends in these bytes carries its CRC.
pub fn ends_in_crc(end: &[u8; CRC_PROPERTY_BYTES]) -> bool {
    trailing_crc(end).is_some()
}

/// Whether what `properties` end in is no CRC of their record, but has most of its name and stands where that would.
pub(super) fn nearly_have_crc(properties: &[u8]) -> bool {
    let Some(at) = properties.len().checked_sub(CRC_PROPERTY_BYTES) else {
        return false;
    };
    let name = properties[at..].iter().zip(CRC32.as_bytes());
    let right = name.filter(|(got, expected)| got == expected).count();
    right > CRC32.len() / 2 && trailing_crc(properties).is_none()
}

/// Writes the trailing CRC property: ten digits, the least significant first (`MessageDecoder.createCrc32`).
pub(super) fn write_crc(dst: &mut [u8], mut crc: u32) {
    assert_eq!(dst.len(), CRC_PROPERTY_BYTES);
    let (name, rest) = dst.split_at_mut(CRC32.len());
    name.copy_from_slice(CRC32.as_bytes());
    let (separator, rest) = rest.split_at_mut(1);
    separator[0] = NAME_VALUE_SEPARATOR;
    let (digits, end) = rest.split_at_mut(10);
    for digit in digits {
        *digit = b'0' + (crc % 10) as u8;
        crc /= 10;
    }
    end[0] = PROPERTY_SEPARATOR;
}
