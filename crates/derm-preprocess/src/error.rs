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
    /// Not a format that is read.
    #[error("not a picture in a format that is read here (JPEG, PNG, WebP, BMP, GIF, TIFF)")]
    UnknownFormat,
    /// The right format, but damaged, truncated, or with a feature the decoder lacks.
    #[error("the {format} picture cannot be decoded: {reason}")]
    Undecodable {
        /// Name of the format.
        format: &'static str,
        /// The decoder's words.
        reason: String,
    },
}
