//! Limit on the scans of a picture: each costs time, whatever its length.

use super::header::{Header, ScanComponent, ScanHeader, undecodable};
use super::segments::{EOI, SOS, Segments};
use crate::error::Error;

/// Work on a block in all scans together, see [`Work`]. The finest progression that T.81 allows has a scan for each of
/// the 64 coefficients, and for each of its 14 bits; each costs two.
const MOST_WORK: u64 = 2 * 64 * 14;

/// The time that scans take, whatever their length: each block of a scan counts one, and one for each coefficient of the
/// scan's band.
#[derive(Default)]
pub(super) struct Work(u64);

impl Work {
    /// Adds a scan; an error where the picture's scans are more than any encoder can write.
    pub(super) fn add(&mut self, scan: &ScanHeader, header: &Header) -> Result<(), Error> {
        let (first, last) = scan.coefficients;
        let blocks = |component: &ScanComponent| header.blocks(component.index);
        let of_scan: u64 = scan.components.iter().map(blocks).sum();
        self.0 += of_scan * (last - first + 2) as u64;
        let all: u64 = (0..header.components.len()).map(|index| header.blocks(index)).sum();
        if self.0 > MOST_WORK * all {
            return Err(undecodable("it has more scans than a picture can have"));
        }
        Ok(())
    }

    /// Checks all scans before any is decoded.
    pub(super) fn check(header: &Header, bytes: &[u8]) -> Result<(), Error> {
        let mut work = Work::default();
        work.add(&header.scan, header)?;
        let mut segments = Segments::new(bytes, header.data);
        while let Some((marker, content)) = segments.next() {
            match marker {
                SOS => match ScanHeader::read(content, &header.components, header.progressive) {
                    Ok(scan) => work.add(&scan, header)?,
                    // Told when decoding comes to it.
                    Err(_) => break,
                },
                EOI => break,
                _ => {}
            }
        }
        Ok(())
    }
}
