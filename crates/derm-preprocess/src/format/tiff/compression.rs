//! Compression of strips and tiles.

use super::error::unsupported;
use super::fax::{self, Fax};
use crate::error::Error;
use crate::limits::Limits;
use std::borrow::Cow;

/// How a strip or tile is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    PackBits,
    Lzw,
    Deflate,
    Fax(Fax),
    Jpeg,
}

impl Compression {
    pub(super) fn new(number: u64, t4_options: u64) -> Result<Compression, Error> {
        Ok(match number {
            1 => Compression::None,
            2 => Compression::Fax(Fax::RunLength),
            3 => Compression::Fax(Fax::Group3 { two_dimensional: t4_options & 1 == 1 }),
            4 => Compression::Fax(Fax::Group4),
            5 => Compression::Lzw,
            8 | 32946 => Compression::Deflate,
            32773 => Compression::PackBits,
            6 => return Err(unsupported("old-style JPEG compression")),
            7 => Compression::Jpeg,
            34925 => return Err(unsupported("LZMA compression")),
            50000 => return Err(unsupported("Zstandard compression")),
            50001 => return Err(unsupported("WebP compression")),
            number => return Err(unsupported(&format!("compression {number}"))),
        })
    }

    pub(super) fn is_fax(self) -> bool {
        matches!(self, Compression::Fax(_))
    }

    /// Decompresses into at most `size` bytes; gives fewer where the data ends early. Also whether the
    /// data is damaged. `width`: pixels of a row.
    pub(super) fn decompress<'a>(
        self,
        data: &'a [u8],
        size: usize,
        width: usize,
        limits: &Limits,
    ) -> Result<(Cow<'a, [u8]>, bool), Error> {
        let (unpacked, damaged) = match self {
            Compression::None => return Ok((Cow::Borrowed(&data[..size.min(data.len())]), false)),
            Compression::PackBits => (pack_bits(data, size), false),
            Compression::Lzw => (lzw(data, size), false),
            Compression::Deflate => deflate(data, size),
            Compression::Fax(kind) => fax::decompress(kind, data, size, width, limits)?,
            // Strips and tiles that are JPEGs are decoded, not only decompressed.
            Compression::Jpeg => (Vec::new(), false),
        };
        Ok((Cow::Owned(unpacked), damaged))
    }
}

fn pack_bits(mut data: &[u8], size: usize) -> Vec<u8> {
    let mut unpacked = Vec::with_capacity(size);
    while unpacked.len() < size
        && let [count, rest @ ..] = data
    {
        data = rest;
        match usize::from(*count) {
            128 => {}
            count @ 0..128 => {
                let (values, rest) = data.split_at((count + 1).min(data.len()));
                unpacked.extend_from_slice(&values[..values.len().min(size - unpacked.len())]);
                data = rest;
            }
            count => {
                let [value, rest @ ..] = data else { break };
                unpacked.resize((unpacked.len() + 257 - count).min(size), *value);
                data = rest;
            }
        }
    }
    unpacked
}

/// LZW of TIFF 6.0, or of files before 1992: there the bits of a code come from the other end and codes grow one code
/// later, as in GIF. Data begins with a clear code, 256, which tells them apart, as in libtiff.
fn lzw(mut data: &[u8], size: usize) -> Vec<u8> {
    let mut decoder = match data {
        [0, second, ..] if second & 1 == 1 => weezl::decode::Decoder::new(weezl::BitOrder::Lsb, 8),
        _ => weezl::decode::Decoder::with_tiff_size_switch(weezl::BitOrder::Msb, 8),
    };
    let mut unpacked = vec![0; size];
    let mut length = 0;
    // Each call takes bytes or a code that the decoder holds; where it has none left, it says so.
    while length < size {
        let result = decoder.decode_bytes(data, &mut unpacked[length..]);
        data = &data[result.consumed_in..];
        length += result.consumed_out;
        if !matches!(result.status, Ok(weezl::LzwStatus::Ok)) {
            break;
        }
    }
    unpacked.truncate(length);
    unpacked
}

/// Also whether the data is invalid or fails its checksum.
fn deflate(data: &[u8], size: usize) -> (Vec<u8>, bool) {
    let mut unpacked = Vec::with_capacity(size);
    let mut decompress = flate2::Decompress::new(true);
    // What was decompressed before damage is kept.
    let finish = flate2::FlushDecompress::Finish;
    let damaged = decompress.decompress_vec(data, &mut unpacked, finish).is_err();
    (unpacked, damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pack_bits_as_in_the_specification() {
        // The example of TIFF 6.0, section 9.
        let packed = [
            0xfe, 0xaa, 0x02, 0x80, 0x00, 0x2a, 0xfd, 0xaa, 0x03, 0x80, 0x00, 0x2a, 0x22, 0xf7,
            0xaa,
        ];
        let mut expected = vec![0xaa, 0xaa, 0xaa, 0x80, 0x00, 0x2a, 0xaa, 0xaa, 0xaa, 0xaa];
        expected.extend([0x80, 0x00, 0x2a, 0x22]);
        expected.extend([0xaa; 10]);
        assert_eq!(pack_bits(&packed, 24), expected);
        assert_eq!(pack_bits(&packed, 5), expected[..5]);
        assert_eq!(pack_bits(&packed[..4], 24), expected[..4]);
    }

    #[test]
    fn damaged_data_gives_what_precedes_the_damage() {
        let group3 = [false, true].map(|two_dimensional| Fax::Group3 { two_dimensional });
        let fax = [Fax::RunLength, Fax::Group4].into_iter().chain(group3).map(Compression::Fax);
        for compression in [Compression::Lzw, Compression::Deflate].into_iter().chain(fax) {
            for data in [&[][..], &[0; 3], &[0xff; 300], &[0x78, 0x9c, 1, 2, 3]] {
                let found = compression.decompress(data, 100, 8, &Limits::default());
                assert!(found.is_ok_and(|(unpacked, _)| unpacked.len() <= 100));
            }
        }
    }
}
