//! The first image file directory (IFD) of a TIFF or BigTIFF file. Others are not read, so that no
//! chain of directories can be followed without end.

use crate::orientation::ByteOrder;

/// An entry: where its values lie in the file. They are read when they are asked for: a file may
/// have a million.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    tag: u16,
    /// Bytes of a value.
    size: usize,
    count: usize,
    /// Index of the first value in the file.
    start: usize,
}

#[derive(Debug)]
pub(super) struct Directory {
    pub(super) order: ByteOrder,
    fields: Vec<Field>,
}

impl Directory {
    /// None: the file is cut short.
    pub(super) fn read(bytes: &[u8]) -> Option<Directory> {
        let order = if bytes.starts_with(b"II") { ByteOrder::Little } else { ByteOrder::Big };
        let number = |at: usize, length: usize| {
            order.number(bytes.get(at..at.checked_add(length)?)?).map(|n| n as usize)
        };
        let is_big = number(2, 2)? == 43;
        // Bytes of an offset, of the number of entries, and of an entry.
        let (offset, count, entry) = if is_big { (8, 8, 20) } else { (4, 2, 12) };
        let start = number(offset, offset)?;
        let entries = number(start, count)?;
        let mut fields = Vec::new();
        // Far more than writers store. Each one costs memory.
        for index in 0..entries.min(1 << 12) {
            let at = start.checked_add(count + entry * index)?;
            let Some(kind) = number(at + 2, 2) else { break };
            let size = match kind {
                1 | 2 | 6 | 7 => 1,
                3 | 8 => 2,
                4 | 9 | 11 | 13 => 4,
                5 | 10 | 12 | 16..=18 => 8,
                _ => continue,
            };
            let count = number(at + 4, offset)?;
            let value = at + 4 + offset;
            let is_inline = count.checked_mul(size)? <= offset;
            let start = if is_inline { value } else { number(value, offset)? };
            fields.push(Field { tag: number(at, 2)? as u16, size, count, start });
        }
        Some(Directory { order, fields })
    }

    pub(super) fn field(&self, tag: u16) -> Option<Field> {
        self.fields.iter().find(|field| field.tag == tag && field.count > 0).copied()
    }

    /// The first value of a tag.
    pub(super) fn first(&self, bytes: &[u8], tag: u16) -> Option<u64> {
        self.field(tag)?.value(bytes, self.order, 0)
    }
}

impl Field {
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// A value, as an unsigned integer.
    pub(super) fn value(&self, bytes: &[u8], order: ByteOrder, index: usize) -> Option<u64> {
        if index >= self.count {
            return None;
        }
        let at = self.start.checked_add(self.size.checked_mul(index)?)?;
        order.number(bytes.get(at..at.checked_add(self.size)?)?)
    }

    /// All values, as bytes.
    pub(super) fn bytes<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        bytes.get(self.start..self.start.checked_add(self.count.checked_mul(self.size)?)?)
    }
}
