//! Errors of this format.

use crate::error::Error;

pub(super) fn undecodable(reason: impl ToString) -> Error {
    Error::undecodable("TIFF", reason)
}

pub(super) fn unsupported(feature: &str) -> Error {
    Error::Unsupported {
        what: format!("TIFF with {feature}"),
        remedy: "convert it to RGB with 8 bits a sample, or save it as PNG",
    }
}
