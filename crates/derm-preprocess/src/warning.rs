use std::fmt;

/// What is wrong with a picture that was decoded nevertheless.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// Data is missing: the file was cut short, or a part of it was lost.
    Incomplete {
        /// Share of the picture that is missing, in per cent, rounded up. That part is grey in a
        /// JPEG and white in other formats.
        percent: u8,
    },
    /// Data is invalid, and was decoded as far as common decoders do.
    Damaged,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::Incomplete { percent: 0 } => {
                f.write_str("the picture's data ends early; all of the picture could be decoded")
            }
            Warning::Incomplete { percent } => {
                write!(f, "the picture is incomplete: up to {percent} % of it is missing")
            }
            Warning::Damaged => {
                f.write_str("the picture's data is damaged; parts of the picture may look wrong")
            }
        }
    }
}
