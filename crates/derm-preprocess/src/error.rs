/// Why bytes did not become a picture.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There are no bytes.
    #[error("the picture is empty")]
    Empty,
    /// The file is larger than [`Limits::max_bytes`](crate::Limits::max_bytes).
    #[error("the picture has {bytes} bytes; at most {limit} are allowed")]
    TooManyBytes {
        /// Length of the file.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The header announces more pixels than [`Limits::max_pixels`](crate::Limits::max_pixels).
    #[error("the picture has {width}x{height} pixels; at most {limit} in all are allowed")]
    TooManyPixels {
        /// Pixels across.
        width: u32,
        /// Pixels down.
        height: u32,
        /// The limit on their product.
        limit: u64,
    },
    /// Decoding would take more memory than [`Limits::max_memory`](crate::Limits::max_memory).
    #[error("decoding the picture takes {needed} bytes of memory; at most {limit} are allowed")]
    TooMuchMemory {
        /// Bytes that decoding takes.
        needed: u64,
        /// The limit.
        limit: u64,
    },
    /// Not a known format.
    #[error("not a picture in a format that is read here (JPEG, PNG, WebP, BMP, GIF, TIFF)")]
    UnknownFormat,
    /// A known format, or a feature of one, that is not supported.
    #[error("{what} is not supported; {remedy}")]
    Unsupported {
        /// The format or the feature.
        what: String,
        /// What the user can do.
        remedy: &'static str,
    },
    /// The right format, but damaged or truncated.
    #[error("the {format} picture cannot be decoded: {reason}")]
    Undecodable {
        /// Name of the format.
        format: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The decoder panicked, which is a bug in it: the file is probably damaged.
    #[error("the {format} picture cannot be decoded: its decoder failed ({message})")]
    DecoderPanicked {
        /// Name of the format.
        format: &'static str,
        /// The panic's message.
        message: String,
    },
    /// Decoding was not finished at [`Limits::deadline`](crate::Limits::deadline).
    #[error("decoding the picture took too long")]
    TimedOut,
}

impl Error {
    pub(crate) fn undecodable(format: &'static str, reason: impl ToString) -> Error {
        Error::Undecodable { format, reason: reason.to_string() }
    }
}
