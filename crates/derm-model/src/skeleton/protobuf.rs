//! Protocol buffers' wire format: just enough to copy a message field by field.
//!
//! Nothing here recurses, so a message nested deeply costs no stack.

use prost::encoding::{
    DecodeContext, WireType, decode_key, decode_varint, encode_key, encode_varint, skip_field,
};
use std::ops::Range;

/// A field of a message: where it lies in the file with its key, and its content alone.
pub(crate) struct Field {
    pub(crate) number: u32,
    wire: WireType,
    pub(super) whole: Range<usize>,
    pub(crate) content: Range<usize>,
}

/// The fields of the message in `range`; `None` if it is malformed.
pub(crate) fn fields(file: &[u8], range: Range<usize>) -> Option<Vec<Field>> {
    let mut rest = &file[range.clone()];
    let at = |rest: &[u8]| range.end - rest.len();
    let mut found = Vec::new();
    while !rest.is_empty() {
        let start = at(rest);
        let (number, wire) = decode_key(&mut rest).ok()?;
        let content = if wire == WireType::LengthDelimited {
            let length = usize::try_from(decode_varint(&mut rest).ok()?).ok()?;
            let start = at(rest);
            rest = rest.get(length..)?;
            start..start + length
        } else {
            let start = at(rest);
            skip_field(wire, number, &mut rest, DecodeContext::default()).ok()?;
            start..at(rest)
        };
        found.push(Field { number, wire, whole: start..content.end, content });
    }
    Some(found)
}

impl Field {
    /// A string; `None` if it is not UTF-8.
    pub(super) fn text<'a>(&self, file: &'a [u8]) -> Option<&'a str> {
        std::str::from_utf8(&file[self.content.clone()]).ok()
    }

    /// One integer, or a packed list of them.
    pub(super) fn integers(&self, file: &[u8]) -> Option<Vec<u64>> {
        let mut rest = &file[self.content.clone()];
        if self.wire == WireType::Varint {
            return Some(vec![decode_varint(&mut rest).ok()?]);
        }
        let mut found = Vec::new();
        while !rest.is_empty() {
            found.push(decode_varint(&mut rest).ok()?);
        }
        Some(found)
    }
}

/// Appends a field of bytes: a string or a message.
pub(super) fn put_bytes(to: &mut Vec<u8>, number: u32, content: &[u8]) {
    encode_key(number, WireType::LengthDelimited, to);
    encode_varint(content.len() as u64, to);
    to.extend_from_slice(content);
}

/// Appends an integer field.
pub(super) fn put_integer(to: &mut Vec<u8>, number: u32, value: u64) {
    encode_key(number, WireType::Varint, to);
    encode_varint(value, to);
}
