//! Elements of an input: where they lie in a body, and reading them one after the other.

use super::bad;
use crate::error::ApiError;
use crate::excerpt::quoted;
use derm::ElementType;
use std::ops::Range;

/// Where the elements of an input lie in the body.
#[derive(Debug, Clone)]
pub(super) enum Data {
    /// Little-endian, one after the other.
    Binary(Range<usize>),
    /// Valid JSON.
    Json(Range<usize>),
    /// One element, without its length.
    Plain(Range<usize>),
}

/// The ranges of `count` elements, each after its length: four bytes, little-endian.
pub(super) fn elements_of(
    body: &[u8],
    range: Range<usize>,
    count: usize,
) -> Result<Vec<Range<usize>>, ApiError> {
    let (mut at, mut elements) = (range.start, Vec::new());
    for _ in 0..count {
        let length = body[at..range.end].first_chunk::<4>().map(|four| u32::from_le_bytes(*four));
        let start = at + 4;
        let end = length.and_then(|length| start.checked_add(length as usize));
        let Some(end) = end.filter(|end| *end <= range.end) else {
            return Err(bad("an element of BYTES is longer than the binary data"));
        };
        elements.push(start..end);
        at = end;
    }
    if at != range.end {
        return Err(bad(format!("{} bytes follow the elements of BYTES", range.end - at)));
    }
    Ok(elements)
}

/// Tensors that are read one after the other.
#[derive(Debug)]
pub(crate) struct Tensors {
    pub(super) data: Data,
    /// Bytes that were read.
    pub(super) at: usize,
    pub(super) element: ElementType,
    /// Elements of one tensor.
    pub(super) each: usize,
    pub(super) count: usize,
}

impl Tensors {
    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// The next tensor's values.
    ///
    /// # Errors
    /// [`ApiError::BadRequest`]: an element is not a number of the type.
    pub(crate) fn next(&mut self, body: &[u8]) -> Result<Vec<f32>, ApiError> {
        let mut values = Vec::with_capacity(self.each);
        match &self.data {
            Data::Plain(_) => {}
            Data::Binary(range) => {
                let length = self.each * self.element.bytes();
                let bytes = &body[range.start + self.at..][..length];
                values
                    .extend(bytes.chunks_exact(self.element.bytes()).map(|b| of(self.element, b)));
                self.at += length;
            }
            Data::Json(range) => {
                let text = &body[range.clone()];
                let mut numbers = Values { text, at: self.at };
                for value in numbers.by_ref().take(self.each) {
                    values.push(number(&text[value], self.element)?);
                }
                self.at = numbers.at;
            }
        }
        Ok(values)
    }
}

/// A number in binary, little-endian.
fn of(element: ElementType, bytes: &[u8]) -> f32 {
    let mut eight = [0; 8];
    eight[..bytes.len()].copy_from_slice(bytes);
    let [a, b, c, d, ..] = eight;
    match element {
        ElementType::F32 => f32::from_le_bytes([a, b, c, d]),
        ElementType::U8 => f32::from(a),
        ElementType::I8 => f32::from(a as i8),
        ElementType::U16 => f32::from(u16::from_le_bytes([a, b])),
        ElementType::I16 => f32::from(i16::from_le_bytes([a, b])),
        ElementType::I32 => i32::from_le_bytes([a, b, c, d]) as f32,
        ElementType::I64 => i64::from_le_bytes(eight) as f32,
    }
}

/// A number as JSON writes it.
fn number(text: &[u8], element: ElementType) -> Result<f32, ApiError> {
    let text = String::from_utf8_lossy(text);
    let wrong = || bad(format!("the element {} is not of {}", quoted(&text), datatype(element)));
    let value: f64 = text.parse().map_err(|_| wrong())?;
    let (least, most) = match element {
        ElementType::F32 => return Ok(value as f32),
        ElementType::U8 => (0.0, 255.0),
        ElementType::I8 => (-128.0, 127.0),
        ElementType::U16 => (0.0, 65_535.0),
        ElementType::I16 => (-32_768.0, 32_767.0),
        ElementType::I32 => (f64::from(i32::MIN), f64::from(i32::MAX)),
        ElementType::I64 => (i64::MIN as f64, i64::MAX as f64),
    };
    if value.fract() != 0.0 || !(least..=most).contains(&value) {
        return Err(wrong());
    }
    Ok(value as f32)
}

/// The name of an element type in the protocol.
pub(crate) fn datatype(element: ElementType) -> &'static str {
    match element {
        ElementType::F32 => "FP32",
        ElementType::U8 => "UINT8",
        ElementType::I8 => "INT8",
        ElementType::U16 => "UINT16",
        ElementType::I16 => "INT16",
        ElementType::I32 => "INT32",
        ElementType::I64 => "INT64",
    }
}

/// The ranges of the elements of a valid JSON list, whatever lists they are nested in. Nothing is
/// built of them.
pub(super) struct Values<'a> {
    pub(super) text: &'a [u8],
    pub(super) at: usize,
}

impl Iterator for Values<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        let is_between = |byte: &u8| b"[], \t\r\n".contains(byte);
        let skipped = self.text[self.at..].iter().position(|byte| !is_between(byte))?;
        let start = self.at + skipped;
        let rest = &self.text[start..];
        let length = if rest[0] == b'"' {
            string_length(rest)
        } else {
            rest.iter().position(is_between).unwrap_or(rest.len())
        };
        self.at = start + length;
        Some(start..self.at)
    }
}

/// Bytes of the JSON string that a text begins with, its quotation marks included.
fn string_length(text: &[u8]) -> usize {
    let mut at = 1;
    while at < text.len() {
        match text[at] {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_elements_fill_their_bytes_exactly() {
        let of = |bytes: &[u8], count| elements_of(bytes, 0..bytes.len(), count);
        assert_eq!(of(b"\x02\0\0\0ab\0\0\0\0", 2).unwrap(), [4..6, 10..10]);
        for (bytes, count) in [
            (&b"\x02\0\0\0ab"[..], 2),
            (b"\x02\0\0\0a", 1),
            (b"\xff\xff\xff\xffa", 1),
            (b"\x01\0\0\0ab", 1),
            (b"\0\0", 1),
        ] {
            assert!(of(bytes, count).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn strings_are_found_with_their_escapes() {
        let text = br#"["a\"b", ["c,]", "\\"]]"#;
        let found: Vec<&[u8]> = Values { text, at: 0 }.map(|range| &text[range]).collect();
        assert_eq!(found, [&br#""a\"b""#[..], br#""c,]""#, br#""\\""#]);
    }
}
