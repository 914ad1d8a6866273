//! Decodes the files named on standard input, one a line, for comparison with another decoder: writes a line
//! `ok WIDTH HEIGHT WARNINGS` and the upright picture's RGB, or a line `refused REASON`.
//!
//! `xtask/peers/pictures.py` compares with Pillow.

use derm_preprocess::{Error, Limits, Picture, RgbImage, Spec};
use std::io::{BufRead, BufWriter, Result, Write};
use std::time::{Duration, Instant};

/// Processor time differs from machine to machine; what takes longer than this is a fault on any.
const LONGEST: Duration = Duration::from_secs(60);

fn main() -> Result<()> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    for path in std::io::stdin().lock().lines() {
        let bytes = std::fs::read(path?)?;
        match decode(&bytes) {
            Ok((whole, warnings)) => {
                writeln!(out, "ok {} {} {warnings}", whole.width(), whole.height())?;
                out.write_all(&whole)?;
            }
            Err(error) => writeln!(out, "refused {}", error.to_string().replace('\n', " "))?,
        }
        out.flush()?;
    }
    Ok(())
}

/// The upright picture and the number of warnings.
fn decode(bytes: &[u8]) -> std::result::Result<(RgbImage, usize), Error> {
    let limits = Limits { max_bytes: 64 << 20, max_memory: 512 << 20, ..Limits::default() };
    let picture = Picture::open(bytes, &limits)?.until(Instant::now() + LONGEST);
    let (prepared, whole) = picture.prepare_with_upload(&Spec::square(32))?;
    Ok((whole, prepared.warnings.len()))
}
