//! Marker segments (ITU-T T.81, annex B.1.1).

pub(super) const SOI: u8 = 0xd8;
pub(super) const EOI: u8 = 0xd9;
pub(super) const SOS: u8 = 0xda;

/// Iterates over a file's segments. Bytes between segments are skipped, as libjpeg does.
pub(super) struct Segments<'a> {
    bytes: &'a [u8],
    /// Index of the next byte.
    pub(super) position: usize,
}

impl<'a> Segments<'a> {
    pub(super) fn new(bytes: &'a [u8], position: usize) -> Segments<'a> {
        Segments { bytes, position }
    }

    /// The next marker and its parameters; none at the end of the file.
    pub(super) fn next(&mut self) -> Option<(u8, &'a [u8])> {
        loop {
            let rest = self.bytes.get(self.position..)?;
            let at = find_marker(rest)?;
            let marker = rest[at];
            self.position += at + 1;
            match marker {
                // Markers without parameters: TEM, restarts, SOI.
                0x01 | 0xd0..=0xd7 | SOI => {}
                EOI => return Some((EOI, &[])),
                _ => {
                    let segment = &rest[at + 1..];
                    let length = usize::from(u16::from_be_bytes(*segment.first_chunk::<2>()?));
                    let content = segment.get(2..length)?;
                    self.position += length;
                    return Some((marker, content));
                }
            }
        }
    }
}

/// Index of the next marker's code: a byte other than 0 and 0xff behind 0xff.
pub(super) fn find_marker(bytes: &[u8]) -> Option<usize> {
    let is_marker = |two: &[u8; 2]| two[0] == 0xff && two[1] != 0 && two[1] != 0xff;
    bytes.array_windows::<2>().position(is_marker).map(|at| at + 1)
}
