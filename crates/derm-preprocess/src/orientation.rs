//! EXIF orientation: how a picture's stored rows become upright (EXIF 3.0, tag 0x0112).

/// From stored to upright: mirror each row, reverse the order of the rows, transpose; in this order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Orientation {
    pub(crate) mirrored: bool,
    pub(crate) bottom_up: bool,
    pub(crate) transposed: bool,
}

impl Orientation {
    /// From the tag's value; none for a value that is not in 1..=8.
    pub(crate) fn from_value(value: u64) -> Option<Orientation> {
        let (mirrored, bottom_up, transposed) = match value {
            1 => (false, false, false),
            2 => (true, false, false),
            3 => (true, true, false),
            4 => (false, true, false),
            5 => (false, false, true),
            6 => (false, true, true),
            7 => (true, true, true),
            8 => (true, false, true),
            _ => return None,
        };
        Some(Orientation { mirrored, bottom_up, transposed })
    }

    /// From EXIF data: a TIFF file without pixels. The tag should be a SHORT; writers exist that use
    /// any other integer type.
    pub(crate) fn from_exif(exif: &[u8]) -> Option<Orientation> {
        let exif = exif.strip_prefix(b"Exif\0\0").unwrap_or(exif);
        let order = match exif.first_chunk::<4>()? {
            b"II*\0" => ByteOrder::Little,
            b"MM\0*" => ByteOrder::Big,
            _ => return None,
        };
        let number =
            |at: usize, length: usize| order.number(exif.get(at..at.checked_add(length)?)?);
        let directory = number(4, 4)? as usize;
        let entries = number(directory, 2)? as usize;
        for entry in 0..entries {
            let at = directory.checked_add(2 + 12 * entry)?;
            if number(at, 2)? != 0x0112 {
                continue;
            }
            // BYTE, SHORT, LONG, SBYTE, SSHORT, SLONG.
            let length = match number(at + 2, 2)? {
                1 | 6 => 1,
                3 | 8 => 2,
                4 | 9 => 4,
                _ => return None,
            };
            let count = number(at + 4, 4)?;
            return (count == 1)
                .then(|| number(at + 8, length))
                .flatten()
                .and_then(Self::from_value);
        }
        None
    }

    /// Width and height after (or before) orientation.
    pub(crate) fn size<T>(self, (width, height): (T, T)) -> (T, T) {
        if self.transposed { (height, width) } else { (width, height) }
    }
}

/// Byte order of a TIFF file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ByteOrder {
    Little,
    Big,
}

impl ByteOrder {
    /// Up to eight bytes as an unsigned number.
    pub(crate) fn number(self, bytes: &[u8]) -> Option<u64> {
        let add = |sum: u64, &byte: &u8| sum << 8 | u64::from(byte);
        match self {
            _ if bytes.len() > 8 => None,
            ByteOrder::Big => Some(bytes.iter().fold(0, add)),
            ByteOrder::Little => Some(bytes.iter().rev().fold(0, add)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// EXIF data with one entry of this type.
    fn exif(big: bool, kind: u16, length: usize, value: u8) -> Vec<u8> {
        let short = |v: u16| if big { v.to_be_bytes() } else { v.to_le_bytes() };
        let long = |v: u32| if big { v.to_be_bytes() } else { v.to_le_bytes() };
        let mut bytes = if big { b"MM\0*".to_vec() } else { b"II*\0".to_vec() };
        bytes.extend(long(8));
        bytes.extend(short(1));
        bytes.extend(short(0x0112));
        bytes.extend(short(kind));
        bytes.extend(long(1));
        let mut field = [0; 4];
        field[if big { length - 1 } else { 0 }] = value;
        bytes.extend(field);
        bytes
    }

    #[test]
    fn any_integer_type_in_both_byte_orders() {
        for big in [false, true] {
            for (kind, length) in [(1, 1), (3, 2), (4, 4), (6, 1), (8, 2), (9, 4)] {
                let found = Orientation::from_exif(&exif(big, kind, length, 6));
                assert_eq!(found, Orientation::from_value(6), "type {kind}, big-endian: {big}");
            }
        }
    }

    #[test]
    fn invalid_values_and_cut_data_are_ignored() {
        assert_eq!(Orientation::from_exif(&exif(true, 3, 2, 9)), None);
        assert_eq!(Orientation::from_exif(&exif(false, 5, 4, 6)), None);
        let whole = exif(false, 4, 4, 6);
        for length in 0..whole.len() {
            assert_eq!(Orientation::from_exif(&whole[..length]), None);
        }
    }
}
